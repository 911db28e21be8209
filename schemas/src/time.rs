//! Points in time, in whole milliseconds since the Unix epoch.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970-01-01T00:00:00Z; never before it, and before the year 10000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// Why a text is no point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between 1970 and 9999")]
pub struct MillisError;

impl Millis {
    /// The last millisecond of the year 9999: what RFC 3339 can write.
    pub const MAX: Millis = Millis(253_402_300_799_999);

    /// This time moved forward, at most to the end of `u64`.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here, 0 when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the epoch, as TTL attributes want them.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000
    }
}

/// When a clock elsewhere stands, at the earliest and at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// At the earliest.
    pub earliest: Millis,
    /// At the latest.
    pub latest: Millis,
}

impl Span {
    /// A clock that is known exactly.
    #[must_use]
    pub fn at(now: Millis) -> Self {
        Self { earliest: now, latest: now }
    }

    /// The middle, which is off by at most half the span.
    #[must_use]
    pub fn middle(self) -> Millis {
        Millis(self.earliest.0.midpoint(self.latest.0))
    }
}

impl FromStr for Millis {
    type Err = MillisError;
    /// Reads RFC 3339 with any offset; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| MillisError)?;
        let ms = at.unix_timestamp_nanos().div_euclid(1_000_000);
        u64::try_from(ms).map(Self).ok().filter(|ms| *ms <= Self::MAX).ok_or(MillisError)
    }
}

impl fmt::Display for Millis {
    /// Writes `2026-11-23T21:20:10.000Z`, which sorts as text. Times past the year 9999 show as its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.min(Self::MAX.0);
        let seconds = i64::try_from(ms / 1_000).expect("below the year 10000");
        let at = OffsetDateTime::from_unix_timestamp(seconds).expect("below the year 10000");
        let (date, clock) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
            ms % 1_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_and_fractions_are_understood() {
        for text in
            ["2026-11-23T21:20:10.123Z", "2026-11-23T22:20:10.123+01:00", "2026-11-23T21:20:10.123999Z"]
        {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), "2026-11-23T21:20:10.123Z");
        }
        for bad in ["1969-12-31T23:59:59.999Z", "2026-11-23", "yesterday", "2026-13-01T00:00:00Z"] {
            assert_eq!(bad.parse::<Millis>(), Err(MillisError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_sorts_as_time_does(a in 0..=Millis::MAX.0, b in 0..=Millis::MAX.0) {
            let (a, b) = (Millis(a), Millis(b));
            prop_assert_eq!(a.to_string().parse::<Millis>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}

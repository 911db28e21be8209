//! The usual form of RFC 3339 read without a date library; every other form is left to [`Millis`].
//!
//! Never decides that a text is no time: what it does not know it hands on.

use crate::time::Millis;

/// A point in time from RFC 3339 text with any offset; what is finer than a millisecond is cut off.
pub(super) fn read(text: &str) -> Option<Millis> {
    read_utc(text.as_bytes()).or_else(|| text.parse().ok())
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction]Z` from 1970 on.
fn read_utc(text: &[u8]) -> Option<Millis> {
    let (clock, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let separators = [clock[4], clock[7], clock[10], clock[13], clock[16]];
    if separators != *b"--T::" {
        return None;
    }
    let year = number(&clock[0..4])?;
    let (month, day) = (number(&clock[5..7])?, number(&clock[8..10])?);
    let (hour, minute, second) = (number(&clock[11..13])?, number(&clock[14..16])?, number(&clock[17..19])?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Millis(seconds * 1_000 + thousandths(fraction)?))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

/// Milliseconds of `.digits`, or of nothing.
fn thousandths(fraction: &[u8]) -> Option<u64> {
    match fraction {
        [] => Some(0),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            number(digits)?;
            let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
            Some(padded.take(3).fold(0, |sum, b| sum * 10 + u64::from(b - b'0')))
        }
        _ => None,
    }
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, by the era arithmetic of the proleptic Gregorian calendar with years that begin in March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let march_year = if month > 2 { year } else { year - 1 };
    let march_month = (month + 9) % 12;
    let leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    march_year * 365 + leap_days + (march_month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_that_no_month_has_are_refused() {
        for bad in [
            "2025-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00",
            "1969-12-31T23:59:59.999Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        for (text, ms) in [("1970-01-01T00:00:00Z", 0), ("2024-02-29T00:00:00.5Z", 1_709_164_800_500)] {
            assert_eq!(read(text), Some(Millis(ms)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_library(ms in 0..=Millis::MAX.0) {
            let text = Millis(ms).to_string();
            prop_assert_eq!(read_utc(text.as_bytes()), Some(Millis(ms)));
        }

        #[test]
        fn what_the_short_way_reads_the_library_reads_alike(
            text in "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?Z",
        ) {
            if let Some(read) = read_utc(text.as_bytes()) {
                prop_assert_eq!(text.parse(), Ok(read));
            }
        }
    }
}

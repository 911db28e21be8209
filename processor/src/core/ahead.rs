//! Tells when a shard's clock is ahead of its service's.
//!
//! The shard clock is the highest arrival that was seen, so one record with an arrival from the future holds it there
//! until the service's clock has come up. Meanwhile windows close before their bids come: they are late by the rules,
//! and nothing else shows it. The verdict on a bid does not change; it is only told.

use std::time::Duration;

use schemas::time::Millis;

use super::holding::Now;

/// From here on a clock is told as ahead, in ms: more than a service's whole seconds and a slow reply hide.
pub const AHEAD_TOLD_MS: u64 = 3_000;
/// What lasts is told again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// By how much a clock is ahead at least, in ms.
#[must_use]
pub fn ahead_ms(clock: Millis, now: Now) -> u64 {
    clock.since(now.service.latest)
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The clock is ahead.
    Ahead {
        /// By how many ms.
        ahead_ms: u64,
        /// Since when, by the service's clock.
        since: Millis,
        /// Bids that were late since then.
        late: u64,
    },
    /// It is not ahead any more.
    Over {
        /// Since when it was, by the service's clock.
        since: Millis,
        /// Bids that were late since then.
        late: u64,
    },
}

/// One shard's clock beside its service's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    ahead: Option<Since>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Millis,
    late_before: u64,
    told: Duration,
}

impl Watched {
    /// Looks at a shard's clock, with the number of bids that were late in it so far.
    pub fn on_look(&mut self, clock: Millis, late: u64, now: Now) -> Option<Told> {
        let ahead_ms = ahead_ms(clock, now);
        let is_ahead = ahead_ms > AHEAD_TOLD_MS || self.ahead.is_some() && ahead_ms > 0;
        match (&mut self.ahead, is_ahead) {
            (None, false) => None,
            (None, true) => {
                let since = now.service.middle();
                self.ahead = Some(Since { at: since, late_before: late, told: now.monotonic });
                Some(Told::Ahead { ahead_ms, since, late: 0 })
            }
            (Some(since), true) => {
                if now.monotonic.saturating_sub(since.told) < AGAIN_AFTER {
                    return None;
                }
                since.told = now.monotonic;
                Some(Told::Ahead { ahead_ms, since: since.at, late: late - since.late_before })
            }
            (Some(since), false) => {
                let over = Told::Over { since: since.at, late: late - since.late_before };
                self.ahead = None;
                Some(over)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::Span;

    #[test]
    fn a_clock_that_jumped_is_told_at_once_again_each_minute_and_when_it_is_over() {
        let at = |ms: u64| Now { monotonic: Duration::from_millis(ms), service: Span::at(Millis(ms)) };
        let mut watched = Watched::default();
        let mut look = |clock: u64, late, ms| watched.on_look(Millis(clock), late, at(ms));
        assert_eq!(look(0, 0, 1_000), None, "nothing was read");
        assert_eq!(look(14_000, 7, 11_000), None, "the service's whole seconds hide as much");
        let since = Millis(20_000);
        let ahead = |ahead_ms, late| Some(Told::Ahead { ahead_ms, since, late });
        assert_eq!(look(320_000, 7, 20_000), ahead(300_000, 0));
        assert_eq!(look(320_000, 9, 79_999), None);
        assert_eq!(look(320_000, 12, 80_000), ahead(240_000, 5));
        assert_eq!(look(320_000, 90, 140_000), ahead(180_000, 83));
        assert_eq!(look(320_000, 99, 320_000), Some(Told::Over { since, late: 92 }));
        assert_eq!(look(320_000, 99, 321_000), None);
    }
}

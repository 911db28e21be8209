//! How many may come in: a bucket of connections that fills at a steady rate.

use std::time::{Duration, Instant};

use super::Limits;

/// Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct Door {
    /// What one connection takes from the bucket.
    spacing: Duration,
    /// The bucket, as time: how far behind `full_at` may lie.
    burst: Duration,
    /// When the bucket would be full again.
    full_at: Option<Instant>,
}

impl Door {
    pub(super) fn new(limits: &Limits) -> Self {
        let spacing = Duration::from_secs(1) / limits.connects_per_second.max(1);
        Self { spacing, burst: spacing * limits.connects_burst.max(1), full_at: None }
    }

    /// Whether one more may come in.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.spacing;
        let fits = full_at.duration_since(now) <= self.burst;
        if fits {
            self.full_at = Some(full_at);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut door = Door::new(&Limits { connects_per_second: 10, connects_burst: 3, ..Limits::default() });
        let begin = Instant::now();
        let admitted = |door: &mut Door, ms| door.admits(begin + Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 0].map(|ms| admitted(&mut door, ms)), [true, true, true, false]);
        assert_eq!([100, 100, 150, 200].map(|ms| admitted(&mut door, ms)), [true, false, false, true]);
        assert_eq!([5_000; 4].map(|ms| admitted(&mut door, ms)), [true, true, true, false]);
    }
}

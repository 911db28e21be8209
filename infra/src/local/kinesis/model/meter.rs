//! How much a shard gave or took in the second at hand.

/// Counts calls and bytes by whole seconds; bytes beyond a second's share are owed and paid off by the next ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    second: u64,
    calls: u32,
    bytes: usize,
}

impl Meter {
    /// Moves to the second of `now_ms` and pays off what is owed at `bytes_max` a second.
    ///
    /// A wall clock that was set back begins anew, so that a shard is never shut for hours.
    fn roll(&mut self, now_ms: u64, bytes_max: usize) {
        let second = now_ms / 1_000;
        if second == self.second {
            return;
        }
        let passed = second.checked_sub(self.second).and_then(|seconds| usize::try_from(seconds).ok());
        let paid = passed.map_or(usize::MAX, |seconds| seconds.saturating_mul(bytes_max));
        *self = Self { second, calls: 0, bytes: self.bytes.saturating_sub(paid) };
    }

    /// Takes one record of `bytes` when it is within this second's share; one that is larger than a whole share is
    /// taken by a second that has given nothing yet, and the following seconds pay for it.
    pub(crate) fn take(&mut self, now_ms: u64, bytes: usize, calls_max: u32, bytes_max: usize) -> bool {
        self.roll(now_ms, bytes_max);
        if self.calls >= calls_max || (self.bytes > 0 && self.bytes + bytes > bytes_max) {
            return false;
        }
        self.count(bytes);
        true
    }

    /// Whether a read may begin: it may when the share is not used up, however long its page turns out to be.
    pub(crate) fn open(&mut self, now_ms: u64, calls_max: u32, bytes_max: usize) -> bool {
        self.roll(now_ms, bytes_max);
        self.calls < calls_max && self.bytes < bytes_max
    }

    /// Counts one call of `bytes`.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_five_shares_shuts_reading_for_the_five_seconds_it_costs_and_no_longer() {
        let mut meter = Meter::default();
        assert!(meter.open(10_000, 5, 100));
        meter.count(500);
        for second in 10..15 {
            assert!(!meter.open(second * 1_000 + 999, 5, 100), "second {second}");
        }
        assert!(meter.open(15_000, 5, 100));
    }

    #[test]
    fn a_record_larger_than_a_share_is_taken_once_and_then_paid_for() {
        let mut meter = Meter::default();
        assert!(meter.take(0, 250, 9, 100));
        assert!(!meter.take(1_000, 1, 9, 100));
        assert!(!meter.take(2_000, 51, 9, 100));
        assert!(meter.take(3_000, 100, 9, 100));
    }

    #[test]
    fn a_clock_that_was_set_back_shuts_nothing() {
        let mut meter = Meter::default();
        assert!(meter.take(3_600_000, 100, 1, 100));
        assert!(meter.take(5_000, 100, 1, 100));
    }
}

//! How many writes may be under way: one more for each round that went well, half as many after a throttle.

/// Writes under way at the start and at least.
const LEAST: u32 = 4;
const FIRST: u32 = 32;
/// More hide no round trip and only lengthen the queue.
const MOST: u32 = 256;

/// The bound on writes under way: additive increase, multiplicative decrease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bound: u32,
    /// Writes that went well since the last increase.
    well: u32,
    /// Writes whose throttles are the same event: those that were under way when the bound was halved.
    forgiven: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bound: FIRST, well: 0, forgiven: 0 }
    }
}

impl Pace {
    /// How many writes may be under way now.
    #[must_use]
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// A write went well.
    pub fn on_written(&mut self) {
        self.forgiven = self.forgiven.saturating_sub(1);
        self.well += 1;
        if self.well >= self.bound {
            (self.bound, self.well) = ((self.bound + 1).min(MOST), 0);
        }
    }

    /// A write was throttled while `under_way` were.
    pub fn on_throttled(&mut self, under_way: u32) {
        if self.forgiven > 0 {
            self.forgiven -= 1;
            return;
        }
        *self = Self { bound: (self.bound / 2).max(LEAST), well: 0, forgiven: under_way.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_burst_of_throttles_halves_once_and_good_rounds_bring_it_back() {
        let mut pace = Pace::default();
        (0..32).for_each(|_| pace.on_throttled(32));
        assert_eq!(pace.bound(), 16);
        pace.on_throttled(16);
        assert_eq!(pace.bound(), 8);
        (0..1_000).for_each(|_| pace.on_written());
        assert!(pace.bound() > 32, "{}", pace.bound());
        (0..100).for_each(|_| pace.on_throttled(1));
        assert_eq!(pace.bound(), LEAST);
    }
}

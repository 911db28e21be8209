//! Full jitter: `uniform(0, min(cap, base * 2^attempt))`.
//!
//! Source of the shape: AWS Architecture Blog, "Exponential Backoff And Jitter".

use std::time::Duration;

/// How long retries wait at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait.
    pub base: Duration,
    /// The upper bound of every wait.
    pub cap: Duration,
}

impl Backoff {
    /// The bound below which the wait before retry `attempt` (0 for the first) is drawn.
    #[must_use]
    pub fn bound(&self, attempt: u32) -> Duration {
        let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The wait before retry `attempt`, with `unit` drawn from `[0, 1)`.
    #[must_use]
    #[expect(clippy::float_arithmetic, reason = "jitter is chance, not money or time that is kept")]
    pub fn delay(&self, attempt: u32, unit: f64) -> Duration {
        Duration::from_secs_f64(self.bound(attempt).as_secs_f64() * unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_never_overflows() {
        let backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(2_000) };
        assert_eq!(backoff.bound(0), Duration::from_millis(5));
        assert_eq!(backoff.bound(3), Duration::from_millis(40));
        assert_eq!(backoff.bound(u32::MAX), Duration::from_millis(2_000));
        assert_eq!(backoff.delay(9, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(1, 0.5), Duration::from_millis(5));
    }
}

//! How long to wait between attempts: full jitter for the settler, and its rivals for the contention experiment.
//!
//! Source of the shapes: AWS Architecture Blog, "Exponential Backoff And Jitter".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use runtime::backoff::Backoff;

/// A way to space attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// At once.
    None,
    /// `min(cap, base * 2^attempt)`: colliding writers stay in step.
    Exponential,
    /// Half of that, and chance for the other half.
    Equal,
    /// `uniform(0, min(cap, base * 2^attempt))`: the settler's own.
    Full,
    /// `min(cap, uniform(base, 3 * the wait before))`.
    Decorrelated,
    /// The official DSQL connectors: exponential, and up to a quarter more, with a base and a cap of their own.
    Connector,
}

/// Base and cap of AWS's simulator, and of the settler.
pub const SETTLER: Backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(2_000) };
/// Base and cap of the official connectors (awslabs/aurora-dsql-connectors, the defaults of `OCCRetryConfig`).
const CONNECTOR: Backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(100) };

impl Strategy {
    /// All of them, in the order of the tables.
    pub const ALL: [Strategy; 6] =
        [Self::None, Self::Exponential, Self::Equal, Self::Full, Self::Decorrelated, Self::Connector];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exponential => "exponential",
            Self::Equal => "equal",
            Self::Full => "full",
            Self::Decorrelated => "decorrelated",
            Self::Connector => "connector",
        }
    }

    /// Base and cap of this way in the contention experiment.
    #[must_use]
    pub fn backoff(self) -> Backoff {
        if self == Self::Connector { CONNECTOR } else { SETTLER }
    }

    /// The wait before retry `attempt` (0 for the first), after a wait of `before`, with `unit` drawn from `[0, 1)`.
    #[must_use]
    pub fn delay(self, backoff: &Backoff, attempt: u32, before: Duration, unit: f64) -> Duration {
        let bound = backoff.bound(attempt);
        match self {
            Self::None => Duration::ZERO,
            Self::Exponential => bound,
            Self::Equal => bound / 2 + (bound / 2).mul_f64(unit),
            Self::Full => backoff.delay(attempt, unit),
            Self::Decorrelated => {
                let spread = (before.max(backoff.base) * 3).saturating_sub(backoff.base);
                (backoff.base + spread.mul_f64(unit)).min(backoff.cap)
            }
            Self::Connector => bound + (bound / 4).mul_f64(unit),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("strategy {text:?} is none of {known}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    const BACKOFF: Backoff = SETTLER;

    fn ms(strategy: Strategy, attempt: u32, before: u64, unit: f64) -> u128 {
        strategy.delay(&strategy.backoff(), attempt, Duration::from_millis(before), unit).as_millis()
    }

    #[test]
    fn each_strategy_spaces_as_it_says() {
        assert_eq!(ms(Strategy::None, 4, 0, 0.5), 0);
        assert_eq!(ms(Strategy::Exponential, 4, 0, 0.5), 80);
        assert_eq!(ms(Strategy::Equal, 4, 0, 0.5), 60);
        assert_eq!(ms(Strategy::Full, 4, 0, 0.5), 40);
        assert_eq!(ms(Strategy::Connector, 4, 0, 0.5), 18, "from 1 ms, not from 5");
        assert_eq!(ms(Strategy::Connector, 9, 0, 0.0), 100, "and never far beyond 100");
        assert_eq!(ms(Strategy::Decorrelated, 4, 35, 0.5), 55, "between 5 and 105");
        assert_eq!("full".parse(), Ok(Strategy::Full));
        assert!("fully".parse::<Strategy>().is_err());
    }

    proptest! {
        #[test]
        fn full_jitter_reaches_from_nothing_to_its_bound_and_never_beyond(attempt in 0_u32..64, unit in 0.0..1.0_f64) {
            let delay = Strategy::Full.delay(&BACKOFF, attempt, Duration::ZERO, unit);
            prop_assert!(delay <= BACKOFF.bound(attempt) && BACKOFF.bound(attempt) <= BACKOFF.cap);
            prop_assert_eq!(Strategy::Full.delay(&BACKOFF, attempt, Duration::ZERO, 0.0), Duration::ZERO);
        }
    }
}

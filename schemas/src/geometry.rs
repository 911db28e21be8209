//! Window geometry: which window a bid belongs to and when that window is over.
//!
//! The geometry is agreed once for a pipeline (`PIPELINE` / `GEOMETRY`); a stage started with another one stops.

use serde::{Deserialize, Serialize};

use crate::mutant::{self, Mutant};
use crate::time::Millis;

/// What candidates are ordered by before amount, event time and bid id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// The amount alone.
    Amount,
    /// Amount times quality.
    AmountQuality,
}

/// What the winner pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// The winner's own amount.
    First,
    /// The next eligible amount or the floor, never above the winner's own.
    Second,
}

/// Everything all stages of one pipeline must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Length of a window, in ms, above 0.
    pub window_ms: u64,
    /// How long after a window's end a bid may still arrive and count, in ms.
    pub grace_ms: u64,
    /// How far ahead of the shard clock a bid may be dated, in ms.
    pub ahead_max_ms: u64,
    /// Order of candidates.
    pub ranking: Ranking,
    /// What the winner pays.
    pub pricing: Pricing,
    /// Candidates kept per auction, 1 to [`Geometry::CANDIDATES_MAX`].
    pub candidates: u8,
}

impl Default for Geometry {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            grace_ms: 2_000,
            ahead_max_ms: 1_000,
            ranking: Ranking::Amount,
            pricing: Pricing::First,
            candidates: 4,
        }
    }
}

/// Why a geometry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A window of no length, or of more than a day.
    #[error("a window is 1 ms to 24 h long")]
    Window,
    /// Grace or lead of more than a day.
    #[error("grace and ahead_max are at most 24 h")]
    Margin,
    /// Too few or too many candidates.
    #[error("an auction keeps 1 to 16 candidates")]
    Candidates,
}

impl Geometry {
    /// Most candidates an item keeps: their evidence must fit one transaction row budget.
    pub const CANDIDATES_MAX: u8 = 16;
    /// Longest window, grace and lead, in ms.
    pub const DAY_MS: u64 = 86_400_000;

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first field out of its range.
    pub fn check(self) -> Result<Self, GeometryError> {
        if self.window_ms == 0 || self.window_ms > Self::DAY_MS {
            return Err(GeometryError::Window);
        }
        if self.grace_ms > Self::DAY_MS || self.ahead_max_ms > Self::DAY_MS {
            return Err(GeometryError::Margin);
        }
        if self.candidates == 0 || self.candidates > Self::CANDIDATES_MAX {
            return Err(GeometryError::Candidates);
        }
        Ok(self)
    }

    /// The start of the window in which `at` lies: windows are `[start, start + window_ms)`, aligned to the epoch.
    #[must_use]
    pub fn window_start(&self, at: Millis) -> Millis {
        Millis(at.0 - at.0 % self.window_ms)
    }

    /// The first millisecond after the window.
    #[must_use]
    pub fn window_end(&self, start: Millis) -> Millis {
        start.plus(self.window_ms)
    }

    /// Whether a shard clock has closed the window: `end + grace < clock`.
    #[must_use]
    pub fn passed(&self, start: Millis, clock: Millis) -> bool {
        let early = u64::from(mutant::is(Mutant::ClosesEarly));
        start.plus(self.window_ms).plus(self.grace_ms) < clock.plus(early)
    }

    /// The first shard clock at which the window is closed.
    #[must_use]
    pub fn closes_at(&self, start: Millis) -> Millis {
        start.plus(self.window_ms).plus(self.grace_ms).plus(1)
    }

    /// Whether a bid is dated further ahead of the clock than is allowed.
    #[must_use]
    pub fn early(&self, event_time: Millis, clock: Millis) -> bool {
        event_time > self.latest(clock)
    }

    /// The latest event time that is not early.
    #[must_use]
    pub fn latest(&self, clock: Millis) -> Millis {
        clock.plus(self.ahead_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_after_its_grace_and_not_at_it() {
        let geometry = Geometry { window_ms: 10, grace_ms: 2, ..Geometry::default() };
        assert_eq!(geometry.window_start(Millis(29)), Millis(20));
        assert!(!geometry.passed(Millis(20), Millis(32)));
        assert!(geometry.passed(Millis(20), Millis(33)));
        assert_eq!(geometry.closes_at(Millis(20)), Millis(33));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(Geometry { window_ms: 0, ..Geometry::default() }.check(), Err(GeometryError::Window));
        assert_eq!(Geometry { candidates: 0, ..Geometry::default() }.check(), Err(GeometryError::Candidates));
        assert!(Geometry::default().check().is_ok());
    }
}

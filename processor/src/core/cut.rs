//! Up to where windows are cut: their beginning cannot have been seen, so they are counted and never written.

use schemas::geometry::Geometry;
use schemas::lease::Beginning;
use schemas::time::Millis;

use super::mutant::{self, Mutant};

/// What this reader cannot have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Windows that start here or before are cut.
    until: Option<Millis>,
    /// The next record says how far; until then all are.
    waiting: bool,
}

impl Cut {
    pub(super) fn of(beginning: Beginning) -> Self {
        Self { until: None, waiting: beginning == Beginning::Cut }
    }

    /// What is cut in either is cut.
    pub(super) fn with(self, other: Self) -> Self {
        Self { until: self.until.max(other.until), waiting: self.waiting || other.waiting }
    }

    /// A record came, and this is the clock now.
    pub(super) fn on_clock(&mut self, geometry: &Geometry, clock: Millis) {
        if self.waiting {
            *self = Self { until: self.until.max(Some(clock.plus(geometry.ahead_max_ms))), waiting: false };
        }
    }

    pub(super) fn cuts(&self, start: Millis) -> bool {
        !mutant::is(Mutant::CutWritten) && (self.waiting || self.until.is_some_and(|until| start <= until))
    }

    /// Whether a cut window may still be open: then reading again must begin where this reader began, for only there
    /// is it known what is cut.
    pub(super) fn holds(&self, geometry: &Geometry, clock: Millis) -> bool {
        let open = |until| !geometry.passed(geometry.window_start(until), clock);
        self.waiting || self.until.is_some_and(open)
    }
}

//! Up to where the beginning of a shard is gone.

use schemas::time::Millis;

/// Up to where windows are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edge {
    /// Windows that start here or before are cut.
    pub(super) at: Option<Millis>,
    /// The beginning is gone and no record has said how far.
    pub(super) unknown: bool,
}

impl Edge {
    /// Whether nothing before it is gone.
    pub(super) fn is_whole(self) -> bool {
        self.at.is_none() && !self.unknown
    }

    /// Whether a window's beginning may be gone.
    pub(super) fn cuts(self, window: Millis) -> bool {
        self.unknown || self.at.is_some_and(|at| window <= at)
    }
}

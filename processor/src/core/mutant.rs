//! Plausible mistakes, made on purpose by tests of the core; outside tests none is ever made.

/// One mistake each, as in the executable model of the shard machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A tail skips by its sibling's `closedThrough`.
    SiblingClosedThrough,
    /// What closes in a tail stays open.
    TailKeepsClosed,
    /// A tail takes bids that its shard did not own.
    TailKeepsStrays,
    /// A refused bid is counted in its own window, however often it is read.
    RefusedInOwnWindow,
    /// A child's clock begins at zero.
    ChildClockAtZero,
    /// A refused bid does not hold the checkpoint.
    RefusedHoldsNothing,
    /// `closedThrough` follows the clock down.
    ClosedThroughGoesDown,
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Makes one mistake, or none, on this thread from now on.
#[cfg(test)]
pub(super) fn make(mutant: Option<Mutant>) {
    MADE.set(mutant);
}

/// Whether a mistake is made.
#[cfg(test)]
pub(super) fn is(mutant: Mutant) -> bool {
    MADE.get() == Some(mutant)
}

/// Never.
#[cfg(not(test))]
#[inline(always)]
pub(super) const fn is(_: Mutant) -> bool {
    false
}

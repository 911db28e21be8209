//! What was closed and is not durable yet, in the order of closing.
//!
//! A window counts as durable only when all that closed before it and together with it are: one that was written
//! first must still be read whole again after a crash, for the checkpoint stays before the others and
//! `closedThrough` does not cover it.

use std::collections::VecDeque;

use schemas::time::Millis;

use super::mark::Mark;
use super::window::Window;

#[derive(Debug)]
struct Pending {
    written: bool,
    first: Option<Mark>,
    /// The shard clock before the record that closed it.
    clock: Millis,
    inherited: bool,
}

/// Closed windows that await their being durable.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pending: VecDeque<Pending>,
    /// The ticket of the oldest one pending.
    oldest: u64,
}

impl Progress {
    /// Adds a window that closed after the clock stood at `clock`; answers its ticket.
    pub(super) fn close(&mut self, window: &Window, clock: Millis) -> u64 {
        let (first, inherited) = (window.first.clone(), window.inherited);
        self.pending.push_back(Pending { written: false, first, clock, inherited });
        self.oldest + u64::try_from(self.pending.len()).expect("memory is below 2^64") - 1
    }

    /// A ticket's window is durable.
    pub(super) fn on_written(&mut self, ticket: u64) {
        let at = ticket.checked_sub(self.oldest).and_then(|at| usize::try_from(at).ok());
        if let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) {
            pending.written = true;
        }
        while let Some(clock) = self.durable_through() {
            let together = self.pending.iter().take_while(|pending| pending.clock == clock);
            if !together.clone().all(|pending| pending.written) {
                break;
            }
            for _ in 0..together.count() {
                self.pending.pop_front();
                self.oldest += 1;
            }
        }
    }

    /// Whether everything that closed is durable.
    pub(super) fn is_clear(&self) -> bool {
        self.pending.is_empty()
    }

    /// Windows that are not durable.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The clock up to which everything that closed is durable, none when all of it is.
    pub(super) fn durable_through(&self) -> Option<Millis> {
        self.pending.front().map(|pending| pending.clock)
    }

    pub(super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.pending.iter().filter_map(|pending| pending.first.as_ref())
    }

    pub(super) fn holds_inherited(&self) -> bool {
        self.pending.iter().any(|pending| pending.inherited)
    }
}

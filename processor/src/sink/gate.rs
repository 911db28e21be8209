//! How many writes may be under way: a bound for the whole process that follows the table's throttles.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::core::pace::Pace;

/// Who may write now.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<(Pace, u32)>,
    freed: Notify,
}

/// A place among the writes under way. A write that is given up with its lease frees it as well.
#[derive(Debug)]
pub(super) struct Pass<'a>(&'a Gate);

/// What a call says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    TooFast,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, (Pace, u32)> {
        self.state.lock().expect("no holder panics")
    }

    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.1 < state.0.bound() {
                    state.1 += 1;
                    if state.1 < state.0.bound() {
                        // The bound may have grown by more than one went out.
                        self.freed.notify_one();
                    }
                    return Pass(self);
                }
            }
            freed.await;
        }
    }
}

impl Pass<'_> {
    /// Ends the write, and returns the bound from now on.
    pub(super) fn leave(self, went: Went) -> u32 {
        let mut state = self.0.state();
        let under_way = state.1;
        match went {
            Went::Well => state.0.on_written(),
            Went::TooFast => state.0.on_throttled(under_way),
        }
        state.0.bound()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state().1 -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_write_that_is_given_up_frees_its_place() {
        let gate = Gate::default();
        let mut under_way = Vec::new();
        while let Some(pass) = gate.enter().now_or_never() {
            under_way.push(pass);
        }
        assert_eq!(under_way.len(), usize::try_from(Pace::default().bound()).unwrap());
        let waits = gate.enter();
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        drop(under_way);
        let under_way = || gate.state().1;
        let pass = waits.now_or_never().expect("a place was freed");
        assert_eq!(under_way(), 1);
        assert_eq!(pass.leave(Went::Well), Pace::default().bound());
        assert_eq!(under_way(), 0);
    }
}

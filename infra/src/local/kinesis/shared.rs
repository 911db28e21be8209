//! What every connection shares: the engine behind its lock, what goes wrong on purpose, the clock, and the word that
//! something changed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Control;
use super::engine::Engine;
use super::faults::{Dice, Faults};

/// The state behind the door.
///
/// The lock is held to look up, to place and to copy references, never to parse, decode or encode; while the log is
/// durable also to append to it, because the order of the log is the order of the stream.
#[derive(Debug)]
pub(crate) struct Shared {
    engine: Mutex<Engine>,
    dice: Mutex<Dice>,
    /// Ms by which this engine's clock is ahead of the machine's.
    ahead_ms: AtomicI64,
    changed: watch::Sender<()>,
    /// How long one subscription to a shard lasts.
    pub(crate) subscription: Duration,
    /// Whether the door for faults is there.
    pub(crate) control: Control,
}

impl Shared {
    pub(crate) fn new(engine: Engine, faults: Faults, subscription: Duration, control: Control) -> Self {
        Self {
            engine: Mutex::new(engine),
            dice: Mutex::new(Dice::new(faults)),
            ahead_ms: AtomicI64::new(0),
            changed: watch::Sender::new(()),
            subscription,
            control,
        }
    }

    /// The engine. A holder that panicked does not take it along: a change is carried out only after it was checked.
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chance by which something goes wrong.
    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.dice() = Dice::new(faults);
    }

    /// The engine's time in ms since the epoch. Read it while the engine is held where it becomes an arrival.
    pub(crate) fn now_ms(&self) -> u64 {
        runtime::clock::now().0.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Moves this engine's clock, also back, and lets nothing happen that comes with time.
    pub(crate) fn shift(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Moves this engine's clock ahead.
    pub(crate) fn advance(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).unwrap_or(0));
        let now_ms = self.now_ms();
        self.engine().tick(now_ms);
        self.tell();
    }

    /// Wakes who waits for a change.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// A receiver that wakes on each change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

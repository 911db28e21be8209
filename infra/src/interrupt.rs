//! SIGINT and SIGTERM: the first asks for an orderly end, the second is the end.

use runtime::shutdown::Trigger;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What a shell adds to a signal's number when the signal ended a program.
const SIGNALLED: i32 = 128;

/// Both signals, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches both signals.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> Result<Self, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::fault(format!("signals cannot be caught: {error}")));
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Triggers on the first signal; the second ends the process at once, with 128 and the signal's number.
    ///
    /// Engines that are processes of their own stop by themselves when this one is gone.
    pub async fn watch(mut self, trigger: Trigger) {
        let signal = self.next().await;
        tracing::info!(signal, "stop requested, draining; a second signal ends at once");
        trigger.trigger();
        let signal = self.next().await;
        std::process::exit(SIGNALLED + signal);
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}

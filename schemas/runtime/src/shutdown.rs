//! One request to stop, seen by everyone who holds a clone.

use tokio_util::sync::CancellationToken;

/// Asks for the stop.
#[derive(Clone, Debug)]
pub struct Trigger(CancellationToken);

/// Sees the request to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

/// A trigger and what sees it.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let token = CancellationToken::new();
    (Trigger(token.clone()), Shutdown(token))
}

impl Trigger {
    /// Asks everyone to finish what they hold and stop. Asking twice is the same.
    pub fn trigger(&self) {
        self.0.cancel();
    }
}

impl Shutdown {
    /// Whether the stop was asked for.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once the stop was asked for; safe to drop and call again.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Triggers on the first SIGTERM or SIGINT and returns.
///
/// # Errors
/// When the process cannot install a signal handler.
pub async fn on_signals(trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stop requested, draining");
    trigger.trigger();
    Ok(())
}

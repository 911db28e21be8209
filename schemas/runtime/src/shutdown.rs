//! One request to stop, seen by everyone who holds a clone.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Asks for the stop.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<Asked>);

/// Sees the request to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    token: CancellationToken,
    at: OnceLock<Instant>,
}

/// A trigger and what sees it.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let asked = Arc::new(Asked::default());
    (Trigger(Arc::clone(&asked)), Shutdown(asked))
}

impl Trigger {
    /// Asks everyone to finish what they hold and stop. Asking twice is the same.
    pub fn trigger(&self) {
        // The moment first, so that whoever sees the request can say how long ago it was.
        self.0.at.get_or_init(Instant::now);
        self.0.token.cancel();
    }
}

impl Shutdown {
    /// Whether the stop was asked for.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// When the stop was first asked for; a grace period counts from there.
    #[must_use]
    pub fn asked_at(&self) -> Option<Instant> {
        self.0.at.get().copied()
    }

    /// Returns once the stop was asked for; safe to drop and call again.
    pub async fn wait(&self) {
        self.0.token.cancelled().await;
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

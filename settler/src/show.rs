//! Shows metrics and health for as long as a settler runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;
use runtime::expose::{Door, Exposed};
use runtime::shutdown::Shutdown;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;

/// Opens the door when the configuration asks for one; it closes with the stop.
///
/// # Errors
/// When the door cannot be opened.
pub(crate) async fn start(config: &Config, metrics: &Arc<Metrics>, shutdown: &Shutdown) -> Result<(), Error> {
    let Some(address) = config.listen else { return Ok(()) };
    let door = Door::open(address, config.token.as_deref()).await?;
    let address = door.address().unwrap_or(address);
    tracing::info!(%address, "metrics are shown at /metrics, health at /health");
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let watched = Arc::clone(metrics);
    let exposed = Exposed { registry, health: Box::new(move || health(&watched)) };
    tokio::spawn(door.run(Arc::new(exposed), shutdown.clone()));
    Ok(())
}

/// A settler is well while its ledger and its outbox answer. What is held is for a person, and no restart helps.
fn health(metrics: &Metrics) -> Result<String, String> {
    let held = metrics.held.load(Ordering::Relaxed);
    let away = [("ledger", &metrics.ledger_away), ("outbox", &metrics.outbox_away)];
    let away: Vec<&str> =
        away.iter().filter(|(_, flag)| flag.load(Ordering::Relaxed) > 0).map(|(name, _)| *name).collect();
    if away.is_empty() {
        return Ok(format!("ledger and outbox answer, held {held}"));
    }
    Err(format!("away: {}, held {held}", away.join(" and ")))
}

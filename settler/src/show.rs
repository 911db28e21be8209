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
    let away =
        [("ledger", &metrics.ledger_away), ("outbox", &metrics.outbox_away), ("stream", &metrics.log_away)];
    let away: Vec<&str> =
        away.iter().filter(|(_, flag)| flag.load(Ordering::Relaxed) > 0).map(|(name, _)| *name).collect();
    let mut troubles = Vec::new();
    if metrics.ledger_refuses.load(Ordering::Relaxed) > 0 {
        troubles.push("unauthorized: ledger lets nobody in: check user, password and database".to_owned());
    }
    if metrics.ledger_statements.load(Ordering::Relaxed) > 0 {
        troubles.push(
            "refused: the ledger refuses the settler's statements: undo the change of its schema or grants, or run `exchange provision`"
                .to_owned(),
        );
    }
    if metrics.outbox_unauthorized.load(Ordering::Relaxed) > 0 {
        troubles.push("unauthorized: outbox: check the AWS credentials and the policy".to_owned());
    }
    if !away.is_empty() {
        troubles.push(format!("away: {}", away.join(" and ")));
    }
    if troubles.is_empty() {
        return Ok(format!("ledger and outbox answer, held {held}"));
    }
    Err(format!("{}, held {held}", troubles.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_lets_nobody_in_is_not_one_that_is_away() {
        let metrics = Metrics::default();
        assert!(health(&metrics).is_ok());
        metrics.ledger_refuses.store(1, Ordering::Relaxed);
        let refuses = health(&metrics).unwrap_err();
        assert!(refuses.contains("password") && !refuses.contains("away"), "{refuses}");
        metrics.ledger_refuses.store(0, Ordering::Relaxed);
        metrics.ledger_away.store(1, Ordering::Relaxed);
        assert_eq!(health(&metrics).unwrap_err(), "away: ledger, held 0");
        metrics.ledger_away.store(0, Ordering::Relaxed);
        metrics.outbox_unauthorized.store(1, Ordering::Relaxed);
        let unauthorized = health(&metrics).unwrap_err();
        assert!(unauthorized.starts_with("unauthorized: outbox"), "{unauthorized}");
    }
}

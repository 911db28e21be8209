//! Shows metrics and health for as long as a settler runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;
use runtime::expose::{Door, Exposed};
use runtime::health::Health;
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

const LEDGER_REFUSES: &str = "the ledger lets nobody in: check user, password and database";
const LEDGER_STATEMENTS: &str = "the ledger refuses the settler's statements: undo the change of its schema or grants, or run `exchange provision`";
const OUTBOX_UNAUTHORIZED: &str =
    "the outbox refuses the credentials: check the AWS credentials and the policy";

/// A settler is well while its ledger and its outbox answer. What is held is for a person, and no restart helps.
fn health(metrics: &Metrics) -> Health {
    let held = format!("held {}", metrics.held.load(Ordering::Relaxed));
    let is_set = |flag: &AtomicU64| flag.load(Ordering::Relaxed) > 0;
    let away =
        [("ledger", &metrics.ledger_away), ("outbox", &metrics.outbox_away), ("stream", &metrics.log_away)];
    let away: Vec<&str> = away.iter().filter(|(_, flag)| is_set(flag)).map(|(name, _)| *name).collect();
    let away = format!("{} {} not answer", away.join(" and "), if away.len() > 1 { "do" } else { "does" });
    let troubles = [
        (is_set(&metrics.ledger_refuses), "unauthorized", LEDGER_REFUSES),
        (is_set(&metrics.ledger_statements), "refused", LEDGER_STATEMENTS),
        (is_set(&metrics.outbox_unauthorized), "unauthorized", OUTBOX_UNAUTHORIZED),
        (!away.starts_with(' '), "away", away.as_str()),
    ];
    let mut troubles =
        troubles.into_iter().filter(|(is_so, ..)| *is_so).map(|(_, word, words)| (word, words));
    match troubles.next() {
        None => Health::ok().seen(format!("ledger and outbox answer, {held}")),
        Some((word, first)) => {
            let rest: String = troubles.map(|(word, words)| format!("; {word}: {words}")).collect();
            Health::bad(word, format!("{first}{rest}")).seen(held)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_lets_nobody_in_is_not_one_that_is_away() {
        let metrics = Metrics::default();
        assert_eq!(health(&metrics), Health::ok().seen("ledger and outbox answer, held 0"));
        metrics.ledger_refuses.store(1, Ordering::Relaxed);
        assert_eq!(health(&metrics), Health::bad("unauthorized", LEDGER_REFUSES).seen("held 0"));
        metrics.ledger_refuses.store(0, Ordering::Relaxed);
        metrics.ledger_away.store(1, Ordering::Relaxed);
        assert_eq!(health(&metrics), Health::bad("away", "ledger does not answer").seen("held 0"));
        metrics.log_away.store(1, Ordering::Relaxed);
        metrics.outbox_unauthorized.store(1, Ordering::Relaxed);
        metrics.held.store(3, Ordering::Relaxed);
        let both = format!("{OUTBOX_UNAUTHORIZED}; away: ledger and stream do not answer");
        assert_eq!(health(&metrics), Health::bad("unauthorized", both).seen("held 3"));
    }
}

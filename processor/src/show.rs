//! Shows metrics for as long as a processor runs: over HTTP, and on standard output.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use runtime::expose::{Door, Exposed};
use runtime::health::Health;

use crate::config::{Config, MetricsForm};
use crate::drive::Shared;
use crate::emf::Emf;
use crate::error::Error;
use crate::metrics::get;
use crate::prometheus::registry;
use crate::readings::readings;

/// Between two documents on standard output; CloudWatch keeps a minute as one point.
const EMF_EVERY: Duration = Duration::from_secs(10);

/// Opens the door that the configuration asks for: before anything else is done, so that a wrong address is told first.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open(config: &Config) -> Result<Option<Door>, Error> {
    let Some(address) = config.listen else { return Ok(None) };
    let door = Door::open(address, config.token.as_deref()).await?;
    let address = door.address()?;
    tracing::info!(%address, "metrics are shown at /metrics, health at /health");
    Ok(Some(door))
}

/// Shows what the configuration asks for until the stop.
pub(crate) fn start(shared: &Arc<Shared>, door: Option<Door>) {
    if let Some(door) = door {
        let watched = Arc::clone(shared);
        let exposed = Exposed {
            registry: registry(Arc::clone(&shared.metrics)),
            health: Box::new(move || health(&watched)),
        };
        tokio::spawn(door.run(Arc::new(exposed), shared.shutdown.clone()));
    }
    if shared.config.metrics == Some(MetricsForm::Emf) {
        tokio::spawn(emf(Arc::clone(shared)));
    }
}

/// A processor is well while stream and leases answer, every part of the hash space is read by someone, no tool
/// changed a lease, no shard's clock is ahead of the stream's, the table takes what is written and no item diverged.
fn health(shared: &Shared) -> Health {
    let metrics = &shared.metrics;
    let (gaps, unread) = (get(&metrics.lease_gaps), get(&metrics.leases_unread));
    let (held, divergence) = (get(&metrics.leases_held), get(&metrics.divergence));
    let (away, refused) = (get(&metrics.away), metrics.shards_refused());
    let (items, table) = (metrics.items_held(), get(&metrics.table_refuses));
    let (altered, ahead) = (get(&metrics.leases_altered), metrics.clocks_ahead());
    let unreadable = get(&metrics.leases_unreadable);
    let seen = format!(
        "leases held {held}, gaps {gaps}, unread {unread}, unreadable {unreadable}, refused {refused}, altered {altered}, clocks ahead {ahead}, divergence {divergence}, items refused by the table {items}"
    );
    let health = if away > 0 && get(&metrics.unauthorized) > 0 {
        Health::bad("unauthorized", "stream or leases refuse the credentials, or a policy denies the calls")
    } else if away > 0 {
        Health::bad("away", "stream or leases do not answer")
    } else if table > 0 {
        Health::bad("refused", "the table refuses writes")
    } else if items > 0 {
        Health::bad("refused", "the table refuses an item")
    } else if unreadable > 0 {
        Health::bad(
            "unwell",
            "a row of the lease table cannot be read, and nobody reads its shard: `processor leases` names the row, the attribute and what to do",
        )
    } else if gaps + unread + refused + altered + ahead + divergence > 0 {
        Health::bad("unwell", "one of what was seen is not 0: the log says which and what to do")
    } else {
        Health::ok()
    };
    health.seen(seen)
}

async fn emf(shared: Arc<Shared>) {
    let mut emf = Emf::new(shared.stream.name.clone(), shared.worker.clone());
    loop {
        let stops = tokio::select! {
            () = shared.shutdown.wait() => true,
            () = tokio::time::sleep(EMF_EVERY) => false,
        };
        let mut text = String::new();
        for document in emf.on_readings(&readings(&shared.metrics), runtime::clock::now()) {
            text.push_str(&document.to_string());
            text.push('\n');
        }
        let mut out = std::io::stdout();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            tracing::warn!(%error, "metrics cannot be written to standard output");
        }
        if stops {
            return;
        }
    }
}

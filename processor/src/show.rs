//! Shows metrics for as long as a processor runs: over HTTP, and on standard output.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use runtime::expose::{Door, Exposed};

use crate::config::MetricsForm;
use crate::drive::Shared;
use crate::emf::Emf;
use crate::error::Error;
use crate::metrics::get;
use crate::prometheus::registry;
use crate::readings::readings;

/// Between two documents on standard output; CloudWatch keeps a minute as one point.
const EMF_EVERY: Duration = Duration::from_secs(10);

/// Opens what the configuration asks for; each ends with the stop.
///
/// # Errors
/// When the door cannot be opened.
pub(crate) async fn start(shared: &Arc<Shared>) -> Result<(), Error> {
    if let Some(address) = shared.config.listen {
        let door = Door::open(address, shared.config.token.as_deref()).await?;
        let address = door.address()?;
        tracing::info!(%address, "metrics are shown at /metrics, health at /health");
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
    Ok(())
}

/// A processor is well while every part of the hash space is read by someone and no item diverged.
fn health(shared: &Shared) -> Result<String, String> {
    let metrics = &shared.metrics;
    let (gaps, unread) = (get(&metrics.lease_gaps), get(&metrics.leases_unread));
    let (held, divergence) = (get(&metrics.leases_held), get(&metrics.divergence));
    let words = format!("leases held {held}, gaps {gaps}, unread {unread}, divergence {divergence}");
    if gaps + unread + divergence == 0 { Ok(words) } else { Err(words) }
}

async fn emf(shared: Arc<Shared>) {
    let mut emf = Emf::new(shared.stream.name.clone(), shared.worker.clone());
    loop {
        let stops = tokio::select! {
            () = shared.shutdown.wait() => true,
            () = tokio::time::sleep(EMF_EVERY) => false,
        };
        let mut text = String::new();
        for document in emf.on_readings(&readings(&shared.metrics), shared.now().wall) {
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

//! Shows metrics and health on an address of their own, whatever way bids come in, for as long as a producer runs.

use std::sync::Arc;

use runtime::expose::{Door, ExposeError, Exposed};
use runtime::health::Health;
use runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::core::standing;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::metrics::export::Exporter;

/// What is shown while this is held; nothing when the configuration names no address.
///
/// # Errors
/// When the address cannot be listened on, or is reachable from elsewhere without a token.
pub(crate) async fn start(
    config: &Config,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Result<JoinSet<()>, Error> {
    let mut shown = JoinSet::new();
    let Some(address) = config.metrics_listen else { return Ok(shown) };
    let door = Door::open(address, config.metrics_token.as_deref()).await.map_err(|error| match error {
        ExposeError::Listen { address, source } => Error::ListenForMetrics { address, source },
        error @ (ExposeError::NoToken(_) | ExposeError::Token(_)) => {
            Error::Usage { message: error.to_string() }
        }
    })?;
    let address = door.address().unwrap_or(address);
    tracing::info!(%address, "metrics are shown at /metrics, health at /health");
    let watched = Arc::clone(metrics);
    let health = Box::new(move || health(watched.health()));
    let exposed = Exposed { registry: Exporter::new(metrics).into_registry(), health };
    shown.spawn(door.run(Arc::new(exposed), shutdown.clone()));
    Ok(shown)
}

/// What is told of it. Says neither which stream it is nor what was answered: the log says all.
pub(crate) fn health(health: standing::Health) -> Health {
    health.trouble().map_or_else(Health::ok, |trouble| Health::bad(health.word(), trouble))
}

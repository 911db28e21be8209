//! The way in over HTTP: bids are answered once the stream has them, and each one that it has not is listed.
//!
//! Loopback unless a token is configured. Everything has a bound: connections, the time for a request's head and
//! body, the body before and after it is inflated, a line of it, and the memory of all bodies and bids together, which
//! is the producer's own buffer; when that is full the answer is 429. A stop lets requests under way finish.

mod answer;
mod body;
mod routes;
#[cfg(test)]
mod tests;
mod token;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::bearer::Token;
use runtime::connection::{self, Connection};
use runtime::origin::Reach;
use runtime::shutdown::Shutdown;
use schemas::intake::IntakeRules;
use schemas::intake::names::Names;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::Error;
use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::metrics::export::Exporter;

/// How long a caller may take over what it sends.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Over a request's head, and before the first one.
    pub head: Duration,
    /// For silence between requests.
    pub keep_alive: Duration,
    /// Over a request's body.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let keep_alive = Duration::from_secs(connection::KEEP_ALIVE_S.into());
        Self { head: Duration::from_secs(10), keep_alive, body: Duration::from_secs(30) }
    }
}

/// How long connections may take to write their last answers after everything else has ended.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// How to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// The file with the token, when it is not in the environment.
    pub token_file: Option<PathBuf>,
    /// Most bytes of a body, also after it is inflated.
    pub body_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// How long a caller may take.
    pub patience: Patience,
}

/// What every connection shares.
#[derive(Debug)]
pub struct Door {
    rules: IntakeRules,
    /// What seats, tags and impressions stand for, as it is known now.
    names: watch::Receiver<Arc<Names>>,
    token: Option<Token>,
    reach: Reach,
    handle: Handle,
    body_bytes_max: usize,
    patience: Patience,
    connections_max: usize,
    metrics: Arc<Metrics>,
    exporter: Exporter,
}

impl Door {
    /// A door with its token read.
    ///
    /// # Errors
    /// When a token is wanted and there is none, or it cannot be used.
    pub(crate) fn new(
        listen: &Listen,
        rules: IntakeRules,
        names: watch::Receiver<Arc<Names>>,
        (handle, metrics): (Handle, Arc<Metrics>),
    ) -> Result<Arc<Self>, Error> {
        let token = token::configured(listen.token_file.as_deref())?;
        if token.is_none() && !listen.address.ip().is_loopback() {
            return Err(Error::Usage {
                message: format!(
                    "address {} is not loopback, and there a token is needed; give one with --token-file or in {}",
                    listen.address,
                    token::VARIABLE
                ),
            });
        }
        Ok(Arc::new(Self {
            rules,
            names,
            token,
            reach: Reach::of(Some(listen.address)),
            handle,
            body_bytes_max: listen.body_bytes_max,
            patience: listen.patience,
            connections_max: listen.connections_max,
            exporter: Exporter::new(&metrics),
            metrics,
        }))
    }
}

/// Binds the address.
///
/// # Errors
/// When another program listens there or it is not one of this machine.
pub(crate) async fn bind(listen: &Listen) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(listen.address).await;
    let listener = bound.map_err(|source| Error::Listen { address: listen.address, source })?;
    let address = listener.local_addr().map_err(|source| Error::io("no local address", source))?;
    tracing::info!(%address, "listening");
    Ok(listener)
}

/// Serves connections until any stop, then lets those finish that are in a request.
pub(crate) async fn serve(listener: TcpListener, door: Arc<Door>, stops: [Shutdown; 2]) {
    let connections_max = door.connections_max;
    let until = stopped(stops.clone());
    let serve = move |accepted| connection(accepted, Arc::clone(&door), stops.clone());
    let mut under_way = connection::accept(listener, connections_max, until, serve).await;
    while under_way.join_next().await.is_some() {}
}

async fn stopped([asked, ended]: [Shutdown; 2]) {
    tokio::select! {
        () = asked.wait() => {}
        () = ended.wait() => {}
    }
}

async fn connection(accepted: Connection, door: Arc<Door>, stops: [Shutdown; 2]) {
    let Patience { head, keep_alive, .. } = door.patience;
    let answer = move |request| {
        let answered = routes::answer(Arc::clone(&door), request);
        async move { Ok::<_, Infallible>(answered.await) }
    };
    let patience = connection::Patience::new(head, keep_alive);
    let served = connection::serve(accepted, patience, answer, stopped(stops));
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

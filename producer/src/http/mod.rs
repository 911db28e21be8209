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

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::bearer::Token;
use runtime::connection;
use runtime::origin::Reach;
use runtime::shutdown::Shutdown;
use schemas::intake::IntakeRules;
use schemas::intake::names::Names;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

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
/// After a failure to accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    connections: Arc<Semaphore>,
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
            connections: Arc::new(Semaphore::new(listen.connections_max)),
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
    let mut connections = JoinSet::new();
    let [asked, ended] = &stops;
    loop {
        let permit = Arc::clone(&door.connections).acquire_owned();
        let socket = tokio::select! {
            () = asked.wait() => break,
            () = ended.wait() => break,
            Some(_) = connections.join_next() => continue,
            // Beyond the most connections the rest wait in the listener's own queue.
            (permit, socket) = async { (permit.await, listener.accept().await) } => match socket {
                Ok((socket, _)) => (permit, socket),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (door, stops) = (Arc::clone(&door), stops.clone());
        connections.spawn(async move {
            let (_permit, socket) = socket;
            connection(socket, door, stops).await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: TcpStream, door: Arc<Door>, [asked, ended]: [Shutdown; 2]) {
    let Patience { head, keep_alive, .. } = door.patience;
    let answer = move |request| routes::answer(Arc::clone(&door), request);
    let stop = async move {
        tokio::select! {
            () = asked.wait() => {}
            () = ended.wait() => {}
        }
    };
    let patience = connection::Patience { head, keep_alive, takes: connection::TAKES_WITHIN };
    let served = connection::serve(socket, patience, answer, stop);
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

//! Our Kinesis: a pure model ([`model`]) behind AWS JSON over loopback HTTP, durable when given a folder.

mod api;
mod engine;
pub mod faults;
mod http;
pub mod model;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::engine::Engine;
pub use self::faults::Faults;
pub use self::model::Limits;

/// How the engine runs.
#[derive(Debug)]
pub struct KinesisOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder that keeps it, or none for memory alone.
    pub dir: Option<PathBuf>,
    /// Whether the limits of AWS hold.
    pub limits: Limits,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program listens there.
    #[error("address {address} is already in use")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// Listening failed for another reason, or the folder cannot be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// A running engine; it stops when this is shut down or dropped.
#[derive(Debug)]
pub struct KinesisHandle {
    address: SocketAddr,
    faults: Arc<Mutex<Faults>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts the engine.
///
/// # Errors
/// When the address is taken or the folder cannot be used.
pub async fn start(options: KinesisOptions) -> Result<KinesisHandle, Error> {
    let listener = TcpListener::bind(options.listen).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::InUse { address: options.listen },
        _ => Error::Io { what: format!("address {} cannot be listened on", options.listen), source },
    })?;
    let address =
        listener.local_addr().map_err(|source| Error::Io { what: "no local address".to_owned(), source })?;
    let engine = Engine::open(options.dir.as_deref(), options.limits).map_err(|source| {
        let dir = options.dir.clone().unwrap_or_default();
        Error::Io { what: format!("folder {} cannot be used", dir.display()), source }
    })?;
    let faults = Arc::new(Mutex::new(options.faults));
    let stop = CancellationToken::new();
    let door = http::Door { engine: Arc::new(Mutex::new(engine)), faults: Arc::clone(&faults) };
    let task = tokio::spawn(http::run(listener, door, stop.clone()));
    Ok(KinesisHandle { address, faults, stop, task })
}

impl KinesisHandle {
    /// Where clients find it.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().expect("no holder panics") = faults;
    }

    /// Stops listening, answers what is under way and returns.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for KinesisHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

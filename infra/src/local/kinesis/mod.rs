//! Our Kinesis: a pure model ([`model`]) behind AWS JSON over loopback HTTP, durable when given a folder.

mod api;
mod engine;
mod fanout;
pub mod faults;
mod frame;
mod http;
mod journal;
pub mod model;
mod shared;
mod subscriptions;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::engine::Engine;
pub use self::faults::Faults;
use self::journal::{Damage, Journal};
pub use self::model::Limits;
use self::shared::Shared;

/// How long one subscription to a shard lasts (Kinesis API reference, `SubscribeToShard`).
const SUBSCRIPTION: Duration = Duration::from_secs(300);

/// How the engine runs.
#[derive(Debug)]
pub struct KinesisOptions {
    /// Where it listens, on loopback; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder that keeps it, or none for memory alone.
    pub dir: Option<PathBuf>,
    /// Whether the limits of AWS hold.
    pub limits: Limits,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// How long a change of a stream shows as CREATING, UPDATING or DELETING; at once over by default.
    pub settle: Duration,
    /// How long one subscription to a shard lasts.
    pub subscription: Duration,
    /// Whether `POST /_faults` sets what goes wrong from then on: for tests whose engine is another process.
    pub control: Control,
}

/// Whether the door for faults is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// It is: whoever reaches the engine can set its faults.
    Open,
    /// It is not.
    #[default]
    Closed,
}

impl Default for KinesisOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dir: None,
            limits: Limits::Aws,
            faults: Faults::default(),
            settle: Duration::ZERO,
            subscription: SUBSCRIPTION,
            control: Control::Closed,
        }
    }
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
    /// The address is not loopback; the engine checks no credentials and must not be reachable from outside.
    #[error("address {address} is not a loopback address")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// What stands in the folder is no stream log, or one that is damaged.
    #[error("{what}")]
    Damaged {
        /// The folder, what is wrong with it, and what to do.
        what: String,
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
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts the engine.
///
/// # Errors
/// When the address is taken or not loopback, or the folder cannot be used.
pub async fn start(options: KinesisOptions) -> Result<KinesisHandle, Error> {
    if !options.listen.ip().is_loopback() {
        return Err(Error::NotLoopback { address: options.listen });
    }
    let listener = TcpListener::bind(options.listen).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::InUse { address: options.listen },
        _ => Error::Io { what: format!("address {} cannot be listened on", options.listen), source },
    })?;
    let address =
        listener.local_addr().map_err(|source| Error::Io { what: "no local address".to_owned(), source })?;
    let KinesisOptions { dir, limits, settle, .. } = options;
    let settle_ms = u64::try_from(settle.as_millis()).unwrap_or(u64::MAX);
    let opening = tokio::task::spawn_blocking(move || {
        let mut engine = Engine::open(dir.as_deref(), limits, settle_ms).map_err(|damage| {
            let dir = dir.unwrap_or_default();
            let what = format!("the stream log {} {damage}", Journal::path_in(&dir).display());
            match damage {
                Damage::Io(source) => Error::Io { what, source },
                Damage::Foreign | Damage::At { .. } => Error::Damaged { what },
            }
        })?;
        engine.tick(runtime::clock::now().0);
        Ok(engine)
    });
    let engine = opening.await.map_err(|join| Error::Io {
        what: "the stream log was not read to its end".to_owned(),
        source: std::io::Error::other(join),
    })??;
    let shared = Arc::new(Shared::new(engine, options.faults, options.subscription, options.control));
    let stop = CancellationToken::new();
    let task = tokio::spawn(http::run(listener, Arc::clone(&shared), stop.clone()));
    Ok(KinesisHandle { address, shared, stop, task })
}

impl KinesisHandle {
    /// Where clients find it.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// Moves the engine's clock ahead, for tests of what comes with time: retention, tokens that expire, subscriptions
    /// that end.
    pub fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    /// Sets the engine's clock by so many ms, also back, as a machine's clock is set: for tests of clocks that differ.
    pub fn shift_clock(&self, by_ms: i64) {
        self.shared.shift(by_ms);
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

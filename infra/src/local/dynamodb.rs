//! The local DynamoDB: `dynoxide-rs` in process, behind an HTTP door on a loopback address.
//!
//! Owns the listener, the runtime the engine runs on and the timer that sweeps expired items. It never
//! creates a table (that is provisioning) and never touches a request that `front` lets in: what the
//! engine answers is what the client gets.
//!
//! The engine serialises everything behind one lock and blocks whatever thread polls it, so it gets a
//! runtime of its own: the pipeline's worker threads never wait for SQLite, and dropping that runtime
//! ends every connection, which a shared one could not promise. One thread is enough: beside 16 writers of
//! the SDK on two busy cores a second one made no difference that could be told from noise (15 runs of
//! each in turn, debug build, 2,000 to 3,800 puts/s either way; `writers_at_once_lose_nothing` prints it).

mod front;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynoxide::{Database, server};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::front::{Front, hidden_address};
use super::inode::Inode;

/// The database's file inside [`DynamoOptions::dir`].
const FILE_NAME: &str = "dynamodb.sqlite";
/// Connections that may wait to be accepted: more than all stages of a demo open at once.
const BACKLOG: u32 = 1024;
/// Time between two sweeps of expired items. A sweep counts each table's rows under the engine's lock, so
/// seconds, not milliseconds; AWS deletes within days, and no reader relies on it.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long a shutdown waits for requests that are under way before it cuts them off.
const GRACE: Duration = Duration::from_secs(2);

/// Where the local DynamoDB listens and keeps its items.
#[derive(Debug, Clone)]
pub struct DynamoOptions {
    /// Loopback address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the database file; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
}

impl DynamoOptions {
    /// Everything in memory, gone at shutdown.
    pub fn in_memory(listen: SocketAddr) -> Self {
        Self { listen, dir: None }
    }

    /// On a file in `dir`, which survives a killed process (not a power cut's last moment).
    pub fn in_dir(listen: SocketAddr, dir: impl Into<PathBuf>) -> Self {
        Self { listen, dir: Some(dir.into()) }
    }
}

/// Why the local DynamoDB did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else listens there: choose another port.
    #[error("address {0} for the local dynamodb is already in use")]
    AddressInUse(SocketAddr),
    /// The address is not loopback; the engine checks no credentials and must not be reachable from outside.
    #[error("address {0} for the local dynamodb is not a loopback address")]
    NotLoopback(SocketAddr),
    /// Listening failed for another reason.
    #[error("the local dynamodb cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The folder could not be created.
    #[error("the local dynamodb cannot use the folder {dir}")]
    Folder {
        /// The folder that was asked for.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database file could not be opened.
    #[error("the local dynamodb cannot open its database: {0}")]
    Open(String),
    /// The runtime or the thread that drives it could not be started.
    #[error("the local dynamodb cannot start its threads")]
    Thread(#[source] io::Error),
}

/// A running local DynamoDB. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct DynamoHandle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl DynamoHandle {
    /// The address it listens on, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client takes as `endpoint_url`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it: no new requests, those under way finish within two seconds, then the file is closed.
    pub async fn shutdown(self) {
        // An error in either means that the thread has ended already.
        let _ = self.stop.send(());
        let _ = self.stopped.await;
    }
}

/// Starts the local DynamoDB; it answers when this returns.
pub async fn start(options: DynamoOptions) -> Result<DynamoHandle, Error> {
    start_sweeping(options, SWEEP_EVERY).await
}

/// The same with a time of one's own between two sweeps, for tests that wait for one.
pub async fn start_sweeping(options: DynamoOptions, sweep_every: Duration) -> Result<DynamoHandle, Error> {
    let listener = listen(options.listen)?;
    let address =
        listener.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
    let engine = hidden_listener()?;
    let hidden = engine.local_addr().map_err(|source| Error::Listen { address, source })?;
    let std = |listener: TcpListener| listener.into_std().map_err(|source| Error::Listen { address, source });
    let (listener, engine) = (std(listener)?, std(engine)?);
    let database = open(options.dir.clone()).await?;
    let front = Front::new(hidden, options.dir.as_deref().map(file_in).transpose()?);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;

    let (stop, stop_asked) = oneshot::channel();
    let (stopped_tx, stopped) = oneshot::channel();
    std::thread::Builder::new()
        .name("local-dynamodb".to_owned())
        .spawn(move || {
            let sweeper = runtime.spawn(sweep(database.clone(), sweep_every));
            runtime.block_on(serve([listener, engine], front, database, stop_asked));
            sweeper.abort();
            // Ends what connections are left, and with the last of them the file is closed.
            drop(runtime);
            let _ = stopped_tx.send(());
        })
        .map_err(Error::Thread)?;
    let dir = options.dir.as_deref().map(|dir| tracing::field::display(dir.display()));
    // Whoever started it says where it is, once all engines run.
    debug!(%address, dir, "local dynamodb started");
    Ok(DynamoHandle { address, stop, stopped })
}

/// Binds with the options that the engine's own listener lacks: accepted connections inherit
/// `TCP_NODELAY`, without which a large answer waits for the client's delayed acknowledgement.
fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let bind = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Listen { address, source },
    })
}

/// Where the engine itself listens.
fn hidden_listener() -> Result<TcpListener, Error> {
    listen(hidden_address()).or_else(|_| listen(SocketAddr::from(([127, 0, 0, 1], 0))))
}

/// The file of a database that is open.
fn file_in(dir: &Path) -> Result<Inode, Error> {
    Inode::at(dir.join(FILE_NAME)).map_err(|source| Error::Folder { dir: dir.to_owned(), source })
}

async fn open(dir: Option<PathBuf>) -> Result<Database, Error> {
    let opened = tokio::task::spawn_blocking(move || open_blocking(dir)).await;
    opened.map_err(|join| Error::Open(join.to_string()))?
}

fn open_blocking(dir: Option<PathBuf>) -> Result<Database, Error> {
    let Some(dir) = dir else {
        return Database::memory().map_err(|error| Error::Open(error.to_string()));
    };
    std::fs::create_dir_all(&dir).map_err(|source| Error::Folder { dir: dir.clone(), source })?;
    let path = dir.join(FILE_NAME);
    let path =
        path.to_str().ok_or_else(|| Error::Open(format!("path {} is not UTF-8", path.display())))?.to_owned();
    let database = Database::new(&path).map_err(|error| Error::Open(error.to_string()))?;
    // The engine opens its file with SQLite's synchronous = FULL, a sync of the disk per write. This is
    // the one public call that sets NORMAL: in WAL mode every acknowledged write survives a killed
    // process, and a power cut may cost the last ones but never the file.
    database.disable_bulk_loading().map_err(|error| Error::Open(error.to_string()))?;
    Ok(database)
}

async fn serve(
    listeners: [std::net::TcpListener; 2],
    front: Front,
    database: Database,
    stop: oneshot::Receiver<()>,
) {
    let [listener, engine] = listeners.map(TcpListener::from_std);
    let (listener, engine) = match (listener, engine) {
        (Ok(listener), Ok(engine)) => (listener, engine),
        (Err(error), _) | (_, Err(error)) => return warn!(%error, "local dynamodb lost its listener"),
    };
    let stopping = CancellationToken::new();
    // It stops with the runtime, once nobody uses it any more.
    let engine = server::serve_with_shutdown(engine, database, std::future::pending());
    let out_of_patience = async {
        // A dropped handle asks for the same.
        let _ = stop.await;
        stopping.cancel();
        time::sleep(GRACE).await;
    };
    tokio::select! {
        () = front.run(listener, stopping.clone()) => {}
        result = engine => if let Err(error) = result { warn!(%error, "local dynamodb ended early") },
        () = out_of_patience => debug!("local dynamodb cuts off requests under way"),
    }
}

async fn sweep(database: Database, every: Duration) {
    let mut ticks = time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(items)) => debug!(items, "expired items swept"),
            Ok(Err(error)) => warn!(%error, "sweep of expired items failed"),
            Err(join) => warn!(error = %join, "sweep of expired items failed"),
        }
    }
}

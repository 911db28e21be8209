//! The local DSQL: a proxy of frames before PostgreSQL that refuses what DSQL refuses.
//!
//! Owns the door and who comes through it; the modules below read from the bottom up: `frame` cuts,
//! `statement` judges, `reply` words, `inject` throws the dice, `session` puts them in order.
//!
//! | DSQL | here |
//! |---|---|
//! | refused statements, types and settings | 0A000, also inside a text of many statements |
//! | one DDL statement a transaction, never with changes | 0A000 |
//! | 3,000 changed rows a transaction | 54000 at the statement that passes it |
//! | 10 MiB a transaction | 54000 at COMMIT, counted from what the client sends with its changes |
//! | 5 minutes a transaction | 54000 at the next statement |
//! | 60 minutes a connection | closed between two requests |
//! | 100 new connections a second | 53400 to those beyond a burst of 1,000 |
//! | `COPY ... FROM STDIN`, `TO STDOUT` | taken, with the limits above; files and programs of the server 0A000 |
//! | conflicts | 40001 with `(OC000)` at COMMIT, also for what PostgreSQL calls a deadlock or a lock timeout |
//! | `CREATE INDEX ASYNC`, `CALL sys.wait_for_job` | the index is made at once, a job id is answered |
//!
//! The proxy has one limit of its own: [`Limits::login_age`] for a log-in, at most 64 of them at a time.
//!
//! Absent: TLS and tokens. The second writer of a row still waits for the first, as PostgreSQL has it, and a
//! change outside a transaction, or one that answers rows, is told of its conflict itself.

mod door;
mod frame;
mod inject;
mod reply;
mod session;
mod statement;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::NoTls;
use tokio_postgres::config::Host;
use tracing::{debug, info, warn};

use self::door::{Door, Lobby};
use self::inject::{Dice, Shared};
pub use self::inject::{Injected, Injection};
use self::session::Terms;
use super::inode::Inode;

/// What PostgreSQL lacks of DSQL's own schema. Jobs are done before their id is answered, so waiting for
/// one is to do nothing.
const SYS: &str = "CREATE SCHEMA IF NOT EXISTS sys;
    CREATE OR REPLACE PROCEDURE sys.wait_for_job(job_id text) LANGUAGE sql AS 'SELECT 1';
    GRANT USAGE ON SCHEMA sys TO PUBLIC";

/// What bounds connections and transactions; the default is what Aurora DSQL allows (user guide, "Quotas and
/// limits"). Rows have no place here: 3,000 are 3,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one transaction may change.
    pub transaction_bytes: u64,
    /// How long a transaction may be open.
    pub transaction_age: Duration,
    /// How long a connection may live.
    pub connection_age: Duration,
    /// How long a log-in may take.
    pub login_age: Duration,
    /// New connections in a second, once the burst is used up.
    pub connects_per_second: u32,
    /// New connections at once.
    pub connects_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transaction_bytes: 10 << 20,
            transaction_age: Duration::from_secs(300),
            connection_age: Duration::from_secs(3_600),
            login_age: Duration::from_secs(30),
            connects_per_second: 100,
            connects_burst: 1_000,
        }
    }
}

/// How to run the proxy.
#[derive(Debug, Clone)]
pub struct DsqlOptions {
    /// Loopback address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// PostgreSQL's URL, as its handle gives it.
    pub upstream: String,
    /// PostgreSQL's data, when it is on this machine: a commit is not acknowledged while that is not in its place.
    pub data: Option<PathBuf>,
    /// Faults to begin with.
    pub injection: Injection,
    /// Bounds.
    pub limits: Limits,
}

impl DsqlOptions {
    /// A proxy before `upstream` on any free port, without faults.
    pub fn before(upstream: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            upstream: upstream.into(),
            data: None,
            injection: Injection::default(),
            limits: Limits::default(),
        }
    }
}

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else listens there: choose another port.
    #[error("address {0} for the local dsql is already in use")]
    AddressInUse(SocketAddr),
    /// The address is not loopback; passwords cross it in the clear.
    #[error("address {0} for the local dsql is not a loopback address")]
    NotLoopback(SocketAddr),
    /// Listening failed for another reason.
    #[error("the local dsql cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The upstream URL does not name one host and user.
    #[error("the url of postgres (DSQL stand-in) names no host or no user")]
    Url,
    /// PostgreSQL refused or did not answer.
    #[error("postgres (DSQL stand-in) cannot be prepared")]
    Upstream(#[source] tokio_postgres::Error),
    /// The data of PostgreSQL is not where it should be.
    #[error("the data of postgres (DSQL stand-in) is not at {path}")]
    Data {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// PostgreSQL's address could not be found.
    #[error("postgres (DSQL stand-in) cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// A running proxy. Dropping it ends every connection through it.
#[derive(Debug)]
pub struct DsqlHandle {
    address: SocketAddr,
    database_url: String,
    shared: Arc<Shared>,
    doorman: JoinHandle<()>,
}

impl DsqlHandle {
    /// What a client takes as `DATABASE_URL`. It holds the password: do not log it.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the faults for every connection, from its next request on.
    pub fn set_injection(&self, injection: Injection) {
        self.shared.set(injection);
    }

    /// The faults injected so far.
    pub fn injected(&self) -> Injected {
        self.shared.counts()
    }

    /// Ends every connection; PostgreSQL itself goes on.
    pub async fn shutdown(mut self) {
        self.doorman.abort();
        // It was cancelled just now, which is what the error says.
        let _ = (&mut self.doorman).await;
    }
}

impl Drop for DsqlHandle {
    fn drop(&mut self) {
        self.doorman.abort();
    }
}

/// Starts the proxy; it answers when this returns.
pub async fn start(options: DsqlOptions) -> Result<DsqlHandle, Error> {
    let config: tokio_postgres::Config = options.upstream.parse().map_err(Error::Upstream)?;
    let upstream = prepare(&config).await?;
    let files = files(options.data)?;
    let listener = listen(options.listen).await?;
    let address =
        listener.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
    let database_url = url(&config, address).ok_or(Error::Url)?;
    let shared = Arc::new(Shared::default());
    shared.set(options.injection);
    let doorman = tokio::spawn(accept(listener, upstream, Arc::clone(&shared), options.limits, files));
    debug!(injection = ?options.injection, "what the proxy injects");
    info!(%address, %upstream, "proxy before postgres (DSQL stand-in) started");
    Ok(DsqlHandle { address, database_url, shared, doorman })
}

/// Adds what PostgreSQL lacks; gives the address that answered.
async fn prepare(config: &tokio_postgres::Config) -> Result<SocketAddr, Error> {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { return Err(Error::Url) };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let (client, connection) = config.connect(NoTls).await.map_err(Error::Upstream)?;
    let driven = tokio::spawn(connection);
    client.batch_execute(SYS).await.map_err(Error::Upstream)?;
    drop(client);
    let _ = driven.await;
    let mut found = tokio::net::lookup_host((host.as_str(), port)).await.map_err(Error::Unreachable)?;
    found.next().ok_or(Error::Url)
}

/// What must stay in its place for a commit to last: the data and its log, which fall to a removal at different moments.
fn files(data: Option<PathBuf>) -> Result<Arc<[Inode]>, Error> {
    let paths = data.into_iter().flat_map(|data| [data.join("pg_wal"), data]);
    paths.map(|path| Inode::at(&path).map_err(|source| Error::Data { path, source })).collect()
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Listen { address, source },
    })
}

/// The upstream's URL with the proxy's address in it.
fn url(config: &tokio_postgres::Config, address: SocketAddr) -> Option<String> {
    let user = config.get_user()?;
    let password = config.get_password().map(String::from_utf8_lossy).unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    Some(format!("postgres://{user}:{password}@{address}/{database}"))
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    limits: Limits,
    files: Arc<[Inode]>,
) {
    let mut door = Door::new(&limits);
    // Dropped with this task, it ends every connection.
    let mut sessions = JoinSet::new();
    let mut lobby = Lobby::default();
    let mut connection: u64 = 0;
    loop {
        lobby.room().await;
        let client: TcpStream = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // Out of descriptors, or the client was faster: neither ends the proxy.
                warn!(%error, "connection to the local dsql not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        connection += 1;
        let dice = Dice::new(Arc::clone(&shared), connection);
        let is_known = Arc::default();
        let is_refused = !door.admits(Instant::now());
        let terms = Terms { limits, is_refused, is_known: Arc::clone(&is_known), files: Arc::clone(&files) };
        let session = sessions.spawn(async move {
            match session::run(client, upstream, dice, terms).await {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    debug!(connection, %error, "connection to the local dsql ended");
                }
                _ => {}
            }
        });
        lobby.enter(session, is_known);
        while sessions.try_join_next().is_some() {}
    }
}

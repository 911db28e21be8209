//! The local engines as one thing: Kinesis, DynamoDB, and the local DSQL, which is a proxy that refuses what Aurora DSQL
//! refuses, before a PostgreSQL that stands in for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use runtime::clients::{Clients, LOCAL_REGION};

use crate::failure::{Failure, chain};
use crate::local::{dsql, dynamodb, kinesis, postgres};

/// Where the engines listen, always on loopback; 0 takes a free port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Kinesis.
    pub kinesis: u16,
    /// DynamoDB.
    pub dynamodb: u16,
    /// The local DSQL; its PostgreSQL takes a free port.
    pub dsql: u16,
}

/// What keeps the engines' state.
#[derive(Clone, Debug)]
pub enum Keep {
    /// Nothing: it is gone at the end.
    Memory,
    /// This folder: it survives kill -9 and restart.
    Folder(PathBuf),
}

/// Running engines.
pub struct Engines {
    kinesis: kinesis::KinesisHandle,
    dynamodb: dynamodb::DynamoHandle,
    dsql: dsql::DsqlHandle,
    postgres: postgres::PostgresHandle,
}

impl Engines {
    /// Starts all of them, or none.
    ///
    /// # Errors
    /// A [`Failure`] that names the engine, the reason and what to do.
    pub async fn start(keep: &Keep, ports: Ports, limits: kinesis::Limits) -> Result<Self, Failure> {
        let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let folder = |name: &str| match keep {
            Keep::Memory => None,
            Keep::Folder(path) => Some(path.join(name)),
        };
        let kinesis = kinesis::start(kinesis::KinesisOptions {
            listen: listen(ports.kinesis),
            dir: folder("kinesis"),
            limits,
            ..kinesis::KinesisOptions::default()
        });
        let kinesis = kinesis.await.map_err(|error| of_kinesis(&error))?;
        let options = dynamodb::DynamoOptions { listen: listen(ports.dynamodb), dir: folder("dynamodb") };
        let dynamodb = dynamodb::start(options).await.map_err(|error| of_dynamodb(&error))?;
        let options =
            postgres::PostgresOptions { dir: folder("postgres"), ..postgres::PostgresOptions::default() };
        let postgres = postgres::start(options).await.map_err(|error| of_postgres(&error))?;
        let options = dsql::DsqlOptions {
            listen: listen(ports.dsql),
            data: Some(postgres.data_dir()),
            ..dsql::DsqlOptions::before(postgres.database_url())
        };
        let dsql = match dsql::start(options).await {
            Ok(dsql) => dsql,
            Err(error) => {
                postgres.shutdown().await;
                return Err(of_dsql(&error));
            }
        };
        Ok(Self { kinesis, dynamodb, dsql, postgres })
    }

    /// Clients of these engines.
    pub async fn clients(&self) -> Clients {
        Clients::local(&self.kinesis.endpoint_url(), &self.dynamodb.endpoint_url()).await
    }

    /// The ledger's URL, with its password.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.dsql.database_url().to_owned()
    }

    /// Lets this many of a thousand commits conflict from now on, by dice with this seed.
    pub fn inject_conflicts(&self, per_mille: u32, seed: u64) {
        let injection = dsql::Injection { seed, conflict_per_mille: per_mille, ..dsql::Injection::default() };
        self.dsql.set_injection(injection);
    }

    /// Conflicts that were injected so far.
    #[must_use]
    pub fn injected_conflicts(&self) -> u64 {
        self.dsql.injected().conflicts
    }

    /// What other programs need in their environment, as lines for a shell.
    #[must_use]
    pub fn environment(&self) -> String {
        [
            ("AWS_ENDPOINT_URL_KINESIS", self.kinesis.endpoint_url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.endpoint_url()),
            ("AWS_REGION", LOCAL_REGION.to_owned()),
            ("AWS_DEFAULT_REGION", LOCAL_REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("DATABASE_URL", self.database_url()),
        ]
        .iter()
        .map(|(name, value)| format!("export {name}='{value}'\n"))
        .collect()
    }

    /// Waits until an engine ends without having been asked to, and says which.
    pub async fn ended(&mut self) -> Failure {
        let status = self.postgres.ended().await;
        let status = status.map_or_else(|| "its status is unknown".to_owned(), |status| status.to_string());
        let folder = self.postgres.dir();
        let ended = format!("postgres (DSQL stand-in) ended by itself ({status})");
        if !self.postgres.data_dir().exists() {
            let folder = folder.display();
            return Failure::io(format!(
                "{ended}: its folder {folder} was removed or moved away; put it back, or start again without it"
            ));
        }
        if is_full(folder) {
            let folder = folder.display();
            return Failure::io(format!(
                "{ended}: the disk of {folder} is full; make room there and start again"
            ));
        }
        Failure::unavailable(format!("{ended}; its log is in {}; start again", folder.display()))
    }

    /// Stops all of them, the ledger last.
    pub async fn stop(self) {
        self.kinesis.shutdown().await;
        self.dynamodb.shutdown().await;
        self.dsql.shutdown().await;
        self.postgres.shutdown().await;
    }
}

/// Less room than this on a disk is none: PostgreSQL extends a file by more.
const ROOM_BYTES_MIN: u64 = 1_048_576;

/// Whether the disk of a folder has no room left.
pub(crate) fn is_full(folder: &Path) -> bool {
    let room = rustix::fs::statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    room.is_ok_and(|bytes| bytes < ROOM_BYTES_MIN)
}

/// The sentence for an engine that did not start; `then` is what to do about it.
fn sentence(engine: &str, error: &(dyn std::error::Error + 'static), then: &str) -> String {
    format!("local {engine} cannot start: {}{then}", chain(error))
}

/// A port in use is a service that is not to be had there: nothing about the command is wrong.
fn in_use(engine: &str, flag: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let then = format!("; stop what listens there, or choose another port with {flag} (0 takes a free one)");
    Failure::unavailable(sentence(engine, error, &then))
}

fn of_kinesis(error: &kinesis::Error) -> Failure {
    match error {
        kinesis::Error::InUse { .. } => in_use("kinesis", "--kinesis-port", error),
        kinesis::Error::NotLoopback { .. } => Failure::usage(sentence("kinesis", error, "")),
        kinesis::Error::Damaged { .. } | kinesis::Error::Io { .. } => {
            Failure::io(sentence("kinesis", error, ""))
        }
    }
}

fn of_dynamodb(error: &dynamodb::Error) -> Failure {
    use dynamodb::Error;
    match error {
        Error::AddressInUse(_) => in_use("dynamodb", "--dynamodb-port", error),
        Error::NotLoopback(_) => Failure::usage(sentence("dynamodb", error, "")),
        Error::Listen { .. } | Error::Folder { .. } | Error::Open(_) | Error::Thread(_) => {
            Failure::io(sentence("dynamodb", error, ""))
        }
    }
}

fn of_dsql(error: &dsql::Error) -> Failure {
    use dsql::Error;
    match error {
        Error::AddressInUse(_) => in_use("dsql", "--dsql-port", error),
        Error::NotLoopback(_) | Error::Url => Failure::usage(sentence("dsql", error, "")),
        Error::Listen { .. } | Error::Data { .. } => Failure::io(sentence("dsql", error, "")),
        Error::Upstream(_) | Error::Unreachable(_) => Failure::unavailable(sentence("dsql", error, "")),
    }
}

fn of_postgres(error: &postgres::Error) -> Failure {
    use postgres::Error;
    let name = "dsql";
    let full = "no space left";
    match error {
        Error::File { .. } => Failure::io(sentence(name, error, "")),
        Error::Program { said, .. } | Error::NotReady { said, .. } if said.to_lowercase().contains(full) => {
            Failure::io(sentence(name, error, "; make room, or choose another folder with --dir"))
        }
        Error::NotABinDir(_) => {
            let then = "; set PG_BIN_DIR to the folder of PostgreSQL's programs, or unset it and install one \
                (Debian: apt-get install postgresql, macOS: brew install postgresql)";
            Failure::usage(sentence(name, error, then))
        }
        Error::OtherVersion { .. } | Error::FolderInUse(_) => Failure::usage(sentence(name, error, "")),
        Error::NoPostgres | Error::PortInUse(_) | Error::Orphan(_) => {
            Failure::unavailable(sentence(name, error, ""))
        }
        Error::Program { .. } | Error::NotReady { .. } => Failure::unavailable(sentence(name, error, "")),
    }
}

/// Holds the folder for one process; a second one is refused.
///
/// # Errors
/// A [`Failure`] when the folder cannot be made or another process holds it.
pub fn hold(folder: &Path) -> Result<std::fs::File, Failure> {
    let io = |error: &dyn std::fmt::Display| {
        Failure::io(format!("folder {} cannot be used: {error}; choose another with --dir", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
    let path = folder.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| io(&error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::usage(format!(
            "folder {} is held by another `exchange up`; stop that one or choose another folder with --dir",
            folder.display()
        ))),
        Err(error) => Err(io(&error)),
    }
}

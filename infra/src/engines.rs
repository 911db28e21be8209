//! The three local engines as one thing: Kinesis, DynamoDB, and PostgreSQL as the stand-in for Aurora DSQL.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use runtime::clients::{Clients, LOCAL_REGION};

use crate::failure::Failure;
use crate::local::{dynamodb, kinesis, postgres};

/// Where the engines listen, always on loopback; 0 takes a free port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Kinesis.
    pub kinesis: u16,
    /// DynamoDB.
    pub dynamodb: u16,
    /// PostgreSQL.
    pub postgres: u16,
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
    postgres: postgres::PostgresHandle,
}

impl Engines {
    /// Starts all three, or none.
    ///
    /// # Errors
    /// A [`Failure`] that names the engine, the reason and what to do.
    pub async fn start(keep: &Keep, ports: Ports, limits: kinesis::Limits) -> anyhow::Result<Self> {
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
        })
        .await
        .map_err(|error| refused("kinesis", "--kinesis-port", &error))?;
        let dynamodb = dynamodb::start(dynamodb::DynamoOptions {
            listen: listen(ports.dynamodb),
            dir: folder("dynamodb"),
        })
        .await
        .map_err(|error| refused("dynamodb", "--dynamodb-port", &error))?;
        let options = postgres::PostgresOptions {
            dir: folder("postgres"),
            port: (ports.postgres != 0).then_some(ports.postgres),
            ..postgres::PostgresOptions::default()
        };
        let postgres = postgres::start(options)
            .await
            .map_err(|error| refused("postgres (DSQL stand-in)", "--postgres-port", &error))?;
        Ok(Self { kinesis, dynamodb, postgres })
    }

    /// Clients of these engines.
    pub async fn clients(&self) -> Clients {
        Clients::local(&self.kinesis.endpoint_url(), &self.dynamodb.endpoint_url()).await
    }

    /// The ledger's URL, with its password.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.postgres.database_url().to_owned()
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

    /// Stops all three, the ledger last.
    pub async fn stop(self) {
        self.kinesis.shutdown().await;
        self.dynamodb.shutdown().await;
        self.postgres.shutdown().await;
    }
}

fn refused(engine: &str, flag: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Failure::unavailable(format!("local {engine} cannot start: {text} (another port: {flag})"))
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
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::usage(format!(
            "folder {} is held by another `exchange up`; stop that one or choose another folder with --dir",
            folder.display()
        ))
    })?;
    Ok(file)
}

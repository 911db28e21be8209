//! Where the ledger is, and connections to it.
//!
//! Owns names, connections and their number: `connector` makes one, `pool` keeps those that are idle. The stand-in
//! is PostgreSQL and is called by that name everywhere.

mod connector;
mod pool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

pub use self::connector::Connector;
pub use self::pool::Pool;
use crate::error::Error;
use crate::statements::Statements;

/// Where the ledger is.
#[derive(Args, Clone, Default)]
pub struct Ledger {
    /// Host of the Aurora DSQL cluster, with a port when it is not 5432.
    #[arg(long, env = "DSQL_ENDPOINT")]
    pub dsql_endpoint: Option<String>,
    /// Role to connect as on Aurora DSQL.
    #[arg(long, env = "DSQL_USER", default_value = "admin")]
    pub dsql_user: String,
    /// Certificates (PEM) to trust on Aurora DSQL in place of the system's.
    #[arg(long, env = "DSQL_CA_FILE")]
    pub dsql_ca_file: Option<PathBuf>,
    /// URL of a PostgreSQL that stands in for DSQL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Credentials and region to sign with; what the environment says when absent.
    #[arg(skip)]
    pub sdk: Option<aws_config::SdkConfig>,
}

impl std::fmt::Debug for Ledger {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("name", &self.name())
            .field("dsql_endpoint", &self.dsql_endpoint)
            .finish()
    }
}

impl Ledger {
    /// A stand-in at this URL.
    #[must_use]
    pub fn stand_in(url: &str) -> Self {
        Self { dsql_user: "admin".to_owned(), database_url: Some(url.to_owned()), ..Self::default() }
    }

    /// What every page and log calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.dsql_endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_empty()) {
            "Aurora DSQL"
        } else {
            "postgres (DSQL stand-in)"
        }
    }

    /// Connects once.
    ///
    /// # Errors
    /// When nothing says where the ledger is, or it cannot be reached.
    pub async fn connect(&self) -> Result<Connection, Error> {
        self.connector().await?.connect().await
    }

    /// What connects; nothing is called yet.
    ///
    /// # Errors
    /// When nothing says where the ledger is, or that cannot be understood.
    pub async fn connector(&self) -> Result<Arc<Connector>, Error> {
        Ok(Arc::new(Connector::new(self).await?))
    }

    /// Connections as they are needed, at most `per_second` new ones a second.
    ///
    /// # Errors
    /// When nothing says where the ledger is, or that cannot be understood.
    pub async fn pool(&self, per_second: u32) -> Result<Pool, Error> {
        Ok(Pool::new(self.connector().await?, per_second))
    }
}

/// One connection and its prepared statements. Dropping it closes it, whatever is in flight.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: tokio_postgres::Client,
    statements: Option<Statements>,
    retire_at: Instant,
    driver: Driver,
    connector: Arc<Connector>,
    /// Whether a statement in flight can be cancelled without TLS.
    is_plain: bool,
}

/// The task that moves the bytes; it ends with the connection.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Whether it should be replaced before the next transaction.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.client.is_closed() || Instant::now() >= self.retire_at
    }

    /// What made it, and can make another.
    #[must_use]
    pub fn connector(&self) -> Arc<Connector> {
        Arc::clone(&self.connector)
    }

    /// What every page and log calls the ledger at its other end.
    #[must_use]
    pub fn ledger(&self) -> &'static str {
        self.connector.name()
    }

    /// Prepares the statements of an attempt, so that the first one need not.
    ///
    /// # Errors
    /// When the ledger refuses a statement or is lost.
    pub async fn prepare(&mut self) -> Result<(), tokio_postgres::Error> {
        self.statements().await.map(|_| ())
    }

    /// The statements of an attempt, prepared the first time.
    pub(crate) async fn statements(&mut self) -> Result<Statements, tokio_postgres::Error> {
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let statements = Statements::prepare(&self.client).await?;
        self.statements = Some(statements.clone());
        Ok(statements)
    }

    /// Closes it. A stand-in is also asked to cancel what may still run; DSQL ends that with the connection.
    pub(crate) async fn close(self) {
        if self.is_plain && !self.client.is_closed() {
            let cancel = self.client.cancel_token();
            let asked = tokio::time::timeout(CANCEL_WITHIN, cancel.cancel_query(NoTls)).await;
            // It is a courtesy: the outcome is unknown with it and without it.
            tracing::debug!(answered = asked.is_ok(), "statement in flight cancelled");
        }
        drop(self.driver);
    }
}

/// How long asking for a cancellation may take.
const CANCEL_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

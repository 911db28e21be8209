//! Where the ledger is, and connections to it.
//!
//! Aurora DSQL: a token signed for each connection, TLS with verified certificates. The stand-in is PostgreSQL and is
//! called by that name everywhere.

use std::time::{Duration, Instant};

use clap::Args;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Error;
use crate::statements::Statements;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are retired between 50 and 55 minutes; DSQL closes them after 60.
const RETIRE_AFTER: Duration = Duration::from_secs(50 * 60);
const RETIRE_SPREAD: Duration = Duration::from_secs(5 * 60);

/// Where the ledger is.
#[derive(Args, Clone, Default)]
pub struct Ledger {
    /// Host of the Aurora DSQL cluster.
    #[arg(long, env = "DSQL_ENDPOINT")]
    pub dsql_endpoint: Option<String>,
    /// Role to connect as on Aurora DSQL.
    #[arg(long, env = "DSQL_USER", default_value = "admin")]
    pub dsql_user: String,
    /// URL of a PostgreSQL that stands in for DSQL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
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

/// One connection and its prepared statements.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: tokio_postgres::Client,
    pub(crate) statements: Option<Statements>,
    retire_at: Instant,
}

impl Connection {
    /// Whether it should be replaced before the next transaction.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.client.is_closed() || Instant::now() >= self.retire_at
    }
}

impl Ledger {
    /// A stand-in at this URL.
    #[must_use]
    pub fn stand_in(url: &str) -> Self {
        Self { dsql_endpoint: None, dsql_user: "admin".to_owned(), database_url: Some(url.to_owned()) }
    }

    /// What every page and log calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.dsql_endpoint.is_some() { "Aurora DSQL" } else { "postgres (DSQL stand-in)" }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nothing says where the ledger is, or it cannot be reached.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let unreachable = |reason: String| Error::Unreachable { ledger: self.name(), reason };
        let client = tokio::time::timeout(CONNECT_TIMEOUT, async {
            match (&self.dsql_endpoint, &self.database_url) {
                (Some(endpoint), _) => self.dsql(endpoint).await,
                (None, Some(url)) => {
                    let (client, connection) =
                        tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(|error| {
                            unreachable(chain(&error))
                        })?;
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(error = chain(&error), "connection to postgres (DSQL stand-in) ended");
                        }
                    });
                    Ok(client)
                }
                (None, None) => Err(Error::Usage(
                    "no ledger: set DSQL_ENDPOINT for Aurora DSQL, or DATABASE_URL for a PostgreSQL that stands in for it"
                        .to_owned(),
                )),
            }
        });
        let client = client.await.map_err(|_| unreachable("connecting timed out".to_owned()))??;
        let spread = RETIRE_SPREAD.mul_f64(runtime::chance::unit());
        Ok(Connection { client, statements: None, retire_at: Instant::now() + RETIRE_AFTER + spread })
    }

    async fn dsql(&self, endpoint: &str) -> Result<tokio_postgres::Client, Error> {
        let unreachable = |reason: String| Error::Unreachable { ledger: "Aurora DSQL", reason };
        let sdk = runtime::clients::loader().load().await;
        let config = aws_sdk_dsql::auth_token::Config::builder()
            .hostname(endpoint)
            .build()
            .map_err(|error| Error::Usage(format!("DSQL_ENDPOINT {endpoint}: {error}")))?;
        let generator = aws_sdk_dsql::auth_token::AuthTokenGenerator::new(config);
        let token = if self.dsql_user == "admin" {
            generator.db_connect_admin_auth_token(&sdk).await
        } else {
            generator.db_connect_auth_token(&sdk).await
        };
        let token = token.map_err(|error| unreachable(format!("no token could be signed: {error}")))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unreachable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        let (client, connection) = tokio_postgres::Config::new()
            .host(endpoint)
            .port(5432)
            .user(&self.dsql_user)
            .dbname("postgres")
            .password(token.as_str())
            .ssl_mode(SslMode::Require)
            .connect(MakeRustlsConnect::new(tls))
            .await
            .map_err(|error| unreachable(chain(&error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "connection to Aurora DSQL ended");
            }
        });
        Ok(client)
    }
}

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

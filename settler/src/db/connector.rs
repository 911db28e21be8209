//! How a connection is made.
//!
//! Aurora DSQL: a token signed for each connection (Aurora DSQL user guide, "Authentication and authorization": it is
//! checked on connecting and lives 15 minutes), TLS with the certificate and the host name verified, without asking in
//! the clear first where the server takes that. Never a connection to Aurora DSQL without TLS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use aws_config::{Region, SdkConfig};
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config as TokenConfig};
use aws_sdk_dsql::config::SharedCredentialsProvider;
use runtime::credentials::Renewable;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Connection, Driver, Ledger, chain};
use crate::error::Error;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are retired between 50 and 55 minutes; DSQL closes them after 60 (user guide, "Quotas and limits").
const RETIRE_AFTER: Duration = Duration::from_secs(50 * 60);
const RETIRE_SPREAD: Duration = Duration::from_secs(5 * 60);
/// The one port and the one database of Aurora DSQL.
const PORT: u16 = 5432;
const DATABASE: &str = "postgres";
/// The role that has a token action of its own.
const ADMIN: &str = "admin";

/// Makes connections to one ledger.
#[derive(Debug)]
pub struct Connector {
    name: &'static str,
    way: Way,
}

enum Way {
    StandIn(Box<tokio_postgres::Config>),
    Dsql(Box<Dsql>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StandIn(_) => "StandIn",
            Self::Dsql(_) => "Dsql",
        })
    }
}

struct Dsql {
    host: String,
    port: u16,
    user: String,
    tokens: AuthTokenGenerator,
    sdk: SdkConfig,
    /// What tokens are signed with: loaded anew once a token was refused.
    credentials: Renewable,
    tls: MakeRustlsConnect,
    /// Which of [`NEGOTIATIONS`] has worked; the first until one has.
    negotiation: AtomicU8,
}

/// Ways to begin TLS, the one to prefer first: at once, or after asking for it.
const NEGOTIATIONS: [SslNegotiation; 2] = [SslNegotiation::Direct, SslNegotiation::Postgres];

impl Connector {
    /// Reads where the ledger is; nothing is connected yet.
    ///
    /// # Errors
    /// When nothing says where it is, or that cannot be understood.
    pub async fn new(ledger: &Ledger) -> Result<Self, Error> {
        // A variable that is set to nothing says nothing.
        let said = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        let way = match (&said(&ledger.dsql_endpoint), &said(&ledger.database_url)) {
            (Some(endpoint), _) => Way::Dsql(Box::new(Dsql::new(ledger, endpoint).await?)),
            (None, Some(_)) if ca_file(ledger).is_some() => {
                return Err(Error::Usage(
                    "--dsql-ca-file (DSQL_CA_FILE) is for Aurora DSQL, and DATABASE_URL is reached without TLS: leave the file out, or name a cluster with DSQL_ENDPOINT"
                        .to_owned(),
                ));
            }
            (None, Some(url)) => {
                // The text holds a password and stays out of the message.
                let mut config: tokio_postgres::Config = url.parse().map_err(|error| {
                    Error::Usage(format!("DATABASE_URL is no URL of a PostgreSQL such as postgres://user@host:5432/name: {error}"))
                })?;
                config.connect_timeout(CONNECT_TIMEOUT);
                Way::StandIn(Box::new(config))
            }
            (None, None) => {
                return Err(Error::Usage(
                    "no ledger: set DSQL_ENDPOINT for Aurora DSQL, or DATABASE_URL for a PostgreSQL that stands in for it; beside `exchange up`, source its env file"
                        .to_owned(),
                ));
            }
        };
        Ok(Self { name: ledger.name(), way })
    }

    /// What every page and log calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Connects.
    ///
    /// # Errors
    /// When the ledger cannot be reached.
    pub async fn connect(self: &Arc<Self>) -> Result<Connection, Error> {
        let made = tokio::time::timeout(CONNECT_TIMEOUT, async {
            match &self.way {
                Way::StandIn(config) => connect(config, NoTls).await.map_err(|error| Refusal::of(&error)),
                Way::Dsql(dsql) => dsql.connect().await,
            }
        });
        let made = made.await.unwrap_or_else(|_| Err(Refusal::Away("connecting timed out".to_owned())));
        let (client, driver) = made.map_err(|refusal| match refusal {
            Refusal::Away(reason) => Error::Unreachable { ledger: self.name, reason },
            Refusal::NotLetIn { sqlstate, reason } => Error::NotLetIn { ledger: self.name, sqlstate, reason },
        })?;
        let retire_at = Instant::now() + retire_after(runtime::chance::unit());
        let is_plain = matches!(self.way, Way::StandIn(_));
        Ok(Connection { client, statements: None, retire_at, driver, connector: Arc::clone(self), is_plain })
    }
}

/// Why there is no connection.
enum Refusal {
    /// Nobody answered, or not now.
    Away(String),
    /// The server answered, and knows no such user, password or database.
    NotLetIn {
        /// Its code.
        sqlstate: String,
        /// Its words.
        reason: String,
    },
}

/// Classes of SQLSTATE that say so (PostgreSQL manual, "PostgreSQL Error Codes"): invalid authorization, and invalid
/// catalog name.
const NOT_LET_IN: [&str; 2] = ["28", "3D"];

impl Refusal {
    fn of(error: &tokio_postgres::Error) -> Self {
        let code = error.code().map_or("", |code| code.code());
        if NOT_LET_IN.iter().any(|class| code.starts_with(class)) {
            Self::NotLetIn { sqlstate: code.to_owned(), reason: chain(error) }
        } else {
            Self::Away(chain(error))
        }
    }
}

async fn connect<T>(
    config: &tokio_postgres::Config,
    tls: T,
) -> Result<(Client, Driver), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = chain(&error), "connection to the ledger ended");
        }
    });
    Ok((client, Driver(driver)))
}

impl Dsql {
    async fn new(ledger: &Ledger, endpoint: &str) -> Result<Self, Error> {
        let (host, port) = host_and_port(endpoint)?;
        let (sdk, credentials) = match &ledger.sdk {
            Some(sdk) => renewing(sdk),
            None => runtime::clients::load().await,
        };
        let Some(region) = region_of(host).map(Region::new).or_else(|| sdk.region().cloned()) else {
            return Err(Error::Usage(format!(
                "no region: DSQL_ENDPOINT {endpoint} names none, as <id>.dsql.<region>.on.aws does; set AWS_REGION"
            )));
        };
        let config = TokenConfig::builder().hostname(host).region(region).build();
        let config = config.map_err(|error| Error::Usage(format!("DSQL_ENDPOINT {endpoint}: {error}")))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            user: ledger.dsql_user.clone(),
            tokens: AuthTokenGenerator::new(config),
            sdk,
            credentials,
            tls: MakeRustlsConnect::new(tls(ca_file(ledger))?),
            negotiation: AtomicU8::new(0),
        })
    }

    async fn connect(&self) -> Result<(Client, Driver), Refusal> {
        let token = if self.user == ADMIN {
            self.tokens.db_connect_admin_auth_token(&self.sdk).await
        } else {
            self.tokens.db_connect_auth_token(&self.sdk).await
        };
        let token = token.map_err(|error| {
            Refusal::Away(format!("no token could be signed: {error}; check the AWS credentials"))
        })?;
        let mut config = tokio_postgres::Config::new();
        config.host(&self.host).port(self.port).user(&self.user).dbname(DATABASE).password(token.as_str());
        config.ssl_mode(SslMode::Require).connect_timeout(CONNECT_TIMEOUT).application_name("exchange");
        let worked = self.negotiation.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for (number, negotiation) in (0_u8..).zip(NEGOTIATIONS).skip(usize::from(worked)) {
            config.ssl_negotiation(negotiation);
            match connect(&config, self.tls.clone()).await {
                Ok(made) => {
                    self.negotiation.store(number, Ordering::Relaxed);
                    return Ok(made);
                }
                // It spoke, so TLS was not the trouble.
                Err(error) if error.as_db_error().is_some() => {
                    let refusal = Refusal::of(&error);
                    if matches!(refusal, Refusal::NotLetIn { .. }) {
                        self.credentials.refuse();
                    }
                    return Err(refusal);
                }
                // Asking first verifies no less, so trying it gives nothing away.
                Err(error) => failures.push(format!(
                    "TLS {}: {}",
                    ["at once", "after asking"][usize::from(number)],
                    chain(&error)
                )),
            }
        }
        Err(Refusal::Away(failures.join("; ")))
    }
}

/// The same configuration with credentials that are loaded anew when a token is refused.
fn renewing(sdk: &SdkConfig) -> (SdkConfig, Renewable) {
    let given = sdk.credentials_provider();
    let credentials = given.map_or_else(Renewable::from_env, Renewable::given);
    let provider = SharedCredentialsProvider::new(credentials.clone());
    (sdk.clone().into_builder().credentials_provider(provider).build(), credentials)
}

/// The certificates that were named; a variable that is set to nothing names none.
fn ca_file(ledger: &Ledger) -> Option<&Path> {
    ledger.dsql_ca_file.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn host_and_port(endpoint: &str) -> Result<(&str, u16), Error> {
    let (host, port) =
        endpoint.rsplit_once(':').map_or((endpoint, Ok(PORT)), |(host, port)| (host, port.parse()));
    let of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match port {
        Ok(port) if !host.is_empty() && host.bytes().all(of_a_host) => Ok((host, port)),
        _ => Err(Error::Usage(format!("DSQL_ENDPOINT {endpoint} is not a host, or a host and a port"))),
    }
}

/// The region in `<id>.dsql.<region>.on.aws`.
fn region_of(host: &str) -> Option<String> {
    let mut parts = host.strip_suffix(".on.aws")?.split('.');
    let (_id, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    (service.starts_with("dsql") && parts.next().is_none() && !region.is_empty()).then(|| region.to_owned())
}

/// Certificates and host names verified, against the system's roots or those of a file and no others.
fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unusable = |reason: &dyn std::fmt::Display| {
                Error::Usage(format!("DSQL_CA_FILE {}: {reason}", path.display()))
            };
            let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for certificate in read {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds no certificate"));
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Usage(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Direct negotiation asks for it (PostgreSQL manual, "SSL Session Encryption").
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(tls)
}

/// How long a connection lives, with `unit` drawn from `[0, 1)`, so that those made together are not replaced together.
fn retire_after(unit: f64) -> Duration {
    RETIRE_AFTER + RETIRE_SPREAD.mul_f64(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_retire_before_their_hour_and_not_together() {
        let minutes = |unit| retire_after(unit).as_secs() / 60;
        assert_eq!((minutes(0.0), minutes(0.5), minutes(0.999)), (50, 52, 54));
        assert!(retire_after(1.0) < Duration::from_secs(schemas::limits::DSQL_CONNECTION_S_MAX));
    }

    #[test]
    fn the_region_is_read_from_the_endpoint() {
        assert_eq!(region_of("abc.dsql.eu-central-1.on.aws").as_deref(), Some("eu-central-1"));
        for other in ["localhost", "abc.dsql.on.aws", "abc.rds.eu-central-1.on.aws", "a.dsql..on.aws"] {
            assert_eq!(region_of(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn certificates_are_not_taken_where_nothing_would_be_checked_with_them() {
        let stand_in = Ledger::stand_in("postgres://nobody@127.0.0.1:1/none");
        let with = |path: &str| Ledger { dsql_ca_file: Some(path.into()), ..stand_in.clone() };
        let refused = Connector::new(&with("ca.pem")).await.unwrap_err();
        assert_eq!(refused.exit_code(), schemas::exit::USAGE);
        assert!(refused.to_string().contains("--dsql-ca-file"), "{refused}");
        assert!(Connector::new(&with("")).await.is_ok(), "a variable that is set to nothing says nothing");
    }

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        assert_eq!(
            host_and_port("abc.dsql.eu-central-1.on.aws").unwrap(),
            ("abc.dsql.eu-central-1.on.aws", 5432)
        );
        assert_eq!(host_and_port("localhost:6543").unwrap(), ("localhost", 6543));
        for other in ["", "localhost:", "https://host:1", "a b", "x^y", "häuser.de", "x%zz", "[::1]:5432"] {
            assert!(host_and_port(other).is_err(), "{other}");
        }
    }
}

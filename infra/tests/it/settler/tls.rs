//! Aurora DSQL as the settler reaches it: TLS with certificate and host name verified, begun directly where that is
//! offered, and a token for each connection. The other end is PostgreSQL behind a TLS door with certificates of the
//! test's own, which asks for a password and keeps it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_dynamodb::config::Region;
use infra::local::postgres::{self, PostgresHandle, PostgresOptions};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use settler::Error;
use settler::core::transaction::Rules;
use settler::db::Ledger;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsAcceptor;

use super::decisions::Running;
use super::world::{DEADLINE, World, auction};

/// How TLS may be begun at the door.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offers {
    /// At once, and only so.
    Direct,
    /// After asking, and only so, as PostgreSQL did until version 17.
    AfterAsking,
}

/// Who came and with which password.
type Visitors = Arc<Mutex<Vec<(String, String)>>>;

/// What the door knows of those who come.
#[derive(Clone, Default)]
struct Book {
    visitors: Visitors,
    /// Tokens with this text are refused.
    revoked: Arc<Mutex<Option<String>>>,
    /// Who was let in.
    inside: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Book {
    /// With what code a token is refused, if it is.
    fn refusal(&self, token: &str) -> Option<&'static str> {
        let revoked = self.revoked.lock().unwrap();
        let codes = ["28P01", "28000"];
        let is_revoked = revoked.as_ref().is_some_and(|revoked| token.contains(revoked));
        is_revoked.then(|| codes[self.visitors.lock().unwrap().len() % 2])
    }

    /// From now on tokens with this text are refused, and who is inside is thrown out.
    fn revoke(&self, text: &str) {
        *self.revoked.lock().unwrap() = Some(text.to_owned());
        self.inside.lock().unwrap().drain(..).for_each(|one| one.abort());
    }
}

struct Door {
    visitors: Visitors,
    book: Book,
    address: SocketAddr,
    ca_file: PathBuf,
    /// PostgreSQL of its own, unless it stands before another's.
    postgres: Option<PostgresHandle>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Door {
    /// A door with a certificate for `name`.
    async fn open(name: &str, offers: Offers) -> Self {
        let postgres = postgres::start(PostgresOptions::temporary()).await.unwrap();
        let door = Self::before(&postgres, name, offers).await;
        Self { postgres: Some(postgres), ..door }
    }

    /// A door before a PostgreSQL.
    async fn before(postgres: &PostgresHandle, name: &str, offers: Offers) -> Self {
        trust(postgres).await;
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, port) = (TlsAcceptor::from(Arc::new(config)), postgres.port());
        let book = Book::default();
        let kept = book.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let served = tokio::spawn(serve(client, acceptor.clone(), offers, port, kept.clone()));
                kept.inside.lock().unwrap().push(served.abort_handle());
            }
        });
        let visitors = Arc::clone(&book.visitors);
        Self { visitors, book, address, ca_file, postgres: None, task, _folder: folder }
    }

    async fn ledger(&self, host: &str) -> Ledger {
        self.ledger_with(host, Credentials::new("id", "secret", None, None, "test")).await
    }

    async fn ledger_with(&self, host: &str, credentials: impl ProvideCredentials + 'static) -> Ledger {
        let loader = runtime::clients::loader().region(Region::new("eu-central-1"));
        let sdk = loader.credentials_provider(credentials).load().await;
        Ledger {
            dsql_endpoint: Some(format!("{host}:{}", self.address.port())),
            dsql_user: "admin".to_owned(),
            dsql_ca_file: Some(self.ca_file.clone()),
            sdk: Some(sdk),
            ..Ledger::default()
        }
    }

    async fn close(self) {
        self.task.abort();
        if let Some(postgres) = self.postgres {
            postgres.shutdown().await;
        }
    }
}

/// Lets everyone in: who checks a token is Aurora DSQL, and PostgreSQL cannot.
async fn trust(postgres: &PostgresHandle) {
    let (client, connection) =
        tokio_postgres::connect(&postgres.database_url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let file: String = client.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    std::fs::write(file, "host all all 127.0.0.1/32 trust\n").unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // The reload is over when a connection with a wrong password is let in.
    let mut config: tokio_postgres::Config = postgres.database_url().parse().unwrap();
    config.password("wrong");
    let let_in = async {
        while config.connect(tokio_postgres::NoTls).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, let_in).await.unwrap();
}

async fn serve(mut client: TcpStream, acceptor: TlsAcceptor, offers: Offers, port: u16, book: Book) {
    let mut first = [0];
    let _ = client.peek(&mut first).await;
    let begins_at_once = first == [0x16];
    if begins_at_once != (offers == Offers::Direct) {
        return;
    }
    if !begins_at_once {
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"S").await.unwrap();
    }
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let startup = packet(&mut client).await;
    // A password in the clear, as Aurora DSQL asks for the token.
    client.write_all(b"R\0\0\0\x08\0\0\0\x03").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'p');
    let password = packet(&mut client).await;
    let texts = |bytes: &[u8]| -> Vec<String> {
        bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    };
    // After the length and the version come names and values.
    let said = texts(&startup[8..]);
    let user = said.iter().position(|name| name == "user").map(|at| said[at + 1].clone()).unwrap();
    let token = texts(&password[4..])[0].clone();
    let refusal = book.refusal(&token);
    book.visitors.lock().unwrap().push((user, token));
    if let Some(code) = refusal {
        let fields = format!("SFATAL\0C{code}\0Munable to accept connection, access denied\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        client.write_all(&[b"E", &length[..], fields.as_bytes()].concat()).await.unwrap();
        let _ = client.shutdown().await;
        return;
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    server.write_all(&startup).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// A length, which counts itself, and what it is the length of.
async fn packet(client: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let length = client.read_u32().await.unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(usize::try_from(length).unwrap(), 0);
    client.read_exact(&mut packet[4..]).await.unwrap();
    packet
}

fn refused(result: Result<settler::db::Connection, Error>) -> String {
    match result {
        Err(error @ Error::Unreachable { .. }) => {
            assert_eq!(error.exit_code(), schemas::exit::UNAVAILABLE);
            error.to_string()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test]
async fn tls_is_begun_directly_where_offered_and_after_asking_where_not() {
    for offers in [Offers::Direct, Offers::AfterAsking] {
        let door = Door::open("localhost", offers).await;
        let pool = door.ledger("localhost").await.pool(10).await.unwrap();
        for _ in 0..2 {
            let connection = pool.take().await.unwrap();
            let row = connection.client.query_one("SELECT current_user::text", &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), "admin");
        }
        assert_eq!(pool.name(), "Aurora DSQL");
        door.close().await;
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_for_another_host_is_refused() {
    let door = Door::open("localhost", Offers::Direct).await;
    let stranger = Door::open("localhost", Offers::Direct).await;
    let mut ledger = door.ledger("localhost").await;
    ledger.dsql_ca_file = Some(stranger.ca_file.clone());
    let said = refused(ledger.connect().await);
    assert!(said.contains("certificate"), "{said}");
    let said = refused(door.ledger("127.0.0.1").await.connect().await);
    assert!(said.contains("certificate"), "{said}");
    // Without a file only the system's roots are trusted, and none of them signed this.
    let mut ledger = door.ledger("localhost").await;
    ledger.dsql_ca_file = None;
    let said = refused(ledger.connect().await);
    assert!(said.contains("certificate"), "{said}");
    door.close().await;
    stranger.close().await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_as_aurora_dsql() {
    let door = Door::open("localhost", Offers::Direct).await;
    let mut ledger = door.ledger("localhost").await;
    ledger.dsql_endpoint = Some(format!("localhost:{}", door.postgres.as_ref().unwrap().port()));
    refused(ledger.connect().await);
    door.close().await;
}

#[tokio::test]
async fn every_connection_brings_a_token_of_its_own_for_its_role() {
    let door = Door::open("localhost", Offers::Direct).await;
    let url = door.postgres.as_ref().unwrap().database_url();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE ROLE bookkeeper LOGIN").await.unwrap();
    for (user, action) in [("admin", "Action=DbConnectAdmin&"), ("bookkeeper", "Action=DbConnect&")] {
        let mut ledger = door.ledger("localhost").await;
        ledger.dsql_user = user.to_owned();
        let pool = ledger.pool(10).await.unwrap();
        let first = pool.take().await.unwrap();
        // A token is dated to the second.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let second = pool.take().await.unwrap();
        for one in [&first, &second] {
            let row = one.client.query_one("SELECT current_user::text", &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), user);
        }
        let tokens = std::mem::take(&mut *door.visitors.lock().unwrap());
        let [(one, first), (other, second)] = tokens.as_slice() else { panic!("{} came", tokens.len()) };
        assert_eq!((one.as_str(), other.as_str()), (user, user));
        for token in [first, second] {
            let parts = ["localhost/?", action, "X-Amz-Signature=", "X-Amz-Expires=", "eu-central-1"];
            assert!(token.starts_with(parts[0]) && parts.iter().all(|part| token.contains(part)), "{token}");
        }
        assert_ne!(first, second, "signed for each connection");
    }
    door.close().await;
}

/// Credentials that are others each time they are loaded: `key-1`, `key-2` and so on.
#[derive(Debug, Default)]
struct Rotated(AtomicU64);

impl ProvideCredentials for Rotated {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let key = format!("key-{}", self.0.fetch_add(1, Ordering::SeqCst) + 1);
        future::ProvideCredentials::ready(Ok(Credentials::new(key, "secret", None, None, "test")))
    }
}

/// A key is rotated while a settler runs: its tokens are refused, and those of the next one are taken.
#[tokio::test]
async fn a_token_that_is_refused_is_told_and_replaced_with_one_of_fresh_credentials() {
    let world = World::start().await;
    world.provision(1, 1_000_000, 1).await;
    let door = Door::before(world.postgres.as_ref().unwrap(), "localhost", Offers::Direct).await;
    let ledger = door.ledger_with("localhost", Rotated::default()).await;
    let running = Running::of(&world, &[], Rules::default(), ledger);
    world.pend(&auction(1, 1, &[(1, 16)])).await;
    world.until_outbox_is_empty().await;
    let come = |key: &'static str| {
        let visitors = door.visitors.lock().unwrap();
        visitors.iter().filter(|(_, token)| token.contains(key)).count()
    };
    let before = come("key-1%2F");
    assert!(before > 0 && come("key-2%2F") == 0, "tokens are of the first key");

    door.book.revoke("key-1%2F");
    world.pend(&auction(1, 2, &[(1, 32)])).await;
    let refuses = |refuses| {
        let metrics = Arc::clone(&running.metrics);
        tokio::time::timeout(DEADLINE, async move {
            while metrics.ledger_refuses.load(Ordering::Relaxed) != refuses {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
    };
    refuses(1).await.expect("it is told that the ledger lets nobody in");
    world.until_outbox_is_empty().await;
    refuses(0).await.expect("it is told that the ledger lets it in again");
    assert!(come("key-1%2F") > before && come("key-2%2F") > 0, "one of the next key is let in");
    let metrics = running.stop().await;
    assert_eq!((metrics.settled.load(Ordering::Relaxed), metrics.held.load(Ordering::Relaxed)), (2, 0));
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 2);
    world.assert_the_ledger_is_right().await;
    door.close().await;
    world.stop().await;
}

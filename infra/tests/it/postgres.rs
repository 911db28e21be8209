//! `postgres (DSQL stand-in)`: its life, its data, and the isolation that makes it a stand-in.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use infra::local::postgres::{self, Error, PostgresHandle, PostgresOptions, Programs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

/// How long a test waits for the value it expects.
const DEADLINE: Duration = Duration::from_secs(30);

async fn connect(database_url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn setting(client: &Client, name: &str) -> String {
    let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
    row.get(0)
}

/// Sends `signal` to process `pid`.
fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

async fn a_table_with_one_row(server: &PostgresHandle) {
    let client = connect(&server.database_url()).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 17)").await.unwrap();
}

async fn the_row(server: &PostgresHandle) -> i32 {
    let client = connect(&server.database_url()).await;
    client.query_one("SELECT n FROM t WHERE id = 1", &[]).await.unwrap().get(0)
}

async fn wait_until_gone(path: &Path) {
    let deadline = Instant::now() + DEADLINE;
    while path.exists() {
        assert!(Instant::now() < deadline, "{} is still there", path.display());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_temporary_server_starts_for_any_user_and_leaves_nothing() {
    let server = postgres::start(PostgresOptions::temporary()).await.unwrap();
    let client = connect(&server.database_url()).await;
    assert_eq!(setting(&client, "default_transaction_isolation").await, "repeatable read");
    assert_eq!(setting(&client, "fsync").await, "off");
    assert_eq!(setting(&client, "listen_addresses").await, "127.0.0.1");
    assert_eq!(setting(&client, "unix_socket_directories").await, "");
    let dir = server.dir().to_owned();
    assert!(dir.exists());
    server.shutdown().await;
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = postgres::start(PostgresOptions::temporary()).await.unwrap();
    let url = format!("postgres://admin:guess@127.0.0.1:{}/postgres", server.port());
    let refused = tokio_postgres::connect(&url, NoTls).await.err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PASSWORD));
    server.shutdown().await;
}

#[tokio::test]
async fn a_dropped_handle_stops_the_server_and_removes_its_folder() {
    let server = postgres::start(PostgresOptions::temporary()).await.unwrap();
    let dir = server.dir().to_owned();
    drop(server);
    wait_until_gone(&dir).await;
}

#[tokio::test]
async fn a_durable_server_keeps_its_data_and_its_password() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions::in_dir(dir.path().join("postgres"));
    let server = postgres::start(options.clone()).await.unwrap();
    assert_eq!(setting(&connect(&server.database_url()).await, "fsync").await, "on");
    a_table_with_one_row(&server).await;
    let port = server.port();
    let url = server.database_url();
    let folder = server.dir().to_owned();
    server.shutdown().await;

    let server = postgres::start(PostgresOptions { port: Some(port), ..options }).await.unwrap();
    assert_eq!(server.database_url(), url);
    assert_eq!(the_row(&server).await, 17);
    server.shutdown().await;
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_killed_server_recovers_in_the_same_folder() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions::in_dir(dir.path().join("postgres"));
    let mut server = postgres::start(options.clone()).await.unwrap();
    let folder = server.dir().to_owned();
    a_table_with_one_row(&server).await;
    signal(server.process_id().unwrap(), "KILL");
    tokio::time::timeout(DEADLINE, server.ended()).await.unwrap();
    server.shutdown().await;

    let server = postgres::start(options).await.unwrap();
    assert_eq!(the_row(&server).await, 17);
    server.shutdown().await;
    let _ = std::fs::remove_dir_all(folder);
}

/// The guard may be killed with us; then the server lives on until the next start finds it.
#[tokio::test]
async fn a_server_left_behind_is_stopped_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions::in_dir(dir.path().join("postgres"));
    let server = postgres::start(options.clone()).await.unwrap();
    let folder = server.dir().to_owned();
    a_table_with_one_row(&server).await;
    // The same data under another lock: what a process that was killed together with its guard leaves.
    std::fs::rename(folder.join("lock"), folder.join("lock.of.the.dead")).unwrap();

    let successor = postgres::start(options).await.unwrap();
    assert_ne!(successor.process_id(), server.process_id());
    assert_eq!(the_row(&successor).await, 17);
    successor.shutdown().await;
    drop(server);
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn two_processes_never_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions::in_dir(dir.path().join("postgres"));
    let server = postgres::start(options.clone()).await.unwrap();
    let folder = server.dir().to_owned();
    let refused = postgres::start(options).await.unwrap_err();
    assert!(matches!(refused, Error::FolderInUse(_)), "{refused}");
    server.shutdown().await;
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_port_in_use_is_said_to_be_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = PostgresOptions { port: Some(port), ..PostgresOptions::temporary() };
    let refused = postgres::start(options).await.unwrap_err();
    assert!(matches!(refused, Error::PortInUse(found) if found == port), "{refused}");
}

#[tokio::test]
async fn a_folder_without_programs_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs::In(dir.path().to_owned());
    let options = PostgresOptions { programs, ..PostgresOptions::temporary() };
    let refused = postgres::start(options).await.unwrap_err();
    assert!(matches!(&refused, Error::NotABinDir(found) if found == dir.path()), "{refused}");
}

/// The level of DSQL: of two writers of one row the second to finish is told so.
#[tokio::test]
async fn two_transactions_over_one_row_conflict() {
    let server = postgres::start(PostgresOptions::temporary()).await.unwrap();
    a_table_with_one_row(&server).await;
    let mut first = connect(&server.database_url()).await;
    let mut second = connect(&server.database_url()).await;
    let first = first.transaction().await.unwrap();
    let second = second.transaction().await.unwrap();
    for tx in [&first, &second] {
        tx.query_one("SELECT n FROM t WHERE id = 1", &[]).await.unwrap();
    }
    first.execute("UPDATE t SET n = n + 1 WHERE id = 1", &[]).await.unwrap();
    first.commit().await.unwrap();
    let refused = second.execute("UPDATE t SET n = n + 2 WHERE id = 1", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    assert_eq!(the_row(&server).await, 18);
    server.shutdown().await;
}

//! What the local DSQL gives to those who have not logged in: little, and not for long.

use std::time::{Duration, Instant};

use infra::local::dsql::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use super::Local;
use super::wire::{connect, startup};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the other side has closed a connection; gives what it said.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("it is closed");
    // A reset is an end too: what was sent was not read.
    let _ = read;
    said
}

#[tokio::test]
async fn a_long_frame_before_the_log_in_ends_the_connection_before_it_is_read() {
    let local = Local::start().await;
    // A first packet of 64 MiB, of which the first MiB is sent.
    let mut first = connect(&local).await;
    first.write_all(&(64_u32 << 20).to_be_bytes()).await.unwrap();
    let _ = first.write_all(&vec![0; 1 << 20]).await;
    assert_eq!(closed(&mut first).await, b"");
    // The same in place of a password.
    let mut password = connect(&local).await;
    password.write_all(&startup("admin")).await.unwrap();
    assert_eq!(password.read_u8().await.unwrap(), b'R');
    password.write_all(b"p").await.unwrap();
    password.write_all(&70_000_u32.to_be_bytes()).await.unwrap();
    let _ = password.write_all(&vec![0; 60_000]).await;
    closed(&mut password).await;
    // Who has logged in may say more.
    let client = local.connect().await;
    let long = "x".repeat(1 << 20);
    let row = client.query_one("SELECT length($1)", &[&long]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1 << 20);
    local.stop().await;
}

#[tokio::test]
async fn a_log_in_has_a_deadline() {
    let limits = Limits { login_age: Duration::from_millis(300), ..Limits::default() };
    let local = Local::within(limits).await;
    let client = local.connect().await;
    let began = Instant::now();
    let mut silent = connect(&local).await;
    let mut half = connect(&local).await;
    half.write_all(&startup("admin")).await.unwrap();
    closed(&mut silent).await;
    closed(&mut half).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    client.batch_execute("SELECT 1").await.expect("who has logged in stays");
    local.stop().await;
}

#[tokio::test]
async fn strangers_cannot_keep_others_out() {
    let local = Local::start().await;
    let known = local.connect().await;
    // More than PostgreSQL takes in all, each with a place of its own there while it has not given a password.
    let mut strangers = Vec::new();
    for _ in 0..300 {
        let mut stranger = connect(&local).await;
        let _ = stranger.write_all(&startup("admin")).await;
        strangers.push(stranger);
    }
    let connecting = tokio_postgres::connect(local.dsql.database_url(), NoTls);
    let (client, connection) =
        tokio::time::timeout(DEADLINE, connecting).await.expect("in time").expect("a place");
    tokio::spawn(connection);
    client.batch_execute("SELECT 1").await.unwrap();
    known.batch_execute("SELECT 1").await.unwrap();
    closed(&mut strangers[0]).await;
    local.stop().await;
}

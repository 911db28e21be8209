//! What a settler says while it runs.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::picky;
use super::world::{World, auction};
use crate::harness::{Process, command, free_port, stage, wait_for};

/// Auctions of three buckets.
const PENDING: u128 = 3;

fn metrics(port: u16) -> Result<String, String> {
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// Waits for a number in the metrics.
async fn until_shown(port: u16, wanted: String) {
    let what = wanted.clone();
    let look = move || {
        let text = metrics(port)?;
        if text.lines().any(|line| line == wanted) { Ok(()) } else { Err(text) }
    };
    tokio::task::spawn_blocking(move || wait_for(&what, look)).await.unwrap();
}

/// The marks are refused, so that what is decided stays in the outbox and is found at each look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settler_says_every_ten_seconds_how_it_does_and_shows_what_it_found() {
    let world = World::start().await;
    world.provision(3, 1_000, 3).await;
    for number in 1..=PENDING {
        world.pend(&auction(number, 1, &[(number, 16)])).await;
    }
    let is_shut = Arc::new(AtomicBool::new(true));
    let shut = Arc::clone(&is_shut);
    let rule = move |operation: &str, _: &str| {
        let is_refused = operation == "UpdateItem" && shut.load(Ordering::SeqCst);
        is_refused.then_some(("InternalServerError", "try again"))
    };
    let endpoint = picky::open(&world.dynamodb.endpoint_url(), rule).await;
    let folder = tempfile::tempdir().unwrap();
    let (log, port) = (folder.path().join("log"), free_port());
    let mut settler = command(stage("settler"));
    settler.args(["--listen", &format!("127.0.0.1:{port}")]);
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        settler.env(name, "us-east-1");
    }
    settler
        .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
        .env("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:9")
        .env("DATABASE_URL", world.dsql.database_url())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let settler = Process::detached(&mut settler);
    until_shown(port, format!("settler_pending {PENDING}")).await;

    let told = move |at: usize| {
        let path = log.clone();
        let line = move || {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.into_iter().filter(|line| line["message"] == "settling").nth(at);
            line.ok_or_else(|| text.clone())
        };
        tokio::task::spawn_blocking(move || wait_for("a line every 10 s", line))
    };
    let first = told(0).await.unwrap();
    assert_eq!((&first["pending"], &first["settled"]), (&3.into(), &0.into()), "{first}");
    is_shut.store(false, Ordering::SeqCst);
    world.until_outbox_is_empty().await;
    until_shown(port, "settler_pending 0".to_owned()).await;
    let second = told(1).await.unwrap();
    let said = ["decided_in_10_s", "settled", "no_sale", "held", "pending"].map(|name| second[name].clone());
    assert_eq!(said, [3, 3, 0, 0, 0].map(Value::from), "{second}");
    let at = |line: &Value| {
        // The clock of the log is finer than ours.
        let text = line["timestamp"].as_str().unwrap();
        format!("{}Z", &text[..23]).parse::<schemas::time::Millis>().unwrap()
    };
    let between_ms = at(&second).since(at(&first));
    assert!((9_500..20_000).contains(&between_ms), "{first} and {second}");
    settler.signal("TERM");
    assert!(tokio::task::spawn_blocking(|| settler.end()).await.unwrap().status.success());
    world.stop().await;
}

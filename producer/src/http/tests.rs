//! Limits on time and connections, with callers that say nothing.

use runtime::health::Detail;
use runtime::shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::core::standing::Health;
use crate::source::Source;

/// Short, since every test waits for it to pass.
const SHORT: Duration = Duration::from_millis(50);
/// As good as for ever.
const LONG: Duration = Duration::from_secs(600);
/// When a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// A door that takes bids nobody delivers; it closes with the trigger.
async fn open(patience: Patience, connections_max: usize) -> (SocketAddr, shutdown::Trigger, Source) {
    open_for(None, patience, connections_max).await
}

/// [`open`] for callers with this token.
async fn open_for(
    token: Option<&str>,
    patience: Patience,
    connections_max: usize,
) -> (SocketAddr, shutdown::Trigger, Source) {
    let listen = Listen {
        address: "127.0.0.1:0".parse().unwrap(),
        token_file: None,
        body_bytes_max: 65_536,
        connections_max,
        patience,
    };
    let metrics = Arc::new(Metrics::default());
    let (handle, source) = Handle::new(1_048_576, "bids");
    metrics.on_heard(None);
    let door = Door {
        rules: IntakeRules { region: "eu-central-1".parse().unwrap(), rounding: None },
        names: watch::channel(Arc::default()).1,
        token: token.map(|token| Token::new(token.as_bytes(), "it").unwrap()),
        reach: Reach::of(Some(listen.address)),
        handle,
        body_bytes_max: listen.body_bytes_max,
        patience,
        connections_max,
        exporter: Exporter::new(&metrics),
        metrics,
    };
    let listener = bind(&listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, stop) = shutdown::channel();
    tokio::spawn(serve(listener, Arc::new(door), [stop.clone(), stop]));
    (address, trigger, source)
}

/// Says this and reads what comes back until the connection ends.
async fn said(address: SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, socket.read_to_string(&mut answer)).await;
    read.expect("the connection is ended in time").unwrap();
    answer
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_its_connection() {
    let (address, _trigger, _source) = open(Patience { head: SHORT, keep_alive: SHORT, body: LONG }, 8).await;
    for half in ["", "POST /v1/bids HTTP/1.1\r\nhost: localhost\r\n"] {
        let answer = said(address, half).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let between = said(address, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(
        between.starts_with("HTTP/1.1 200"),
        "silence after an answer ends the connection too: {between}"
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_408_and_gives_back_its_memory() {
    let (address, _trigger, _source) = open(Patience { head: LONG, keep_alive: LONG, body: SHORT }, 8).await;
    let kind = "content-type: application/x-ndjson";
    let half = format!(
        "POST /v1/bids HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}\r\ncontent-length: 65536\r\n\r\n{{"
    );
    // The buffer has room for sixteen such bodies at once.
    for _ in 0..20 {
        let answer = said(address, &half).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("send it faster"), "{answer}");
    }
}

#[tokio::test]
async fn beyond_the_most_connections_a_caller_waits_until_one_ends() {
    let (address, _trigger, _source) = open(Patience { head: SHORT, keep_alive: SHORT, body: LONG }, 1).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let answer = said(address, "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let ended = std::io::Read::read(&mut silent.into_std().unwrap(), &mut [0]);
    assert_eq!(ended.ok(), Some(0), "answered only after the other connection was ended");
}

#[tokio::test]
async fn who_brings_no_token_sees_of_health_its_status_and_nothing_else() {
    let token = "0123456789abcdef";
    let patience = Patience { head: LONG, keep_alive: LONG, body: LONG };
    let (address, _trigger, _source) = open_for(Some(token), patience, 8).await;
    let ask = async |line: &str, more: &str| {
        said(address, &format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n")).await
    };
    let right = format!("authorization: bEaReR {token}\r\n");
    for (more, metrics) in [("", 401), ("authorization: Bearer 0123456789abcdeF\r\n", 401), (&right, 200)] {
        let answer = ask("GET /metrics", more).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {metrics} ")), "{answer}");
        assert_eq!(answer.contains("\r\nwww-authenticate: Bearer\r\n"), metrics == 401, "{answer}");
        let answer = ask("GET /health", more).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"status\":\"ok\"}"), "{answer}");
        for path in ["/health", "/metrics"] {
            let (head, whole) =
                (ask(&format!("HEAD {path}"), more).await, ask(&format!("GET {path}"), more).await);
            assert_eq!(head.lines().next(), whole.lines().next(), "{path}");
            assert!(head.ends_with("\r\n\r\n"), "a head has no body: {head}");
        }
    }
}

#[test]
fn why_a_producer_is_unwell_is_told_to_who_brings_the_token() {
    let told = |detail| format!("{:?}", crate::show::health(Health::Missing).answer(detail).body());
    assert!(told(Detail::All).contains("does not exist"));
    let alone = told(Detail::Status);
    assert!(alone.contains("missing") && !alone.contains("does not exist"), "{alone}");
}

//! Callers that hold connections to a stage's listener and ask nothing keep no one else out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Local, Process, text, wait_for};
use crate::listeners::{TOKEN, address, ask};

/// Within this a newcomer is answered; silence alone is let go on for longer by every listener.
const SOON: Duration = Duration::from_secs(4);
const REQUEST: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A stage, how many connections its listener takes at once, and what it is started with.
const STAGES: [(&str, usize, &[&str]); 3] = [
    ("producer", 256, &["--listen", "127.0.0.1:0", "--region", "eu-central-1"]),
    ("processor", 128, &["--listen", "127.0.0.1:0"]),
    ("settler", 128, &["--listen", "127.0.0.1:0"]),
];

fn started(local: &Local, (stage, arguments): (&str, &[&str])) -> (Process, String) {
    let log = format!("{stage}.log");
    let process = local.stage(stage, &log, arguments);
    let address = address(local, &log);
    wait_for(&format!("{stage} is well"), || {
        let (head, body) = ask(&address, "GET /health", "");
        if head.starts_with("http/1.1 200 ") { Ok(()) } else { Err(body) }
    });
    (process, address)
}

/// A connection on which this was said; a whole request has been answered.
fn held(address: &str, said: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(said.as_bytes()).unwrap();
    if said.starts_with(REQUEST) {
        answer(&mut socket);
    }
    socket
}

/// The head of one answer, in lower case.
fn answer(socket: &mut TcpStream) -> String {
    let mut part = [0; 65_536];
    let count = socket.read(&mut part).unwrap();
    assert!(count > 0, "the connection was ended");
    String::from_utf8_lossy(&part[..count]).to_ascii_lowercase()
}

/// Whether the other side ended the connection.
fn is_ended(mut socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let ended = match socket.read(&mut [0; 65_536]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    socket.set_nonblocking(false).unwrap();
    ended
}

#[test]
fn connections_that_ask_nothing_more_shut_no_stages_door() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    for (stage, places, arguments) in STAGES {
        let (process, address) = started(&local, (stage, arguments));
        let half = format!("{REQUEST}GET /health HT");
        for (what, said) in [
            ("silent after an answer", REQUEST),
            ("in the middle of a head behind a request", half.as_str()),
            ("in the middle of a first head", "GET /health HT"),
            ("silent from the start", ""),
        ] {
            let crowd: Vec<TcpStream> = (0..places).map(|_| held(&address, said)).collect();
            let began = Instant::now();
            for _ in 0..3 {
                let (head, _) = ask(&address, "GET /health", "");
                assert!(head.starts_with("http/1.1 200 "), "{stage}, {what}: {head}");
            }
            let took = began.elapsed();
            assert!(took < SOON, "{stage}: {places} connections {what} kept a caller out for {took:?}");
            let ended = crowd.iter().filter(|socket| is_ended(socket)).count();
            assert!((1..=4).contains(&ended), "{stage}, {what}: no more are ended than needed: {ended}");
        }
        process.kill();
    }
}

/// A caller with the token, a scraper or an edge that bids, keeps its connection in a crowd of strangers.
#[test]
fn strangers_leave_a_caller_with_the_token_its_connection() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    std::fs::write(local.path("token"), TOKEN).unwrap();
    let file = local.path("token");
    for (stage, places, arguments) in STAGES {
        let with: [&str; 2] =
            if stage == "producer" { ["--token-file", text(&file)] } else { ["--token", TOKEN] };
        let (process, address) = started(&local, (stage, &[arguments, &with].concat()));
        let asks =
            format!("HEAD /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
        let mut known = held(&address, "");
        known.write_all(asks.as_bytes()).unwrap();
        assert!(answer(&mut known).starts_with("http/1.1 200 "), "{stage}");
        // Each of the second half ends one of the first.
        let strangers: Vec<TcpStream> = (0..places + 8).map(|_| held(&address, REQUEST)).collect();
        assert!(strangers.iter().filter(|socket| is_ended(socket)).count() >= 8, "{stage}");
        known.write_all(asks.as_bytes()).unwrap();
        assert!(
            answer(&mut known).starts_with("http/1.1 200 "),
            "{stage}: the oldest, and it brought the token"
        );
        process.kill();
    }
}

//! What every stage's listener tells callers, with its token and without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Local, text, wait_for};

pub(crate) const TOKEN: &str = "a-token-of-some-length";

/// The head of an answer, in lower case but for its status line's end, and the body.
pub(crate) fn ask(address: &str, line: &str, authorization: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{authorization}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Where a stage listens, by its log.
pub(crate) fn address(local: &Local, log: &str) -> String {
    wait_for(&format!("{log} names where it listens"), || {
        let text = std::fs::read_to_string(local.path(log)).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let found = lines.filter_map(|line| line["address"].as_str().map(str::to_owned)).next();
        found.ok_or(text)
    })
}

#[test]
fn every_stage_tells_its_health_to_all_and_its_metrics_to_who_brings_the_token() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    std::fs::write(local.path("token"), TOKEN).unwrap();
    let file = local.path("token");
    let listens = ["--listen", "127.0.0.1:0"];
    let producer = [&listens[..], &["--region", "eu-central-1", "--token-file", text(&file)]].concat();
    let other = [&listens[..], &["--token", TOKEN]].concat();
    let stages = [("producer", &producer), ("processor", &other), ("settler", &other)];
    let running = stages.map(|(stage, arguments)| local.stage(stage, &format!("{stage}.log"), arguments));
    let right = format!("authorization: BEARER {TOKEN}\r\n");
    let wrong = "authorization: Bearer a-token-of-some-lengtg\r\n";
    for (stage, _) in stages {
        let address = address(&local, &format!("{stage}.log"));
        // Until it has looked around it is not well, and says so to everyone.
        wait_for(&format!("{stage} is well"), || {
            let (head, body) = ask(&address, "GET /health", "");
            if head.starts_with("http/1.1 200 ") { Ok(()) } else { Err(body) }
        });
        let (_, alone) = ask(&address, "GET /health", "");
        assert_eq!(alone, "{\"status\":\"ok\"}", "{stage}: the status alone");
        let (head, whole) = ask(&address, "GET /health", &right);
        assert!(head.contains("\r\ncontent-type: application/json"), "{stage}: {head}");
        let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["status"], "ok", "{stage}: {whole}");
        assert_eq!(whole["seen"].is_string(), stage != "producer", "{stage}: {whole}");
        assert_eq!(ask(&address, "GET /health", wrong).1, alone, "{stage}");
        for (authorization, status) in [("", 401), (wrong, 401), (right.as_str(), 200)] {
            let (head, body) = ask(&address, "GET /metrics", authorization);
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{stage}: {head}");
            assert_eq!(head.contains("\r\nwww-authenticate: bearer"), status == 401, "{stage}: {head}");
            assert_eq!(body.contains("# TYPE"), status == 200, "{stage}");
        }
        for path in ["/health", "/metrics"] {
            let (head, body) = ask(&address, &format!("HEAD {path}"), &right);
            assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{stage} {path}: {head} {body}");
            let (head, _) = ask(&address, &format!("DELETE {path}"), &right);
            assert!(
                head.starts_with("http/1.1 405 ") && head.contains("\r\nallow: get, head"),
                "{stage}: {head}"
            );
        }
        refuses_pages_of_browsers(stage, &address);
        keeps_silent_connections(stage, &address);
    }
    running.into_iter().for_each(|stage| stage.kill());
}

/// A page may send requests to loopback, by its own origin or by a name that leads here.
fn refuses_pages_of_browsers(stage: &str, address: &str) {
    let port = address.rsplit(':').next().unwrap();
    for (line, headers) in [
        ("GET /health", "origin: https://page.example\r\n".to_owned()),
        ("GET /metrics", "origin: null\r\n".to_owned()),
        ("GET /health", "sec-fetch-site: cross-site\r\n".to_owned()),
        (
            "OPTIONS /v1/bids",
            "origin: http://localhost:1\r\naccess-control-request-method: POST\r\n".to_owned(),
        ),
        ("POST /v1/bids", format!("origin: http://127.0.0.1:1{port}\r\ncontent-length: 0\r\n")),
        ("GET /health", "host: page.example\r\n".to_owned()),
    ] {
        let (head, body) = ask(address, line, &headers);
        assert!(head.starts_with("http/1.1 403 "), "{stage} {line} {headers}: {head}");
        assert!(!head.contains("access-control-allow"), "{stage} {line}: {head}");
        assert!(body.contains("is for programs on"), "{stage} {line}: {body}");
    }
}

/// A balancer's connection outlives a silence that is longer than a request's head may take.
fn keeps_silent_connections(stage: &str, address: &str) {
    let mut socket = TcpStream::connect(address).unwrap();
    let began = Instant::now();
    for silence in [0, 11] {
        std::thread::sleep(Duration::from_secs(silence));
        let asked = socket.write_all(b"HEAD /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let (mut answer, mut part) = (String::new(), [0; 512]);
        while asked.is_ok() && !answer.ends_with("\r\n\r\n") {
            let count = socket.read(&mut part).unwrap_or_default();
            assert!(count > 0, "{stage} ended the connection after {:?}", began.elapsed());
            answer.push_str(&String::from_utf8_lossy(&part[..count]).to_ascii_lowercase());
        }
        assert!(answer.contains("\r\nkeep-alive: timeout=75\r\n"), "{stage}: {answer}");
    }
}

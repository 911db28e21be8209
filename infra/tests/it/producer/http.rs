//! The way in over HTTP, as a caller sees it.

use std::io::{Read, Write};
use std::net::TcpStream;

use infra::local::kinesis::Limits;
use schemas::intake::names::Names;
use schemas::intake::{IntakeRules, openrtb};
use schemas::money::Rounding;
use schemas::time::Millis;

use super::process::Process;
use super::*;

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().lines().any(|line| line == header)
    }
}

/// The headers of NDJSON.
pub(super) fn lines() -> Vec<String> {
    vec!["content-type: application/x-ndjson".to_owned()]
}

fn json() -> Vec<String> {
    vec!["content-type: application/json".to_owned()]
}

/// Posts a body on a connection of its own.
pub(super) fn post(address: &str, path: &str, headers: &[String], body: &[u8]) -> std::io::Result<Answer> {
    let head = format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n{}", body.len(), block(headers));
    send(address, &[head.as_bytes(), body].concat())
}

pub(super) fn get(address: &str, path: &str, headers: &[String]) -> std::io::Result<Answer> {
    send(address, format!("GET {path} HTTP/1.1\r\n{}", block(headers)).as_bytes())
}

fn block(headers: &[String]) -> String {
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("host: localhost\r\nconnection: close\r\n{lines}\r\n")
}

fn send(address: &str, request: &[u8]) -> std::io::Result<Answer> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // A server that refuses a long body answers before it has read it all.
    let _ = socket.write_all(request);
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.expect("a status"), head, body: bytes[end + 4..].to_vec() })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writes = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writes.join().unwrap().unwrap();
    output.stdout
}

/// A stream, and a producer that listens, while the test runs on a thread of its own.
async fn with_producer(arguments: &[&str], test: impl FnOnce(&str) -> Vec<Bid> + Send + 'static) {
    let stream = Stream::start(2, Limits::Off).await;
    let url = stream.handle.endpoint_url();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let tested = tokio::task::spawn_blocking(move || {
        let mut all = vec!["--listen", "127.0.0.1:0", "--linger-ms", "5"];
        all.extend(arguments.iter().map(String::as_str));
        let mut process = Process::start(&url, &all);
        let address = process.address();
        // Until it has looked at the stream it is not well.
        process.logged("sending");
        test(&address)
    });
    let accepted = tested.await.unwrap();
    let contents = stream.contents().await;
    accepted.iter().for_each(|bid| holds(&contents, bid));
    assert_eq!(contents.len(), accepted.len(), "nothing but what was accepted is in the stream");
    stream.handle.shutdown().await;
}

fn some(count: usize) -> Vec<Bid> {
    bids(11, 20, runtime::clock::now()).take(count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_arrays_and_gzip_are_taken_and_each_refused_bid_is_listed() {
    with_producer(&[], |address| {
        let all = some(40);
        let (first, rest) = all.split_at(10);
        let answer = post(address, "/v1/bids", &lines(), &ndjson(first)).unwrap();
        assert_eq!(
            (answer.status, answer.json()),
            (200, serde_json::json!({ "accepted": 10, "not_accepted": [] }))
        );
        let (second, rest) = rest.split_at(10);
        let bad = [b"\n{\"amount\":1}\n".to_vec(), ndjson(second), b"nonsense".to_vec()].concat();
        let answer = post(address, "/v1/bids", &lines(), &bad).unwrap();
        let told = answer.json();
        assert_eq!((answer.status, &told["accepted"]), (422, &serde_json::json!(10)));
        let places: Vec<_> = told["not_accepted"].as_array().unwrap().iter().map(|one| &one["at"]).collect();
        assert_eq!(places, ["2", "13"]);
        assert_eq!(told["not_accepted"][0]["answer"], "refused");
        let (third, fourth) = rest.split_at(10);
        let array = |bids: &[Bid]| {
            let text = String::from_utf8(ndjson(bids)).unwrap();
            format!("[{}]", text.trim_end().replace('\n', ",")).into_bytes()
        };
        assert_eq!(post(address, "/v1/bids", &json(), &array(third)).unwrap().status, 200);
        let packed = [json(), vec!["content-encoding: gzip".to_owned()]].concat();
        assert_eq!(post(address, "/v1/bids", &packed, &gzip(&array(fourth))).unwrap().status, 200);
        assert_eq!(post(address, "/v1/bids", &lines(), b"").unwrap().json()["accepted"], 0);
        let metrics = String::from_utf8(get(address, "/metrics", &[]).unwrap().body).unwrap();
        for line in
            ["producer_bids_accepted_total 40", "producer_bids_refused_total 2", "producer_bids_held 0"]
        {
            assert!(metrics.lines().any(|has| has == line), "{line} is not in\n{metrics}");
        }
        assert!(metrics.contains("producer_shard_bids_total{shard=\"shardId-000000000000\"}"), "{metrics}");
        all
    })
    .await;
}

/// The bids that a response gives at this edge, as its specification is read.
fn bids_of(response: &str, rounding: Option<Rounding>, received: Option<Millis>) -> Vec<Bid> {
    let rules = IntakeRules { region: REGION.parse().unwrap(), rounding };
    let names = Names::default();
    let context = openrtb::Context { rules, names: &names, received, bids_max: 100 };
    let read = openrtb::read(response.as_bytes(), &context).unwrap();
    read.bids.iter().filter_map(|one| one.bid.as_ref().ok().map(|read| *read.bid())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_openrtb_response_is_taken_bid_by_bid() {
    with_producer(&[], |address| {
        let all = some(2);
        let rtb = |bid: &Bid| {
            serde_json::json!({ "id": "the same for all", "impid": bid.slot_id,
                "price": serde_json::from_str::<serde_json::Value>(&bid.amount.to_string()).unwrap(),
                "ext": { "latency_ms": bid.latency_ms, "timestamp": bid.event_time.to_string(),
                    "quality_score": serde_json::from_str::<serde_json::Value>(&bid.quality.to_string()).unwrap() } })
        };
        let seat = |bid: &Bid| serde_json::json!({ "seat": bid.account_id, "bid": [rtb(bid), { "id": "no price" }] });
        let unmapped = serde_json::json!({ "seat": "acme", "bid": [rtb(&all[0])] });
        let response =
            serde_json::json!({ "id": "r", "seatbid": [seat(&all[0]), seat(&all[1]), unmapped, null] }).to_string();
        let sent = [b"\xEF\xBB\xBF".as_slice(), response.as_bytes()].concat();
        let answer = post(address, "/v1/openrtb", &json(), &sent).unwrap();
        let told = answer.json();
        assert_eq!((answer.status, &told["accepted"]), (422, &serde_json::json!(2)), "{told}");
        let refused: Vec<_> = told["not_accepted"].as_array().unwrap().iter().map(|one| &one["at"]).collect();
        assert_eq!(refused, ["seatbid[0].bid[1]", "seatbid[1].bid[1]", "seatbid[2].bid[0]", "seatbid[3]"]);
        let why = told["not_accepted"][2]["reason"].as_str().unwrap();
        assert!(why.contains("\"acme\"") && why.contains("exchange provision --names"), "{why}");
        let read = bids_of(&response, None, None);
        let worth = |bids: &[Bid]| bids.iter().map(|bid| (bid.slot_id, bid.account_id, bid.amount)).collect::<Vec<_>>();
        assert_eq!(worth(&read), worth(&all));
        read
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_bids_is_none_in_every_form() {
    with_producer(&[], |address| {
        for body in [
            "",
            "{}",
            r#"{"nbr":2}"#,
            r#"{"id":"r","seatbid":null}"#,
            r#"{"id":"r","seatbid":[{"bid":null}]}"#,
        ] {
            let answer = post(address, "/v1/openrtb", &json(), body.as_bytes()).unwrap();
            let none = serde_json::json!({ "accepted": 0, "not_accepted": [] });
            assert_eq!((answer.status, answer.json()), (200, none), "{body}");
        }
        assert_eq!(post(address, "/v1/openrtb", &[], b"").unwrap().status, 200, "nothing has no media type");
        assert_eq!(post(address, "/v1/openrtb", &[], b"{}").unwrap().status, 415);
        Vec::new()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounded_prices_are_told_beside_what_was_offered() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record.ndjson");
    let path = record.to_str().unwrap().to_owned();
    with_producer(&["--round-prices", "half-even", "--record", &path], |address| {
        let bid = some(1)[0];
        let (slot, account) = (bid.slot_id, bid.account_id);
        let response = format!(
            r#"{{"id":"r","cur":"","seatbid":[{{"seat":"{account}","bid":[{{"id":"1","impid":"{slot}","price":1.234567}}]}}]}}"#
        );
        let received = vec![format!("x-event-time: {}", bid.event_time)];
        let answer = post(address, "/v1/openrtb", &[json(), received.clone()].concat(), response.as_bytes()).unwrap();
        let read = bids_of(&response, Some(Rounding::HalfEven), Some(bid.event_time));
        let id = read[0].bid_id;
        let expected = serde_json::json!({
            "accepted": 1, "not_accepted": [],
            "rounded": [{ "at": "seatbid[0].bid[0]", "bid_id": id, "offered": "1.234567", "amount": "1.2346" }],
            "passed_over": [{ "field": "cur", "reason": "is empty, so it is USD; leave it out" }],
        });
        assert_eq!((answer.status, answer.json()), (200, expected));
        let bad = vec!["x-event-time: yesterday".to_owned()];
        let refused = post(address, "/v1/openrtb", &[json(), bad].concat(), response.as_bytes()).unwrap();
        assert!(refused.status == 400 && refused.json()["error"].as_str().unwrap().contains("RFC 3339"));
        let tiny = String::from_utf8(ndjson(&[bid])).unwrap().replace(&bid.amount.to_string(), "0.00005");
        let refused = post(address, "/v1/bids", &lines(), tiny.as_bytes()).unwrap();
        assert_eq!(refused.json()["not_accepted"][0]["reason"], "rounds to zero; offer at least 0.0001");
        let metrics = String::from_utf8(get(address, "/metrics", &[]).unwrap().body).unwrap();
        assert!(metrics.lines().any(|line| line == "producer_bids_rounded_total 1"), "{metrics}");
        read
    })
    .await;
    // The process was killed: what it had written is not of interest here, only that the file was its.
    assert!(record.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beyond_a_limit_is_refused_and_changes_nothing() {
    with_producer(&["--body-bytes", "65536"], |address| {
        let long = vec![b' '; 70_000];
        assert_eq!(post(address, "/v1/bids", &lines(), &long).unwrap().status, 413);
        let packed = [lines(), vec!["content-encoding: gzip".to_owned()]].concat();
        assert_eq!(post(address, "/v1/bids", &packed, &gzip(&vec![b' '; 20_000_000])).unwrap().status, 413);
        assert_eq!(post(address, "/v1/bids", &packed, b"not gzip").unwrap().status, 400);
        let odd = [lines(), vec!["content-encoding: br".to_owned()]].concat();
        assert_eq!(post(address, "/v1/bids", &odd, b"x").unwrap().status, 415);
        let line = format!("{{\"amount\":\"{}\"}}\n", "1".repeat(20_000));
        let told = post(address, "/v1/bids", &lines(), line.as_bytes()).unwrap();
        assert!(told.json()["not_accepted"][0]["reason"].as_str().unwrap().contains("16384 bytes"));
        let form = vec!["content-type: text/plain".to_owned()];
        assert_eq!(post(address, "/v1/bids", &form, b"x").unwrap().status, 415, "a web page could send that");
        let wrong = get(address, "/v1/bids", &[]).unwrap();
        assert!(wrong.status == 405 && wrong.has("allow: post"));
        assert_eq!(get(address, "/elsewhere", &[]).unwrap().status, 404);
        assert_eq!(post(address, "/v1/openrtb", &json(), b"[1]").unwrap().status, 400);
        Vec::new()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_buffer_answers_429_with_retry_after() {
    let stream = Stream::start(1, Limits::Off).await;
    let url = stream.handle.endpoint_url();
    let arguments = ["--listen", "127.0.0.1:0", "--buffer-bytes", "1048576", "--drain-s", "1"];
    let mut process = tokio::task::spawn_blocking(move || Process::start(&url, &arguments)).await.unwrap();
    let address = process.address();
    process.logged("sending");
    stream.handle.shutdown().await;
    tokio::task::spawn_blocking(move || {
        let text = ndjson(&some(1_000));
        std::thread::scope(|scope| {
            // The buffer has room for two of these and not for a third, whichever comes first. Those two are held until
            // the stream is back, which it never is, so the first answer is the one that was turned away.
            let (told, answers) = std::sync::mpsc::channel();
            for _ in 0..3 {
                let (told, address, text) = (told.clone(), &address, &text);
                scope.spawn(move || told.send(post(address, "/v1/bids", &lines(), text).unwrap()).unwrap());
            }
            let answer = answers.recv_timeout(PATIENCE).unwrap();
            assert_eq!(answer.status, 429, "{}", answer.head);
            assert!(answer.has("retry-after: 1"), "{}", answer.head);
            // It lives, and says so until the stream was away for a while.
            let health = || get(&address, "/health", &[]).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while health().status == 200 {
                assert!(Instant::now() < deadline, "an absence of the stream is not told");
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!((health().status, &health().json()["status"]), (503, &"away".into()));
            process.stop();
            for _ in 0..2 {
                let held = answers.recv_timeout(PATIENCE).unwrap();
                assert_eq!(held.status, 503, "{}", held.head);
                assert_eq!(held.json()["not_accepted"].as_array().unwrap().len(), 1_000, "each is listed");
            }
        });
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_than_loopback_needs_a_token_and_a_token_is_needed_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token").to_str().unwrap().to_owned();
    std::fs::write(&path, "a token of some length\n").unwrap();
    let ended = tokio::task::spawn_blocking(|| {
        Process::start("http://127.0.0.1:1", &["--listen", "0.0.0.0:0"]).end()
    });
    let (status, log) = ended.await.unwrap();
    assert!(status.code() == Some(64) && log.contains("--token-file"), "{log}");
    std::fs::write(&path, "a-token-of-some-length\n").unwrap();
    with_producer(&["--token-file", &path], |address| {
        let all = some(3);
        assert_eq!(post(address, "/v1/bids", &lines(), &ndjson(&all)).unwrap().status, 401);
        assert_eq!(get(address, "/metrics", &[]).unwrap().status, 401);
        assert_eq!(get(address, "/health", &[]).unwrap().status, 200);
        let with = |token: &str| [lines(), vec![format!("authorization: Bearer {token}")]].concat();
        let wrong = with("a-token-of-some-lengtg");
        assert_eq!(post(address, "/v1/bids", &wrong, &ndjson(&all)).unwrap().status, 401);
        let right = with("a-token-of-some-length");
        assert_eq!(post(address, "/v1/bids", &right, &ndjson(&all)).unwrap().status, 200);
        all
    })
    .await;
}

//! The stream is deleted: health says so, bids are told why, and the last line of the log has the reason.

use infra::local::kinesis::Limits;
use serde_json::Value;

use super::http::{get, lines, post};
use super::process::Process;
use super::*;

const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:0", "--linger-ms", "5"];
const MISSING: &str = "stream bids does not exist; make it with `exchange provision`";

async fn delete(stream: &Stream) {
    stream.clients.kinesis.delete_stream().stream_name(STREAM).send().await.unwrap();
}

fn health(address: &str) -> (u16, Value) {
    let answer = get(address, "/health", &[]).unwrap();
    (answer.status, answer.json()["status"].clone())
}

async fn until_healthy(address: &str, status: u16, word: &str) {
    until(word, || health(address) == (status, word.into())).await;
}

/// Every line of a log, as its fields.
fn parsed(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

async fn ended(mut process: Process) -> (Option<i32>, Vec<Value>) {
    let (status, log) = tokio::task::spawn_blocking(move || process.end()).await.unwrap();
    (status.code(), parsed(&log))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_is_told_by_health_also_when_nobody_sends() {
    let stream = Stream::start(4, Limits::Aws).await;
    let mut process = Process::start(&stream.handle.endpoint_url(), &LISTEN);
    let address = process.address();
    process.logged("sending");
    assert_eq!(health(&address), (200, "ok".into()));
    delete(&stream).await;
    until_healthy(&address, 503, "missing").await;
    let told = get(&address, "/health", &[]).unwrap().json();
    assert_eq!(told["reason"], "the stream does not exist");
    let metrics = String::from_utf8(get(&address, "/metrics", &[]).unwrap().body).unwrap();
    assert!(metrics.lines().any(|line| line == "producer_stream_away 1"), "{metrics}");

    // Made again, with other shards under the names of before: bids go where they belong.
    stream.clients.kinesis.create_stream().stream_name(STREAM).shard_count(5).send().await.unwrap();
    until_healthy(&address, 200, "ok").await;
    let all: Vec<Bid> = bids(21, 200, runtime::clock::now()).take(2_000).collect();
    let (to, body) = (address.clone(), ndjson(&all));
    let answer = tokio::task::spawn_blocking(move || post(&to, "/v1/bids", &lines(), &body).unwrap());
    assert_eq!(answer.await.unwrap().json()["accepted"], 2_000);
    let contents = stream.contents().await;
    all.iter().for_each(|bid| holds(&contents, bid));

    // Gone again, and told to whoever sends.
    delete(&stream).await;
    let answer =
        tokio::task::spawn_blocking(move || post(&address, "/v1/bids", &lines(), &ndjson(&all[..1])));
    let answer = answer.await.unwrap().unwrap();
    let told = &answer.json()["not_accepted"][0];
    assert_eq!((answer.status, &told["answer"]), (503, &"undelivered".into()), "{told}");
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains(MISSING) && reason.ends_with("then send it again"), "{reason}");
    let (code, log) = ended(process).await;
    let last = log.last().unwrap();
    assert_eq!((code, &last["stage"], &last["exit_code"]), (Some(64), &"producer".into(), &64.into()));
    assert!(last["message"].as_str().unwrap().contains(MISSING), "{last}");
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_that_a_deleted_stream_refuses_are_told_so_line_by_line() {
    let stream = Stream::start(2, Limits::Aws).await;
    let folder = tempfile::tempdir().unwrap();
    let rejects = folder.path().join("rejects.ndjson");
    let arguments = ["--rejects", rejects.to_str().unwrap()];
    let mut process = Process::start(&stream.handle.endpoint_url(), &arguments);
    process.logged("sending");
    delete(&stream).await;
    let text = ndjson(&bids(22, 20, runtime::clock::now()).take(30).collect::<Vec<_>>());
    std::io::Write::write_all(&mut process.input(), &text).unwrap();
    let (code, log) = ended(process).await;
    assert_eq!((code, &log.last().unwrap()["exit_code"]), (Some(64), &64.into()));
    let told = parsed(&std::fs::read_to_string(&rejects).unwrap());
    assert_eq!(told.len(), 30);
    for line in &told {
        let reason = line["reason"].as_str().unwrap();
        assert!(line["answer"] == "undelivered" && reason.contains(MISSING), "{line}");
        assert!(!reason.contains("in time"), "{line}");
    }
    stream.handle.shutdown().await;
}

/// Whoever sent the bad bid was told; whoever runs the server has nothing to mend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refused_a_bad_bid_did_its_work() {
    let stream = Stream::start(1, Limits::Aws).await;
    let mut process = Process::start(&stream.handle.endpoint_url(), &LISTEN);
    let address = process.address();
    process.logged("sending");
    let good = bids(23, 5, runtime::clock::now()).next().unwrap();
    let body = [b"nonsense\n".to_vec(), ndjson([&good])].concat();
    let answer = tokio::task::spawn_blocking(move || post(&address, "/v1/bids", &lines(), &body).unwrap());
    assert_eq!(answer.await.unwrap().status, 422);
    process.stop();
    let (code, log) = ended(process).await;
    let last = log.last().unwrap();
    assert_eq!((code, &last["message"]), (Some(0), &"producer stopped".into()), "{last}");
    let counts = ["sent", "accepted", "refused", "undelivered"].map(|name| last[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(1), Some(0)], "as fields of the line: {last}");

    // The same line on a pipe is told by the exit code.
    let mut process = Process::start(&stream.handle.endpoint_url(), &[]);
    std::io::Write::write_all(&mut process.input(), b"nonsense\n").unwrap();
    let (code, log) = ended(process).await;
    assert_eq!((code, &log.last().unwrap()["refused"]), (Some(1), &1.into()));
    stream.handle.shutdown().await;
}

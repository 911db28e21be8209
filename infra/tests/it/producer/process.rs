//! The producer as a process: killed, asked to stop, and fed a large file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use infra::local::kinesis::Limits;
use rustix::process::{Pid, Signal, kill_process};

use super::http::{lines, post};
use super::*;
use crate::harness::stage;

/// A running producer; killed when it is dropped.
pub(super) struct Process {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Process {
    pub(super) fn start(url: &str, arguments: &[&str]) -> Self {
        Self::start_into(Stdio::null(), url, arguments)
    }

    /// With this standard output.
    pub(super) fn start_into(stdout: Stdio, url: &str, arguments: &[&str]) -> Self {
        Self::spawn(stdout, [url, "http://127.0.0.1:1"], &[&["--no-table"], arguments].concat())
    }

    /// With the tables of this DynamoDB.
    pub(super) fn knowing(urls: [&str; 2], arguments: &[&str]) -> Self {
        Self::spawn(Stdio::null(), urls, arguments)
    }

    fn spawn(stdout: Stdio, [kinesis, dynamodb]: [&str; 2], arguments: &[&str]) -> Self {
        let mut child = Command::new(stage("producer"))
            .args(["--stream", STREAM, "--region", REGION])
            .args(arguments)
            .env("AWS_ENDPOINT_URL_KINESIS", kinesis)
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_REGION", runtime::clients::LOCAL_REGION)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env_remove("PRODUCER_TOKEN")
            .env_remove("AGGREGATES_TABLE")
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The first line of the log with this message.
    pub(super) fn logged(&mut self, message: &str) -> serde_json::Value {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            let event = serde_json::from_str::<serde_json::Value>(&line);
            if let Some(event) = event.ok().filter(|event| event["message"] == message) {
                return event;
            }
            line.clear();
        }
        panic!("the log ends without {message}");
    }

    /// Where it listens.
    pub(super) fn address(&mut self) -> String {
        self.logged("listening")["address"].as_str().unwrap().to_owned()
    }

    /// Asks it to stop.
    pub(super) fn stop(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// The highest memory so far, in KiB, while it runs.
    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Its standard input, which is open as long as this is held.
    pub(super) fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(super) fn end(&mut self) -> (ExitStatus, String) {
        drop(self.child.stdin.take());
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The summary that a producer left.
pub(super) fn summary(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_nothing_acknowledged_is_missing() {
    let stream = Stream::start(4, Limits::Aws).await;
    let url = stream.handle.endpoint_url();
    let sent = tokio::task::spawn_blocking(move || {
        let mut process = Process::start(&url, &["--listen", "127.0.0.1:0", "--linger-ms", "5"]);
        let address = process.address();
        let (killed, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let callers = [1_u64, 2, 3, 4].map(|seed| {
                let (address, killed, answered) = (&address, &killed, &answered);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut bids = bids(seed, 100, runtime::clock::now());
                    while !killed.load(Ordering::SeqCst) {
                        let batch: Vec<Bid> = bids.by_ref().take(50).collect();
                        // A caller whose connection breaks knows nothing of its bids.
                        let Ok(answer) = post(address, "/v1/bids", &lines(), &ndjson(&batch)) else { break };
                        if answer.status == 200 {
                            assert_eq!(answer.json()["accepted"], 50);
                            acknowledged.extend(batch);
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    acknowledged
                })
            });
            let deadline = Instant::now() + PATIENCE;
            while answered.load(Ordering::SeqCst) < 40 {
                assert!(Instant::now() < deadline, "nothing is answered");
                std::thread::yield_now();
            }
            process.signal(Signal::KILL);
            killed.store(true, Ordering::SeqCst);
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<Bid>>()
        })
    });
    let acknowledged = sent.await.unwrap();
    assert!(acknowledged.len() >= 2_000);
    let contents = stream.contents().await;
    acknowledged.iter().for_each(|bid| holds(&contents, bid));
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_delivers_what_was_read_and_says_so() {
    let stream = Stream::start(2, Limits::Aws).await;
    let folder = tempfile::tempdir().unwrap();
    let (url, json) = (stream.handle.endpoint_url(), folder.path().join("summary.json"));
    let all: Vec<Bid> = bids(5, 50, runtime::clock::now()).take(20_000).collect();
    let text = ndjson(&all);
    let path = json.clone();
    let ended = tokio::task::spawn_blocking(move || {
        // The last ones would not leave by themselves: only the drain sends what waits for company.
        let mut process = Process::start(&url, &["--linger-ms", "10000", "--json", path.to_str().unwrap()]);
        process.logged("sending");
        // The pipe stays open: only the signal ends it. What is written has been read when the next write is taken.
        let input = process.child.stdin.as_mut().unwrap();
        input.write_all(&text).unwrap();
        input.write_all(&[b'\n'; 1 << 17]).unwrap();
        process.signal(Signal::TERM);
        let mut log = String::new();
        process.log.read_to_string(&mut log).unwrap();
        (process.child.wait().unwrap(), log)
    });
    let (status, log) = ended.await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    let summary = summary(&json);
    assert_eq!((summary["accepted"].as_u64(), summary["sent"].as_u64()), (Some(20_000), Some(20_000)));
    let contents = stream.contents().await;
    all.iter().for_each(|bid| holds(&contents, bid));
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_line_at_sigterm_is_refused_and_what_was_offered_is_recorded() {
    let stream = Stream::start(1, Limits::Off).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, rejects, record) = (path("summary.json"), path("rejects.ndjson"), path("record.ndjson"));
    let url = stream.handle.endpoint_url();
    let bid = bids(5, 50, runtime::clock::now()).next().unwrap();
    let line = String::from_utf8(ndjson(&[bid])).unwrap();
    let finer = line.replace(&bid.amount.to_string(), &format!("{}49", bid.amount));
    let half = line[..line.len() / 2].to_owned();
    let (told, files) = (half.clone(), [json.clone(), rejects.clone(), record.clone()]);
    let ended = tokio::task::spawn_blocking(move || {
        let [json, rejects, record] = &files;
        let arguments = ["--json", json, "--rejects", rejects, "--record", record, "--round-prices", "down"];
        let mut process = Process::start(&url, &arguments);
        process.logged("sending");
        let input = process.child.stdin.as_mut().unwrap();
        input.write_all(format!("\u{feff}{finer}").as_bytes()).unwrap();
        input.write_all(half.as_bytes()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while rustix::io::ioctl_fionread(&*input).unwrap() > 0 {
            assert!(Instant::now() < deadline, "half a line stays in the pipe");
            std::thread::yield_now();
        }
        process.signal(Signal::TERM);
        let mut log = String::new();
        process.log.read_to_string(&mut log).unwrap();
        (process.child.wait().unwrap(), log)
    });
    let (status, log) = ended.await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let summary = summary(Path::new(&json));
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(["sent", "accepted", "refused", "rounded"].map(count), [2, 1, 1, 1]);
    let rejects = std::fs::read_to_string(rejects).unwrap();
    let rejected: serde_json::Value = serde_json::from_str(&rejects).unwrap();
    assert_eq!((rejected["text"].as_str(), rejected["field"].as_str()), (Some(told.as_str()), Some("line")));
    assert!(rejected["reason"].as_str().unwrap().contains("request to stop"), "{rejects}");
    let recorded = std::fs::read_to_string(record).unwrap();
    let offered = format!("\"offered\":\"{}49\"", bid.amount);
    assert!(recorded.contains(&offered) && recorded.lines().count() == 1, "{recorded}");
    assert_eq!(schemas::intake::parse_line(recorded.as_bytes(), bid.region), Ok(bid), "it can be sent again");
    holds(&stream.contents().await, &bid);
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_kinesis_is_away_ends_in_time_and_names_every_bid() {
    let stream = Stream::start(2, Limits::Aws).await;
    let folder = tempfile::tempdir().unwrap();
    let (json, rejects) = (folder.path().join("summary.json"), folder.path().join("rejects.ndjson"));
    let all: Vec<Bid> = bids(6, 50, runtime::clock::now()).take(3_000).collect();
    let text = ndjson(&all);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (json_path, rejects_path) = (path(&json), path(&rejects));
    let url = stream.handle.endpoint_url();
    let arguments = ["--drain-s", "1", "--json", &json_path, "--rejects", &rejects_path];
    let mut process = Process::start(&url, &arguments);
    process.logged("sending");
    stream.handle.shutdown().await;
    let ended = tokio::task::spawn_blocking(move || {
        let input = process.child.stdin.as_mut().unwrap();
        input.write_all(&text).unwrap();
        input.write_all(&[b'\n'; 1 << 17]).unwrap();
        process.signal(Signal::TERM);
        let asked = Instant::now();
        let mut log = String::new();
        process.log.read_to_string(&mut log).unwrap();
        (process.child.wait().unwrap(), log, asked.elapsed())
    });
    let (status, log, took) = ended.await.unwrap();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(took < Duration::from_secs(10), "the grace period is one second, and it took {took:?}");
    let summary = summary(&json);
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((count("sent"), count("accepted")), (3_000, 0));
    assert_eq!(count("undelivered") + count("unknown"), 3_000);
    let told = std::fs::read_to_string(&rejects).unwrap();
    let numbers: Vec<u64> = told
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap())
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=3_000).collect::<Vec<_>>(), "each bid is named once");
}

/// What may be wrong with a line: the field that is blamed, and the change that makes it so.
const BAD: [(&str, &str, &str); 17] = [
    ("line", "{", "["),
    ("line", "}", ""),
    ("line", "\"bid_id\":", "\"bid_id\""),
    ("line", ",\"slot_id\"", "\"slot_id\""),
    ("line", "}", "}}"),
    ("bid_id", "\"bid_id\":\"", "\"bid_id\":\"x"),
    ("slot_id", "\"slot_id\":\"", "\"slot_id\":\"-"),
    ("account_id", "\"account_id\"", "\"account_id\":null,\"bid_id\""),
    ("amount", "\"amount\":\"", "\"amount\":\"-"),
    ("amount", "\"amount\":\"", "\"amount\":\"0.00000"),
    ("amount", "\"amount\":\"", "\"amount\":\"100000000000000"),
    ("latency_ms", "\"latency_ms\":", "\"latency_ms\":-"),
    ("latency_ms", "{", "{\"latency_ms\":1,"),
    ("quality_score", "\"quality_score\":", "\"quality_score\":7"),
    ("timestamp", "\"timestamp\":\"", "\"timestamp\":\"yesterday "),
    ("region", "{", "{\"region\":\"us-east-1\","),
    ("colour", "{", "{\"colour\":\"red\","),
];
/// Spoils a line.
type Spoil = fn(&mut Vec<u8>);
/// What no text can say: bytes that are none, a line beyond the longest, and one that lacks a field.
const WORSE: [(&str, Spoil); 3] = [
    ("line", |line| line[9] = 0xFF),
    ("line", |line| line.splice(0..0, [b' '; 16 * 1_024]).for_each(drop)),
    ("quality_score", |line| {
        let text = String::from_utf8(std::mem::take(line)).unwrap();
        let (before, rest) = text.split_once("\"quality_score\":").unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        *line = format!("{before}{after}").into_bytes();
    }),
];
const LINES: u64 = 1_000_000;

/// A million lines with one bad line in a hundred of each kind; answers the field that is blamed by line.
fn write_lines(path: &Path) -> BTreeMap<u64, &'static str> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut bad = BTreeMap::new();
    let (mut bids, mut line) = (bids(9, 200, runtime::clock::now()), Vec::new());
    for number in 1..=LINES {
        line.clear();
        schemas::intake::to_line(&bids.next().unwrap(), &mut line);
        let kind = usize::try_from((number * 37) % 100).unwrap();
        if let Some((field, from, to)) = BAD.get(kind) {
            let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
            line = text.replacen(from, to, 1).into_bytes();
            bad.insert(number, *field);
        } else if let Some((field, spoil)) = WORSE.get(kind - BAD.len()) {
            spoil(&mut line);
            bad.insert(number, *field);
        }
        out.write_all(&line).unwrap();
    }
    out.flush().unwrap();
    bad
}

/// Most memory of the whole process, in KiB: code, 8 MiB for bids, requests of 4 MiB and what the SDK makes of them.
const PEAK_KIB_MAX: u64 = 128 * 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_lines_are_counted_exactly_in_flat_memory() {
    let stream = Stream::start(4, Limits::Off).await;
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (input, json, rejects) = (name("bids.ndjson"), name("summary.json"), name("rejects.ndjson"));
    let url = stream.handle.endpoint_url();
    let written = input.clone();
    let bad = tokio::task::spawn_blocking(move || write_lines(Path::new(&written))).await.unwrap();
    let arguments = ["--input", &input, "--json", &json, "--rejects", &rejects, "--buffer-bytes", "8388608"];
    let mut process = Process::start(&url, &arguments);
    let ended = tokio::task::spawn_blocking(move || {
        let reads = std::thread::spawn({
            let mut log = std::mem::replace(&mut process.log, BufReader::new(dead_pipe()));
            move || log.read_to_end(&mut Vec::new()).unwrap()
        });
        let (mut peak, mut early) = (0, None);
        let began = Instant::now();
        while process.child.try_wait().unwrap().is_none() {
            peak = process.peak_kib().unwrap_or(peak);
            if early.is_none() && began.elapsed() > Duration::from_secs(1) {
                early = Some(peak);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        reads.join().unwrap();
        (process.child.wait().unwrap(), early, peak, began.elapsed())
    });
    let (status, early, peak, took) = ended.await.unwrap();
    println!("{LINES} lines in {took:?}: memory at most {peak} KiB, {early:?} KiB after a second");
    assert_eq!(status.code(), Some(1));
    let summary = summary(Path::new(&json));
    let count = |name: &str| summary[name].as_u64().unwrap();
    let refused = u64::try_from(bad.len()).unwrap();
    assert_eq!(refused, LINES / 100 * u64::try_from(BAD.len() + WORSE.len()).unwrap());
    assert_eq!((count("sent"), count("refused"), count("accepted")), (LINES, refused, LINES - refused));
    let told = std::fs::read_to_string(&rejects).unwrap();
    let mut found = BTreeMap::new();
    for line in told.lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        let before = found.insert(told["line"].as_u64().unwrap(), told["field"].as_str().unwrap().to_owned());
        assert_eq!(before, None, "{line}");
    }
    assert!(
        found.iter().map(|(line, field)| (*line, field.as_str())).eq(bad),
        "another line or field is blamed"
    );
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    stream.handle.shutdown().await;
}

/// Something to hold where a pipe was taken out.
fn dead_pipe() -> std::process::ChildStderr {
    let mut child = Command::new("true").stderr(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    child.stderr.take().unwrap()
}

//! More than a shard takes, and more than anyone takes.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use infra::local::kinesis::Limits;
use producer::Producer;
use schemas::hash::HashKey;

use super::process::{Process, summary};
use super::*;

/// Bids of one half of the hash space.
fn half(seed: u64, upper: bool) -> impl Iterator<Item = Bid> {
    let is_upper = |bid: &Bid| HashKey::of_slot(&bid.slot_id).0 > u128::MAX / 2;
    bids(seed, 50, runtime::clock::now()).filter(move |bid| is_upper(bid) == upper)
}

/// Entries that a shard refused for its rate.
fn refused(producer: &Producer, shard: &str) -> u64 {
    let label = producer::metrics::ShardLabel { shard: shard.to_owned() };
    producer.metrics().series.shard_throttled.get(&label).map_or(0, |counter| counter.get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_above_its_rate_is_slowed_to_it_and_the_other_goes_on_undisturbed() {
    let stream = Stream::start(2, Limits::Aws).await;
    // A record a bid, and a shard takes a thousand a second: the hot one is busy for ten seconds.
    let config = config(&["--envelope", "plain", "--linger-ms", "5"]);
    let producer = Arc::new(Producer::start(config, stream.clients.clone()));
    let hot: Vec<Bid> = half(1, true).take(10_000).collect();
    let sending = {
        let (producer, hot) = (Arc::clone(&producer), hot.clone());
        tokio::spawn(async move { producer.send_all(hot).await })
    };
    until("the hot shard refuses", || refused(&producer, "shardId-000000000001") > 0).await;
    let calm: Vec<Bid> = half(2, false).take(200).collect();
    for bid in &calm {
        producer.send(*bid).await.unwrap();
    }
    assert!(!sending.is_finished(), "the hot shard's bids held up the other's");
    for answer in sending.await.unwrap() {
        answer.unwrap();
    }
    assert_eq!(refused(&producer, "shardId-000000000000"), 0);
    let refused = refused(&producer, "shardId-000000000001");
    let summary = Arc::into_inner(producer).unwrap().close().await.unwrap();
    println!("{refused} entries refused for their rate; {summary}");
    assert_eq!((summary.accepted, summary.throttled), (10_200, refused));
    assert!(refused < 10_000, "a rate that is learned is seldom exceeded: {refused} refused");
    let contents = stream.contents().await;
    hot.iter().chain(&calm).for_each(|bid| holds(&contents, bid));
    stream.handle.shutdown().await;
}

/// Lines on standard input: far more than fit anywhere.
const LINES: usize = 100_000;
/// Bids that fit into the buffer.
const BUFFER: u64 = 2_048;
/// What may have been read beyond that: 4,096 lines and what one read gave, 256 KiB of lines of some 250 bytes.
const AHEAD: u64 = 4_096 + 2 * 1_100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_buffer_stops_standard_input() {
    let stream = Stream::start(1, Limits::Off).await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("summary.json");
    let (url, path) = (stream.handle.endpoint_url(), json.to_str().unwrap().to_owned());
    let bytes = (BUFFER * 512).to_string();
    let mut process = Process::start(&url, &["--buffer-bytes", &bytes, "--drain-s", "1", "--json", &path]);
    process.logged("sending");
    stream.handle.shutdown().await;
    let ended = tokio::task::spawn_blocking(move || {
        let mut input = process.input();
        let written = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&written);
        let writer = std::thread::spawn(move || {
            for bid in bids(4, 50, runtime::clock::now()).take(LINES) {
                // When the producer is gone the pipe breaks.
                if input.write_all(&ndjson([&bid])).is_err() {
                    return;
                }
                progress.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (mut seen, mut since) = (0, Instant::now());
        while seen < BUFFER || since.elapsed() < Duration::from_secs(1) {
            let now = written.load(Ordering::SeqCst);
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{seen} lines are read and no more");
            std::thread::yield_now();
        }
        let blocked = !writer.is_finished();
        process.stop();
        let ended = process.end();
        writer.join().unwrap();
        (blocked, ended)
    });
    let (blocked, (status, log)) = ended.await.unwrap();
    assert!(blocked, "all lines were read while none could be sent");
    assert_eq!(status.code(), Some(69), "{log}");
    let sent = summary(&json)["sent"].as_u64().unwrap();
    assert!((BUFFER..=BUFFER + AHEAD).contains(&sent), "{sent} lines were taken into a buffer of {BUFFER}");
}

//! Kinesis goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use infra::local::kinesis::{KinesisOptions, Limits, start};
use producer::{Intake, Producer};

use super::*;

/// What fits into the smallest buffer the tests use.
const BUFFER_BYTES: u64 = 1_048_576;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_arrives_when_kinesis_is_back_and_memory_is_bounded_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let options = |listen: &str| KinesisOptions {
        listen: listen.parse().unwrap(),
        dir: Some(folder.path().to_owned()),
        limits: Limits::Aws,
        ..KinesisOptions::default()
    };
    let handle = start(options("127.0.0.1:0")).await.unwrap();
    let (url, address) = (handle.endpoint_url(), handle.endpoint_url().replace("http://", ""));
    let clients = Clients::local(&url, "http://127.0.0.1:1").await;
    clients.kinesis.create_stream().stream_name(STREAM).shard_count(2).send().await.unwrap();
    let buffer = BUFFER_BYTES.to_string();
    let config = config(&["--buffer-bytes", &buffer, "--deliver-s", "120", "--linger-ms", "20"]);
    let producer = Arc::new(Producer::start(config, clients.clone()));
    let all: Vec<Bid> = bids(3, 50, runtime::clock::now()).take(12_000).collect();
    for answer in producer.send_all(all[..1_000].to_vec()).await {
        answer.unwrap();
    }
    handle.shutdown().await;
    let sending = {
        let (producer, rest) = (Arc::clone(&producer), all[1_000..].to_vec());
        tokio::spawn(async move { producer.send_all(rest).await })
    };
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let metrics = || producer.metrics();
    until("the producer tries in vain", || get(&metrics().retries) >= 20).await;
    assert!(!sending.is_finished() && get(&metrics().accepted) == 1_000);
    assert!(get(&metrics().held) <= BUFFER_BYTES / 512, "{} bids are held", get(&metrics().held));
    let handle = start(options(&address)).await.unwrap();
    for answer in tokio::time::timeout(PATIENCE, sending).await.expect("all is answered").unwrap() {
        answer.unwrap();
    }
    let summary = Arc::into_inner(producer).unwrap().close().await.unwrap();
    assert_eq!((summary.accepted, summary.exit_code(Intake::Calls)), (12_000, 0));
    let contents = contents(&clients.kinesis).await;
    all.iter().for_each(|bid| holds(&contents, bid));
    handle.shutdown().await;
}

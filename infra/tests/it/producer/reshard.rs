//! Splits and merges under full load while requests, replies and entries are lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use infra::local::kinesis::{Faults, Limits};
use producer::{Accepted, Producer, SendError};

use super::*;

/// Splits and merges.
const RESHARDS: usize = 10;
/// Callers at once, each with so many bids a call.
const CALLERS: u64 = 6;
const BATCH: usize = 150;

fn faults() -> Faults {
    Faults {
        lost_request: 0.01,
        lost_reply: 0.03,
        server_error: 0.02,
        throttle: 0.02,
        entry: 0.03,
        entry_throttle: 0.03,
        delay: 0.2,
        delay_ms_max: 150,
        ..Faults::none(7)
    }
}

/// The open shards with the ends of their ranges, in the order of these.
async fn open(client: &Client) -> Vec<(u128, u128, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.list_shards().stream_name(STREAM).send().await;
        let Ok(listed) = answer else {
            assert!(Instant::now() < deadline, "shards cannot be listed");
            continue;
        };
        let open = listed.shards().iter().filter(|shard| {
            shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
        });
        let bounds = open.map(|shard| {
            let range = shard.hash_key_range().unwrap();
            let bound = |text: &str| text.parse::<u128>().unwrap();
            (bound(range.starting_hash_key()), bound(range.ending_hash_key()), shard.shard_id().to_owned())
        });
        let mut bounds: Vec<_> = bounds.collect();
        bounds.sort();
        return bounds;
    }
}

/// Splits or merges once; asks again until the stream shows it, since this request may be lost like any other.
async fn reshard(client: &Client, turn: usize) {
    let before = open(client).await;
    let deadline = Instant::now() + PATIENCE;
    while open(client).await == before {
        assert!(Instant::now() < deadline, "the stream does not change its shards");
        if turn % 3 == 2 {
            let pair = &before[turn % (before.len() - 1)..];
            let merge = client.merge_shards().stream_name(STREAM).shard_to_merge(&pair[0].2);
            let _ = merge.adjacent_shard_to_merge(&pair[1].2).send().await;
        } else {
            let (start, end, shard) = &before[turn % before.len()];
            let middle = start + (end - start) / 2 + 1;
            let split = client.split_shard().stream_name(STREAM).shard_to_split(shard);
            let _ = split.new_starting_hash_key(middle.to_string()).send().await;
        }
    }
}

type Answered = Vec<(Bid, Result<Accepted, SendError>)>;

/// Calls again and again until the stop.
async fn call(producer: Arc<Producer>, seed: u64, mut stop: tokio::sync::watch::Receiver<bool>) -> Answered {
    let mut answered = Vec::new();
    let mut bids = bids(seed, 400, runtime::clock::now());
    while !*stop.borrow_and_update() {
        let batch: Vec<Bid> = bids.by_ref().take(BATCH).collect();
        let answers = producer.send_all(batch.clone()).await;
        answered.extend(batch.into_iter().zip(answers));
    }
    answered
}

async fn acknowledged_bids_survive(envelope: &str) {
    let stream = Stream::start(2, Limits::Aws).await;
    let config = config(&["--envelope", envelope, "--linger-ms", "20", "--record-bids", "200"]);
    let producer = Arc::new(Producer::start(config, stream.clients.clone()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> =
        (0..CALLERS).map(|seed| tokio::spawn(call(Arc::clone(&producer), seed, stopped.clone()))).collect();
    let accepted = || producer.metrics().accepted.load(Ordering::Relaxed);
    until("bids are accepted", || accepted() > 0).await;
    stream.handle.set_faults(faults());
    for turn in 0..RESHARDS {
        let so_far = accepted();
        until("bids go on being accepted", || accepted() > so_far + 1_000).await;
        reshard(&stream.clients.kinesis, turn).await;
    }
    let so_far = accepted();
    until("bids go on being accepted", || accepted() > so_far + 1_000).await;
    stop.send(true).unwrap();
    let mut answered = Vec::new();
    for caller in callers {
        answered.extend(caller.await.unwrap());
    }
    let summary = Arc::into_inner(producer).unwrap().close().await.unwrap();
    println!("{envelope}: {summary}");
    let contents = stream.contents().await;
    assert!(summary.retries > 0 && summary.accepted > 10_000, "{summary:?}");
    for (bid, answer) in &answered {
        match answer {
            Ok(place) => {
                holds(&contents, bid);
                let there = |copy: &Copy| {
                    copy.shard == place.shard_id.0 && copy.sequence == place.sequence.as_str() && copy.owned
                };
                assert!(contents[&bid.bid_id].iter().any(there), "{bid:?} does not lie at {place:?}");
            }
            // Trying goes on for half a minute here: nothing is lost for so long.
            Err(error) => panic!("{bid:?}: {error}"),
        }
    }
    assert_eq!(u64::try_from(answered.len()).unwrap(), summary.accepted);
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive("block").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive("aggregated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_records_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive("plain").await;
}

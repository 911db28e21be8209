//! Splits and merges under full load while requests, replies and entries are lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use infra::local::kinesis::{Faults, Limits};
use producer::{Accepted, Producer, SendError};

use super::*;

/// Splits and merges.
const RESHARDS: usize = 10;
/// Bids accepted between two of them.
const BETWEEN: u64 = 3_000;

/// How much is sent at once.
struct Load {
    envelope: &'static str,
    /// Callers at once, each with so many bids a call.
    callers: u64,
    batch: usize,
    /// How often an entry is throttled that its shard would have taken; a shard above its limits does so by itself.
    entry_throttle: f64,
}

/// More than the shards take: several thousand bids on their way, and records that are full.
const DENSE: Load = Load { envelope: "block", callers: 16, batch: 500, entry_throttle: 0.03 };
const AGGREGATED: Load = Load { envelope: "aggregated", ..DENSE };
/// A record a bid, so that the shards' own limits throttle.
const PLAIN: Load = Load { envelope: "plain", callers: 8, batch: 300, entry_throttle: 0.000_5 };

fn faults(load: &Load) -> Faults {
    Faults {
        lost_request: 0.01,
        lost_reply: 0.03,
        server_error: 0.02,
        throttle: 0.02,
        entry: 0.03,
        entry_throttle: load.entry_throttle,
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
async fn call(
    producer: Arc<Producer>,
    seed: u64,
    batch: usize,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Answered {
    let mut answered = Vec::new();
    let mut bids = bids(seed, 400, runtime::clock::now());
    while !*stop.borrow_and_update() {
        let batch: Vec<Bid> = bids.by_ref().take(batch).collect();
        let answers = producer.send_all(batch.clone()).await;
        answered.extend(batch.into_iter().zip(answers));
    }
    answered
}

async fn acknowledged_bids_survive(load: &Load) {
    let &Load { envelope, callers, batch, .. } = load;
    let stream = Stream::start(2, Limits::Aws).await;
    let config = config(&["--envelope", envelope, "--linger-ms", "20", "--record-bids", "200"]);
    let producer = Arc::new(Producer::start(config, stream.clients.clone()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let call = |seed| tokio::spawn(call(Arc::clone(&producer), seed, batch, stopped.clone()));
    let callers: Vec<_> = (0..callers).map(call).collect();
    let accepted = || producer.metrics().accepted.load(Ordering::Relaxed);
    until("bids are accepted", || accepted() > 0).await;
    stream.handle.set_faults(faults(load));
    for turn in 0..RESHARDS {
        let so_far = accepted();
        until("bids go on being accepted", || accepted() > so_far + BETWEEN).await;
        reshard(&stream.clients.kinesis, turn).await;
    }
    let so_far = accepted();
    until("bids go on being accepted", || accepted() > so_far + BETWEEN).await;
    stop.send(true).unwrap();
    let mut answered = Vec::new();
    for caller in callers {
        answered.extend(caller.await.unwrap());
    }
    let summary = Arc::into_inner(producer).unwrap().close().await.unwrap();
    let contents = stream.contents().await;
    assert!(summary.retries > 0 && summary.accepted > 30_000, "{summary:?}");
    // A split is learned from records that straddle it. One bid alone cannot, and goes again only when the shard that has
    // it was closed before the map was read.
    assert!(summary.resends > 0 || envelope == "plain", "{summary:?}");
    for (bid, answer) in &answered {
        match answer {
            Ok(place) => {
                holds(&contents, bid);
                let there = |copy: &Copy| {
                    // Other consumers drop an aggregate that straddles two shards.
                    let seen = if envelope == "aggregated" { copy.whole } else { copy.owned };
                    copy.shard == place.shard_id.0 && copy.sequence == place.sequence.as_str() && seen
                };
                assert!(contents[&bid.bid_id].iter().any(there), "{bid:?} does not lie at {place:?}");
            }
            // Trying goes on for two minutes: nothing is lost for so long.
            Err(error) => panic!("{bid:?}: {error}"),
        }
    }
    assert_eq!(u64::try_from(answered.len()).unwrap(), summary.accepted);
    stream.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive(&DENSE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive(&AGGREGATED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_records_survive_ten_reshards_under_load_and_faults() {
    acknowledged_bids_survive(&PLAIN).await;
}

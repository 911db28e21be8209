//! Lease rows that another tool wrote or changed: no auction is written from a part of its bids, each is told once, and
//! what our processor reached stands.

use std::collections::BTreeSet;

use aws_sdk_kinesis::primitives::Blob;
use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::money::{BasisPoints, Price};
use schemas::record::encode_plain;
use schemas::time::Millis;
use uuid::Uuid;

use super::*;

const QUICK: &str = "--look-ms 200 --failover-ms 2000";
const SLOT: u128 = 0x510_7510;

/// Where a record lies.
#[derive(Clone, Debug)]
struct Stored {
    shard: String,
    sequence: String,
}

impl World {
    /// Puts so many plain records into a window that has just begun: accounts from 1 on, each offering one unit less
    /// than the one before. Answers the window's start and the places.
    async fn auction(&self, bids: u32) -> (Millis, Vec<Stored>) {
        let geometry = agreed().geometry;
        let start = geometry.window_start(runtime::clock::now()).plus(geometry.window_ms);
        tokio::time::sleep(Duration::from_millis(start.since(runtime::clock::now()) + 50)).await;
        let mut stored = Vec::new();
        for number in 1..=bids {
            let bid = Bid {
                bid_id: BidId(Uuid::from_u128(u128::from(start.0) << 32 | u128::from(number))),
                slot_id: SlotId(Uuid::from_u128(SLOT)),
                account_id: AccountId(Uuid::from_u128(u128::from(number))),
                region: "eu-central-1".parse().unwrap(),
                amount: Price::from_units(u64::from(101 - number) * 10_000).unwrap(),
                latency_ms: 1,
                quality: BasisPoints::ONE,
                event_time: start.plus(u64::from(number)),
            };
            let put = self.place.clients.kinesis.put_record().stream_name(&self.place.names.stream);
            let put = put.partition_key(bid.slot_id.to_string()).data(Blob::new(encode_plain(&bid)));
            let put = put.send().await.unwrap();
            stored.push(Stored { shard: put.shard_id, sequence: put.sequence_number });
        }
        (start, stored)
    }

    /// How many bids the written auction of a window has; none when it is not written.
    async fn bids(&self, start: Millis) -> Option<String> {
        let slot = SlotId(Uuid::from_u128(SLOT));
        let key = (format!("SLOT#{slot}"), format!("WINDOW#{start}"));
        let items = self.items(&self.place.names.table).await;
        items.get(&key).map(|item| item["bids"].as_n().unwrap().clone())
    }

    /// The row of a shard as the Java library writes it.
    async fn put_as_java(&self, at: &Stored) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: u64| AttributeValue::N(value.to_string());
        let rows =
            self.place.clients.kinesis.list_shards().stream_name(&self.place.names.stream).send().await;
        let rows = rows.unwrap();
        let shard = rows.shards().iter().find(|shard| shard.shard_id() == at.shard).unwrap();
        let keys = shard.hash_key_range().unwrap();
        let put = self.place.clients.dynamodb.put_item().table_name(&self.place.names.lease_table);
        let put = put.item("leaseKey", text(&at.shard)).item("leaseCounter", number(7));
        let put = put.item("checkpoint", text(&at.sequence)).item("checkpointSubSequenceNumber", number(0));
        let put = put.item("ownerSwitchesSinceCheckpoint", number(0));
        let put = put.item("startingHashKey", text(keys.starting_hash_key()));
        put.item("endingHashKey", text(keys.ending_hash_key())).send().await.unwrap();
    }

    async fn row(&self, shard: &str) -> Lease {
        self.rows().await.into_iter().find(|row| row.shard_id.0 == shard).unwrap()
    }

    /// Waits until the row of a shard is one that our processor wrote.
    async fn wait_until_own(&self, shard: &str) {
        let began = Instant::now();
        while self.row(shard).await.seal != schemas::seal::Seal::Ours {
            assert!(began.elapsed() < DEADLINE, "the row is not written again: {:#?}", self.row(shard).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the auction of a window is written, with so many bids.
    async fn wait_for(&self, start: Millis, bids: &str) {
        let began = Instant::now();
        while self.bids(start).await.is_none() {
            assert!(began.elapsed() < DEADLINE, "window {start} is never written");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.bids(start).await.as_deref(), Some(bids), "in window {start}");
    }
}

fn told(process: &Process, words: &str) -> Vec<serde_json::Value> {
    let is_told =
        |line: &serde_json::Value| line["message"].as_str().is_some_and(|said| said.contains(words));
    log(&process.log).into_iter().filter(is_told).collect()
}

const TAKEN: &str = "lease row that another tool wrote";
const HELD: &str = "another tool changed the row of a lease that is held";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_as_the_java_library_writes_it_cuts_its_window_and_is_told_once() {
    let world = World::start().await;
    let (start, stored) = world.auction(10).await;
    assert_eq!(stored.iter().map(|at| &at.shard).collect::<BTreeSet<_>>().len(), 1);
    world.put_as_java(&stored[4]).await;
    let reader = world.process("reader", QUICK);
    world.held("reader", 4, DEADLINE).await;
    let (later, _) = world.auction(3).await;
    world.wait_for(later, "3").await;
    world.wait_until_closed().await;
    assert_eq!(world.bids(start).await, None, "5 of its 10 bids lie before the checkpoint");
    let told = told(&reader, TAKEN);
    assert_eq!(told.len(), 1, "{told:#?}");
    let line = &told[0];
    assert_eq!(
        (&line["shard_id"], &line["checkpoint"]),
        (&stored[4].shard.clone().into(), &stored[4].sequence.clone().into())
    );
    assert!(line["disagrees"].as_str().unwrap().contains("another tool wrote the row"), "{line}");
    assert!(line["next"].as_str().unwrap().contains("processor leases rewind"), "{line}");
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole, "the take sealed it");
    reader.signal(Signal::TERM);
    assert!(reader.wait().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_is_edited_while_nobody_reads_is_told_by_the_list_and_mended_by_a_rewind() {
    let world = World::start().await;
    let first = world.process("first", QUICK);
    world.held("first", 4, DEADLINE).await;
    let (whole, _) = world.auction(2).await;
    world.wait_for(whole, "2").await;
    first.signal(Signal::TERM);
    assert!(first.wait().await);
    let (start, stored) = world.auction(10).await;
    let at = &stored[4];
    world.set(&at.shard, "checkpoint", AttributeValue::S(at.sequence.clone())).await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Gaps, "the list tells it");
    world.leases(&["rewind", &at.shard, "--to", "TRIM_HORIZON"]).await.unwrap();
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole);
    let second = world.process("second", QUICK);
    world.wait_for(start, "10").await;
    assert_eq!(told(&second, TAKEN).len(), 0);
    second.signal(Signal::TERM);
    assert!(second.wait().await);

    // Not mended: the window that the edit tore is not written, the next one is.
    let (torn, stored) = world.auction(10).await;
    let at = &stored[4];
    world.set(&at.shard, "checkpoint", AttributeValue::S(at.sequence.clone())).await;
    let third = world.process("third", &format!("{QUICK} --listen 127.0.0.1:0"));
    world.held("third", 4, DEADLINE).await;
    let (later, _) = world.auction(3).await;
    world.wait_for(later, "3").await;
    world.wait_until_closed().await;
    assert_eq!(world.bids(torn).await, None);
    let lines = told(&third, TAKEN);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["disagrees"], "changed since it was sealed: checkpoint");
    let shown = log(&third.log).iter().find_map(|line| line["address"].as_str().map(str::to_owned)).unwrap();
    let metrics = get(&shown, "/metrics").await;
    assert!(metrics.contains("\nprocessor_leases_doubted_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nprocessor_leases_altered 0\n"), "{metrics}");
    third.signal(Signal::TERM);
    assert!(third.wait().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_is_edited_under_its_reader_is_written_over_and_no_bid_is_lost() {
    let world = World::start().await;
    // Renewals are rare beside looks, so that it is a look that finds the edit.
    let reader = world.process("reader", "--look-ms 200 --failover-ms 30000");
    world.held("reader", 4, DEADLINE).await;
    let (start, stored) = world.auction(10).await;
    let at = &stored[4];
    let edited = AttributeValue::S(at.sequence.clone());
    world.set(&at.shard, "checkpoint", edited).await;
    world.wait_for(start, "10").await;
    world.wait_until_own(&at.shard).await;
    // While the shard is quiet nothing but the look finds it out. A renewal that comes first writes over it unseen.
    world.wait_until_closed().await;
    let before = told(&reader, HELD).len();
    let began = Instant::now();
    while told(&reader, HELD).len() == before {
        assert!(began.elapsed() < DEADLINE, "{:#?}", world.row(&at.shard).await);
        world.set(&at.shard, "checkpoint", AttributeValue::S("TRIM_HORIZON".to_owned())).await;
        world.wait_until_own(&at.shard).await;
    }
    let (later, _) = world.auction(3).await;
    world.wait_for(later, "3").await;
    assert_eq!(told(&reader, TAKEN).len(), 0, "it never let go");
    reader.signal(Signal::TERM);
    assert!(reader.wait().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_is_told_by_health_metrics_and_log_until_it_is_deleted() {
    let world = World::start().await;
    let reader = world.process("reader", &format!("{QUICK} --listen 127.0.0.1:0"));
    world.held("reader", 4, DEADLINE).await;
    let address =
        log(&reader.log).iter().find_map(|line| line["address"].as_str().map(str::to_owned)).unwrap();
    let until = async |status: &str| {
        let began = Instant::now();
        loop {
            let health = get(&address, "/health").await;
            if health.starts_with(status) {
                return health;
            }
            assert!(began.elapsed() < DEADLINE, "{health}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until("HTTP/1.1 200").await;
    // A text where a number must stand, and a number that cannot be counted on.
    let counters = [AttributeValue::S("7".to_owned()), AttributeValue::N(u64::MAX.to_string())];
    for (times, counter) in (1..).zip(counters) {
        world.set("shardId-000000000001", "leaseCounter", counter).await;
        let health = until("HTTP/1.1 503").await;
        assert!(
            health.contains("cannot be read") && health.contains("gaps 1, unread 0, unreadable 1"),
            "{health}"
        );
        let metrics = get(&address, "/metrics").await;
        assert!(metrics.contains("\nprocessor_lease_gaps 1\n"), "{metrics}");
        assert!(metrics.contains("\nprocessor_leases_unreadable 1\n"), "{metrics}");
        let lines = told(&reader, "row of the lease table cannot be read");
        assert!(
            lines.iter().any(|line| line["reason"].as_str().unwrap().contains("leaseCounter")),
            "{lines:#?}"
        );
        let began = Instant::now();
        while told(&reader, "its row was deleted or cannot be read").len() < times {
            assert!(
                began.elapsed() < DEADLINE,
                "its holder finds it by its next renewal: {:#?}",
                told(&reader, "lease")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let delete = world.place.clients.dynamodb.delete_item().table_name(&world.place.names.lease_table);
        delete.key("leaseKey", AttributeValue::S("shardId-000000000001".to_owned())).send().await.unwrap();
        until("HTTP/1.1 200").await;
        world.held("reader", 4, DEADLINE).await;
    }
    assert_eq!(told(&reader, "lost to another worker").len(), 0, "nobody took it");
    assert_eq!(
        told(&reader, "its row was deleted or cannot be read").len(),
        2,
        "{:#?}",
        told(&reader, "lease")
    );
    reader.signal(Signal::TERM);
    assert!(reader.wait().await);
    world.stop().await;
}

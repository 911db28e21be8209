//! JSON that other programs put into the stream: each bid of it counts, and one under a wrong key is told with its owner.

use std::io::Write;

use aws_sdk_kinesis::primitives::Blob;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::SlotId;
use schemas::record::aggregated::encode_items;
use schemas::time::Millis;
use uuid::Uuid;

use super::*;

const SLOT: u128 = 0x510_7150;

fn slot() -> String {
    SlotId(Uuid::from_u128(SLOT)).to_string()
}

/// The bid of an account, as a program of another team writes it: the amount is a number.
fn line(number: u32, at: Millis) -> String {
    let id = |high: u128| Uuid::from_u128(high << 64 | u128::from(number));
    format!(
        r#"{{"host":"edge-1","bid_id":"{}","slot_id":"{}","account_id":"{}","region":"eu-central-1","amount":{number}.50,"latency_ms":7,"quality_score":1,"timestamp":"{at}"}}"#,
        id(u128::from(at.0)),
        slot(),
        id(0),
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

impl World {
    /// Puts a record as any SDK does, and returns the shard that took it.
    async fn put(&self, key: &str, data: Vec<u8>) -> String {
        let put = self.place.clients.kinesis.put_record().stream_name(&self.place.names.stream);
        put.partition_key(key).data(Blob::new(data)).send().await.unwrap().shard_id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_in_every_form_counts_and_a_wrong_key_is_told_with_the_owner() {
    let world = World::start().await;
    let reader = world.process("reader", "--look-ms 200 --failover-ms 2000");
    world.held("reader", 4, DEADLINE).await;
    let geometry = agreed().geometry;
    let start = geometry.window_start(runtime::clock::now()).plus(geometry.window_ms);
    tokio::time::sleep(Duration::from_millis(start.since(runtime::clock::now()) + 50)).await;
    let line = |number| line(number, start.plus(u64::from(number)));
    let text = serde_json::to_string(&line(9)).unwrap();
    let items = [line(10), format!("[{},{}]", line(11), line(12))];
    let items: Vec<(&str, Option<u128>, &[u8])> =
        items.iter().map(|item| ("k", None, item.as_bytes())).collect();
    let owner = world.put(&slot(), line(1).into_bytes()).await;
    for data in [
        format!("{}\n{}\n", line(2), line(3)).into_bytes(),
        format!("[{},\n{}]", line(4), line(5)).into_bytes(),
        gzip(&format!("{}\n{}\n", line(6), line(7))),
        format!("\u{feff}{}\r\n{{\"bid_id\":1}}", line(8)).into_bytes(),
        format!(r#"{{"date":1795468810.1,"log":{text}}}"#).into_bytes(),
        encode_items(&items),
    ] {
        assert_eq!(world.put(&slot(), data).await, owner);
    }
    let quarter = HashRange::ALL.end.0 / 4;
    let of = |key: &str| HashKey::of_partition_key(key).0 / quarter;
    let wrong = (0..).map(|edge| format!("edge-{edge}")).find(|key| of(key) != of(&slot())).unwrap();
    let other = world.put(&wrong, line(99).into_bytes()).await;
    assert_ne!(other, owner);

    let key = (format!("SLOT#{}", slot()), format!("WINDOW#{start}"));
    let began = Instant::now();
    let item = loop {
        assert!(began.elapsed() < DEADLINE, "the auction is never written");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(item) = world.items(&world.place.names.table).await.remove(&key) {
            break item;
        }
    };
    assert_eq!(item["bids"].as_n().unwrap(), "12");
    let first = &item["candidates"].as_l().unwrap()[0].as_m().unwrap()["amount"];
    assert!(format!("{first:?}").contains("12.5"), "{first:?}");
    let refused: Vec<_> =
        log(&reader.log).into_iter().filter(|line| line["message"] == "bid refused").collect();
    let of = |kind: &str| {
        refused.iter().find(|line| line["refused"] == kind).unwrap_or_else(|| panic!("{refused:#?}"))
    };
    let stray = of("stray");
    assert_eq!(
        (&stray["shard_id"], &stray["owner"], &stray["slot"]),
        (&other.into(), &owner.into(), &slot().into())
    );
    assert!(stray["reason"].as_str().unwrap().contains("its slot's UUID in lower case"), "{stray}");
    let rejected = of("rejected");
    assert_eq!(rejected["sub_sequence"], 1, "{rejected}");
    assert!(rejected["reason"].as_str().unwrap().contains("bid_id"), "{rejected}");
    reader.signal(Signal::TERM);
    assert!(reader.wait().await);
    world.stop().await;
}

//! What the README promises ops: fields of lines, poison that blocks nothing, a rewind that doubles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use processor::admin::Covered;
use rustix::process::Signal;
use serde_json::Value;

use super::{DEADLINE, SHARDS, World, log};

/// The line that says how much was read again.
pub(super) const AGAIN: &str = "read again up to where the shard was left";

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The fields that the processor's README promises, by message.
fn promised() -> BTreeMap<&'static str, Vec<&'static str>> {
    let readme = include_str!("../../../../processor/README.md");
    let table = readme.split("| message | level | fields |").nth(1).expect("a table of messages");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut promised = BTreeMap::new();
    for row in rows {
        let columns: Vec<&str> = row.split(" | ").collect();
        let fields: Vec<&str> = quoted(columns[2]).flat_map(|list| list.split(", ")).collect();
        promised.extend(quoted(columns[0]).map(|message| (message, fields.clone())));
    }
    assert!(promised.len() > 10 && promised["window closed"].len() == 7, "{promised:?}");
    promised
}

/// The lines about which something is promised, all of which keep it.
pub(super) fn kept<'a>(logs: impl Iterator<Item = &'a Path>) -> Vec<Value> {
    let promised = promised();
    let mut lines: Vec<Value> = logs.flat_map(log).collect();
    lines.retain(|line| {
        let fields = line["message"].as_str().and_then(|message| promised.get(message));
        for field in fields.into_iter().flatten() {
            assert!(!line[*field].is_null(), "{field} is not in {line}");
        }
        fields.is_some()
    });
    lines
}

fn number(item: &std::collections::HashMap<String, AttributeValue>, name: &str) -> u64 {
    item[name].as_n().unwrap().parse().unwrap()
}

/// Puts bytes that are no bid into every shard; answers their sequence numbers.
async fn poison(world: &World) -> BTreeSet<String> {
    let mut tick = schemas::record::tick();
    *tick.last_mut().unwrap() ^= 1;
    let kinds: [&[u8]; 5] = [b"{}", &[0], &[0xFF; 3_000], &[0xB1, 1, 2, 3, 4, 5, 6], &tick];
    let mut sequences = BTreeSet::new();
    for shard in 0..u128::try_from(SHARDS).unwrap() {
        for kind in kinds {
            let put = world.place.clients.kinesis.put_record().stream_name(&world.place.names.stream);
            let put = put.partition_key("p").explicit_hash_key((shard << 126).to_string());
            sequences.insert(put.data(Blob::new(kind)).send().await.unwrap().sequence_number);
        }
    }
    sequences
}

/// Reads until the shard gives no more calls in this second.
async fn use_up(world: &World, shard: &str) {
    let kinesis = &world.place.clients.kinesis;
    let request = kinesis.get_shard_iterator().stream_name(&world.place.names.stream).shard_id(shard);
    let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let read = kinesis.get_records().shard_iterator(answer.shard_iterator.unwrap()).limit(1);
    while read.clone().send().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_blocks_no_shard_and_a_rewind_writes_nothing_twice() {
    let world = World::start().await;
    let process = world.process("first", "--look-ms 200 --bid-events all --metrics emf");
    world.held("first", 4, DEADLINE).await;
    let mut poisoned = poison(&world).await;
    let accepted = world.load(3, 300).await;
    poisoned.extend(poison(&world).await);
    world.wait_until_closed().await;

    let items = world.items(&world.place.names.table).await;
    let totals = || items.iter().filter(|((key, _), _)| key.starts_with("REGION#")).map(|(_, item)| item);
    let sum = |name: &str| totals().map(|item| number(item, name)).sum::<u64>();
    assert_eq!(sum("rejected"), u64::try_from(poisoned.len()).unwrap());
    assert_eq!(sum("bids") + sum("late") + sum("early"), accepted);
    let events = items.keys().filter(|(_, sort)| sort.contains("#BID#")).count();
    assert_eq!(u64::try_from(events).unwrap(), sum("bids"));
    let lines = kept([process.log.as_path()].into_iter());
    let refused: Vec<_> = lines.iter().filter(|line| line["message"] == "bid refused").collect();
    assert!((1..=poisoned.len()).contains(&refused.len()), "{refused:?}");
    for line in refused.iter().filter(|line| line["refused"] == "rejected") {
        assert!(poisoned.contains(line["sequence"].as_str().unwrap()), "{line}");
        assert_eq!((line["sub_sequence"].as_u64(), line["region"].as_str()), (Some(0), Some("-")), "{line}");
    }
    let is_closed = |line: &&Value| line["message"] == "window closed";
    let closed = lines.iter().filter(is_closed);
    let shards: BTreeSet<_> = closed.clone().map(|line| line["shard_id"].as_str().unwrap()).collect();
    assert_eq!(shards.len(), 4, "every shard goes on");

    let rows = world.rows().await;
    for row in &rows {
        use_up(&world, &row.shard_id.0).await;
        world.leases(&["rewind", &row.shard_id.0, "--to", "TRIM_HORIZON"]).await.unwrap();
    }
    let again = || {
        let lines = kept([process.log.as_path()].into_iter());
        let again = lines.into_iter().filter(|line| line["message"] == AGAIN);
        again.filter(|line| line["records"].as_u64() > Some(0)).count()
    };
    let began = Instant::now();
    while again() < rows.len() {
        assert!(began.elapsed() < DEADLINE, "what was rewound is not read again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.wait_until_closed().await;
    assert!(world.items(&world.place.names.table).await == items, "a rewind changed what stands");
    let lines = kept([process.log.as_path()].into_iter());
    assert_eq!(lines.iter().filter(is_closed).count(), closed.count(), "a window is closed once");
    for (before, after) in rows.iter().zip(world.rows().await) {
        assert!(after.closed_through >= before.closed_through, "{before:?} and then {after:?}");
    }
    process.signal(Signal::TERM);
    let (process, is_well) = process.ended().await;
    assert!(is_well);
    let documents = process.documents();
    let told = documents.iter().filter_map(|document| document["processor_bids_counted"].as_u64());
    assert_eq!(told.sum::<u64>(), sum("bids"), "what was added, and nothing that was read again");
    let stream = |document: &Value| document["stream"] == world.place.names.stream.as_str();
    assert!(documents.iter().all(|document| document["_aws"].is_object() && stream(document)));

    let lost = world.place.clients.dynamodb.delete_item().table_name(&world.place.names.lease_table);
    lost.key("leaseKey", AttributeValue::S(rows[0].shard_id.0.clone())).send().await.unwrap();
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Gaps);
    assert_eq!(world.leases(&["--json"]).await.unwrap(), Covered::Gaps);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_tells_the_last_record_of_a_shard_from_a_number_that_was_never_given_there() {
    let world = World::start().await;
    let put = async |shard: u128| {
        let put = world.place.clients.kinesis.put_record().stream_name(&world.place.names.stream);
        let put = put.partition_key("p").explicit_hash_key((shard << 126).to_string());
        put.data(Blob::new("x")).send().await.unwrap().sequence_number
    };
    let (first, second) = (put(0).await, put(1).await);
    let other = format!("49{}", "7".repeat(54));
    let [zero, two] = ["shardId-000000000000", "shardId-000000000002"];
    for (shard, to, words) in [
        (zero, first.as_str(), format!("{first} is the last record of shard {zero}")),
        (zero, &second, format!("{second} was never given in shard {zero}")),
        (zero, &other, format!("{other} was never given in shard {zero}")),
        (two, "TRIM_HORIZON", format!("shard {two} of stream {} holds no record", world.place.names.stream)),
    ] {
        let told = world.leases(&["rewind", shard, "--to", to]).await.unwrap_err();
        assert!(told.to_string().starts_with(&words), "{told} is not: {words}");
        assert_eq!(told.exit_code(), schemas::exit::USAGE);
    }
    world.stop().await;
}

//! Items of the table that were altered by hand: `exchange query` names each and shows the rest.

use serde_json::{Value, json};

use crate::harness::{Ended, Local, aws};

const FOUND: i32 = 1;
const SLOT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const START: &str = "2026-11-23T21:20:10.000Z";
const END: &str = "2026-11-23T21:20:20.000Z";

fn put(local: &Local, item: &Value) {
    let item = item.to_string();
    aws(local, &["dynamodb", "put-item", "--table-name", "bid_aggregates", "--item", &item]);
}

/// An item of these attributes: numbers as they are, everything else as text.
fn item(pk: &str, sk: &str, attributes: &[(&str, Value)]) -> Value {
    let mut item = json!({"PK": {"S": pk}, "SK": {"S": sk}});
    for (name, value) in attributes {
        item[*name] = match value {
            Value::Number(number) => json!({"N": number.to_string()}),
            Value::String(text) => json!({"S": text}),
            typed => typed.clone(),
        };
    }
    item
}

/// The rows of an access path, and what stands on standard error beside the last sentence.
fn query(local: &Local, path: &[&str]) -> (Vec<Value>, Ended) {
    let ended = local.exchange(&[&["query", "--format", "json"][..], path].concat());
    let rows = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (rows, ended)
}

#[track_caller]
fn names(ended: &Ended, damaged: &[(&str, &str, &str)]) {
    ended.says(FOUND, &["bid_aggregates", "cannot be read"]);
    let named: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("damaged item: ")).collect();
    assert_eq!(named.len(), damaged.len(), "{ended:?}");
    for (pk, sk, wrong) in damaged {
        let key = format!("PK {pk:?} SK {sk:?}");
        assert!(named.iter().any(|line| line.contains(&key) && line.contains(wrong)), "{key} in {ended:?}");
    }
}

#[test]
fn damaged_items_are_named_and_hide_no_other() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    let slot = format!("SLOT#{SLOT}");
    let window = format!("WINDOW#{START}");
    let entry = |sk: &str| [("outbox_pk", json!("OUTBOX#0#0")), ("outbox_sk", json!(sk))];
    put(&local, &item(&slot, &window, &entry(&format!("{END}#{SLOT}"))));
    put(&local, &item("OTHER", "x", &entry("0")));
    put(&local, &item(&slot, "WINDOW#2026-11-23T21:20:20.000Z", &entry("soon")));
    let (rows, ended) = query(&local, &["outbox"]);
    assert_eq!(rows.len(), 1, "{ended:?}");
    assert_eq!((&rows[0]["slot_id"], &rows[0]["window_end"]), (&json!(SLOT), &json!(END)));
    let soon = "WINDOW#2026-11-23T21:20:20.000Z";
    names(&ended, &[("OTHER", "x", "SLOT#<slot>"), (&slot, soon, "outbox_sk is \"soon\"")]);

    // All three paths to items; of each kind one that is whole.
    put(&local, &totals("shardId-000000000000", json!(16)));
    put(&local, &totals("shardId-000000000001", json!("many")));
    put(&local, &totals("shardId-000000000002", json!({"B": "AAAA"})));
    let (rows, ended) = query(&local, &["regions", "--region", "eu-1"]);
    assert_eq!(rows[0]["bids"], 16, "{ended:?}");
    let of = |shard: &str| format!("WINDOW#{START}#shardId-00000000000{shard}");
    names(&ended, &[("REGION#eu-1", &of("1"), "bids"), ("REGION#eu-1", &of("2"), "bids")]);
    let (rows, ended) = query(&local, &["windows", "--slot", SLOT]);
    assert!(rows.is_empty());
    names(&ended, &[(&slot, &window, "regions"), (&slot, soon, "regions")]);
    put(&local, &item(&format!("HOT#{START}"), "shardId-000000000000", &[("slots", json!("none"))]));
    let (rows, ended) = query(&local, &["hot", "--window", START]);
    assert!(rows.is_empty());
    names(&ended, &[(&format!("HOT#{START}"), "shardId-000000000000", "window_start")]);
}

/// Totals of a region in a window by one shard; `bids` may be anything.
fn totals(shard: &str, bids: Value) -> Value {
    let mut attributes = vec![("bids", bids), ("amount_sum", json!(16)), ("ttl", json!(4_102_444_800_u64))];
    let counts = ["top_ranked", "latency_ms_sum", "late", "early", "stray", "duplicates", "rejected"];
    attributes.extend(counts.map(|name| (name, json!(0))));
    let named = [("region", "eu-1"), ("window_start", START), ("shard_id", shard)];
    attributes.extend(named.map(|(name, value)| (name, json!(value))));
    item("REGION#eu-1", &format!("WINDOW#{START}#{shard}"), &attributes)
}

/// A time at which no window starts has no hot slots, and that is not the same as a window without any.
#[test]
fn a_time_at_which_no_window_starts_is_told() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    let hot = |window: &str| local.exchange(&["query", "hot", "--window", window]).done();
    let inside = hot("2026-11-23T21:20:13.500Z");
    assert!(inside.stderr.contains(&format!("give --window {START}")), "{inside:?}");
    assert_eq!(inside.stdout.lines().count(), 1, "{inside:?}");
    assert_eq!(hot(START).stderr, "");
}

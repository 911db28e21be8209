//! kill -9 of the process that our Kinesis runs in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use runtime::clients::Clients;

use super::harness::{Local, wait_for};

const STREAM: &str = "kept";
/// Records of a batch, and how many must be acknowledged before the kill.
const BATCH: usize = 50;
const ENOUGH: usize = 3_000;

/// Where each record was said to be: its number to its shard and sequence number.
type Places = BTreeMap<usize, (String, String)>;

async fn client(local: &Local) -> Client {
    let url = local.variable("AWS_ENDPOINT_URL_KINESIS");
    Clients::local(url, url).await.kinesis
}

/// Puts batch after batch until one fails, and notes what was acknowledged.
async fn write(client: Client, numbers: Arc<AtomicUsize>, acknowledged: Arc<Mutex<Places>>) {
    loop {
        let first = numbers.fetch_add(BATCH, Ordering::SeqCst);
        let entry = |number: usize| {
            let entry = PutRecordsRequestEntry::builder().partition_key(number.to_string());
            entry.data(Blob::new(number.to_be_bytes())).build().unwrap()
        };
        let entries = (first..first + BATCH).map(entry).collect();
        let Ok(answer) = client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await
        else {
            return;
        };
        let mut places = acknowledged.lock().unwrap();
        for (number, one) in (first..).zip(answer.records()) {
            if let (Some(shard), Some(sequence)) = (one.shard_id(), one.sequence_number()) {
                places.insert(number, (shard.to_owned(), sequence.to_owned()));
            }
        }
    }
}

async fn read(client: &Client) -> Places {
    let mut places = Places::new();
    for shard in client.list_shards().stream_name(STREAM).send().await.unwrap().shards() {
        let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id(shard.shard_id());
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let page = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
        assert_eq!(page.millis_behind_latest(), Some(0), "one page holds the shard");
        for record in page.records() {
            let number = usize::from_be_bytes(record.data().as_ref().try_into().unwrap());
            let place = (shard.shard_id().to_owned(), record.sequence_number().to_owned());
            assert!(places.insert(number, place).is_none(), "record {number} is there twice");
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kill_9_of_the_engine_under_four_writers() {
    let mut local = Local::start();
    let client_before = client(&local).await;
    client_before.create_stream().stream_name(STREAM).shard_count(4).send().await.unwrap();
    let (numbers, acknowledged) = (Arc::default(), Arc::new(Mutex::new(Places::new())));
    let writer =
        |_| tokio::spawn(write(client_before.clone(), Arc::clone(&numbers), Arc::clone(&acknowledged)));
    let writers: Vec<_> = (0..4).map(writer).collect();
    tokio::task::block_in_place(|| {
        wait_for("records to be acknowledged", || {
            let count = acknowledged.lock().unwrap().len();
            if count >= ENOUGH { Ok(()) } else { Err(format!("{count} of {ENOUGH}")) }
        });
        local.kill();
    });
    for writer in writers {
        tokio::time::timeout(Duration::from_secs(60), writer).await.expect("writers see the kill").unwrap();
    }
    tokio::task::block_in_place(|| local.up());
    let there = read(&client(&local).await).await;
    let said = acknowledged.lock().unwrap().clone();
    for (number, place) in &said {
        assert_eq!(there.get(number), Some(place), "record {number}");
    }
    assert!(there.len() < said.len() + 5 * BATCH, "no more than what was under way is there beside it");
}

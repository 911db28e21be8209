//! Our Kinesis as real clients see it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use infra::local::kinesis::{Error, KinesisHandle, KinesisOptions, Limits, start};
use runtime::clients::Clients;

const STREAM: &str = "bids";

async fn engine(limits: Limits) -> (KinesisHandle, Client) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let handle = start(KinesisOptions { listen, limits, ..KinesisOptions::default() }).await.unwrap();
    let clients = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await;
    (handle, clients.kinesis)
}

async fn iterator(client: &Client, shard: &str, kind: ShardIteratorType) -> String {
    let request = client.get_shard_iterator().stream_name(STREAM).shard_id(shard).shard_iterator_type(kind);
    request.send().await.unwrap().shard_iterator.unwrap()
}

async fn shards(client: &Client) -> Vec<String> {
    let answer = client.list_shards().stream_name(STREAM).send().await.unwrap();
    answer.shards().iter().map(|shard| shard.shard_id().to_owned()).collect()
}

#[tokio::test]
async fn a_split_and_a_merge_are_read_through_from_parents_to_children() {
    let (handle, client) = engine(Limits::Aws).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let put = |key: &'static str| {
        let request =
            client.put_record().stream_name(STREAM).partition_key(key).data(Blob::new(key.as_bytes()));
        async move { request.send().await.unwrap().shard_id }
    };
    assert_eq!(put("before").await, "shardId-000000000000");
    let middle = (u128::MAX / 2).to_string();
    let split = client.split_shard().stream_name(STREAM).shard_to_split("shardId-000000000000");
    split.new_starting_hash_key(middle).send().await.unwrap();
    let between = put("between").await;
    let merge = client.merge_shards().stream_name(STREAM).shard_to_merge("shardId-000000000001");
    merge.adjacent_shard_to_merge("shardId-000000000002").send().await.unwrap();
    assert_eq!(put("after").await, "shardId-000000000003");

    let first = iterator(&client, "shardId-000000000000", ShardIteratorType::TrimHorizon).await;
    let page = client.get_records().shard_iterator(first).send().await.unwrap();
    assert_eq!(page.records()[0].data().as_ref(), b"before");
    assert!(
        page.next_shard_iterator().is_none(),
        "a closed shard that was read to its end has no next iterator"
    );
    let children: Vec<&str> = page.child_shards().iter().map(|child| child.shard_id()).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    let page = iterator(&client, &between, ShardIteratorType::TrimHorizon).await;
    let page = client.get_records().shard_iterator(page).send().await.unwrap();
    assert_eq!(page.child_shards()[0].parent_shards(), ["shardId-000000000001", "shardId-000000000002"]);
    handle.shutdown().await;
}

#[tokio::test]
async fn each_iterator_type_begins_where_it_says() {
    let (handle, client) = engine(Limits::Off).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let mut numbers = Vec::new();
    for text in ["a", "b", "c"] {
        let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(text));
        numbers.push(put.send().await.unwrap().sequence_number);
    }
    let read = |kind: ShardIteratorType, at: Option<String>| {
        let client = client.clone();
        async move {
            let request = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
            let request = request.shard_iterator_type(kind).set_starting_sequence_number(at);
            let iterator = request.send().await.unwrap().shard_iterator.unwrap();
            let page = client.get_records().shard_iterator(iterator).send().await.unwrap();
            let text = |data: &Blob| String::from_utf8(data.as_ref().to_vec()).unwrap();
            page.records().iter().map(|record| text(record.data())).collect::<String>()
        }
    };
    assert_eq!(read(ShardIteratorType::TrimHorizon, None).await, "abc");
    assert_eq!(read(ShardIteratorType::Latest, None).await, "");
    assert_eq!(read(ShardIteratorType::AtSequenceNumber, Some(numbers[1].clone())).await, "bc");
    assert_eq!(read(ShardIteratorType::AfterSequenceNumber, Some(numbers[1].clone())).await, "c");
    handle.shutdown().await;
}

#[tokio::test]
async fn shards_are_listed_page_by_page() {
    let (handle, client) = engine(Limits::Aws).await;
    client.create_stream().stream_name(STREAM).shard_count(7).send().await.unwrap();
    let mut listed = Vec::new();
    let mut token = None;
    loop {
        let request = client.list_shards().max_results(3);
        let request = match token.take() {
            None => request.stream_name(STREAM),
            Some(token) => request.next_token(token),
        };
        let page = request.send().await.unwrap();
        assert!(page.shards().len() <= 3);
        listed.extend(page.shards().iter().map(|shard| shard.shard_id().to_owned()));
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(listed, shards(&client).await);
    assert_eq!(listed.len(), 7);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_said_to_be_taken() {
    let (handle, _client) = engine(Limits::Aws).await;
    let listen = handle.endpoint_url().trim_start_matches("http://").parse().unwrap();
    let second = start(KinesisOptions { listen, ..KinesisOptions::default() }).await;
    assert!(matches!(second, Err(Error::InUse { address }) if address == listen));
    handle.shutdown().await;
}

/// Writers and batches of the test below: 8 x 250 x 500 = 1,000,000 records.
const WRITERS: u64 = 8;
const BATCHES: u64 = 250;
const BATCH: u64 = 500;

async fn write(client: Client, writer: u64) {
    for batch in 0..BATCHES {
        let records = (0..BATCH).map(|index| {
            let number = (writer * BATCHES + batch) * BATCH + index;
            let entry = PutRecordsRequestEntry::builder().partition_key(number.to_string());
            entry.data(Blob::new(number.to_be_bytes())).build().unwrap()
        });
        let answer = client
            .put_records()
            .stream_name(STREAM)
            .set_records(Some(records.collect()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.failed_record_count(), Some(0));
    }
}

async fn tail(client: Client, shard: String, done: Arc<AtomicBool>) -> HashSet<u64> {
    let mut seen = HashSet::new();
    let mut next = iterator(&client, &shard, ShardIteratorType::TrimHorizon).await;
    loop {
        let finished = done.load(Ordering::SeqCst);
        let page = client.get_records().shard_iterator(next).send().await.unwrap();
        for record in page.records() {
            let number = u64::from_be_bytes(record.data().as_ref().try_into().unwrap());
            assert!(seen.insert(number), "record {number} was read twice");
        }
        if finished && page.records().is_empty() && page.millis_behind_latest() == Some(0) {
            return seen;
        }
        next = page.next_shard_iterator().unwrap().to_owned();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_against_a_tailing_reader_lose_nothing() {
    let (handle, client) = engine(Limits::Off).await;
    client.create_stream().stream_name(STREAM).shard_count(2).send().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = shards(&client)
        .await
        .into_iter()
        .map(|shard| tokio::spawn(tail(client.clone(), shard, Arc::clone(&done))))
        .collect();
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(client.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let mut read = 0;
    for reader in readers {
        let deadline = tokio::time::timeout(Duration::from_secs(120), reader);
        read += deadline.await.expect("the reader reaches the tip").unwrap().len();
    }
    let seconds = began.elapsed().as_secs().max(1);
    println!("{read} records in {seconds} s");
    assert_eq!(read, usize::try_from(WRITERS * BATCHES * BATCH).unwrap());
    handle.shutdown().await;
}

/// Sixteen writers on two threads, with a reader of every shard beside them: engines that wait for a lock across an
/// await stop here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_on_two_threads_come_to_an_end_and_lose_nothing() {
    const MANY: u64 = 16;
    const EACH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let options =
        KinesisOptions { limits: Limits::Off, dir: Some(dir.path().into()), ..KinesisOptions::default() };
    let handle = start(options).await.unwrap();
    let client = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await.kinesis;
    client.create_stream().stream_name(STREAM).shard_count(4).send().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let tail = |shard| tokio::spawn(tail(client.clone(), shard, Arc::clone(&done)));
    let readers: Vec<_> = shards(&client).await.into_iter().map(tail).collect();
    let write = |writer: u64| {
        let client = client.clone();
        tokio::spawn(async move {
            for batch in 0..EACH {
                let entry = |index: u64| {
                    let number = (writer * EACH + batch) * 100 + index;
                    let entry = PutRecordsRequestEntry::builder().partition_key(number.to_string());
                    entry.data(Blob::new(number.to_be_bytes())).build().unwrap()
                };
                let entries = (0..100).map(entry).collect();
                let put = client.put_records().stream_name(STREAM).set_records(Some(entries));
                assert_eq!(put.send().await.unwrap().failed_record_count(), Some(0));
            }
        })
    };
    let writers: Vec<_> = (0..MANY).map(write).collect();
    let within = Duration::from_secs(120);
    for writer in writers {
        tokio::time::timeout(within, writer).await.expect("no writer is stuck").unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let mut read = 0;
    for reader in readers {
        read += tokio::time::timeout(within, reader).await.expect("no reader is stuck").unwrap().len();
    }
    assert_eq!(read, usize::try_from(MANY * EACH * 100).unwrap());
    handle.shutdown().await;
}

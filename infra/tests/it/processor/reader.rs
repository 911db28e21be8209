//! The reader of one shard against the engine: within the rates, through expiry, to the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use infra::local::kinesis::{self, KinesisHandle, KinesisOptions, Limits};
use processor::Metrics;
use processor::metrics::get;
use processor::reader::{Next, PERMIT_BYTES, Page, Pages, Source};
use processor::stream::Stream;
use runtime::clients::Clients;
use schemas::ids::ShardId;
use schemas::lease::Checkpoint;
use tokio::sync::Semaphore;

const STREAM: &str = "bids";
const SHARD: &str = "shardId-000000000000";
/// How long a test waits for a page.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(210);
/// Room for one page of the largest kind.
const PAGE_PERMITS: usize = 10 * 1_048_576 / PERMIT_BYTES;

/// An engine with a stream of one shard, and who reads it.
async fn engine() -> (KinesisHandle, Client, Source) {
    let options = KinesisOptions { limits: Limits::Aws, ..KinesisOptions::default() };
    let handle = kinesis::start(options).await.unwrap();
    let Clients { kinesis: client, kinesis_clock: clock, .. } =
        Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let source = Source {
        client: client.clone(),
        stream: Stream::new(client.clone(), STREAM.to_owned(), clock),
        poll: POLL,
        consumer_arn: None,
        memory: Arc::new(Semaphore::new(4 * PAGE_PERMITS)),
        metrics: Arc::new(Metrics::default()),
    };
    (handle, client, source)
}

async fn put(client: &Client, data: impl Into<Vec<u8>>) {
    let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(data.into()));
    put.send().await.unwrap();
}

async fn page(pages: &mut Pages) -> Page {
    tokio::time::timeout(DEADLINE, pages.next()).await.expect("a page comes").expect("pages before the end")
}

/// Reads through a door that takes the next iterator out of answers, which is how a closed shard ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_shard_is_read_on_when_an_answer_says_that_it_has_ended() {
    let (handle, client, source) = engine().await;
    let proxy = super::proxy::Proxy::start(&handle.endpoint_url()).await;
    let through = Clients::local(&proxy.endpoint_url(), &proxy.endpoint_url()).await.kinesis;
    let source = Source { client: through, ..source };
    put(&client, "one").await;
    proxy.set_altered(Some((r#""NextShardIterator""#, r#""NoShardIterator""#)));
    let mut pages = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    let mut first = page(&mut pages).await;
    while first.records.is_empty() {
        assert_eq!(first.next, Next::More, "{first:?}");
        first = page(&mut pages).await;
    }
    assert_eq!((first.records[0].data.as_slice(), first.next), (b"one".as_slice(), Next::More));
    put(&client, "two").await;
    assert_eq!(data(&mut pages).await, [b"two".to_vec()], "also while every answer says so");
    assert!(get(&source.metrics.read_faults) > 0, "each of them is a fault of the answer");
    proxy.set_altered(None);
    put(&client, "three").await;
    assert_eq!(data(&mut pages).await, [b"three".to_vec()]);
    client
        .split_shard()
        .stream_name(STREAM)
        .shard_to_split(SHARD)
        .new_starting_hash_key("7")
        .send()
        .await
        .unwrap();
    loop {
        if let Next::End(children) = page(&mut pages).await.next {
            assert_eq!(children.len(), 2, "a true end");
            break;
        }
    }
    handle.shutdown().await;
}

/// Reads through a door that makes the number of one record unreadable for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_a_record_whose_number_cannot_be_read_and_it_is_asked_for_again() {
    let (handle, client, source) = engine().await;
    let proxy = super::proxy::Proxy::start(&handle.endpoint_url()).await;
    let through = Clients::local(&proxy.endpoint_url(), &proxy.endpoint_url()).await.kinesis;
    let source = Source { client: through, ..source };
    let mut numbers = Vec::new();
    for data in ["one", "two", "three"] {
        let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(data));
        numbers.push(put.send().await.unwrap().sequence_number);
    }
    proxy.set_altered(Some((&format!(r#"Number":"{}""#, numbers[1]), r#"Number":"odd""#)));
    let mut pages = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    assert_eq!(data(&mut pages).await, [b"one".to_vec()], "what is before it is read");
    let began = Instant::now();
    while source.metrics.shards_refused() == 0 {
        assert!(began.elapsed() < DEADLINE, "it is never told");
        // Pages without records come and say nothing of a tip or an end.
        if let Ok(Some(page)) = tokio::time::timeout(POLL, pages.next()).await {
            assert!(page.records.is_empty() && page.next == Next::More, "{page:?}");
        }
    }
    assert!(get(&source.metrics.unnumbered) > 1, "it is tried again");
    proxy.set_altered(None);
    assert_eq!(data(&mut pages).await, [b"two".to_vec(), b"three".to_vec()], "nothing is passed over");
    assert_eq!(source.metrics.shards_refused(), 0);
    handle.shutdown().await;
}

/// The data of the next page that has records.
async fn data(pages: &mut Pages) -> Vec<Vec<u8>> {
    loop {
        let page = page(pages).await;
        if !page.records.is_empty() {
            return page.records.into_iter().map(|raw| raw.data).collect();
        }
    }
}

/// Splits the shard, reads to its end and holds that the children are named.
async fn read_to_the_end(client: &Client, pages: &mut Pages) {
    let split = client.split_shard().stream_name(STREAM).shard_to_split(SHARD);
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    let children = loop {
        match page(pages).await.next {
            Next::End(children) => break children,
            Next::Gone => panic!("the shard is there"),
            Next::More | Next::Tip => {}
        }
    };
    let named: Vec<&str> = children.iter().map(|child| child.0.as_str()).collect();
    assert_eq!(named, ["shardId-000000000001", "shardId-000000000002"]);
    assert!(pages.next().await.is_none(), "nothing follows the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_read_within_its_calls_and_bytes_a_second_through_an_expired_iterator() {
    let (handle, client, source) = engine().await;
    for _ in 0..5 {
        put(&client, vec![7; 1_000_000]).await;
        handle.advance(Duration::from_secs(1));
    }
    let mut pages = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    assert_eq!(data(&mut pages).await.len(), 5, "a page far above a second's bytes");
    for _ in 0..10 {
        let page = page(&mut pages).await;
        assert_eq!((page.next, page.records.len()), (Next::Tip, 0));
    }
    assert_eq!(get(&source.metrics.read_throttles), 0, "it never asks for more than its share");
    let hasty = Source { poll: Duration::from_millis(50), metrics: Arc::default(), ..source.clone() };
    let mut reads = hasty.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    for _ in 0..12 {
        page(&mut reads).await;
    }
    drop(reads);
    assert!(get(&hasty.metrics.read_throttles) > 0, "the engine refuses who asks for more");

    handle.advance(Duration::from_secs(301));
    put(&client, "late").await;
    assert_eq!(data(&mut pages).await, [b"late"], "goes on behind what was read");
    assert_eq!(get(&source.metrics.expired_iterators), 1);
    read_to_the_end(&client, &mut pages).await;
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_wait_for_memory_that_all_readers_share() {
    let (handle, client, source) = engine().await;
    let source = Source { memory: Arc::new(Semaphore::new(PAGE_PERMITS)), ..source };
    put(&client, vec![7; 1_000_000]).await;
    let mut first = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    let held = page(&mut first).await;
    assert_eq!(held.records.len(), 1);
    drop(first);
    let mut second = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    let waits = tokio::time::timeout(POLL * 3, second.next()).await;
    assert!(waits.is_err(), "the largest page has no room beside the one that is held");
    drop(held);
    assert_eq!(page(&mut second).await.records.len(), 1);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_shard_is_read_on_when_its_subscription_has_lived_its_five_minutes() {
    let (handle, client, source) = engine().await;
    let arn = processor::fan_out::consumer(&client, STREAM, "reader").await.unwrap();
    let source = Source { consumer_arn: Some(arn), ..source };
    put(&client, "one").await;
    let mut pages = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    assert_eq!(data(&mut pages).await, [b"one"]);
    for text in ["two", "three"] {
        handle.advance(Duration::from_secs(300));
        put(&client, text).await;
        assert_eq!(data(&mut pages).await, [text.as_bytes()], "once, and nothing twice");
    }
    read_to_the_end(&client, &mut pages).await;
    assert_eq!(get(&source.metrics.read_faults), 0, "the end of a subscription is no fault");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_a_stream_that_is_gone_is_refused_and_not_taken_for_one_that_was_dropped() {
    let (handle, client, source) = engine().await;
    put(&client, "one").await;
    let mut pages = source.read(ShardId(SHARD.to_owned()), Checkpoint::TrimHorizon);
    assert_eq!(data(&mut pages).await, [b"one"]);
    client.delete_stream().stream_name(STREAM).send().await.unwrap();
    let began = Instant::now();
    while source.metrics.shards_refused() == 0 {
        assert!(began.elapsed() < DEADLINE, "it is not told that reading is refused");
        // What was read before it was deleted may still come.
        if let Ok(page) = tokio::time::timeout(POLL, pages.next()).await {
            let next = page.expect("reading goes on").next;
            assert!(matches!(next, Next::More | Next::Tip), "{next:?}");
        }
    }
    handle.shutdown().await;
}

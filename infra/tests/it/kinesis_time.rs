//! What comes with time in our Kinesis, and what a restart keeps.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus};
use infra::local::kinesis::{KinesisHandle, KinesisOptions, Limits, start};
use runtime::clients::Clients;

const STREAM: &str = "bids";
const HOUR: Duration = Duration::from_secs(3_600);

async fn started(options: KinesisOptions) -> (KinesisHandle, Client) {
    let handle = start(options).await.unwrap();
    let client = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await.kinesis;
    (handle, client)
}

async fn put(client: &Client, text: &str) -> String {
    let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(text));
    put.send().await.unwrap().sequence_number
}

async fn split(client: &Client, shard: &str, at: u128) {
    let split = client.split_shard().stream_name(STREAM).shard_to_split(shard);
    split.new_starting_hash_key(at.to_string()).send().await.unwrap();
}

async fn listed(client: &Client, kind: ShardFilterType, time: Option<DateTime>) -> Vec<u32> {
    let filter = ShardFilter::builder().r#type(kind).set_timestamp(time).build().unwrap();
    let answer = client.list_shards().stream_name(STREAM).shard_filter(filter).send().await.unwrap();
    let number = |id: &str| id.trim_start_matches("shardId-").parse().unwrap();
    answer.shards().iter().map(|shard| number(shard.shard_id())).collect()
}

async fn iterator(client: &Client, shard: &str) -> String {
    let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id(shard);
    iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator.unwrap()
}

async fn texts(client: &Client, shard: &str) -> Vec<String> {
    let page = client.get_records().shard_iterator(iterator(client, shard).await).send().await.unwrap();
    page.records().iter().map(|one| String::from_utf8(one.data().as_ref().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn filters_list_the_shards_of_their_time_until_retention_removes_them() {
    let (handle, client) = started(KinesisOptions::default()).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let began = DateTime::from(SystemTime::now());
    put(&client, "parent").await;
    handle.advance(HOUR);
    split(&client, "shardId-000000000000", 1 << 127).await;
    handle.advance(HOUR);
    split(&client, "shardId-000000000001", 1 << 126).await;
    let later = DateTime::from(SystemTime::now() + HOUR + HOUR / 2);

    assert_eq!(listed(&client, ShardFilterType::FromTrimHorizon, None).await, [0, 1, 2, 3, 4]);
    assert_eq!(listed(&client, ShardFilterType::AtTrimHorizon, None).await, [0]);
    assert_eq!(listed(&client, ShardFilterType::AtLatest, None).await, [2, 3, 4]);
    assert_eq!(listed(&client, ShardFilterType::AtTimestamp, Some(began)).await, [0]);
    assert_eq!(listed(&client, ShardFilterType::AtTimestamp, Some(later)).await, [1, 2]);
    assert_eq!(listed(&client, ShardFilterType::FromTimestamp, Some(later)).await, [1, 2, 3, 4]);

    handle.advance(HOUR * 23);
    assert_eq!(listed(&client, ShardFilterType::FromTrimHorizon, None).await, [1, 2, 3, 4]);
    assert_eq!(listed(&client, ShardFilterType::AtTrimHorizon, None).await, [1, 2]);
    assert_eq!(
        listed(&client, ShardFilterType::AtTimestamp, Some(began)).await,
        [1, 2],
        "corrected to the horizon"
    );
    handle.advance(HOUR);
    assert_eq!(listed(&client, ShardFilterType::AtTrimHorizon, None).await, [2, 3, 4]);
    handle.shutdown().await;
}

#[tokio::test]
async fn retention_trims_what_is_read_and_a_longer_one_keeps_it() {
    let (handle, client) = started(KinesisOptions::default()).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let first = put(&client, "one").await;
    handle.advance(HOUR * 23);
    put(&client, "two").await;
    assert_eq!(texts(&client, "shardId-000000000000").await, ["one", "two"]);
    handle.advance(HOUR * 2);
    assert_eq!(texts(&client, "shardId-000000000000").await, ["two"]);
    let at = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
    let at = at.shard_iterator_type(ShardIteratorType::AtSequenceNumber).starting_sequence_number(first);
    let at = at.send().await.unwrap().shard_iterator;
    let page = client.get_records().set_shard_iterator(at).send().await.unwrap();
    assert_eq!(page.records().len(), 1, "a number that was trimmed reads on from the horizon");
    let longer = client.increase_stream_retention_period().stream_name(STREAM).retention_period_hours(48);
    longer.send().await.unwrap();
    handle.advance(HOUR * 40);
    assert_eq!(texts(&client, "shardId-000000000000").await, ["two"]);
    handle.shutdown().await;
}

#[tokio::test]
async fn iterators_and_tokens_expire_after_five_minutes_and_die_with_their_stream() {
    let (handle, client) = started(KinesisOptions::default()).await;
    let create = || client.create_stream().stream_name(STREAM).shard_count(3).send();
    create().await.unwrap();
    let old = iterator(&client, "shardId-000000000000").await;
    let token =
        client.list_shards().stream_name(STREAM).max_results(1).send().await.unwrap().next_token.unwrap();
    handle.advance(Duration::from_secs(299));
    assert!(client.get_records().shard_iterator(&old).send().await.is_ok());
    assert!(client.list_shards().next_token(&token).send().await.is_ok());
    handle.advance(Duration::from_secs(2));
    let expired = client.get_records().shard_iterator(&old).send().await.unwrap_err().into_service_error();
    assert!(expired.is_expired_iterator_exception());
    let expired = client.list_shards().next_token(&token).send().await.unwrap_err().into_service_error();
    assert!(expired.is_expired_next_token_exception());

    let fresh = iterator(&client, "shardId-000000000000").await;
    let token =
        client.list_shards().stream_name(STREAM).max_results(1).send().await.unwrap().next_token.unwrap();
    client.delete_stream().stream_name(STREAM).send().await.unwrap();
    handle.advance(Duration::from_secs(1));
    create().await.unwrap();
    let gone = client.get_records().shard_iterator(&fresh).send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception(), "an iterator never reads another stream of its name");
    let gone = client.list_shards().next_token(&token).send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception());
    let described = client.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
    let made = described.stream_description_summary.unwrap().stream_creation_timestamp;
    let of_then = client.list_shards().stream_name(STREAM).stream_creation_timestamp(made).send().await;
    assert_eq!(of_then.unwrap().shards().len(), 3);
    let other = DateTime::from_secs(made.secs() - 60);
    let of_then = client.list_shards().stream_name(STREAM).stream_creation_timestamp(other).send().await;
    assert!(of_then.unwrap_err().into_service_error().is_resource_not_found_exception());
    handle.shutdown().await;
}

#[tokio::test]
async fn a_stream_shows_its_changes_for_as_long_as_it_settles() {
    let options = KinesisOptions { settle: Duration::from_secs(60), ..KinesisOptions::default() };
    let (handle, client) = started(options).await;
    let status = || async {
        let answer = client.describe_stream_summary().stream_name(STREAM).send().await;
        answer.ok().map(|answer| answer.stream_description_summary.unwrap().stream_status)
    };
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    assert_eq!(status().await, Some(StreamStatus::Creating));
    let early = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new("x")).send().await;
    assert!(early.unwrap_err().into_service_error().is_resource_not_found_exception());
    handle.advance(Duration::from_secs(60));
    assert_eq!(status().await, Some(StreamStatus::Active));
    split(&client, "shardId-000000000000", 1 << 127).await;
    assert_eq!(status().await, Some(StreamStatus::Updating));
    put(&client, "while it changes").await;
    handle.advance(Duration::from_secs(60));
    client.delete_stream().stream_name(STREAM).send().await.unwrap();
    assert_eq!(status().await, Some(StreamStatus::Deleting));
    handle.advance(Duration::from_secs(60));
    assert_eq!(status().await, None);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_records_shards_consumers_and_iterators() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        || KinesisOptions { dir: Some(dir.path().into()), limits: Limits::Off, ..KinesisOptions::default() };
    let (handle, client) = started(options()).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";
    client.register_stream_consumer().stream_arn(arn).consumer_name("c").send().await.unwrap();
    put(&client, "one").await;
    split(&client, "shardId-000000000000", 1 << 127).await;
    let before = client.describe_stream().stream_name(STREAM).send().await.unwrap();
    let held = iterator(&client, "shardId-000000000000").await;
    // Dropped, not shut down: nothing is written on the way out.
    drop(handle);

    let (handle, client) = started(options()).await;
    let after = client.describe_stream().stream_name(STREAM).send().await.unwrap();
    assert_eq!(before.stream_description(), after.stream_description());
    let page = client.get_records().shard_iterator(held).send().await.unwrap();
    assert_eq!((page.records().len(), page.child_shards().len()), (1, 2));
    let consumers = client.list_stream_consumers().stream_arn(arn).send().await.unwrap();
    assert_eq!(consumers.consumers().len(), 1);
    handle.shutdown().await;
}

#[tokio::test]
async fn replies_tell_the_services_own_clock_whatever_the_clock_here_says() {
    let handle = start(KinesisOptions::default()).await.unwrap();
    let clients = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await;
    assert_eq!(clients.kinesis_clock.offset_ms(), None, "nothing was said yet");
    let ask = async || drop(clients.kinesis.list_streams().send().await.unwrap());
    ask().await;
    let offset = clients.kinesis_clock.offset_ms().unwrap();
    assert!(offset.abs() < 1_500, "{offset}");
    handle.advance(HOUR * 25);
    ask().await;
    let doubted = (clients.kinesis_clock.is_in_doubt(), clients.kinesis_clock.offset_ms().unwrap());
    assert!(doubted.0 && doubted.1.abs() < 1_500, "one reply proves nothing: {doubted:?}");
    let began = std::time::Instant::now();
    while clients.kinesis_clock.is_in_doubt() {
        assert!(began.elapsed().as_secs() < 30, "replies that agree are believed");
        tokio::time::sleep(Duration::from_millis(500)).await;
        ask().await;
    }
    let (offset, day) = (clients.kinesis_clock.offset_ms().unwrap(), 25 * 3_600_000);
    assert!((offset - day).abs() < 1_500, "{offset}");
    let span = clients.kinesis_clock.span().unwrap();
    let now = runtime::clock::now().0 + 25 * 3_600_000;
    assert!(span.earliest.0 <= now && now <= span.latest.0 + 1_000, "{span:?} at {now}");
    // A refusal has a date as well.
    assert!(clients.kinesis.list_shards().stream_name("none").send().await.is_err());
    handle.shutdown().await;
}

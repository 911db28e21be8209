//! What our Kinesis does with requests that are only tried, and with a stream's largest record.

use std::path::Path;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::RequestId;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ShardIteratorType, StartingPosition, StreamMode, StreamModeDetails,
};
use infra::local::kinesis::{KinesisHandle, KinesisOptions, Limits, start};
use runtime::clients::Clients;

const STREAM: &str = "bids";
const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";
const SHARD: &str = "shardId-000000000000";
const DRY_RUN: &str = "DryRunOperationException";

/// An engine, and a client of it that tries nothing twice.
async fn engine(limits: Limits, dir: Option<&Path>) -> (KinesisHandle, Client) {
    let options = KinesisOptions { limits, dir: dir.map(Path::to_owned), ..KinesisOptions::default() };
    let handle = start(options).await.unwrap();
    let client = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await.kinesis;
    let once = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
    (handle, Client::from_conf(once))
}

fn code<T: std::fmt::Debug, E>(result: Result<T, SdkError<E>>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    SdkError<E>: RequestId,
{
    let error = result.expect_err("an error");
    assert!(error.request_id().is_some_and(|id| id.len() == 36), "{error:?}");
    error.code().unwrap_or_default().to_owned()
}

async fn kept(client: &Client) -> Vec<Vec<u8>> {
    let at = client.get_shard_iterator().stream_name(STREAM).shard_id(SHARD);
    let at = at.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    let page = client.get_records().set_shard_iterator(at).send().await.unwrap();
    page.records().iter().map(|record| record.data().as_ref().to_vec()).collect()
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_does_nothing() {
    let (handle, client) = engine(Limits::Off, None).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let put = || client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new("one"));
    put().send().await.unwrap();
    let entry = |data: Vec<u8>| {
        PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(data)).build().unwrap()
    };
    let puts = || client.put_records().stream_name(STREAM).dry_run(true);
    assert_eq!(code(put().dry_run(true).send().await), DRY_RUN);
    assert_eq!(code(puts().records(entry(b"two".to_vec())).send().await), DRY_RUN);
    let iterator = || {
        let at = client.get_shard_iterator().stream_name(STREAM).shard_id(SHARD);
        at.shard_iterator_type(ShardIteratorType::TrimHorizon)
    };
    assert_eq!(code(iterator().dry_run(true).send().await), DRY_RUN);
    let at = iterator().send().await.unwrap().shard_iterator;
    assert_eq!(code(client.get_records().set_shard_iterator(at).dry_run(true).send().await), DRY_RUN);
    let consumer = client.register_stream_consumer().stream_arn(ARN).consumer_name("c");
    let consumer = consumer.send().await.unwrap().consumer.unwrap().consumer_arn;
    let latest = StartingPosition::builder().r#type(ShardIteratorType::Latest).build().unwrap();
    let subscribe = || {
        client.subscribe_to_shard().consumer_arn(&consumer).shard_id(SHARD).starting_position(latest.clone())
    };
    assert_eq!(code(subscribe().dry_run(true).send().await), DRY_RUN);
    // It took no seat, which a second call within 5 s would find taken.
    subscribe().send().await.unwrap();

    // What the call itself would be answered.
    let missing = client.put_record().stream_name("none").partition_key("k").data(Blob::new("x"));
    assert_eq!(code(missing.dry_run(true).send().await), "ResourceNotFoundException");
    let long = puts().records(entry(b"x".to_vec())).records(entry(vec![b'x'; 1_048_576]));
    assert_eq!(code(long.send().await), "ValidationException");
    assert_eq!(code(puts().send().await), "ValidationException");
    let shard = iterator().shard_id("shardId-000000000009").dry_run(true);
    assert_eq!(code(shard.send().await), "ResourceNotFoundException");
    let bad = client.get_records().shard_iterator("none").dry_run(true);
    assert_eq!(code(bad.send().await), "InvalidArgumentException");
    let unknown = subscribe().consumer_arn(format!("{ARN}/consumer/none:1")).dry_run(true);
    assert_eq!(code(unknown.send().await), "ResourceNotFoundException");

    put().dry_run(false).data(Blob::new("three")).send().await.unwrap();
    assert_eq!(kept(&client).await, [b"one".to_vec(), b"three".to_vec()], "what was only tried is not there");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_stream_has_one_dry_run_a_second_of_all_calls_together() {
    let (handle, client) = engine(Limits::Aws, None).await;
    for name in [STREAM, "other"] {
        client.create_stream().stream_name(name).shard_count(1).send().await.unwrap();
    }
    let mut codes = Vec::new();
    for _ in 0..3 {
        let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new("x"));
        codes.push(code(put.dry_run(true).send().await));
        let at = client.get_shard_iterator().stream_name(STREAM).shard_id(SHARD);
        codes.push(code(at.shard_iterator_type(ShardIteratorType::Latest).dry_run(true).send().await));
    }
    assert_eq!(codes[0], DRY_RUN);
    // A second may have ended between them.
    let throttled = codes.iter().filter(|code| *code == "ThrottlingException").count();
    assert!(
        throttled >= 3 && codes.iter().filter(|code| *code == DRY_RUN).count() == 6 - throttled,
        "{codes:?}"
    );
    let other = client.put_record().stream_name("other").partition_key("k").data(Blob::new("x"));
    assert_eq!(code(other.dry_run(true).send().await), DRY_RUN, "another stream has its own");
    handle.shutdown().await;
}

#[tokio::test]
async fn the_largest_record_of_a_stream_can_be_changed_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = engine(Limits::Off, Some(folder.path())).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let put = async |client: &Client, bytes: usize| {
        let put = client.put_record().stream_name(STREAM).partition_key("k");
        put.data(Blob::new(vec![7; bytes - 1])).send().await
    };
    let size = async |client: &Client| {
        let summary = client.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
        summary.stream_description_summary.unwrap().max_record_size_in_kib
    };
    let change = async |client: &Client, kib: i32| {
        client.update_max_record_size().stream_arn(ARN).max_record_size_in_kib(kib).send().await
    };
    assert_eq!(size(&client).await, Some(1_024));
    put(&client, 1_048_576).await.unwrap();
    assert_eq!(code(put(&client, 1_048_577).await), "ValidationException");
    for kib in [0, 1_023, 10_241] {
        assert_eq!(code(change(&client, kib).await), "ValidationException", "{kib}");
    }
    let missing = client.update_max_record_size().stream_arn(ARN.replace("bids", "none"));
    assert_eq!(code(missing.max_record_size_in_kib(2_048).send().await), "ResourceNotFoundException");
    change(&client, 2_048).await.unwrap();
    assert_eq!(size(&client).await, Some(2_048));
    put(&client, 2_097_152).await.unwrap();
    assert_eq!(code(put(&client, 2_097_153).await), "ValidationException");
    handle.shutdown().await;

    let (handle, client) = engine(Limits::Off, Some(folder.path())).await;
    assert_eq!(size(&client).await, Some(2_048), "after a restart");
    let lengths: Vec<usize> = kept(&client).await.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1_048_575, 2_097_151]);
    change(&client, 1_024).await.unwrap();
    assert_eq!(code(put(&client, 1_048_577).await), "ValidationException");
    assert_eq!(kept(&client).await.len(), 2, "what was taken before is read on");
    handle.shutdown().await;
}

/// Both kinds of stream have it.
#[tokio::test]
async fn an_on_demand_stream_is_made_with_its_largest_record() {
    let (handle, client) = engine(Limits::Off, None).await;
    let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build().unwrap();
    let create = client.create_stream().stream_name(STREAM).stream_mode_details(mode);
    create.max_record_size_in_kib(10_240).send().await.unwrap();
    let put = client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(vec![7; 4_194_304]));
    put.send().await.unwrap();
    handle.shutdown().await;
}

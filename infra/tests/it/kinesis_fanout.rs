//! Enhanced fan-out of our Kinesis, read by the SDK's own client.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ShardIteratorType, StartingPosition, SubscribeToShardEvent,
    SubscribeToShardEventStream,
};
use infra::local::kinesis::{KinesisHandle, KinesisOptions, Limits, start};
use runtime::clients::Clients;

const STREAM: &str = "bids";
const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";
const SHARD: &str = "shardId-000000000000";
/// How long a test waits for an event.
const DEADLINE: Duration = Duration::from_secs(20);

async fn engine(limits: Limits) -> (KinesisHandle, Client, String) {
    let handle = start(KinesisOptions { limits, ..KinesisOptions::default() }).await.unwrap();
    let client = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await.kinesis;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let registered =
        client.register_stream_consumer().stream_arn(ARN).consumer_name("reader").send().await.unwrap();
    let consumer = registered.consumer.unwrap().consumer_arn;
    (handle, client, consumer)
}

async fn subscribe(client: &Client, consumer: &str, from: StartingPosition) -> SubscribeToShardOutput {
    client
        .subscribe_to_shard()
        .consumer_arn(consumer)
        .shard_id(SHARD)
        .starting_position(from)
        .send()
        .await
        .unwrap()
}

fn from(kind: ShardIteratorType) -> StartingPosition {
    StartingPosition::builder().r#type(kind).build().unwrap()
}

fn after(sequence: &str) -> StartingPosition {
    let position = StartingPosition::builder().r#type(ShardIteratorType::AfterSequenceNumber);
    position.sequence_number(sequence).build().unwrap()
}

/// The next event, or none at the end of the subscription.
async fn next(subscription: &mut SubscribeToShardOutput) -> Option<SubscribeToShardEvent> {
    let event =
        tokio::time::timeout(DEADLINE, subscription.event_stream.recv()).await.expect("an event comes");
    match event.unwrap()? {
        SubscribeToShardEventStream::SubscribeToShardEvent(event) => Some(event),
        other => panic!("{other:?}"),
    }
}

fn texts(event: &SubscribeToShardEvent) -> Vec<String> {
    event.records().iter().map(|one| String::from_utf8(one.data().as_ref().to_vec()).unwrap()).collect()
}

async fn put(client: &Client, text: &str) {
    client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(text)).send().await.unwrap();
}

/// Reads events until one holds records.
async fn records(subscription: &mut SubscribeToShardOutput) -> SubscribeToShardEvent {
    loop {
        let event = next(subscription).await.expect("records come before the end");
        if !event.records().is_empty() {
            return event;
        }
    }
}

#[tokio::test]
async fn records_come_as_they_are_put_and_a_successor_goes_on_where_the_first_stopped() {
    let (handle, client, consumer) = engine(Limits::Aws).await;
    put(&client, "before").await;
    let mut first = subscribe(&client, &consumer, from(ShardIteratorType::Latest)).await;
    let event = next(&mut first).await.unwrap();
    assert!(event.records().is_empty() && event.millis_behind_latest() == 0, "the tip says so at once");
    put(&client, "one").await;
    let event = records(&mut first).await;
    assert_eq!(texts(&event), ["one"]);
    assert!(event.records()[0].approximate_arrival_timestamp().is_some());
    put(&client, "two").await;
    assert_eq!(texts(&records(&mut first).await), ["two"]);
    let goes_on = event.continuation_sequence_number().to_owned();
    handle.advance(Duration::from_secs(6));
    let mut second = subscribe(&client, &consumer, after(&goes_on)).await;
    assert_eq!(
        texts(&records(&mut second).await),
        ["two"],
        "nothing before the continuation, nothing missed behind it"
    );
    handle.shutdown().await;
}

#[tokio::test]
async fn a_second_call_within_five_seconds_is_refused_and_a_later_one_takes_over() {
    let (handle, client, consumer) = engine(Limits::Aws).await;
    let mut first = subscribe(&client, &consumer, from(ShardIteratorType::Latest)).await;
    next(&mut first).await.unwrap();
    let again = client.subscribe_to_shard().consumer_arn(&consumer).shard_id(SHARD);
    let again = again.starting_position(from(ShardIteratorType::Latest)).send().await;
    assert!(again.unwrap_err().into_service_error().is_resource_in_use_exception());
    handle.advance(Duration::from_secs(5));
    let mut second = subscribe(&client, &consumer, from(ShardIteratorType::TrimHorizon)).await;
    put(&client, "one").await;
    assert_eq!(texts(&records(&mut second).await), ["one"]);
    let lost = loop {
        match tokio::time::timeout(DEADLINE, first.event_stream.recv()).await.expect("the first one ends") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the first one ended without a word"),
            Err(error) => break error.into_service_error(),
        }
    };
    assert!(lost.is_resource_in_use_exception(), "{lost:?}");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_subscription_ends_after_five_minutes_and_with_the_end_of_its_shard() {
    let (handle, client, consumer) = engine(Limits::Aws).await;
    let mut subscription = subscribe(&client, &consumer, from(ShardIteratorType::TrimHorizon)).await;
    next(&mut subscription).await.unwrap();
    handle.advance(Duration::from_secs(299));
    put(&client, "one").await;
    let event = records(&mut subscription).await;
    handle.advance(Duration::from_secs(1));
    while next(&mut subscription).await.is_some() {}

    let goes_on = event.continuation_sequence_number().to_owned();
    let mut subscription = subscribe(&client, &consumer, after(&goes_on)).await;
    put(&client, "two").await;
    assert_eq!(texts(&records(&mut subscription).await), ["two"]);
    let split = client.split_shard().stream_name(STREAM).shard_to_split(SHARD);
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    let mut children = Vec::new();
    while let Some(event) = next(&mut subscription).await {
        assert!(children.is_empty(), "nothing follows the children");
        children = event.child_shards().iter().map(|child| child.shard_id().to_owned()).collect();
    }
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_consumer_or_stream_that_goes_ends_its_subscriptions() {
    let (handle, client, consumer) = engine(Limits::Aws).await;
    let mut subscription = subscribe(&client, &consumer, from(ShardIteratorType::Latest)).await;
    next(&mut subscription).await.unwrap();
    client.deregister_stream_consumer().consumer_arn(&consumer).send().await.unwrap();
    let gone = tokio::time::timeout(DEADLINE, subscription.event_stream.recv()).await.unwrap();
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
    let unknown = client.subscribe_to_shard().consumer_arn(&consumer).shard_id(SHARD);
    let unknown = unknown.starting_position(from(ShardIteratorType::Latest)).send().await;
    assert!(unknown.unwrap_err().into_service_error().is_resource_not_found_exception());
    handle.shutdown().await;
}

#[tokio::test]
async fn a_stream_has_at_most_twenty_consumers_and_lists_them_page_by_page() {
    let (handle, client, _) = engine(Limits::Aws).await;
    for index in 1..20 {
        let name = format!("consumer-{index:02}");
        client.register_stream_consumer().stream_arn(ARN).consumer_name(name).send().await.unwrap();
    }
    let one_more = client.register_stream_consumer().stream_arn(ARN).consumer_name("more").send().await;
    assert!(one_more.unwrap_err().into_service_error().is_limit_exceeded_exception());
    let (mut names, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let list = client.list_stream_consumers().stream_arn(ARN).max_results(7).set_next_token(token.take());
        let page = list.send().await.unwrap();
        names.extend(page.consumers().iter().map(|one| one.consumer_name().to_owned()));
        pages += 1;
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (20, 3));
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_gets_two_mebibytes_a_second_and_every_record_once() {
    const RECORDS: usize = 100;
    let (handle, client, consumer) = engine(Limits::Off).await;
    for batch in 0..RECORDS / 10 {
        let entry = |index: usize| {
            let mut data = vec![0; 50_000];
            data[..8].copy_from_slice(&(batch * 10 + index).to_be_bytes());
            PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(data)).build().unwrap()
        };
        let entries = (0..10).map(entry).collect();
        client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await.unwrap();
    }
    let mut subscription = subscribe(&client, &consumer, from(ShardIteratorType::TrimHorizon)).await;
    let mut numbers = Vec::new();
    while numbers.len() < RECORDS {
        let event = records(&mut subscription).await;
        assert!(event.records().iter().map(|one| one.data().as_ref().len()).sum::<usize>() <= 1 << 20);
        let number = |data: &Blob| usize::from_be_bytes(data.as_ref()[..8].try_into().unwrap());
        numbers.extend(event.records().iter().map(|one| number(one.data())));
    }
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
    drop(subscription);
    handle.shutdown().await;
}

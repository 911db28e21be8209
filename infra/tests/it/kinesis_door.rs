//! The door of our Kinesis: what no client of the SDK sends, and what goes wrong on purpose.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use infra::local::kinesis::{Control, Error, Faults, KinesisHandle, KinesisOptions, Limits, start};
use runtime::clients::Clients;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const STREAM: &str = "bids";

async fn engine(faults: Faults) -> (KinesisHandle, Client) {
    let options =
        KinesisOptions { limits: Limits::Off, faults, control: Control::Open, ..KinesisOptions::default() };
    let handle = start(options).await.unwrap();
    let client = Clients::local(&handle.endpoint_url(), &handle.endpoint_url()).await.kinesis;
    (handle, client)
}

async fn with_stream() -> (KinesisHandle, Client) {
    let (handle, client) = engine(Faults::default()).await;
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    (handle, client)
}

/// Sends one request as it is and answers its status and everything that came back.
async fn raw(handle: &KinesisHandle, request: &str, body: &[u8]) -> (u16, String) {
    let address = handle.endpoint_url().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{request}host: 127.0.0.1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let _ = socket.write_all(body).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

fn post(operation: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nx-amz-target: Kinesis_20131202.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n"
    )
}

const OPERATIONS: [&str; 25] = [
    "AddTagsToStream",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeStream",
    "DescribeStreamConsumer",
    "DescribeStreamSummary",
    "GetRecords",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForStream",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "SplitShard",
    "SubscribeToShard",
    "UpdateMaxRecordSize",
    "UpdateShardCount",
    "UpdateStreamRecordDistributionStrategy",
];

#[tokio::test]
async fn garbage_is_refused_by_every_operation_and_the_engine_goes_on() {
    let (handle, client) = with_stream().await;
    let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"\"x\"",
        b"\xff\xfe\x00",
        &deep,
        br#"{"StreamName":7,"ShardId":[],"Records":{},"ShardIterator":1,"Tags":3,"ConsumerARN":{}}"#,
        br#"{"StreamName":"bids","ShardId":"shardId-99999999999999","Records":[{}],"ShardIteratorType":"LATEST","Data":"%"}"#,
        br#"{"StreamName":"bids","StreamARN":"arn:aws:kinesis:::stream/other","Limit":-1,"MaxResults":1e99,"TargetShardCount":-3}"#,
    ];
    for operation in OPERATIONS {
        for body in bodies {
            let (status, answer) = raw(&handle, &post(operation), body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(90)]);
            let refused = status == 400 && answer.contains("__type");
            let read = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(body).is_ok()
                || body.is_empty();
            assert!(refused || (read && status == 200), "{operation} {shown}: {answer}");
        }
    }
    // One of them named a stream that is there and so deleted it.
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    put(&client, "x").send().await.unwrap();
    handle.shutdown().await;
}

#[tokio::test]
async fn what_is_not_spoken_here_is_said_so() {
    let (handle, client) = with_stream().await;
    let (status, answer) = raw(&handle, &post("StartStreamEncryption"), b"{}").await;
    assert!(status == 400 && answer.contains("UnknownOperationException"), "{answer}");
    let (status, answer) = raw(&handle, "POST / HTTP/1.1\r\n", b"{}").await;
    assert!(status == 400 && answer.contains("X-Amz-Target"), "{answer}");
    let (status, answer) = raw(&handle, &post("ListStreams").replace("POST", "GET"), b"").await;
    assert!(status == 405 && answer.to_lowercase().contains("allow: post"), "{answer}");
    let (status, answer) = raw(&handle, &post("ListStreams").replace("json", "cbor"), b"\xa0").await;
    assert!(status == 415 && answer.contains("AWS_CBOR_DISABLE"), "{answer}");
    let long = vec![b' '; 25 * 1_048_576];
    let (status, _) = raw(&handle, &post("PutRecords"), &long).await;
    assert!(status == 400 || status == 0, "a body beyond the bound is refused or cut off");
    assert_eq!(client.list_streams().send().await.unwrap().stream_names(), [STREAM]);
    handle.shutdown().await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken_too() {
    let (handle, _client) = with_stream().await;
    let address = handle.endpoint_url().trim_start_matches("http://").to_owned();
    let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(handle.endpoint_url())
        .header("x-amz-target", "Kinesis_20131202.ListStreams")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (hyper::Version::HTTP_2, 200));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains(STREAM));
    handle.shutdown().await;
    drop(sender);
    tokio::time::timeout(Duration::from_secs(20), connection)
        .await
        .expect("the shutdown ends it")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = start(KinesisOptions { listen, ..KinesisOptions::default() }).await;
    assert!(matches!(refused, Err(Error::NotLoopback { address }) if address == listen));
}

fn put(
    client: &Client,
    text: &str,
) -> aws_sdk_kinesis::operation::put_record::builders::PutRecordFluentBuilder {
    client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(text.as_bytes()))
}

async fn read(client: &Client) -> Vec<String> {
    let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
    let iterator =
        iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    let page = client.get_records().set_shard_iterator(iterator).send().await.unwrap();
    let text = |blob: &Blob| String::from_utf8(blob.as_ref().to_vec()).unwrap();
    page.records().iter().map(|record| text(record.data())).collect()
}

#[tokio::test]
async fn a_lost_request_was_not_carried_out_and_a_lost_reply_was() {
    let (handle, client) = with_stream().await;
    handle.set_faults(Faults { lost_request: 1.0, ..Faults::none(1) });
    assert!(matches!(put(&client, "request").send().await, Err(SdkError::DispatchFailure(_))));
    handle.set_faults(Faults { lost_reply: 1.0, ..Faults::none(1) });
    assert!(matches!(put(&client, "reply").send().await, Err(SdkError::DispatchFailure(_))));
    handle.set_faults(Faults::default());
    assert_eq!(read(&client).await, ["reply"]);
    handle.shutdown().await;
}

#[tokio::test]
async fn each_refusal_on_purpose_has_the_code_of_the_real_one() {
    let (handle, client) = with_stream().await;
    handle.set_faults(Faults { server_error: 1.0, ..Faults::none(1) });
    let error = put(&client, "x").send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
    assert_eq!(error.code(), Some("InternalFailure"));
    handle.set_faults(Faults { throttle: 1.0, ..Faults::none(1) });
    let error = put(&client, "x").send().await.unwrap_err().into_service_error();
    assert!(error.is_provisioned_throughput_exceeded_exception());
    assert!(client.list_shards().stream_name(STREAM).send().await.is_ok(), "only records are throttled");
    handle.set_faults(Faults { expired_iterator: 1.0, ..Faults::none(1) });
    let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
    let iterator =
        iterator.shard_iterator_type(ShardIteratorType::Latest).send().await.unwrap().shard_iterator;
    let error =
        client.get_records().set_shard_iterator(iterator).send().await.unwrap_err().into_service_error();
    assert!(error.is_expired_iterator_exception());
    handle.set_faults(Faults::default());
    assert!(read(&client).await.is_empty(), "what was refused was not carried out");
    handle.shutdown().await;
}

#[tokio::test]
async fn entries_fail_one_by_one_and_the_others_are_there_in_order() {
    let (handle, client) = with_stream().await;
    handle.set_faults(Faults { entry: 0.3, entry_throttle: 0.3, ..Faults::none(5) });
    let entry = |number: u32| {
        let entry = PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(number.to_string()));
        entry.build().unwrap()
    };
    let put = client.put_records().stream_name(STREAM).set_records(Some((0..200).map(entry).collect()));
    let answer = put.send().await.unwrap();
    let kept: Vec<String> = (0..200_u32)
        .zip(answer.records())
        .filter(|(_, one)| one.error_code().is_none())
        .map(|(number, _)| number.to_string())
        .collect();
    let failed = answer.records().iter().filter_map(|one| one.error_code());
    let codes: std::collections::BTreeSet<&str> = failed.collect();
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        ["InternalFailure", "ProvisionedThroughputExceededException"]
    );
    assert_eq!(usize::try_from(answer.failed_record_count().unwrap()).unwrap(), 200 - kept.len());
    handle.set_faults(Faults::default());
    assert_eq!(read(&client).await, kept);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_delay_is_waited_before_the_request_is_carried_out() {
    let (handle, client) = with_stream().await;
    handle.set_faults(Faults { delay: 1.0, delay_ms_max: 300, ..Faults::none(2) });
    let began = Instant::now();
    for _ in 0..8 {
        put(&client, "x").send().await.unwrap();
    }
    assert!(began.elapsed() > Duration::from_millis(150), "eight waits of 1 to 300 ms");
    handle.shutdown().await;
}

#[tokio::test]
async fn faults_are_set_through_the_control_door_of_an_engine_that_has_one() {
    let (handle, client) = with_stream().await;
    let door = "POST /_faults HTTP/1.1\r\ncontent-type: application/json\r\n";
    let (status, _) = raw(&handle, door, br#"{"seed":7,"throttle":1.0}"#).await;
    assert_eq!(status, 200);
    let error = put(&client, "x").send().await.unwrap_err().into_service_error();
    assert!(error.is_provisioned_throughput_exceeded_exception());
    let (status, answer) = raw(&handle, door, br#"{"throttled":1.0}"#).await;
    assert!(status == 400 && answer.contains("throttled"), "{answer}");
    let (status, _) = raw(&handle, door, b"{}").await;
    assert_eq!(status, 200);
    assert!(put(&client, "x").send().await.is_ok(), "an empty object ends all faults");
    handle.shutdown().await;

    let closed = start(KinesisOptions::default()).await.unwrap();
    let (status, answer) = raw(&closed, door, br#"{"throttle":1.0}"#).await;
    assert!(status == 400 && answer.contains("UnknownOperationException"), "{answer}");
    closed.shutdown().await;
}

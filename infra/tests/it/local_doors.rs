//! The doors of the local engines that speak HTTP: pages of a browser stay outside, and nothing is acknowledged that is
//! written to a file which is gone.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_kinesis::operation::RequestId;
use infra::local::dynamodb::{self, DynamoHandle, DynamoOptions};
use infra::local::kinesis::{self, Control, KinesisOptions};
use runtime::clients::Clients;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TABLE: &str = "bid_leases";

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn client(engine: &DynamoHandle) -> Client {
    Clients::local(&engine.endpoint_url(), &engine.endpoint_url()).await.dynamodb
}

async fn with_table(options: DynamoOptions) -> (DynamoHandle, Client) {
    let engine = dynamodb::start(options).await.unwrap();
    let client = client(&engine).await;
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let table = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    table.key_schema(key).attribute_definitions(id.build().unwrap()).send().await.unwrap();
    (engine, client)
}

/// Sends one request as it is; gives everything that came back.
async fn raw(url: &str, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let length = body.len();
    let request = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// What a page can send: each is refused, and the browser is told nothing that lets the page go on.
async fn pages_are_refused(url: &str, target: &str, kind: &str, body: &str) {
    let host = url.trim_start_matches("http://");
    let post = format!(
        "POST / HTTP/1.1\r\nx-amz-target: {target}\r\ncontent-type: {kind}\r\nx-amz-date: 20261130T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=local/20261130/us-east-1/x/aws4_request, SignedHeaders=host, \
         Signature=0\r\n"
    );
    let preflight = "OPTIONS / HTTP/1.1\r\naccess-control-request-method: POST\r\n\
        access-control-request-headers: x-amz-target\r\n";
    let port = host.rsplit_once(':').unwrap().1;
    for (head, what) in [
        (format!("{post}host: {host}\r\norigin: https://evil.example\r\n"), "a page's call"),
        (format!("{post}host: {host}\r\norigin: null\r\n"), "a page's call from a sandbox"),
        (format!("{post}host: {host}\r\norigin: http://127.0.0.1:1\r\n"), "another port's page"),
        (format!("{preflight}host: {host}\r\norigin: https://evil.example\r\n"), "a preflight"),
        (format!("{post}host: evil.example:{port}\r\n"), "a name that was made to lead here"),
        (format!("{post}host: evil.example\r\norigin: http://evil.example\r\n"), "its own page"),
        ("GET / HTTP/1.1\r\nhost: evil.example\r\n".to_owned(), "a look"),
    ] {
        let answer = raw(url, &head, body).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{what}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{what}: {answer}");
        assert!(answer.contains("what listens here is for programs"), "{what}: {answer}");
    }
    let own = raw(url, &format!("{post}host: localhost:{port}\r\n"), body).await;
    assert!(own.starts_with("HTTP/1.1 200 "), "a program's call: {own}");
}

#[tokio::test]
async fn no_page_reaches_the_local_dynamodb() {
    let (engine, client) = with_table(DynamoOptions::in_memory(anywhere())).await;
    let delete = format!(r#"{{"TableName":"{TABLE}"}}"#);
    let kind = "application/x-amz-json-1.0";
    let url = engine.endpoint_url();
    assert_eq!(client.list_tables().send().await.unwrap().table_names(), [TABLE]);
    // The last call of these is a program's, and deletes it.
    pages_are_refused(&url, "DynamoDB_20120810.DeleteTable", kind, &delete).await;
    assert!(client.list_tables().send().await.unwrap().table_names().is_empty());
    let own = url.trim_start_matches("http://");
    let look = raw(&url, &format!("GET / HTTP/1.1\r\nhost: {own}\r\norigin: {url}\r\n"), "").await;
    assert!(look.starts_with("HTTP/1.1 200 ") && !look.contains("access-control"), "{look}");
    engine.shutdown().await;
}

#[tokio::test]
async fn no_page_reaches_the_local_kinesis() {
    let options = KinesisOptions { control: Control::Open, ..KinesisOptions::default() };
    let engine = kinesis::start(options).await.unwrap();
    let url = engine.endpoint_url();
    let kind = "application/x-amz-json-1.1";
    pages_are_refused(&url, "Kinesis_20131202.ListStreams", kind, "{}").await;
    let host = url.trim_start_matches("http://");
    let faults = format!("POST /_faults HTTP/1.1\r\nhost: {host}\r\norigin: https://evil.example\r\n");
    let answer = raw(&url, &faults, r#"{"throttle":1}"#).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    engine.shutdown().await;
}

/// Says this and gives what comes back until the engine ends the connection, and after how long.
async fn held(url: &str, said: String) -> (String, Duration) {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(said.as_bytes()).await.unwrap();
    let (began, mut answer) = (Instant::now(), Vec::new());
    let read = tokio::time::timeout(Duration::from_secs(45), socket.read_to_end(&mut answer)).await;
    read.expect("the connection is ended in time").unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

/// Callers that never finish what they began do not hold a connection.
#[tokio::test]
async fn heads_and_bodies_that_do_not_come_end_their_connections() {
    let kinesis = kinesis::start(KinesisOptions::default()).await.unwrap();
    let dynamodb = dynamodb::start(DynamoOptions::in_memory(anywhere())).await.unwrap();
    let both = [
        (kinesis.endpoint_url(), "Kinesis_20131202.ListStreams"),
        (dynamodb.endpoint_url(), "DynamoDB_20120810.ListTables"),
    ];
    let waits = both.iter().flat_map(|(url, target)| {
        let host = url.trim_start_matches("http://");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.0\r\n"
        );
        let whole = format!("{head}content-length: 2\r\n\r\n{{}}");
        // One engine speaks HTTP/2 too; to the other these are the first letters of a head.
        let preface = if target.starts_with("Kinesis") { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" } else { "PRI" };
        [
            (String::new(), 10, ""),
            (preface.to_owned(), 10, ""),
            (head.clone(), 10, ""),
            // Whole, and half of another.
            (format!("{whole}{head}"), 10, "HTTP/1.1 "),
            (format!("{head}content-length: 1000\r\n\r\n{{"), 30, "HTTP/1.1 408 "),
        ]
        .map(|(said, seconds, answer)| async move {
            let (answered, took) = held(url, said.clone()).await;
            let is_http2 = answered.bytes().any(|byte| byte == 0);
            assert!(is_http2 || answered.starts_with(answer), "{url} {said}: {answered}");
            let within = seconds - 2..seconds + 10;
            assert!(within.contains(&took.as_secs()), "{url} {said}: {took:?}");
        })
    });
    futures::future::join_all(waits).await;
    kinesis.shutdown().await;
    dynamodb.shutdown().await;
}

/// By these a user finds a call in logs, and the SDKs put the first into every error.
#[tokio::test]
async fn each_answer_has_an_id_of_its_own_and_errors_carry_it() {
    let kinesis = kinesis::start(KinesisOptions::default()).await.unwrap();
    let dynamodb = dynamodb::start(DynamoOptions::in_memory(anywhere())).await.unwrap();
    let clients = Clients::local(&kinesis.endpoint_url(), &dynamodb.endpoint_url()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let listed = clients.kinesis.list_streams().send().await.unwrap();
        ids.push(RequestId::request_id(&listed).unwrap().to_owned());
        let refused = clients.kinesis.describe_stream().stream_name("none").send().await.unwrap_err();
        ids.push(refused.request_id().unwrap().to_owned());
        let listed = clients.dynamodb.list_tables().send().await.unwrap();
        ids.push(RequestId::request_id(&listed).unwrap().to_owned());
        let refused = clients.dynamodb.describe_table().table_name("none").send().await.unwrap_err();
        ids.push(refused.meta().request_id().unwrap().to_owned());
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 8, "{ids:?}");
    for url in [kinesis.endpoint_url(), dynamodb.endpoint_url()] {
        let host = url.trim_start_matches("http://");
        let refused = raw(&url, &format!("GET / HTTP/1.1\r\nhost: {host}\r\norigin: null\r\n"), "").await;
        let head = refused.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 403 "), "{head}");
        assert!(head.contains("\r\nx-amzn-requestid: ") && head.contains("\r\nx-amz-id-2: "), "{head}");
    }
    kinesis.shutdown().await;
    dynamodb.shutdown().await;
}

async fn put(client: &Client, id: &str) -> Result<(), aws_sdk_dynamodb::Error> {
    let item = client.put_item().table_name(TABLE).item("id", AttributeValue::S(id.into()));
    item.send().await.map(|_| ()).map_err(Into::into)
}

async fn ids(client: &Client) -> Vec<String> {
    let found = client.scan().table_name(TABLE).send().await.unwrap();
    let mut ids: Vec<String> = found.items().iter().map(|item| item["id"].as_s().unwrap().clone()).collect();
    ids.sort();
    ids
}

async fn is_refused(client: &Client, file: &Path) {
    let error = put(client, "lost").await.expect_err("its file is gone");
    assert_eq!(error.code(), Some("InternalServerError"), "{error:?}");
    let said = error.message().unwrap_or_default();
    assert!(said.contains(file.to_str().unwrap()) && said.contains("put it back"), "{said}");
}

#[tokio::test]
async fn changes_are_refused_while_the_database_is_not_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let (dir, away) = (root.path().join("dynamodb"), root.path().join("away"));
    let (engine, client) = with_table(DynamoOptions::in_dir(anywhere(), &dir)).await;
    put(&client, "kept").await.unwrap();
    std::fs::rename(&dir, &away).unwrap();
    is_refused(&client, &dir.join("dynamodb.sqlite")).await;
    assert_eq!(ids(&client).await, ["kept"], "reads go on");
    std::fs::rename(&away, &dir).unwrap();
    put(&client, "later").await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    is_refused(&client, &dir.join("dynamodb.sqlite")).await;
    engine.shutdown().await;
}

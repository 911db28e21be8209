//! The doors of the local engines that speak HTTP: pages of a browser stay outside, and nothing is acknowledged that is
//! written to a file which is gone.

use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
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

//! The local DynamoDB, driven by the real SDK client over the table `bid_aggregates`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
    TimeToLiveSpecification,
};
use futures::future::join_all;
use infra::local::dynamodb::{self, DynamoHandle, DynamoOptions, Error};

const TABLE: &str = "bid_aggregates";
const OUTBOX: &str = "outbox";
/// How long a test waits for the value it expects.
const DEADLINE: Duration = Duration::from_secs(20);

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn client(endpoint_url: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
            aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint_url)
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .http_client(http)
        .build();
    Client::from_conf(config)
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

async fn create_table(client: &Client) {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    let outbox = GlobalSecondaryIndex::builder()
        .index_name(OUTBOX)
        .key_schema(key("outbox_pk", KeyType::Hash))
        .key_schema(key("outbox_sk", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(
            ["PK", "SK", "outbox_pk", "outbox_sk"].into_iter().map(attribute).collect(),
        ))
        .key_schema(key("PK", KeyType::Hash))
        .key_schema(key("SK", KeyType::Range))
        .global_secondary_indexes(outbox)
        .send()
        .await
        .unwrap();
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().unwrap();
    client.update_time_to_live().table_name(TABLE).time_to_live_specification(ttl).send().await.unwrap();
}

async fn started(options: DynamoOptions) -> (DynamoHandle, Client) {
    let engine = dynamodb::start(options).await.unwrap();
    let client = client(&engine.endpoint_url());
    (engine, client)
}

async fn put(client: &Client, pk: &str, sk: &str, more: &[(&str, AttributeValue)]) {
    let mut request = client.put_item().table_name(TABLE).item("PK", text(pk)).item("SK", text(sk));
    for (name, value) in more {
        request = request.item(*name, value.clone());
    }
    request.send().await.unwrap();
}

async fn bids_of(client: &Client, pk: &str, sk: &str) -> Option<String> {
    let answer = client
        .get_item()
        .table_name(TABLE)
        .key("PK", text(pk))
        .key("SK", text(sk))
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    Some(answer.item?.get("bids")?.as_n().unwrap().clone())
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, client) = started(DynamoOptions::in_dir(anywhere(), dir.path())).await;
    create_table(&client).await;
    put(&client, "SLOT#a", "WINDOW#1", &[("bids", number(17))]).await;
    engine.shutdown().await;

    let (engine, client) = started(DynamoOptions::in_dir(anywhere(), dir.path())).await;
    assert_eq!(bids_of(&client, "SLOT#a", "WINDOW#1").await.as_deref(), Some("17"));
    engine.shutdown().await;
}

/// The files as they lie while the engine runs are what a killed process leaves behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let left_behind = tempfile::tempdir().unwrap();
    let (engine, client) = started(DynamoOptions::in_dir(anywhere(), dir.path())).await;
    create_table(&client).await;
    for window in 0..50 {
        put(&client, "SLOT#a", &format!("WINDOW#{window}"), &[("bids", number(window))]).await;
    }
    copy_files(dir.path(), left_behind.path());
    drop(engine);

    let (engine, client) = started(DynamoOptions::in_dir(anywhere(), left_behind.path())).await;
    for window in 0..50 {
        let bids = bids_of(&client, "SLOT#a", &format!("WINDOW#{window}")).await;
        assert_eq!(bids, Some(window.to_string()));
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_removes_what_expired_and_nothing_else() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let options = DynamoOptions::in_memory(anywhere());
    let engine = dynamodb::start_sweeping(options, Duration::from_millis(50)).await.unwrap();
    let client = client(&engine.endpoint_url());
    create_table(&client).await;
    put(&client, "SLOT#a", "WINDOW#pending", &[("bids", number(1))]).await;
    put(&client, "SLOT#a", "WINDOW#kept", &[("bids", number(2)), ("ttl", number(now + 3600))]).await;
    put(&client, "SLOT#a", "WINDOW#gone", &[("bids", number(4)), ("ttl", number(now - 3600))]).await;

    let deadline = Instant::now() + DEADLINE;
    while bids_of(&client, "SLOT#a", "WINDOW#gone").await.is_some() {
        assert!(Instant::now() < deadline, "the expired item was not swept");
    }
    assert_eq!(bids_of(&client, "SLOT#a", "WINDOW#pending").await.as_deref(), Some("1"));
    assert_eq!(bids_of(&client, "SLOT#a", "WINDOW#kept").await.as_deref(), Some("2"));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_put_returns_what_stands_there() {
    let (engine, client) = started(DynamoOptions::in_memory(anywhere())).await;
    create_table(&client).await;
    put(&client, "SLOT#a", "WINDOW#1", &[("digest", text("first"))]).await;

    let refused = client
        .put_item()
        .table_name(TABLE)
        .item("PK", text("SLOT#a"))
        .item("SK", text("WINDOW#1"))
        .item("digest", text("second"))
        .condition_expression("attribute_not_exists(PK)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(refused) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.item.unwrap()["digest"], text("first"));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outbox_holds_what_is_pending_in_order_of_its_end() {
    let (engine, client) = started(DynamoOptions::in_memory(anywhere())).await;
    create_table(&client).await;
    for end in ["30", "10", "20"] {
        let outbox = [("outbox_pk", text("OUTBOX#3#0")), ("outbox_sk", text(format!("{end}#slot-a")))];
        put(&client, "SLOT#a", &format!("WINDOW#{end}"), &outbox).await;
    }
    put(&client, "SLOT#a", "WINDOW#40", &[("state", text("SETTLED"))]).await;
    client
        .update_item()
        .table_name(TABLE)
        .key("PK", text("SLOT#a"))
        .key("SK", text("WINDOW#10"))
        .update_expression("SET #state = :settled REMOVE outbox_pk, outbox_sk")
        .condition_expression("attribute_exists(PK)")
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(":settled", text("SETTLED"))
        .send()
        .await
        .unwrap();

    let answer = client
        .query()
        .table_name(TABLE)
        .index_name(OUTBOX)
        .key_condition_expression("outbox_pk = :bucket")
        .expression_attribute_values(":bucket", text("OUTBOX#3#0"))
        .send()
        .await
        .unwrap();
    let pending: Vec<_> = answer.items().iter().map(|item| item["SK"].as_s().unwrap().as_str()).collect();
    assert_eq!(pending, ["WINDOW#20", "WINDOW#30"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_said_to_be_in_use() {
    let (engine, _) = started(DynamoOptions::in_memory(anywhere())).await;
    let taken = engine.address();
    let refused = dynamodb::start(DynamoOptions::in_memory(taken)).await.unwrap_err();
    assert!(matches!(refused, Error::AddressInUse(address) if address == taken), "{refused}");
    engine.shutdown().await;

    // A freed port is anyone's for a moment, so wait until it is ours again.
    let deadline = Instant::now() + DEADLINE;
    let engine = loop {
        match dynamodb::start(DynamoOptions::in_memory(taken)).await {
            Ok(engine) => break engine,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(engine.address(), taken);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_lose_nothing() {
    const WRITERS: u32 = 16;
    const PUTS: u32 = 50;
    let (engine, client) = started(DynamoOptions::in_memory(anywhere())).await;
    create_table(&client).await;
    let client = &client;
    let begun = Instant::now();
    join_all((0..WRITERS).map(|writer| async move {
        for put_no in 0..PUTS {
            put(client, &format!("SLOT#{writer}"), &format!("WINDOW#{put_no}"), &[("bids", number(1))]).await;
        }
    }))
    .await;
    let elapsed_ms = begun.elapsed().as_millis().max(1);
    println!("{} puts/s from {WRITERS} writers", u128::from(WRITERS * PUTS) * 1000 / elapsed_ms);
    for writer in 0..WRITERS {
        let answer = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("PK = :slot")
            .expression_attribute_values(":slot", text(format!("SLOT#{writer}")))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.count(), i32::try_from(PUTS).unwrap());
    }
    engine.shutdown().await;
}

//! dynoxide, which the pipeline runs on locally, beside `ministack`: the calls that the stages really make.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ReturnValue, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
    TableStatus, TimeToLiveSpecification,
};
use infra::local::dynamodb::{DynamoOptions, start};
use runtime::clients::Clients;

use super::{Record, compare, dynamodb_batches, dynamodb_differences, peers};

pub(super) const TABLE: &str = "bid_aggregates";

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn item(pk: &str, sk: &str, more: &[(&str, AttributeValue)]) -> Item {
    let keys = [("PK".to_owned(), s(pk)), ("SK".to_owned(), s(sk))];
    keys.into_iter().chain(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

fn value(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => text.clone(),
        AttributeValue::N(number) => format!("n{number}"),
        AttributeValue::M(map) => say(map),
        AttributeValue::L(list) => format!("{:?}", list.iter().map(self::value).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

pub(super) fn say(item: &Item) -> String {
    let mut fields: Vec<String> = item.iter().map(|(name, one)| format!("{name}={}", value(one))).collect();
    fields.sort();
    format!("{{{}}}", fields.join(" "))
}

fn said(items: &[Item]) -> String {
    items.iter().map(say).collect::<Vec<_>>().join(" ")
}

fn last(key: Option<&Item>) -> String {
    key.map_or_else(|| "the last".to_owned(), |key| format!("then {}", say(key)))
}

async fn table(client: &Client, record: &mut Record) {
    let attribute = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
    };
    let create = || {
        let outbox = GlobalSecondaryIndex::builder()
            .index_name("outbox")
            .key_schema(key("outbox_pk", KeyType::Hash))
            .key_schema(key("outbox_sk", KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .unwrap();
        client
            .create_table()
            .table_name(TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(["PK", "SK", "outbox_pk", "outbox_sk"].map(attribute).to_vec()))
            .key_schema(key("PK", KeyType::Hash))
            .key_schema(key("SK", KeyType::Range))
            .global_secondary_indexes(outbox)
            .send()
    };
    record.note("create", create().await, |_| "made".into());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let table = client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
        if table.table_status() == Some(&TableStatus::Active) {
            let mut keys: Vec<_> = table.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
            keys.sort_unstable();
            record.say("describe", format!("{keys:?} {} index", table.global_secondary_indexes().len()));
            break;
        }
        assert!(Instant::now() < deadline, "the table does not become active");
    }
    record.note("create again", create().await, |_| "made".into());
    record.note("describe a missing table", client.describe_table().table_name("none").send().await, |_| {
        "there".into()
    });
    let ttl = |client: &Client| client.describe_time_to_live().table_name(TABLE).send();
    let told = |answer: aws_sdk_dynamodb::operation::describe_time_to_live::DescribeTimeToLiveOutput| {
        let ttl = answer.time_to_live_description.unwrap();
        format!("{:?} {:?}", ttl.time_to_live_status(), ttl.attribute_name())
    };
    record.note("ttl before", ttl(client).await, told);
    let enable = || {
        let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().unwrap();
        client.update_time_to_live().table_name(TABLE).time_to_live_specification(ttl).send()
    };
    record.note("enable ttl", enable().await, |_| "enabled".into());
    record.note("enable ttl again", enable().await, |_| "enabled".into());
    record.note("ttl after", ttl(client).await, told);
}

async fn puts(client: &Client, record: &mut Record) {
    let put = |more: &[(&str, AttributeValue)]| {
        let put = client.put_item().table_name(TABLE).set_item(Some(item("SLOT#a", "WINDOW#1", more)));
        put.condition_expression("attribute_not_exists(PK)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    let region = AttributeValue::M([("best".to_owned(), n("5.4000")), ("bids".to_owned(), n(3))].into());
    let candidates = AttributeValue::L(vec![s("one"), n(2)]);
    let first = [("amount_sum", n("12345678901234.5600")), ("regions", region), ("candidates", candidates)];
    record.note("put where nothing stands", put(&first).await, |_| "put".into());
    let old = match put(&[("digest", s("other"))]).await {
        Err(SdkError::ServiceError(error)) => match error.into_err() {
            PutItemError::ConditionalCheckFailedException(refused) => {
                refused.item.as_ref().map(say).unwrap_or_default()
            }
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    };
    record.say("put where something stands", old);
    let get = client.get_item().table_name(TABLE).set_key(Some(item("SLOT#a", "WINDOW#1", &[])));
    let get = get.consistent_read(true).send().await;
    record.note("get", get, |answer| answer.item.as_ref().map(say).unwrap_or_default());
    let plain = |item: Item| client.put_item().table_name(TABLE).set_item(Some(item)).send();
    let keyless = [("PK".to_owned(), s("SLOT#a"))].into();
    record.note("put without sort key", plain(keyless).await, |_| "put".into());
    record.note("put with an empty key", plain(item("", "x", &[])).await, |_| "put".into());
    let digits = "1".repeat(39);
    record.note("put 39 digits", plain(item("SLOT#n", "x", &[("bids", n(digits))])).await, |_| "put".into());
    let heavy = [("heavy", s("x".repeat(400 * 1_024)))];
    record.note("put more than 400 KiB", plain(item("SLOT#h", "x", &heavy)).await, |_| "put".into());
    let empty_index = [("outbox_pk", s("")), ("outbox_sk", s("1"))];
    record.note("put an empty index key", plain(item("SLOT#e", "x", &empty_index)).await, |_| "put".into());
}

async fn queries(client: &Client, record: &mut Record) {
    for window in 1..=5 {
        let (sk, end) = (format!("WINDOW#{window}"), format!("{window}0#b"));
        let more = [
            ("outbox_pk", s("OUTBOX#3#1")),
            ("outbox_sk", s(end)),
            ("state", s("PENDING")),
            ("bids", n(window)),
        ];
        client.put_item().table_name(TABLE).set_item(Some(item("SLOT#b", &sk, &more))).send().await.unwrap();
    }
    let mut start = None;
    for call in ["slot page 1", "slot page 2", "slot page 3"] {
        let page = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("PK = :pk AND begins_with(SK, :sk)")
            .expression_attribute_values(":pk", s("SLOT#b"))
            .expression_attribute_values(":sk", s("WINDOW#"))
            .projection_expression("SK, bids")
            .limit(2)
            .set_exclusive_start_key(start.take())
            .send()
            .await
            .unwrap();
        record.say(call, format!("{} {}", said(page.items()), last(page.last_evaluated_key())));
        start = page.last_evaluated_key;
    }
    let range = |forward: bool| {
        client
            .query()
            .table_name(TABLE)
            .key_condition_expression("PK = :pk AND SK BETWEEN :low AND :high")
            .filter_expression("bids <> :three")
            .expression_attribute_values(":pk", s("SLOT#b"))
            .expression_attribute_values(":low", s("WINDOW#2"))
            .expression_attribute_values(":high", s("WINDOW#4"))
            .expression_attribute_values(":three", n(3))
            .projection_expression("SK")
            .scan_index_forward(forward)
            .send()
    };
    let counted = |answer: aws_sdk_dynamodb::operation::query::QueryOutput| {
        format!("{} {} of {}", said(answer.items()), answer.count(), answer.scanned_count())
    };
    record.note("range", range(true).await, counted);
    record.note("range backwards", range(false).await, counted);
    let outbox = |start: Option<Item>, limit: i32| {
        client
            .query()
            .table_name(TABLE)
            .index_name("outbox")
            .key_condition_expression("outbox_pk = :pk AND outbox_sk <= :sk")
            .expression_attribute_values(":pk", s("OUTBOX#3#1"))
            .expression_attribute_values(":sk", s("45"))
            .limit(limit)
            .set_exclusive_start_key(start)
            .send()
    };
    let first = outbox(None, 3).await.unwrap();
    record.say("outbox page 1", format!("{} {}", said(first.items()), last(first.last_evaluated_key())));
    let second = outbox(first.last_evaluated_key, 3).await;
    record.note("outbox page 2", second, |page| {
        format!("{} {}", said(page.items()), last(page.last_evaluated_key()))
    });
    let consistent = client.query().table_name(TABLE).index_name("outbox").consistent_read(true);
    let consistent = consistent.key_condition_expression("outbox_pk = :pk");
    let consistent = consistent.expression_attribute_values(":pk", s("OUTBOX#3#1")).send().await;
    record.note("a consistent read of the index", consistent, |_| "read".into());
    let missing = client.query().table_name(TABLE).index_name("none").key_condition_expression("PK = :pk");
    let missing = missing.expression_attribute_values(":pk", s("x")).send().await;
    record.note("a missing index", missing, |_| "read".into());
    let reserved = client.query().table_name(TABLE).key_condition_expression("PK = :pk");
    let reserved = reserved.filter_expression("state = :x").expression_attribute_values(":x", s("x"));
    let reserved = reserved.expression_attribute_values(":pk", s("SLOT#b")).send().await;
    record.note("a reserved word in a filter", reserved, |_| "read".into());
}

async fn updates(client: &Client, record: &mut Record) {
    let settle = |sk: &str, digest: &str| {
        client
            .update_item()
            .table_name(TABLE)
            .set_key(Some(item("SLOT#b", sk, &[])))
            .update_expression(
                "SET #state = :settled, winner = :winner, #ttl = :ttl REMOVE outbox_pk, outbox_sk",
            )
            .condition_expression("attribute_exists(PK) AND #state = :pending AND bids = :bids")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":settled", s("SETTLED"))
            .expression_attribute_values(":pending", s("PENDING"))
            .expression_attribute_values(":winner", s("w"))
            .expression_attribute_values(":ttl", n(4_102_444_800_u64))
            .expression_attribute_values(":bids", n(digest))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    let new = |answer: aws_sdk_dynamodb::operation::update_item::UpdateItemOutput| {
        answer.attributes.as_ref().map(say).unwrap_or_default()
    };
    record.note("settle", settle("WINDOW#2", "2").await, new);
    for (call, sk, digest) in [
        ("settle again", "WINDOW#2", "2"),
        ("settle another", "WINDOW#3", "9"),
        ("settle none", "WINDOW#9", "9"),
    ] {
        let outcome = match settle(sk, digest).await {
            Err(SdkError::ServiceError(error)) => match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => {
                    format!("refused by {}", refused.item.as_ref().map(say).unwrap_or_default())
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        };
        record.say(call, outcome);
    }
    let left =
        client.query().table_name(TABLE).index_name("outbox").key_condition_expression("outbox_pk = :pk");
    let left = left.expression_attribute_values(":pk", s("OUTBOX#3#1")).send().await;
    record.note("outbox after it", left, |page| said(page.items()));
    let lease = |expression: &str| {
        client
            .update_item()
            .table_name(TABLE)
            .set_key(Some(item("LEASE", "shard", &[])))
            .update_expression(expression)
            .expression_attribute_values(":one", n(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
    };
    record.note("count up from nothing", lease("ADD leaseCounter :one").await, new);
    record.note("count up", lease("SET leaseCounter = leaseCounter + :one").await, new);
    record.note("set what is not there", lease("SET seen = if_not_exists(seen, :one)").await, new);
    record.note("add to what is not there", lease("SET other = nothing + :one").await, new);
    let key = client.update_item().table_name(TABLE).set_key(Some(item("LEASE", "shard", &[])));
    let key = key.update_expression("SET PK = :x").expression_attribute_values(":x", s("x")).send().await;
    record.note("change a key", key, |_| "changed".into());
    let delete = client.delete_item().table_name(TABLE).set_key(Some(item("LEASE", "shard", &[])));
    let delete = delete.condition_expression("leaseCounter = :two").expression_attribute_values(":two", n(2));
    record.note("delete", delete.send().await, |_| "deleted".into());
}

async fn scenario(endpoint_url: &str) -> Record {
    let client = Clients::local(endpoint_url, endpoint_url).await.dynamodb;
    let mut record = Record::default();
    table(&client, &mut record).await;
    puts(&client, &mut record).await;
    queries(&client, &mut record).await;
    updates(&client, &mut record).await;
    dynamodb_batches::batches(&client, &mut record).await;
    dynamodb_batches::transactions(&client, &mut record).await;
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_dynamodb_answers_as_another_engine_does_apart_from_what_is_listed() {
    let peer = tokio::task::spawn_blocking(peers::ministack).await.unwrap();
    let engine = start(DynamoOptions::in_memory(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await.unwrap();
    let (ours, theirs) = (scenario(&engine.endpoint_url()).await, scenario(&peer.endpoint_url).await);
    engine.shutdown().await;
    compare(&ours, &theirs, &dynamodb_differences::KNOWN);
}

//! Stream, tables, TTL, index and geometry: made when absent, checked when present; repeatable.
//!
//! The ledger's schema, accounts and slots are the settler's own (`settler::provision`).

use std::time::Duration;

use anyhow::Context;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification,
    TimeToLiveStatus,
};
use aws_sdk_kinesis::types::StreamStatus;
use runtime::failure::{Failure as Call, classify};
use schemas::item::GeometryItem;
use schemas::keys;

use crate::failure::Failure;
use crate::place::Place;

/// How long a stream or table may take to become active.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Pause between two looks at a stream or table that is being made.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Makes what is absent and checks what is there.
///
/// # Errors
/// A [`Failure`] when a service cannot be reached, a table has another key schema, or another geometry was agreed.
pub async fn provision(place: &Place, shards: i32, geometry: &GeometryItem) -> anyhow::Result<()> {
    stream(place, shards).await?;
    let names = &place.names;
    table(place, &names.table, ("PK", Some("SK")), true).await?;
    table(place, &names.lease_table, ("leaseKey", None), false).await?;
    time_to_live(place).await?;
    agree(place, geometry).await
}

/// One sentence for a call that failed.
pub fn sentence(what: &str, failure: &Call) -> Failure {
    match failure {
        Call::Unreachable { .. } | Call::Unknown { .. } => Failure::unavailable(format!(
            "{what}: {failure}; check the endpoint (AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL_DYNAMODB) and that it runs"
        )),
        Call::Throttled { .. } => Failure::unavailable(format!("{what}: {failure}; try again later")),
        Call::Refused { .. } => Failure::usage(format!("{what}: {failure}")),
    }
}

async fn stream(place: &Place, shards: i32) -> anyhow::Result<()> {
    let (client, name) = (&place.clients.kinesis, &place.names.stream);
    match client.create_stream().stream_name(name).shard_count(shards).send().await {
        Ok(_) => tracing::info!(stream = name, shards, "stream made"),
        Err(error) => match classify(&error) {
            failure if failure.code() == "ResourceInUseException" => {}
            failure => return Err(sentence(&format!("stream {name} cannot be made"), &failure).into()),
        },
    }
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let answer = client.describe_stream_summary().stream_name(name).send().await;
        let summary =
            answer.map_err(|error| sentence(&format!("stream {name} cannot be read"), &classify(&error)))?;
        let status = summary.stream_description_summary().map(|summary| summary.stream_status().clone());
        if status == Some(StreamStatus::Active) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::unavailable(format!(
                "stream {name} is still {status:?}; run provision again"
            ))
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn key(name: &str, kind: KeyType) -> anyhow::Result<KeySchemaElement> {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().context("a key schema element")
}

fn text(name: &str) -> anyhow::Result<AttributeDefinition> {
    let builder = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    builder.build().context("an attribute definition")
}

fn outbox() -> anyhow::Result<GlobalSecondaryIndex> {
    GlobalSecondaryIndex::builder()
        .index_name(keys::OUTBOX_INDEX)
        .key_schema(key("outbox_pk", KeyType::Hash)?)
        .key_schema(key("outbox_sk", KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .context("the outbox index")
}

async fn table(
    place: &Place,
    name: &str,
    wanted: (&str, Option<&str>),
    with_outbox: bool,
) -> anyhow::Result<()> {
    let client = &place.clients.dynamodb;
    let mut request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(text(wanted.0)?)
        .key_schema(key(wanted.0, KeyType::Hash)?);
    if let Some(range) = wanted.1 {
        request = request.attribute_definitions(text(range)?).key_schema(key(range, KeyType::Range)?);
    }
    if with_outbox {
        request = request
            .attribute_definitions(text("outbox_pk")?)
            .attribute_definitions(text("outbox_sk")?)
            .global_secondary_indexes(outbox()?);
    }
    match request.send().await {
        Ok(_) => tracing::info!(table = name, "table made"),
        Err(error) => match classify(&error) {
            failure if failure.code() == "ResourceInUseException" => {}
            failure => return Err(sentence(&format!("table {name} cannot be made"), &failure).into()),
        },
    }
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let answer = client.describe_table().table_name(name).send().await;
        let answer =
            answer.map_err(|error| sentence(&format!("table {name} cannot be read"), &classify(&error)))?;
        let description = answer.table().context("a described table")?;
        if description.table_status() == Some(&TableStatus::Active) {
            return check(name, description, wanted, with_outbox);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(
                Failure::unavailable(format!("table {name} is not active yet; run provision again")).into()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn check(
    name: &str,
    found: &TableDescription,
    wanted: (&str, Option<&str>),
    with_outbox: bool,
) -> anyhow::Result<()> {
    let names: Vec<&str> = found.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
    let expected: Vec<&str> = std::iter::once(wanted.0).chain(wanted.1).collect();
    if names != expected {
        return Err(Failure::usage(format!(
            "table {name} has the keys {names:?}, and this pipeline needs {expected:?}; name another table or remove that one"
        ))
        .into());
    }
    let has_outbox =
        found.global_secondary_indexes().iter().any(|index| index.index_name() == Some(keys::OUTBOX_INDEX));
    if with_outbox && !has_outbox {
        return Err(Failure::usage(format!(
            "table {name} has no index {}; name another table or remove that one",
            keys::OUTBOX_INDEX
        ))
        .into());
    }
    Ok(())
}

async fn time_to_live(place: &Place) -> anyhow::Result<()> {
    let (client, name) = (&place.clients.dynamodb, &place.names.table);
    let answer = client.describe_time_to_live().table_name(name).send().await;
    let answer = answer.map_err(|error| sentence(&format!("TTL of table {name}"), &classify(&error)))?;
    let status = answer.time_to_live_description().and_then(|ttl| ttl.time_to_live_status().cloned());
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build();
    let request = client.update_time_to_live().table_name(name);
    request
        .time_to_live_specification(specification.context("a TTL specification")?)
        .send()
        .await
        .map_err(|error| sentence(&format!("TTL of table {name} cannot be enabled"), &classify(&error)))?;
    Ok(())
}

/// Writes the geometry once; a second one must be the same.
async fn agree(place: &Place, geometry: &GeometryItem) -> anyhow::Result<()> {
    let (client, name) = (&place.clients.dynamodb, &place.names.table);
    let put = client
        .put_item()
        .table_name(name)
        .set_item(Some(runtime::attrs::to_sdk(geometry.to_attrs())))
        .condition_expression("attribute_not_exists(PK)")
        .send()
        .await;
    match put {
        Ok(_) => return Ok(()),
        Err(error) => match classify(&error) {
            failure if failure.code() == "ConditionalCheckFailedException" => {}
            failure => return Err(sentence(&format!("the geometry in table {name}"), &failure).into()),
        },
    }
    let stands = agreed(place).await?;
    if &stands != geometry {
        return Err(Failure::usage(format!(
            "this pipeline's geometry is {stands:?}, not {geometry:?}; it is agreed once: use the same, or other tables"
        ))
        .into());
    }
    Ok(())
}

/// The geometry that stands in the table.
///
/// # Errors
/// A [`Failure`] when there is none or the table cannot be read.
pub async fn agreed(place: &Place) -> anyhow::Result<GeometryItem> {
    use aws_sdk_dynamodb::types::AttributeValue;
    let (client, name) = (&place.clients.dynamodb, &place.names.table);
    let answer = client
        .get_item()
        .table_name(name)
        .consistent_read(true)
        .key("PK", AttributeValue::S("PIPELINE".to_owned()))
        .key("SK", AttributeValue::S("GEOMETRY".to_owned()))
        .send()
        .await
        .map_err(|error| sentence(&format!("table {name} cannot be read"), &classify(&error)))?;
    let item = answer.item().ok_or_else(|| {
        Failure::usage(format!("table {name} holds no geometry; run `exchange provision` first"))
    })?;
    Ok(GeometryItem::from_attrs(&runtime::attrs::from_sdk(item)?)?)
}

/// Options of `exchange provision`.
#[derive(clap::Args, Debug)]
pub struct Provision {
    #[command(flatten)]
    names: crate::place::Names,
    #[command(flatten)]
    ledger: settler::db::Ledger,
    /// Shards of a stream that is made.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=500))]
    shards: i32,
    /// Window length, in ms.
    #[arg(long, default_value_t = 10_000)]
    window_ms: u64,
    /// How long after a window's end a bid may still arrive, in ms.
    #[arg(long, default_value_t = 2_000)]
    grace_ms: u64,
    /// What the winner pays: first or second price.
    #[arg(long, default_value = "first", value_parser = ["first", "second"])]
    pricing: String,
    /// Makes this many accounts of the load generator.
    #[arg(long, default_value_t = 0)]
    sample_accounts: u32,
    /// Makes this many slots of the load generator.
    #[arg(long, default_value_t = 0)]
    sample_slots: u32,
}

/// How long after a window's end its items go: retention, a day, and some.
pub const TTL_AFTER_MS: u64 = 7 * 86_400_000;

/// Makes everything the pipeline needs where the environment points.
///
/// # Errors
/// See [`provision`] and `settler::provision`.
pub async fn run(options: Provision) -> anyhow::Result<()> {
    use schemas::geometry::{Geometry, Pricing};
    let pricing = if options.pricing == "second" { Pricing::Second } else { Pricing::First };
    let geometry =
        Geometry { window_ms: options.window_ms, grace_ms: options.grace_ms, pricing, ..Geometry::default() };
    let geometry = geometry.check().map_err(|error| Failure::usage(error.to_string()))?;
    let agreed = GeometryItem {
        geometry,
        ttl_after_ms: TTL_AFTER_MS,
        outbox_buckets: schemas::limits::OUTBOX_BUCKETS,
    };
    let place = Place::from_env(options.names).await;
    provision(&place, options.shards, &agreed).await?;
    ledger(&options.ledger, options.sample_accounts, options.sample_slots).await
}

/// The ledger's schema, and the accounts and slots of the load generator.
///
/// # Errors
/// When the ledger cannot be reached or refuses.
pub async fn ledger(ledger: &settler::db::Ledger, accounts: u32, slots: u32) -> anyhow::Result<()> {
    use producer::generator::{account, slot};
    use schemas::money::Money;
    use settler::provision::{NewAccount, NewSlot};
    let failure = |error: settler::Error| crate::ledger::failure(&error);
    let connection = ledger.connect().await.map_err(failure)?;
    settler::provision::schema(&connection).await.map_err(failure)?;
    let accounts: Vec<NewAccount> = (0..accounts)
        .map(|number| NewAccount {
            account_id: account(number),
            name: format!("sample account {number}"),
            balance: Money(10_000_000_000),
            credit_limit: Money(0),
        })
        .collect();
    settler::provision::accounts(&connection, &accounts).await.map_err(failure)?;
    let slots: Vec<NewSlot> = (0..slots)
        .map(|number| NewSlot {
            slot_id: slot(number),
            publisher: account(u32::MAX - number),
            floor: Money(100),
        })
        .collect();
    settler::provision::slots(&connection, &slots).await.map_err(failure)?;
    Ok(())
}

//! Stream, tables, TTL, index and geometry: made when absent, checked when present; repeatable.

use std::time::Duration;

use anyhow::Context;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification,
    TimeToLiveStatus,
};
use aws_sdk_kinesis::types::StreamStatus;
use runtime::distribution::keys_kept;
use runtime::failure::{Failure as Call, classify};
use schemas::attr::Attr;
use schemas::item::GeometryItem;
use schemas::keys;

use crate::failure::Failure;
use crate::place::Place;

/// How long a stream or table may take to become active.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Pause between two looks at a stream or table that is being made.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shards of a stream that is made, when nobody says how many.
const SHARDS: i32 = 4;
/// Retention of a stream that is made (Kinesis developer guide, "Changing the data retention period").
const RETENTION_MS: u64 = 24 * 3_600_000;
/// How much longer than the stream an item stays, so that an audit of the whole stream still finds every item.
const STAYS_MS: u64 = 24 * 3_600_000;

/// Makes what is absent and checks what is there; a stream that is there keeps its shards.
///
/// # Errors
/// A [`Failure`] when a service cannot be reached, a table has another key schema, items would go before the stream
/// does, or another geometry was agreed.
pub async fn provision(place: &Place, shards: Option<i32>, geometry: &GeometryItem) -> anyhow::Result<()> {
    outlives(geometry, RETENTION_MS)?;
    let retention_ms = stream(place, shards).await?;
    outlives(geometry, retention_ms)?;
    let names = &place.names;
    table(place, &names.table, ("PK", Some("SK")), true).await?;
    table(place, &names.lease_table, ("leaseKey", None), false).await?;
    time_to_live(place).await?;
    agree(place, geometry).await
}

/// One sentence for a call that failed.
pub fn sentence(what: &str, failure: &Call) -> Failure {
    Failure { code: failure.exit_code(), sentence: failure.told(what) }
}

/// Holds that items outlive the records they come from by a day.
fn outlives(geometry: &GeometryItem, retention_ms: u64) -> Result<(), Failure> {
    let least_ms = retention_ms + STAYS_MS;
    if geometry.ttl_after_ms >= least_ms {
        return Ok(());
    }
    let hours = |ms: u64| ms.div_ceil(3_600_000);
    Err(Failure::usage(format!(
        "items would go {} h after their window, and the stream keeps its records for {} h: give --ttl-hours at least {}",
        hours(geometry.ttl_after_ms),
        hours(retention_ms),
        hours(least_ms)
    )))
}

/// Makes the stream, waits for it and answers its retention in ms. One that is made is provisioned, so it keeps keys; one
/// that is there must.
async fn stream(place: &Place, shards: Option<i32>) -> anyhow::Result<u64> {
    let (client, name) = (&place.clients.kinesis, &place.names.stream);
    let made_with = shards.unwrap_or(SHARDS);
    let was_there = match client.create_stream().stream_name(name).shard_count(made_with).send().await {
        Ok(_) => {
            tracing::info!(stream = name, shards = made_with, "stream made");
            false
        }
        Err(error) => match classify(&error) {
            failure if failure.code() == "ResourceInUseException" => true,
            failure => return Err(sentence(&format!("stream {name} cannot be made"), &failure).into()),
        },
    };
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let answer = client.describe_stream_summary().stream_name(name).send().await;
        let summary =
            answer.map_err(|error| sentence(&format!("stream {name} cannot be read"), &classify(&error)))?;
        let summary = summary.stream_description_summary().context("a stream without a summary")?;
        keys_kept(summary).map_err(|managed| Failure::usage(managed.to_string()))?;
        let status = summary.stream_status();
        if status == &StreamStatus::Active {
            let open = summary.open_shard_count();
            if was_there && shards.is_some_and(|given| given != open) {
                tracing::warn!(
                    stream = name,
                    open_shards = open,
                    "the stream was there and keeps its shards; --shards is for a new one, UpdateShardCount changes one"
                );
            }
            return Ok(u64::try_from(summary.retention_period_hours()).unwrap_or(0) * 3_600_000);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::unavailable(format!(
                "stream {name} is still {status}; run provision again"
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
    let stands = runtime::agreed::read(client, name, None).await;
    let stands = stands.map_err(Failure::from)?;
    if &stands != geometry {
        return Err(Failure::usage(format!(
            "table {name} holds another geometry: {}; it is agreed once: use the same, or other tables",
            differing(&stands, geometry)
        ))
        .into());
    }
    Ok(())
}

/// What two geometries differ in, in words.
fn differing(stands: &GeometryItem, wanted: &GeometryItem) -> String {
    let text = |attr: Option<&Attr>| match attr {
        Some(Attr::S(text) | Attr::N(text)) => text.clone(),
        _ => "nothing".to_owned(),
    };
    let (stands, wanted) = (stands.to_attrs(), wanted.to_attrs());
    let differ = stands.iter().filter(|(name, value)| wanted.get(*name) != Some(*value));
    let words: Vec<String> = differ
        .map(|(name, value)| format!("{name} is {}, not {}", text(Some(value)), text(wanted.get(name))))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use schemas::geometry::Geometry;

    use super::*;

    fn item(ttl_after_ms: u64) -> GeometryItem {
        GeometryItem { geometry: Geometry::default(), ttl_after_ms, outbox_buckets: 16 }
    }

    #[test]
    fn items_that_would_go_before_the_stream_and_a_day_are_refused() {
        assert!(outlives(&item(48 * 3_600_000), RETENTION_MS).is_ok());
        let refused = outlives(&item(48 * 3_600_000 - 1), RETENTION_MS).unwrap_err();
        assert_eq!(refused.code, schemas::exit::USAGE);
        assert!(refused.sentence.ends_with("--ttl-hours at least 48"), "{refused}");
        assert!(outlives(&item(168 * 3_600_000), 168 * 3_600_000).is_err());
    }

    #[test]
    fn what_differs_in_two_geometries_is_named() {
        let other = GeometryItem {
            geometry: Geometry { window_ms: 2_000, ..Geometry::default() },
            outbox_buckets: 8,
            ..item(9)
        };
        assert_eq!(differing(&item(9), &other), "outbox_buckets is 16, not 8, window_ms is 10000, not 2000");
    }
}

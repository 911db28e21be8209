//! Streams: made, described, listed, deleted, and how long they keep records.

use serde_json::{Value, json};

use super::change;
use super::input::{Input, name_of, stream_arn, stream_of_arn};
use super::number::seconds;
use super::shards::describe_shard;
use super::tags;
use crate::local::kinesis::frame::Op;
use crate::local::kinesis::model::{Distribution, Mode, Refusal, ShardId, Stream, refuse};
use crate::local::kinesis::shared::Shared;

/// Shards of a stream made here: a bound against mistakes.
const SHARDS_MAX: u64 = 10_000;
/// Shards of an on-demand stream at first.
const SHARDS_ON_DEMAND: u64 = 4;
/// The field with a stream's largest record, in KiB.
const RECORD_SIZE: &str = "MaxRecordSizeInKiB";
/// Its bounds (Kinesis API reference, `CreateStream`, `UpdateMaxRecordSize`).
const RECORD_KIB: std::ops::RangeInclusive<u64> = 1_024..=10_240;
/// The field that says who decides where records go.
const DISTRIBUTION: &str = "RecordDistributionStrategy";
/// The bounds of retention, in hours.
const RETENTION_HOURS: std::ops::RangeInclusive<u64> = 24..=8_760;

pub(super) fn create(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = name_of(input.required("StreamName")?, "StreamName")?;
    let mode = match input.inner("StreamModeDetails")? {
        None => Mode::Provisioned,
        Some(details) => match details.required("StreamMode")? {
            "PROVISIONED" => Mode::Provisioned,
            "ON_DEMAND" => Mode::OnDemand,
            other => return refuse("ValidationException", format!("StreamMode {other} does not exist")),
        },
    };
    let shards = match (mode, input.whole("ShardCount", 1..=SHARDS_MAX)?) {
        (Mode::Provisioned, Some(shards)) => shards,
        (Mode::Provisioned, None) => {
            return refuse("InvalidArgumentException", "ShardCount is missing for a provisioned stream");
        }
        (Mode::OnDemand, None) => SHARDS_ON_DEMAND,
        (Mode::OnDemand, Some(_)) => {
            return refuse("InvalidArgumentException", "an on-demand stream takes no ShardCount");
        }
    };
    let record_kib_max = input.whole(RECORD_SIZE, RECORD_KIB)?.unwrap_or(*RECORD_KIB.start());
    let tags = input.map("Tags")?.unwrap_or_default();
    tags::check(&tags, tags.len())?;
    let small = |number: u64| u32::try_from(number).unwrap_or(1);
    let (shards, record_kib_max) = (small(shards), small(record_kib_max));
    let distribution = match input.has(DISTRIBUTION) {
        true => distribution(input)?,
        false => Distribution::default(),
    };
    if (mode, distribution) == (Mode::Provisioned, Distribution::Auto) {
        return refuse("InvalidArgumentException", "AUTO is for on-demand streams");
    }
    change(shared, &name, Op::Create { shards, mode, record_kib_max, tags })?;
    if distribution == Distribution::default() {
        return Ok(Value::Null);
    }
    change(shared, &name, Op::Distribute { distribution })
}

fn distribution(input: &Input) -> Result<Distribution, Refusal> {
    match input.required(DISTRIBUTION)? {
        "USER_PARTITION_KEY" => Ok(Distribution::UserPartitionKey),
        "AUTO" => Ok(Distribution::Auto),
        other => refuse("ValidationException", format!("{DISTRIBUTION} {other} does not exist")),
    }
}

/// Switches who decides where records go, at once. The service takes the stream by its ARN alone.
pub(super) fn distribute(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = stream_of_arn(input.required("StreamARN")?)?.to_owned();
    let distribution = distribution(input)?;
    change(shared, &name, Op::Distribute { distribution })
}

/// Changes a stream's largest record. The service takes the stream by its ARN alone.
pub(super) fn record_size(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = stream_of_arn(input.required("StreamARN")?)?.to_owned();
    let Some(kib) = input.whole(RECORD_SIZE, RECORD_KIB)? else {
        return refuse("ValidationException", format!("{RECORD_SIZE} is missing"));
    };
    change(shared, &name, Op::RecordSize { kib: u32::try_from(kib).unwrap_or(u32::MAX) })
}

pub(super) fn delete(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let (name, enforced) = (input.stream()?, input.flag("EnforceConsumerDeletion")?);
    if !enforced && !shared.engine().stream(&name, shared.now_ms())?.consumers.is_empty() {
        return refuse(
            "ResourceInUseException",
            format!("Stream {name} has consumers; deregister them or set EnforceConsumerDeletion"),
        );
    }
    change(shared, &name, Op::Delete)
}

/// What both descriptions say.
fn facts(name: &str, stream: &Stream, now_ms: u64) -> Value {
    json!({
        "StreamName": name, "StreamARN": stream_arn(name), "StreamStatus": stream.status(now_ms).as_str(),
        "RetentionPeriodHours": stream.retention_hours, "StreamCreationTimestamp": seconds(stream.created_ms),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }], "EncryptionType": "NONE",
        "StreamModeDetails": { "StreamMode": stream.mode.as_str() } })
}

pub(super) fn describe(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let after: Option<ShardId> =
        input.has("ExclusiveStartShardId").then(|| input.shard("ExclusiveStartShardId")).transpose()?;
    let most = input.most("Limit", 1..=10_000, 100)?;
    let mut engine = shared.engine();
    let now_ms = shared.now_ms();
    let stream = engine.stream(&name, now_ms)?;
    let later = stream.shards.values().filter(|shard| after.is_none_or(|after| shard.id > after));
    let mut shards: Vec<Value> =
        later.take(most + 1).map(|shard| describe_shard(shard, stream.created_ms)).collect();
    let more = shards.len() > most;
    shards.truncate(most);
    let mut description = facts(&name, stream, now_ms);
    description["Shards"] = Value::Array(shards);
    description["HasMoreShards"] = json!(more);
    Ok(json!({ "StreamDescription": description }))
}

pub(super) fn summary(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let mut engine = shared.engine();
    let now_ms = shared.now_ms();
    let stream = engine.stream(&name, now_ms)?;
    let mut description = facts(&name, stream, now_ms);
    description["OpenShardCount"] = json!(stream.open_shards().count());
    description["ConsumerCount"] = json!(stream.consumers.len());
    description[RECORD_SIZE] = json!(stream.record_kib_max);
    description[DISTRIBUTION] = json!(stream.distribution.as_str());
    Ok(json!({ "StreamDescriptionSummary": description }))
}

pub(super) fn list(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let after = input.text("ExclusiveStartStreamName")?.or(input.text("NextToken")?).unwrap_or_default();
    let most = input.most("Limit", 1..=10_000, 100)?;
    let mut engine = shared.engine();
    let now_ms = shared.now_ms();
    let later = engine.streams(now_ms).iter().filter(|(name, _)| name.as_str() > after);
    let mut streams: Vec<(&String, &Stream)> = later.take(most + 1).collect();
    let more = streams.len() > most;
    streams.truncate(most);
    let summary = |(name, stream): &(&String, &Stream)| {
        json!({ "StreamName": name, "StreamARN": stream_arn(name),
            "StreamStatus": stream.status(now_ms).as_str(),
            "StreamCreationTimestamp": seconds(stream.created_ms),
            "StreamModeDetails": { "StreamMode": stream.mode.as_str() } })
    };
    let summaries: Vec<Value> = streams.iter().map(summary).collect();
    let names: Vec<&String> = streams.iter().map(|(name, _)| *name).collect();
    let mut answer = json!({ "HasMoreStreams": more, "StreamNames": names, "StreamSummaries": summaries });
    if let Some(last) = names.last().filter(|_| more) {
        answer["NextToken"] = json!(last);
    }
    Ok(answer)
}

pub(super) fn retention(shared: &Shared, operation: &str, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let Some(hours) = input.whole("RetentionPeriodHours", 0..=u64::from(u32::MAX))? else {
        return refuse("ValidationException", "RetentionPeriodHours is missing");
    };
    if !RETENTION_HOURS.contains(&hours) {
        return refuse(
            "InvalidArgumentException",
            format!("RetentionPeriodHours must be 24 to 8760 and is {hours}"),
        );
    }
    let hours = u32::try_from(hours).unwrap_or(u32::MAX);
    let today = shared.engine().stream(&name, shared.now_ms())?.retention_hours;
    let (wrong, other) = if operation == "IncreaseStreamRetentionPeriod" {
        (hours < today, "DecreaseStreamRetentionPeriod")
    } else {
        (hours > today, "IncreaseStreamRetentionPeriod")
    };
    if wrong {
        return refuse(
            "InvalidArgumentException",
            format!("Stream {name} keeps records for {today} hours; {hours} is for {other}"),
        );
    }
    change(shared, &name, Op::Retention { hours })
}

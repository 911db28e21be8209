//! The operations of Kinesis as JSON in and JSON out.
//!
//! Shapes, names and error codes follow the Kinesis Data Streams API reference; what is absent is named in the README.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemas::limits;
use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::{Engine, Entry, Op};
use super::model::{Refusal, Shard, Start, Stream, refuse};

/// Most shards of a stream made here: a bound against mistakes.
const SHARDS_MAX: u64 = 10_000;

type Answer = Result<Value, Refusal>;

/// Carries out one operation at the given time; `fails` says whether the next entry of PutRecords fails on purpose.
pub(crate) fn call(
    engine: &mut Engine,
    operation: &str,
    body: &[u8],
    now_ms: u64,
    fails: &mut dyn FnMut() -> bool,
) -> Answer {
    if operation == "PutRecords" {
        return put_records(engine, body, now_ms, fails);
    }
    let input: Value = if body.is_empty() { json!({}) } else { parse(body)? };
    match operation {
        "CreateStream" => {
            let shards = input["ShardCount"].as_u64().unwrap_or(4);
            if shards == 0 || shards > SHARDS_MAX {
                return refuse("InvalidArgumentException", format!("ShardCount must be 1 to {SHARDS_MAX}"));
            }
            let shards = u32::try_from(shards).unwrap_or(1);
            change(engine, Op::Create { stream: name_given(&input)?, shards }, now_ms)
        }
        "DeleteStream" => change(engine, Op::Delete { stream: name(&input)? }, now_ms),
        "DescribeStream" => describe(engine, &input),
        "DescribeStreamSummary" => summary(engine, &input),
        "ListStreams" => Ok(list_streams(engine, &input)),
        "ListShards" => list_shards(engine, &input, now_ms),
        "PutRecord" => put_record(engine, &input, now_ms),
        "GetShardIterator" => iterator(engine, &input, now_ms),
        "GetRecords" => get_records(engine, &input, now_ms),
        "SplitShard" => {
            let at = hash(&input["NewStartingHashKey"])?.unwrap_or_default();
            change(
                engine,
                Op::Split { stream: name(&input)?, shard: text(&input, "ShardToSplit")?, at },
                now_ms,
            )
        }
        "MergeShards" => {
            let (shard, other) = (text(&input, "ShardToMerge")?, text(&input, "AdjacentShardToMerge")?);
            change(engine, Op::Merge { stream: name(&input)?, shard, other }, now_ms)
        }
        "UpdateShardCount" => update_shard_count(engine, &input, now_ms),
        "AddTagsToStream" | "RemoveTagsFromStream" | "ListTagsForStream" => {
            tags(engine, operation, &input, now_ms)
        }
        "IncreaseStreamRetentionPeriod" | "DecreaseStreamRetentionPeriod" => {
            let hours = input["RetentionPeriodHours"].as_u64().filter(|hours| (24..=8_760).contains(hours));
            let Some(hours) = hours.and_then(|hours| u32::try_from(hours).ok()) else {
                return refuse("InvalidArgumentException", "RetentionPeriodHours must be 24 to 8760");
            };
            change(engine, Op::Retention { stream: name(&input)?, hours }, now_ms)
        }
        other => {
            refuse("UnknownOperationException", format!("operation {other} is not one of this engine's"))
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).or_else(|error| refuse("SerializationException", error.to_string()))
}

fn change(engine: &mut Engine, op: Op, now_ms: u64) -> Answer {
    engine.apply(&op, now_ms).map(|()| Value::Null)
}

fn text(input: &Value, field: &str) -> Result<String, Refusal> {
    match input[field].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => refuse("ValidationException", format!("{field} is missing")),
    }
}

fn name_given(input: &Value) -> Result<String, Refusal> {
    let name = text(input, "StreamName")?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(good) {
        return refuse("ValidationException", "StreamName must be 1 to 128 of a-z, A-Z, 0-9, _ . -");
    }
    Ok(name)
}

fn name(input: &Value) -> Result<String, Refusal> {
    if let Some(arn) = input["StreamARN"].as_str() {
        return Ok(arn.rsplit('/').next().unwrap_or_default().to_owned());
    }
    text(input, "StreamName")
}

fn arn(name: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}")
}

fn hash(value: &Value) -> Result<Option<u128>, Refusal> {
    match value.as_str() {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .or_else(|_| refuse("InvalidArgumentException", "a hash key is 128 bits in decimal")),
    }
}

/// A sequence number as text: 56 digits, the first never 0.
fn sequence(number: u64) -> String {
    format!("49{number:020}{:034}", 0)
}

fn number(text: &str) -> Result<u64, Refusal> {
    let digits = text.get(2..22).filter(|_| text.len() == 56 && text.starts_with("49"));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(number),
        None => {
            refuse("InvalidArgumentException", format!("sequence number {text} is not one of this stream"))
        }
    }
}

fn describe_shard(shard: &Shard) -> Value {
    let mut range = json!({ "StartingSequenceNumber": sequence(shard.first) });
    if let Some(closed) = shard.closed {
        range["EndingSequenceNumber"] = json!(sequence(closed));
    }
    let mut value = child(shard);
    value["SequenceNumberRange"] = range;
    if let Some(parent) = shard.parents.first() {
        value["ParentShardId"] = json!(parent);
    }
    if let Some(parent) = shard.parents.get(1) {
        value["AdjacentParentShardId"] = json!(parent);
    }
    value
}

fn child(shard: &Shard) -> Value {
    json!({ "ShardId": shard.id, "HashKeyRange": {
        "StartingHashKey": shard.range.start.to_string(), "EndingHashKey": shard.range.end.to_string() } })
}

fn seconds(ms: u64) -> Value {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    serde_json::from_str(&text).expect("digits and a point are a number")
}

fn describe(engine: &mut Engine, input: &Value) -> Answer {
    let name = name(input)?;
    let stream = engine.stream_mut(&name)?;
    let after = input["ExclusiveStartShardId"].as_str().unwrap_or_default();
    let most = usize::try_from(input["Limit"].as_u64().unwrap_or(100)).unwrap_or(100).clamp(1, 10_000);
    let mut shards: Vec<Value> =
        stream.shards.values().filter(|s| s.id.as_str() > after).take(most + 1).map(describe_shard).collect();
    let more = shards.len() > most;
    shards.truncate(most);
    Ok(json!({ "StreamDescription": {
        "StreamName": name, "StreamARN": arn(&name), "StreamStatus": "ACTIVE", "Shards": shards, "HasMoreShards": more,
        "RetentionPeriodHours": stream.retention_hours, "StreamCreationTimestamp": seconds(stream.created_ms),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }], "EncryptionType": "NONE",
        "StreamModeDetails": { "StreamMode": "PROVISIONED" } } }))
}

fn summary(engine: &mut Engine, input: &Value) -> Answer {
    let name = name(input)?;
    let stream = engine.stream_mut(&name)?;
    Ok(json!({ "StreamDescriptionSummary": {
        "StreamName": name, "StreamARN": arn(&name), "StreamStatus": "ACTIVE",
        "OpenShardCount": stream.open_shards().count(), "ConsumerCount": 0,
        "RetentionPeriodHours": stream.retention_hours, "StreamCreationTimestamp": seconds(stream.created_ms),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }], "EncryptionType": "NONE",
        "StreamModeDetails": { "StreamMode": "PROVISIONED" } } }))
}

fn list_streams(engine: &Engine, input: &Value) -> Value {
    let after =
        input["ExclusiveStartStreamName"].as_str().or(input["NextToken"].as_str()).unwrap_or_default();
    let most = usize::try_from(input["Limit"].as_u64().unwrap_or(100)).unwrap_or(100).clamp(1, 10_000);
    let mut names: Vec<&String> =
        engine.streams.keys().filter(|name| name.as_str() > after).take(most + 1).collect();
    let more = names.len() > most;
    names.truncate(most);
    let token = more.then(|| names.last().copied().cloned()).flatten();
    json!({ "StreamNames": names, "HasMoreStreams": more, "NextToken": token })
}

fn list_shards(engine: &mut Engine, input: &Value, now_ms: u64) -> Answer {
    let token: Option<(String, String, Value)> =
        match input["NextToken"].as_str() {
            None => None,
            Some(text) => {
                let bytes = BASE64.decode(text).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                Some(bytes.map_or_else(
                    || refuse("ExpiredNextTokenException", "NextToken is not one of ours"),
                    Ok,
                )?)
            }
        };
    let (stream_name, after, filter) = match token {
        Some(token) => token,
        None => {
            let after = input["ExclusiveStartShardId"].as_str().unwrap_or_default().to_owned();
            (name(input)?, after, input["ShardFilter"].clone())
        }
    };
    let stream = engine.stream_mut(&stream_name)?;
    let after = filter["ShardId"]
        .as_str()
        .filter(|_| filter["Type"] == "AFTER_SHARD_ID" && after.is_empty())
        .unwrap_or(&after);
    let most =
        usize::try_from(input["MaxResults"].as_u64().unwrap_or(1_000)).unwrap_or(1_000).clamp(1, 10_000);
    let horizon = now_ms.saturating_sub(u64::from(stream.retention_hours) * 3_600_000);
    let wanted = |shard: &&Shard| match filter["Type"].as_str() {
        Some("AT_LATEST") => shard.closed.is_none(),
        Some("AT_TRIM_HORIZON") => shard.parents.is_empty() || stream.created_ms < horizon,
        _ => true,
    };
    let mut shards: Vec<&Shard> = stream
        .shards
        .values()
        .filter(|shard| shard.id.as_str() > after)
        .filter(wanted)
        .take(most + 1)
        .collect();
    let more = shards.len() > most;
    shards.truncate(most);
    let mut answer =
        json!({ "Shards": shards.iter().map(|shard| describe_shard(shard)).collect::<Vec<_>>() });
    if let Some(last) = shards.last().filter(|_| more) {
        answer["NextToken"] = json!(BASE64.encode(json!([stream_name, last.id, filter]).to_string()));
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    records: Vec<PutEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEntry<'a> {
    #[serde(borrow)]
    data: std::borrow::Cow<'a, str>,
    partition_key: String,
    explicit_hash_key: Option<String>,
}

fn entry(data: &str, key: String, explicit: Option<&str>) -> Result<Entry, Refusal> {
    let Ok(data) = BASE64.decode(data) else { return refuse("SerializationException", "Data is not base64") };
    if key.is_empty() || key.chars().count() > 256 {
        return refuse("ValidationException", "PartitionKey must be 1 to 256 characters");
    }
    if data.len() + key.len() > limits::PUT_RECORDS_BYTES_MAX {
        return refuse("ValidationException", "a record is at most 10 MiB");
    }
    let hash = explicit.map(|text| hash(&json!(text))).transpose()?.flatten();
    Ok(Entry { key, hash, data: Arc::from(data) })
}

fn put_records(engine: &mut Engine, body: &[u8], now_ms: u64, fails: &mut dyn FnMut() -> bool) -> Answer {
    let input: PutRecords<'_> = parse(body)?;
    let name = name(&json!({ "StreamName": input.stream_name, "StreamARN": input.stream_arn }))?;
    if input.records.is_empty() || input.records.len() > limits::PUT_RECORDS_ENTRIES_MAX {
        return refuse("ValidationException", "Records must have 1 to 500 entries");
    }
    let entries: Result<Vec<Entry>, Refusal> = input
        .records
        .into_iter()
        .map(|one| entry(&one.data, one.partition_key, one.explicit_hash_key.as_deref()))
        .collect();
    let entries = entries?;
    if entries.iter().map(|entry| entry.data.len() + entry.key.len()).sum::<usize>()
        > limits::PUT_RECORDS_BYTES_MAX
    {
        return refuse("InvalidArgumentException", "a request is at most 10 MiB");
    }
    let placed = engine.put(&name, entries, now_ms, fails)?;
    let failed = placed.iter().filter(|one| one.is_err()).count();
    let records: Vec<Value> = placed
        .into_iter()
        .map(|one| match one {
            Ok((shard, at)) => json!({ "ShardId": shard, "SequenceNumber": sequence(at) }),
            Err(refusal) => json!({ "ErrorCode": refusal.code, "ErrorMessage": refusal.message }),
        })
        .collect();
    Ok(json!({ "FailedRecordCount": failed, "Records": records, "EncryptionType": "NONE" }))
}

fn put_record(engine: &mut Engine, input: &Value, now_ms: u64) -> Answer {
    let one = entry(&text(input, "Data")?, text(input, "PartitionKey")?, input["ExplicitHashKey"].as_str())?;
    let placed = engine.put(&name(input)?, vec![one], now_ms, &mut || false)?;
    let (shard, at) = placed.into_iter().next().expect("one answer for one entry")?;
    Ok(json!({ "ShardId": shard, "SequenceNumber": sequence(at), "EncryptionType": "NONE" }))
}

fn token(stream: &str, shard: &str, after: u64, now_ms: u64) -> String {
    BASE64.encode(json!([stream, shard, after, now_ms]).to_string())
}

fn iterator(engine: &mut Engine, input: &Value, now_ms: u64) -> Answer {
    let (name, shard) = (name(input)?, text(input, "ShardId")?);
    let stream: &Stream = engine.stream_mut(&name)?;
    let at = || text(input, "StartingSequenceNumber").and_then(|text| number(&text));
    let start = match input["ShardIteratorType"].as_str().unwrap_or_default() {
        "TRIM_HORIZON" => Start::TrimHorizon,
        "LATEST" => Start::Latest,
        "AT_SEQUENCE_NUMBER" => Start::At(at()?),
        "AFTER_SEQUENCE_NUMBER" => Start::After(at()?),
        "AT_TIMESTAMP" => Start::Time(millis(&input["Timestamp"])?),
        other => return refuse("ValidationException", format!("ShardIteratorType {other} does not exist")),
    };
    let after = stream.position(&shard, &start)?;
    Ok(json!({ "ShardIterator": token(&name, &shard, after, now_ms) }))
}

/// Milliseconds from JSON seconds with decimals, read from the digits.
fn millis(value: &Value) -> Result<u64, Refusal> {
    let text = value.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let decimals: String = decimals.chars().chain("000".chars()).take(3).collect();
    match (whole.parse::<u64>(), decimals.parse::<u64>()) {
        (Ok(whole), Ok(decimals)) => Ok(whole.saturating_mul(1_000).saturating_add(decimals)),
        _ => refuse("ValidationException", "Timestamp must be seconds since the epoch"),
    }
}

fn get_records(engine: &mut Engine, input: &Value, now_ms: u64) -> Answer {
    let bytes = BASE64.decode(text(input, "ShardIterator")?).ok();
    let parsed: Option<(String, String, u64, u64)> =
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some((name, shard, after, issued_ms)) = parsed else {
        return refuse("InvalidArgumentException", "ShardIterator is not one of ours");
    };
    if now_ms.saturating_sub(issued_ms) > limits::ITERATOR_TTL_MS {
        return refuse("ExpiredIteratorException", "the iterator is older than 5 minutes");
    }
    let most = usize::try_from(input["Limit"].as_u64().unwrap_or(10_000)).unwrap_or(10_000);
    if most == 0 || most > 10_000 {
        return refuse("ValidationException", "Limit must be 1 to 10000");
    }
    let limits = engine.limits;
    let stream = engine.stream_mut(&name)?;
    let page = stream.read(&shard, after, most, now_ms, limits)?;
    let records: Vec<Value> = page
        .records
        .iter()
        .map(|record| {
            json!({ "SequenceNumber": sequence(record.sequence), "PartitionKey": record.partition_key,
                "ApproximateArrivalTimestamp": seconds(record.arrival_ms), "Data": BASE64.encode(&record.data) })
        })
        .collect();
    let mut answer = json!({ "Records": records, "MillisBehindLatest": page.behind_ms });
    match page.next_after {
        Some(after) => answer["NextShardIterator"] = json!(token(&name, &shard, after, now_ms)),
        None => {
            let children = page.children.iter().map(|id| {
                stream.shard(id).map(|shard| {
                    let mut value = child(shard);
                    value["ParentShards"] = json!(shard.parents);
                    value
                })
            });
            answer["ChildShards"] = json!(children.collect::<Result<Vec<_>, _>>()?);
        }
    }
    Ok(answer)
}

fn update_shard_count(engine: &mut Engine, input: &Value, now_ms: u64) -> Answer {
    let name = name(input)?;
    let target = input["TargetShardCount"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let current = engine.stream_mut(&name)?.open_shards().count();
    engine.apply(&Op::Count { stream: name.clone(), shards: target }, now_ms)?;
    Ok(
        json!({ "StreamName": name, "StreamARN": arn(&name), "CurrentShardCount": current, "TargetShardCount": target }),
    )
}

fn tags(engine: &mut Engine, operation: &str, input: &Value, now_ms: u64) -> Answer {
    let stream = name(input)?;
    match operation {
        "AddTagsToStream" => {
            let add = serde_json::from_value(input["Tags"].clone());
            let add = add.or_else(|_| refuse("ValidationException", "Tags must be a map of text to text"))?;
            change(engine, Op::Tags { stream, add, remove: Vec::new() }, now_ms)
        }
        "RemoveTagsFromStream" => {
            let remove = serde_json::from_value(input["TagKeys"].clone());
            let remove =
                remove.or_else(|_| refuse("ValidationException", "TagKeys must be a list of text"))?;
            change(engine, Op::Tags { stream, add: Default::default(), remove }, now_ms)
        }
        _ => {
            let tags = &engine.stream_mut(&stream)?.tags;
            let list: Vec<Value> =
                tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
            Ok(json!({ "Tags": list, "HasMoreTags": false }))
        }
    }
}

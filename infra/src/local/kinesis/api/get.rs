//! `GetShardIterator` and `GetRecords`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use super::input::{Input, parse};
use super::number::{Number, write_seconds, write_sequence};
use super::token::Iterator;
use crate::local::kinesis::model::{Refusal, Shard, ShardId, Start, Stored, Stream, refuse};
use crate::local::kinesis::shared::Shared;

/// Most records of a page (Kinesis API reference, `GetRecords`).
const PAGE_RECORDS_MAX: u64 = 10_000;
/// The field that has a request checked and not carried out.
pub(super) const DRY_RUN: &str = "DryRun";
/// What a record's fields take in JSON beside its key and payload.
const RECORD_JSON_BYTES: usize = 192;

/// Where reading begins, as it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Place(Start),
    At(Number),
    After(Number),
}

impl Asked {
    /// From a `ShardIteratorType` or a `StartingPosition`'s type and the fields beside it.
    pub(super) fn parse(input: &Input, kind: &str, sequence_field: &str) -> Result<Self, Refusal> {
        let at = || input.required(sequence_field).and_then(Number::parse);
        Ok(match input.required(kind)? {
            "TRIM_HORIZON" => Self::Place(Start::TrimHorizon),
            "LATEST" => Self::Place(Start::Latest),
            "AT_SEQUENCE_NUMBER" => Self::At(at()?),
            "AFTER_SEQUENCE_NUMBER" => Self::After(at()?),
            "AT_TIMESTAMP" => match input.time_ms("Timestamp")? {
                Some(ms) => Self::Place(Start::Time(ms)),
                None => return refuse("InvalidArgumentException", "AT_TIMESTAMP needs a Timestamp"),
            },
            other => return refuse("ValidationException", format!("{kind} {other} does not exist")),
        })
    }

    /// Where that is in a stream.
    pub(super) fn of(self, stream: &Stream) -> Result<Start, Refusal> {
        Ok(match self {
            Self::Place(start) => start,
            Self::At(number) => Start::At(number.of(stream)?),
            Self::After(number) => Start::After(number.of(stream)?),
        })
    }
}

pub(super) fn iterator(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let (name, shard) = (input.stream()?, input.shard("ShardId")?);
    let asked = Asked::parse(input, "ShardIteratorType", "StartingSequenceNumber")?;
    let dry_run = input.flag(DRY_RUN)?;
    let mut engine = shared.engine();
    let given_ms = shared.now_ms();
    let stream = engine.live(&name, given_ms)?;
    let after = stream.position(shard, asked.of(stream)?, given_ms)?;
    let created_ms = stream.created_ms;
    if dry_run {
        return Err(engine.dry_run(&name, given_ms));
    }
    let iterator = Iterator { stream: name, created_ms, shard: shard.0, after, given_ms };
    Ok(json!({ "ShardIterator": iterator.encode() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: Option<String>,
    limit: Option<i64>,
    dry_run: Option<bool>,
}

pub(super) fn get_records(shared: &Shared, body: &[u8]) -> Answer {
    let input: GetRecords = parse(body)?;
    let most = input.limit.map_or(Some(PAGE_RECORDS_MAX), |limit| u64::try_from(limit).ok());
    let most = most.filter(|most| (1..=PAGE_RECORDS_MAX).contains(most));
    let Some(most) = most.and_then(|most| usize::try_from(most).ok()) else {
        return refuse("ValidationException", format!("Limit must be 1 to {PAGE_RECORDS_MAX}"));
    };
    let Some(text) = input.shard_iterator else {
        return refuse("ValidationException", "ShardIterator is missing");
    };
    let iterator = Iterator::decode(&text, shared.now_ms())?;
    let shard = iterator.shard();
    let (page, children, now_ms) = {
        let mut engine = shared.engine();
        let now_ms = shared.now_ms();
        let limits = engine.limits();
        let stream = engine.live(&iterator.stream, now_ms)?;
        if stream.created_ms != iterator.created_ms {
            return refuse("ResourceNotFoundException", "the stream of this iterator was deleted");
        }
        if input.dry_run == Some(true) {
            stream.shard(shard)?;
            return Err(stream.dry_run(now_ms, limits));
        }
        let page = stream.read(shard, iterator.after, most, (now_ms, limits))?;
        let children = write_children(stream, &page.children);
        (page, children, now_ms)
    };
    let mut out = write_records(&page.records, iterator.created_ms);
    out.extend_from_slice(format!(r#","MillisBehindLatest":{}"#, page.behind_ms).as_bytes());
    match page.next_after {
        Some(after) => {
            let next = Iterator { after, given_ms: now_ms, ..iterator };
            out.extend_from_slice(format!(r#","NextShardIterator":"{}""#, next.encode()).as_bytes());
        }
        None => out.extend_from_slice(&children),
    }
    out.push(b'}');
    Ok(out)
}

/// An object that is still open, with the records in it, of a stream that was made then.
pub(crate) fn write_records(records: &[Stored], made_ms: u64) -> Vec<u8> {
    let bytes: usize = records.iter().map(|record| record.size() * 4 / 3 + RECORD_JSON_BYTES).sum();
    let mut out = Vec::with_capacity(bytes + 1_024);
    let mut data = String::new();
    out.extend_from_slice(br#"{"Records":["#);
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"SequenceNumber":""#);
        write_sequence(record.sequence, made_ms, &mut out);
        out.extend_from_slice(br#"","ApproximateArrivalTimestamp":"#);
        write_seconds(record.arrival_ms, &mut out);
        out.extend_from_slice(br#","Data":""#);
        data.clear();
        BASE64.encode_string(record.data(), &mut data);
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(br#"","PartitionKey":"#);
        // Text into memory: neither can fail.
        let _ = serde_json::to_writer(&mut out, record.partition_key());
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// A further field with the children of a shard that ended, or nothing.
pub(crate) fn write_children(stream: &Stream, children: &[ShardId]) -> Vec<u8> {
    let child = |shard: &Shard| {
        let parents: Vec<String> = shard.parents.iter().map(ShardId::to_string).collect();
        json!({ "ShardId": shard.id.to_string(), "ParentShards": parents, "HashKeyRange": {
            "StartingHashKey": shard.range.start.to_string(), "EndingHashKey": shard.range.end.to_string() } })
    };
    let list: Vec<Value> = children.iter().filter_map(|id| stream.shards.get(id)).map(child).collect();
    if list.is_empty() {
        return Vec::new();
    }
    format!(r#","ChildShards":{}"#, Value::Array(list)).into_bytes()
}

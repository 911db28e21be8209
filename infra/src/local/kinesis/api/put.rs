//! `PutRecords` and `PutRecord`: read without intermediate values, decoded into one piece of memory, placed at once.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use schemas::hash::HashKey;
use schemas::limits;
use serde::Deserialize;

use super::Answer;
use super::input::{hash_key, parse, stream_name};
use super::number::{Number, write_sequence, write_shard};
use crate::local::kinesis::model::{Record, Refusal, ShardId, refuse};
use crate::local::kinesis::shared::Shared;

/// Characters of a partition key (Kinesis API reference, `PutRecordsRequestEntry`).
const KEY_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    records: Option<Vec<Entry<'a>>>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sequence_number_for_ordering: Option<Cow<'a, str>>,
    dry_run: Option<bool>,
    #[serde(borrow, flatten)]
    entry: Entry<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

/// Text that is borrowed where it has no escapes: inside an `Option`, a bare `Cow` would be copied.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Entry<'_> {
    /// Appends partition key and payload to `bytes`; answers where the record belongs and how long its key is.
    fn decode(&self, bytes: &mut Vec<u8>) -> Result<(HashKey, u16), Refusal> {
        let Some(Text(key)) = &self.partition_key else {
            return refuse("ValidationException", "PartitionKey is missing");
        };
        let Some(Text(data)) = &self.data else { return refuse("ValidationException", "Data is missing") };
        // No key of at most 1,024 bytes is shorter than its characters, so most need no counting.
        if key.is_empty() || (key.len() > KEY_CHARS_MAX && key.chars().count() > KEY_CHARS_MAX) {
            return refuse(
                "ValidationException",
                format!("PartitionKey must be 1 to {KEY_CHARS_MAX} characters"),
            );
        }
        let hash = match &self.explicit_hash_key {
            Some(Text(text)) => HashKey(hash_key(text, "ExplicitHashKey")?),
            None => HashKey::of_partition_key(key),
        };
        bytes.extend_from_slice(key.as_bytes());
        if BASE64.decode_vec(data.as_bytes(), bytes).is_err() {
            return refuse("SerializationException", "Data is not base64");
        }
        Ok((hash, u16::try_from(key.len()).unwrap_or(u16::MAX)))
    }
}

/// Decodes all entries into one piece of memory, of which each record holds its part.
fn decode(entries: &[Entry<'_>]) -> Result<Vec<Record>, Refusal> {
    let text = |field: &Option<Text<'_>>| field.as_ref().map_or(0, |text| text.0.len());
    let most = |entry: &Entry<'_>| text(&entry.data) / 4 * 3 + text(&entry.partition_key);
    let mut bytes = Vec::with_capacity(entries.iter().map(most).sum());
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let (hash, key_bytes) = entry.decode(&mut bytes)?;
        places.push((hash, key_bytes, bytes.len()));
    }
    if bytes.len() > limits::PUT_RECORDS_BYTES_MAX {
        return refuse("InvalidArgumentException", "a request has at most 10 MiB, partition keys included");
    }
    let bytes = Bytes::from(bytes);
    let mut start = 0;
    let record = |(hash, key_bytes, end): (HashKey, u16, usize)| {
        let bytes = bytes.slice(start..end);
        start = end;
        Record { hash, bytes, key_bytes }
    };
    Ok(places.into_iter().map(record).collect())
}

pub(super) fn put_records(shared: &Shared, body: &[u8]) -> Answer {
    let input: PutRecords<'_> = parse(body)?;
    let stream = stream_name(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let entries = input.records.unwrap_or_default();
    if entries.is_empty() || entries.len() > limits::PUT_RECORDS_ENTRIES_MAX {
        return refuse(
            "ValidationException",
            format!("Records must have 1 to 500 entries and has {}", entries.len()),
        );
    }
    let records = decode(&entries)?;
    let mut faults = shared.dice().entries(records.len());
    let (placed, made_ms) = {
        let mut engine = shared.engine();
        let now_ms = shared.now_ms();
        let made_ms = engine.live(&stream, now_ms)?.created_ms;
        if input.dry_run == Some(true) {
            return Err(engine.dry_put(&stream, &records, now_ms));
        }
        (engine.put(&stream, records, now_ms, &mut || faults.next().flatten())?, made_ms)
    };
    shared.tell();
    let failed = placed.iter().filter(|one| one.is_err()).count();
    let mut out = Vec::with_capacity(64 + placed.len() * 128);
    out.extend_from_slice(br#"{"FailedRecordCount":"#);
    out.extend_from_slice(failed.to_string().as_bytes());
    out.extend_from_slice(br#","EncryptionType":"NONE","Records":["#);
    for (index, one) in placed.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match one {
            Ok((shard, at)) => {
                out.push(b'{');
                write_place(*shard, (*at, made_ms), &mut out);
                out.push(b'}');
            }
            Err(refusal) => {
                let text = serde_json::json!({ "ErrorCode": refusal.code, "ErrorMessage": refusal.message });
                out.extend_from_slice(text.to_string().as_bytes());
            }
        }
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn write_place(shard: ShardId, (at, made_ms): (u64, u64), out: &mut Vec<u8>) {
    out.extend_from_slice(br#""ShardId":""#);
    write_shard(shard, out);
    out.extend_from_slice(br#"","SequenceNumber":""#);
    write_sequence(at, made_ms, out);
    out.push(b'"');
}

pub(super) fn put_record(shared: &Shared, body: &[u8]) -> Answer {
    let input: PutRecord<'_> = parse(body)?;
    let stream = stream_name(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let after = input.sequence_number_for_ordering.map(|text| Number::parse(&text)).transpose()?;
    let records = decode(std::slice::from_ref(&input.entry))?;
    let mut fault = shared.dice().entries(1);
    let (placed, made_ms) = {
        let mut engine = shared.engine();
        let now_ms = shared.now_ms();
        let target = engine.live(&stream, now_ms)?;
        let (newest, made_ms) = (target.newest(), target.created_ms);
        let after = after.map(|after| after.of(target)).transpose()?;
        if after.is_some_and(|after| after > newest) {
            return refuse(
                "InvalidArgumentException",
                "SequenceNumberForOrdering is not one that this stream gave",
            );
        }
        if input.dry_run == Some(true) {
            return Err(engine.dry_put(&stream, &records, now_ms));
        }
        (engine.put(&stream, records, now_ms, &mut || fault.next().flatten())?, made_ms)
    };
    shared.tell();
    let Some(placed) = placed.into_iter().next() else {
        return refuse("InternalFailure", "no answer for the entry");
    };
    let (shard, at) = placed?;
    let mut out = Vec::with_capacity(160);
    out.push(b'{');
    write_place(shard, (at, made_ms), &mut out);
    out.extend_from_slice(br#","EncryptionType":"NONE"}"#);
    Ok(out)
}

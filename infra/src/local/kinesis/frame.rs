//! What the log is made of: one frame for each change, and those of a snapshot.
//!
//! A body is its fields in bincode and then, for records, their bytes as they are. Time is part of every change, so that
//! carrying them out again gives the same streams.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;
use schemas::hash::HashKey;

use super::model::{Distribution, Image, Mode, Record, Reshard, ShardId, Stored};

/// A change of one stream other than a put.
#[derive(Clone, Debug, Encode, Decode)]
pub(crate) enum Op {
    Create { shards: u32, mode: Mode, record_kib_max: u32, tags: BTreeMap<String, String> },
    Delete,
    Reshard(Reshard),
    Tags { add: BTreeMap<String, String>, remove: Vec<String> },
    Retention { hours: u32 },
    Register { consumer: String },
    Deregister { consumer: String },
    // Logs of earlier releases have numbers for those above: further ones come last.
    Distribute { distribution: Distribution },
    RecordSize { kib: u32 },
}

/// One frame's fields.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Head {
    /// A change.
    Change { now_ms: u64, stream: String, op: Op },
    /// Records that were taken; their bytes follow.
    Put { now_ms: u64, stream: String, rows: Vec<Row> },
    /// A stream as a snapshot keeps it.
    Restore { stream: String, image: Image },
    /// Records of one shard in a snapshot; their bytes follow.
    Refill { stream: String, shard: ShardId, rows: Vec<Kept> },
}

/// A record in a `Put`: its key, and how many bytes of partition key and of both.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(crate) struct Row {
    hash: u128,
    key_bytes: u16,
    bytes: u32,
}

/// A record in a `Refill`.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(crate) struct Kept {
    sequence: u64,
    arrival_ms: u64,
    key_bytes: u16,
    bytes: u32,
}

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).expect("a record has at most 10 MiB")
}

impl Row {
    pub(crate) fn of(record: &Record) -> Self {
        Self { hash: record.hash.0, key_bytes: record.key_bytes, bytes: length(&record.bytes) }
    }
}

impl Kept {
    pub(crate) fn of(stored: &Stored) -> Self {
        let Stored { sequence, arrival_ms, key_bytes, .. } = *stored;
        Self { sequence, arrival_ms, key_bytes, bytes: length(&stored.bytes) }
    }
}

/// A body that cannot be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the frame is not of this format")]
pub(crate) struct Unreadable;

/// Appends the fields to a body.
pub(crate) fn encode(head: &Head, body: &mut Vec<u8>) -> std::io::Result<()> {
    bincode::encode_into_std_write(head, body, bincode::config::standard())
        .map(|_| ())
        .map_err(std::io::Error::other)
}

/// The fields of a body, and the bytes behind them.
pub(crate) fn decode(body: &Bytes) -> Result<(Head, Bytes), Unreadable> {
    let (head, used) =
        bincode::decode_from_slice(body, bincode::config::standard()).map_err(|_| Unreadable)?;
    Ok((head, body.slice(used..)))
}

/// The next piece of the bytes behind the fields, and where its partition key ends.
fn piece(bytes: &mut Bytes, key_bytes: u16, length: u32) -> Result<Bytes, Unreadable> {
    let length = super::model::usize_of(length);
    if length > bytes.len() || usize::from(key_bytes) > length {
        return Err(Unreadable);
    }
    Ok(bytes.split_to(length))
}

/// The records of a `Put`.
pub(crate) fn records(rows: &[Row], mut bytes: Bytes) -> Result<Vec<Record>, Unreadable> {
    let record = |row: &Row| {
        let piece = piece(&mut bytes, row.key_bytes, row.bytes)?;
        Ok(Record { hash: HashKey(row.hash), bytes: piece, key_bytes: row.key_bytes })
    };
    rows.iter().map(record).collect()
}

/// The records of a `Refill`.
pub(crate) fn kept(rows: &[Kept], mut bytes: Bytes) -> Result<Vec<Stored>, Unreadable> {
    let stored = |row: &Kept| {
        let Kept { sequence, arrival_ms, key_bytes, .. } = *row;
        Ok(Stored { sequence, arrival_ms, bytes: piece(&mut bytes, key_bytes, row.bytes)?, key_bytes })
    };
    rows.iter().map(stored).collect()
}

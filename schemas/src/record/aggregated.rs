//! The KPL's aggregated format: magic, protobuf, MD5 of the protobuf; one bid per item, or the bids of JSON.
//!
//! Source: `aggregation-format.md` of the Kinesis Producer Library. A record that fails the test (magic, more than 16
//! bytes after it, MD5, protobuf) is a plain record, whole; past the test a bad item is rejected alone. Never looks at
//! an item's key beyond its being in the table: a bid's own slot says where it belongs.

use md5::{Digest, Md5};

use super::protobuf::{Field, Fields, Malformed, put_bytes, put_number};
use super::{Kind, Rejected, json, plain};
use crate::bid::Bid;
use crate::limits::BIDS_PER_RECORD_MAX;

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// What an aggregate's first byte is, and no other envelope's.
pub(super) const MAGIC_FIRST: u8 = MAGIC[0];
const MD5_BYTES: usize = 16;
/// The limit is [`BIDS_PER_RECORD_MAX`].
const TOO_MANY: &str = "an aggregate of more than 65536 items";

// AggregatedRecord
const PARTITION_KEY: u8 = 1;
const EXPLICIT_HASH_KEY: u8 = 2;
const RECORD: u8 = 3;
// Record
const PARTITION_KEY_INDEX: u8 = 1;
const EXPLICIT_HASH_KEY_INDEX: u8 = 2;
const DATA: u8 = 3;

/// An aggregate of any items, as `(partition key, explicit hash key, data)`, in their order.
///
/// Equal keys share one place in their table. Without items what comes out is no aggregate but a plain record, for
/// consumers demand a protobuf of at least one byte; [`super::tick`] is the aggregate without items.
#[must_use]
pub fn encode_items(items: &[(&str, Option<u128>, &[u8])]) -> Vec<u8> {
    let mut keys = Table::default();
    let mut hash_keys = Table::default();
    let mut records = Vec::new();
    for (partition_key, explicit_hash_key, data) in items {
        let key = keys.place((*partition_key).to_owned());
        let hash_key = explicit_hash_key.map(|hash_key| hash_keys.place(hash_key.to_string()));
        put_record(key, hash_key, data, &mut records);
    }
    seal(&keys.texts, &hash_keys.texts, &records)
}

pub(super) fn encode(bids: &[Bid]) -> Vec<u8> {
    if bids.is_empty() {
        return tick();
    }
    let mut keys = Table::default();
    let mut records = Vec::new();
    let mut data = Vec::new();
    for bid in bids {
        data.clear();
        plain::encode_into(bid, &mut data);
        put_record(keys.place(bid.slot_id), None, &data, &mut records);
    }
    let texts: Vec<String> = keys.texts.iter().map(ToString::to_string).collect();
    seal(&texts, &[], &records)
}

pub(super) fn tick() -> Vec<u8> {
    seal(&["a".to_owned()], &[], &[])
}

/// Keys by first appearance; a key's place is its index.
struct Table<K> {
    texts: Vec<K>,
    places: std::collections::HashMap<K, u64>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { texts: Vec::new(), places: std::collections::HashMap::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Table<K> {
    fn place(&mut self, key: K) -> u64 {
        if let Some(&place) = self.places.get(&key) {
            return place;
        }
        let place = u64::try_from(self.texts.len()).expect("memory is below 2^64");
        self.texts.push(key.clone());
        self.places.insert(key, place);
        place
    }
}

fn put_record(key: u64, hash_key: Option<u64>, data: &[u8], out: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(data.len() + 16);
    put_number(PARTITION_KEY_INDEX, key, &mut record);
    if let Some(hash_key) = hash_key {
        put_number(EXPLICIT_HASH_KEY_INDEX, hash_key, &mut record);
    }
    put_bytes(DATA, data, &mut record);
    put_bytes(RECORD, &record, out);
}

fn seal(keys: &[String], hash_keys: &[String], records: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for key in keys {
        put_bytes(PARTITION_KEY, key.as_bytes(), &mut out);
    }
    for hash_key in hash_keys {
        put_bytes(EXPLICIT_HASH_KEY, hash_key.as_bytes(), &mut out);
    }
    out.extend_from_slice(records);
    let digest = Md5::digest(&out[MAGIC.len()..]);
    out.extend_from_slice(&digest);
    out
}

/// Reads an aggregate. One of more items than a record may hold is one rejected bid, which says so.
///
/// # Errors
/// Why the record is none.
pub(super) fn decode(data: &[u8], items: &mut Vec<Result<Bid, Rejected>>) -> Result<Kind, &'static str> {
    let body = data.strip_prefix(&MAGIC).ok_or("not a bid of a known version")?;
    let length = body.len().checked_sub(MD5_BYTES).filter(|length| *length > 0);
    let (message, digest) = body.split_at(length.ok_or("an aggregate is cut short")?);
    if Md5::digest(message).as_slice() != digest {
        return Err("an aggregate's checksum is wrong");
    }
    let tables = walk(message).map_err(|Malformed| "an aggregate's protobuf is malformed")?;
    if tables.records.len() > BIDS_PER_RECORD_MAX {
        items.push(Err(Rejected::because(TOO_MANY)));
        return Ok(Kind::Aggregated);
    }
    items.reserve_exact(tables.records.len());
    let mut budget = json::Budget::of(data.len());
    for record in &tables.records {
        if !read_items(record, &tables, &mut budget, items) {
            items.clear();
            items.push(Err(Rejected::because(TOO_MANY)));
            break;
        }
    }
    Ok(if tables.records.is_empty() { Kind::Tick } else { Kind::Aggregated })
}

/// How many entries each table has; they may stand after the records that point into them.
#[derive(Default)]
struct Tables<'a> {
    keys: u64,
    hash_keys: u64,
    records: Vec<Record<'a>>,
}

/// The whole message parses, or it is no aggregate.
fn walk(message: &[u8]) -> Result<Tables<'_>, Malformed> {
    let mut tables = Tables::default();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.poll()? {
        let Field::Bytes(number, bytes) = field else { continue };
        match u8::try_from(number) {
            Ok(PARTITION_KEY) => tables.keys += 1,
            Ok(EXPLICIT_HASH_KEY) => tables.hash_keys += 1,
            // One beyond the most there may be is enough to know; the rest is still held to be protobuf.
            Ok(RECORD) if tables.records.len() > BIDS_PER_RECORD_MAX => parse_record(bytes).map(|_| ())?,
            Ok(RECORD) => tables.records.push(parse_record(bytes)?),
            _ => {}
        }
    }
    Ok(tables)
}

struct Record<'a> {
    key: u64,
    hash_key: Option<u64>,
    data: &'a [u8],
}

#[inline]
fn parse_record(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.poll()? {
        match field {
            Field::Varint(1, index) => key = Some(index),
            Field::Varint(2, index) => hash_key = Some(index),
            Field::Bytes(3, bytes) => data = Some(bytes),
            _ => {}
        }
    }
    Ok(Record { key: key.ok_or(Malformed)?, hash_key, data: data.ok_or(Malformed)? })
}

/// Reads the bid of an item, or the bids of one that is JSON; false when there are more than a record may hold.
#[inline]
fn read_items(
    record: &Record<'_>,
    tables: &Tables<'_>,
    budget: &mut json::Budget,
    items: &mut Vec<Result<Bid, Rejected>>,
) -> bool {
    if items.len() >= BIDS_PER_RECORD_MAX {
        return false;
    }
    if record.key >= tables.keys || record.hash_key.is_some_and(|index| index >= tables.hash_keys) {
        items.push(Err(Rejected::because("an item's key is not in the table")));
    } else if json::begins(record.data) {
        match json::decode(record.data, budget, items) {
            Ok(()) => {}
            Err(json::TOO_MANY) => return false,
            Err(reason) => items.push(Err(Rejected::because(reason))),
        }
    } else {
        items.push(plain::decode(record.data));
    }
    true
}

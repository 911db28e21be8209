//! JSON that other programs write: one bid, several lines, an array, or gzip of these; read only.
//!
//! Owns what such a record may cost: gzip gives at most [`INFLATED_PER_BYTE`] bytes for one of the record's, and a
//! little more, and a record at most as many bids as any other. What is beyond is refused whole, with the reason, since
//! nobody could say which of its bids count.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use super::Rejected;
use crate::bid::Bid;
use crate::intake::{BYTE_ORDER_MARK, objects, read_foreign};
use crate::limits::{BIDS_PER_RECORD_MAX, INFLATED_BYTES_MAX, INFLATED_BYTES_MIN, INFLATED_PER_BYTE};

/// What gzip begins with (RFC 1952).
const GZIP: &[u8] = &[0x1F, 0x8B];
/// The limit is [`BIDS_PER_RECORD_MAX`].
pub(super) const TOO_MANY: &str = "json of more than 65536 bids";

/// How many bytes all gzip of one record may still give.
pub(super) struct Budget(usize);

impl Budget {
    /// Of a record of so many bytes.
    pub(super) fn of(record: usize) -> Self {
        Self((INFLATED_BYTES_MIN + record.saturating_mul(INFLATED_PER_BYTE)).min(INFLATED_BYTES_MAX))
    }
}

/// Whether a record, or an aggregate's item, begins as JSON or gzip does; no other envelope begins so.
#[inline]
pub(super) fn begins(data: &[u8]) -> bool {
    match data.first() {
        Some(b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n') => true,
        Some(0x1F) => data.starts_with(GZIP),
        Some(0xEF) => data.starts_with(BYTE_ORDER_MARK),
        _ => false,
    }
}

/// Reads the bids of JSON, one item for each.
///
/// # Errors
/// Why it holds none.
pub(super) fn decode(
    data: &[u8],
    budget: &mut Budget,
    items: &mut Vec<Result<Bid, Rejected>>,
) -> Result<(), &'static str> {
    if !data.starts_with(GZIP) {
        return read(data, items);
    }
    let mut text = Vec::new();
    let most = u64::try_from(budget.0).unwrap_or(u64::MAX);
    let inflated = MultiGzDecoder::new(data).take(most.saturating_add(1)).read_to_end(&mut text);
    if text.len() > budget.0 {
        return Err("gzip of far more bytes than it has");
    }
    inflated.map_err(|_| "gzip is damaged")?;
    budget.0 -= text.len();
    if begins(&text) && !text.starts_with(GZIP) {
        read(&text, items)
    } else {
        Err("gzip of something else than json")
    }
}

fn read(text: &[u8], items: &mut Vec<Result<Bid, Rejected>>) -> Result<(), &'static str> {
    let before = items.len();
    for object in objects(text) {
        if items.len() >= BIDS_PER_RECORD_MAX {
            items.truncate(before);
            return Err(TOO_MANY);
        }
        let read = object.map_err(Rejected::because).and_then(|object| {
            read_foreign(object).map_err(|unread| Rejected { region: unread.region, reason: unread.reason })
        });
        items.push(read);
    }
    let is_array = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii().starts_with(b"[");
    if items.len() == before && !is_array {
        return Err("json without a bid");
    }
    Ok(())
}

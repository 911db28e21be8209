//! The bytes of a stream record: four envelopes and the tick, told apart by their first bytes.
//!
//! Owns what leaves [`decode`]: every bid that comes out is valid, every one that cannot be read is a [`Rejected`]
//! in its place, and the place is the sub-sequence number. Never looks at a partition key, a shard or a clock, never
//! panics on input, and never allocates more than [`BIDS_PER_RECORD_MAX`] items and 20 MiB in all, and 16 MiB more
//! for gzip: columns and planes are sized by the number of bids, and everything else is borrowed from the input.
//!
//! The layouts are written down in `schemas/README.md` and held by `schemas/golden/`.

pub mod aggregated;
mod bits;
mod block;
mod column;
mod ids;
mod json;
mod plain;
mod protobuf;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bid::Bid;
use crate::ids::Region;
use crate::limits::BIDS_PER_RECORD_MAX;

/// How a producer wraps bids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// Our own columns: the fewest bytes.
    #[default]
    Block,
    /// The KPL format, one bid per item: other consumers can read it.
    Aggregated,
    /// One bid per record.
    Plain,
}

/// Why a text is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an envelope is block, aggregated or plain")]
pub struct EnvelopeError;

impl FromStr for Envelope {
    type Err = EnvelopeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "block" => Ok(Self::Block),
            "aggregated" => Ok(Self::Aggregated),
            "plain" => Ok(Self::Plain),
            _ => Err(EnvelopeError),
        }
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Block => "block",
            Self::Aggregated => "aggregated",
            Self::Plain => "plain",
        })
    }
}

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An aggregate without items: it moves the shard's clock and nothing else.
    Tick,
    /// Columns.
    Block,
    /// The KPL format with at least one item.
    Aggregated,
    /// Text that other programs write, or gzip of it.
    Json,
    /// Everything else, whole: one item.
    #[default]
    Plain,
}

/// A bid that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rejected {
    /// The bid's region, when at least that could be read.
    pub region: Option<Region>,
    /// One lowercase fact from a closed set.
    pub reason: &'static str,
}

impl Rejected {
    /// A rejection that knows no region.
    fn because(reason: &'static str) -> Self {
        Self { region: None, reason }
    }
}

/// A record's content; an item's index is its sub-sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// What the record turned out to be.
    pub kind: Kind,
    /// Its bids in the record's own order, 0 to [`BIDS_PER_RECORD_MAX`] of them.
    pub items: Vec<Result<Bid, Rejected>>,
}

/// Reads a record. Never fails: what cannot be read at all is a plain record with one rejected bid.
#[must_use]
pub fn decode(data: &[u8]) -> Decoded {
    let mut out = Decoded::default();
    decode_into(data, &mut out);
    out
}

/// [`decode`] into memory that is used again; what stood there is gone.
pub fn decode_into(data: &[u8], out: &mut Decoded) {
    out.items.clear();
    let read = match data.first() {
        Some(&block::MARK) => block::decode(data, &mut out.items),
        Some(&aggregated::MAGIC_FIRST) => aggregated::decode(data, &mut out.items),
        _ if json::begins(data) => {
            json::decode(data, &mut json::Budget::of(data.len()), &mut out.items).map(|()| Kind::Json)
        }
        _ => {
            out.items.push(plain::decode(data));
            Ok(Kind::Plain)
        }
    };
    out.kind = read.unwrap_or_else(|reason| {
        // No plain bid begins as the others do.
        out.items.clear();
        out.items.push(Err(Rejected::because(reason)));
        Kind::Plain
    });
}

/// Columns of at most [`BIDS_PER_RECORD_MAX`] bids. The order between bids is not kept: they come out by slot, then
/// event time, then bid id.
///
/// More than [`BLOCK_BIDS_FREE`](crate::limits::BLOCK_BIDS_FREE) bids are read again only when they come to a byte each,
/// as bids with ids of their own do; smaller blocks always are.
///
/// # Panics
/// On more than [`BIDS_PER_RECORD_MAX`] bids.
#[must_use]
pub fn encode_block(bids: &[Bid]) -> Vec<u8> {
    encode_block_of(bids)
}

/// [`encode_block`] for bids that do not stand side by side.
///
/// # Panics
/// On more than [`BIDS_PER_RECORD_MAX`] bids.
#[must_use]
pub fn encode_block_of<'a, I>(bids: I) -> Vec<u8>
where
    I: IntoIterator<Item = &'a Bid, IntoIter: ExactSizeIterator>,
{
    let bids = bids.into_iter();
    assert!(bids.len() <= BIDS_PER_RECORD_MAX, "a record holds at most {BIDS_PER_RECORD_MAX} bids");
    block::encode(bids)
}

/// An aggregate with one item per bid, in their order; without bids it is a [`tick`].
///
/// # Panics
/// On more than [`BIDS_PER_RECORD_MAX`] bids.
#[must_use]
pub fn encode_aggregated(bids: &[Bid]) -> Vec<u8> {
    assert!(bids.len() <= BIDS_PER_RECORD_MAX, "a record holds at most {BIDS_PER_RECORD_MAX} bids");
    aggregated::encode(bids)
}

/// One bid alone.
#[must_use]
pub fn encode_plain(bid: &Bid) -> Vec<u8> {
    plain::encode(bid)
}

/// The aggregate without items, `F3 89 9A C2 0A 01 61 | MD5`: other consumers see nothing in it.
#[must_use]
pub fn tick() -> Vec<u8> {
    aggregated::tick()
}

#[cfg(test)]
pub(crate) use tests::any_bid;

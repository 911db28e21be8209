//! The log as the audit sees it, and the few rules of time and place that every auction follows.
//!
//! These rules are written here a second time, from the design and not from the stages: a checker that shared them
//! with what it checks would find nothing. Never uses the geometry's own methods.

use std::cmp::Ordering;

use md5::{Digest, Md5};
use schemas::bid::Bid;
use schemas::geometry::Ranking;
use schemas::ids::{SequenceNumber, ShardId, SlotId};
use schemas::item::GeometryItem;
use schemas::record::Rejected;
use schemas::time::Millis;

/// A shard without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The lowest hash key it owns, inclusive.
    pub first: u128,
    /// The highest hash key it owns, inclusive.
    pub last: u128,
    /// The shards it was made from, none for the first shards of a stream.
    pub parents: Vec<ShardId>,
    /// Whether it has no parents and its own oldest records may be gone.
    pub trimmed: bool,
}

/// A record with what was decoded from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the shard.
    pub sequence: SequenceNumber,
    /// When the stream stored it.
    pub arrival: Millis,
    /// Bytes of its data.
    pub bytes: u64,
    /// Its bids; an index is a sub-sequence number.
    pub items: Vec<Result<Bid, Rejected>>,
}

/// A shard with its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLog {
    /// The shard.
    pub shard: Shard,
    /// Its records from the oldest that is left.
    pub records: Vec<Record>,
    /// Whether it is closed and was read to its end.
    pub ended: bool,
}

/// A whole stream, parents before their children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Its shards.
    pub shards: Vec<ShardLog>,
}

/// The hash key of a slot: MD5 of its lower-case text as a big-endian integer.
#[must_use]
pub fn hash_of(slot: &SlotId) -> u128 {
    u128::from_be_bytes(Md5::digest(slot.to_string().to_lowercase()).into())
}

/// Start of the window in which a time lies.
#[must_use]
pub fn window_of(agreed: &GeometryItem, at: Millis) -> Millis {
    Millis(at.0 / agreed.geometry.window_ms * agreed.geometry.window_ms)
}

/// The first millisecond after a window.
#[must_use]
pub fn end_of(agreed: &GeometryItem, window: Millis) -> Millis {
    Millis(window.0 + agreed.geometry.window_ms)
}

/// Whether a clock has closed a window.
#[must_use]
pub fn passed(agreed: &GeometryItem, window: Millis, clock: Millis) -> bool {
    end_of(agreed, window).0 + agreed.geometry.grace_ms < clock.0
}

/// Seconds since the epoch after which a window's items may be gone.
#[must_use]
pub fn ttl_of(agreed: &GeometryItem, window: Millis) -> u64 {
    (end_of(agreed, window).0 + agreed.ttl_after_ms) / 1_000
}

/// What candidates are ordered by first.
#[must_use]
pub fn score_of(agreed: &GeometryItem, bid: &Bid) -> u128 {
    let amount = u128::from(bid.amount.units());
    match agreed.geometry.ranking {
        Ranking::Amount => amount,
        Ranking::AmountQuality => amount * u128::from(bid.quality.get()),
    }
}

/// The better bid first.
#[must_use]
pub fn better(agreed: &GeometryItem, a: &Bid, b: &Bid) -> Ordering {
    score_of(agreed, b)
        .cmp(&score_of(agreed, a))
        .then(b.amount.cmp(&a.amount))
        .then(a.event_time.cmp(&b.event_time))
        .then(a.bid_id.cmp(&b.bid_id))
        .then(a.account_id.cmp(&b.account_id))
}

//! Small logs: two halves of the hash space, slots that lie in one of them, and amounts that are powers of two.

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, BidId, ShardId, SlotId};
use schemas::item::GeometryItem;
use schemas::money::{BasisPoints, Price};
use schemas::record::Rejected;
use schemas::time::Millis;

use super::super::log::{Log, Record, Shard, ShardLog, hash_of};

pub(super) const HALF: u128 = u128::MAX / 2;

pub(super) fn agreed() -> GeometryItem {
    let geometry =
        Geometry { window_ms: 10, grace_ms: 2, ahead_max_ms: 5, candidates: 2, ..Geometry::default() };
    GeometryItem { geometry, ttl_after_ms: 100_000, outbox_buckets: 4 }
}

/// The n-th slot whose hash lies in the lower or the upper half.
pub(super) fn slot(upper: bool, n: usize) -> SlotId {
    let slots = (1_u128..).map(|seed| SlotId::from_bytes(seed.to_be_bytes()));
    slots.filter(|slot| (hash_of(slot) > HALF) == upper).nth(n).unwrap()
}

pub(super) fn account(n: u128) -> AccountId {
    AccountId::from_bytes((0xacc0_0000 + n).to_be_bytes())
}

pub(super) fn id(name: &str) -> ShardId {
    ShardId(name.to_owned())
}

pub(super) fn shard(name: &str, first: u128, last: u128, parents: &[&str]) -> Shard {
    let parents = parents.iter().map(|parent| id(parent)).collect();
    Shard { id: id(name), first, last, parents, trimmed: false }
}

/// A bid of account `n` with id `n`, of 2^n ten-thousandths.
pub(super) fn bid(slot: SlotId, n: u32, at: u64) -> Bid {
    Bid {
        bid_id: BidId::from_bytes(u128::from(n).to_be_bytes()),
        slot_id: slot,
        account_id: account(u128::from(n)),
        region: if n.is_multiple_of(2) { "even" } else { "odd" }.parse().unwrap(),
        amount: Price::from_units(1 << n).unwrap(),
        latency_ms: n,
        quality: BasisPoints::ONE,
        event_time: Millis(at),
    }
}

pub(super) fn record(sequence: u64, arrival: u64, bids: &[Bid]) -> Record {
    let items = bids.iter().copied().map(Ok).collect();
    Record { sequence: sequence.to_string().parse().unwrap(), arrival: Millis(arrival), bytes: 100, items }
}

pub(super) fn unreadable(sequence: u64, arrival: u64) -> Record {
    let rejected = Rejected { region: None, reason: "not a bid of a known version" };
    Record { items: vec![Err(rejected)], ..record(sequence, arrival, &[]) }
}

pub(super) fn log(shards: Vec<(Shard, Vec<Record>, bool)>) -> Log {
    let one = |(shard, records, ended)| ShardLog { shard, records, ended };
    Log { shards: shards.into_iter().map(one).collect() }
}

//! Names and keys of stream, tables and index.

use sha2::{Digest, Sha256};

use crate::ids::{AccountId, BidId, Region, ShardId, SlotId};
use crate::limits::OUTBOX_SUBS;
use crate::time::Millis;

/// The stream of bids.
pub const STREAM: &str = "bids";
/// The table of aggregates, totals, hot slots, bid events and the geometry.
pub const TABLE: &str = "bid_aggregates";
/// The table of leases.
pub const LEASE_TABLE: &str = "bid-processor";
/// The sparse index over aggregates that await settlement.
pub const OUTBOX_INDEX: &str = "outbox";
/// Both keys of the geometry.
pub const GEOMETRY: (&str, &str) = ("PIPELINE", "GEOMETRY");
/// Both keys of the head of the roster of agreed accounts; its parts stand beside it.
pub const ROSTER: (&str, &str) = ("PIPELINE", "ROSTER");
/// Both keys of the head of the name map; its parts stand beside it.
pub const NAMES: (&str, &str) = ("PIPELINE", "NAMES");
/// PK of the rows that tell of items which the table refuses.
pub const REFUSED: &str = "REFUSED";

/// PK of aggregates and bid events.
#[must_use]
pub fn slot_pk(slot: &SlotId) -> String {
    format!("SLOT#{slot}")
}

/// SK of an aggregate.
#[must_use]
pub fn window_sk(start: Millis) -> String {
    format!("WINDOW#{start}")
}

/// PK of region totals.
#[must_use]
pub fn region_pk(region: &Region) -> String {
    format!("REGION#{region}")
}

/// SK of region totals.
#[must_use]
pub fn region_sk(start: Millis, shard: &ShardId) -> String {
    format!("WINDOW#{start}#{shard}")
}

/// PK of hot slots; the SK is the shard's id.
#[must_use]
pub fn hot_pk(start: Millis) -> String {
    format!("HOT#{start}")
}

/// SK of a bid event.
#[must_use]
pub fn bid_event_sk(region: &Region, bid: &BidId) -> String {
    format!("REGION#{region}#BID#{bid}")
}

/// PK of the outbox index.
#[must_use]
pub fn outbox_pk(bucket: u32, sub: u32) -> String {
    format!("OUTBOX#{bucket}#{sub}")
}

/// SK of the outbox index.
#[must_use]
pub fn outbox_sk(window_end: Millis, slot: &SlotId) -> String {
    format!("{window_end}#{slot}")
}

/// Every key of the outbox index.
pub fn outbox_pks(buckets: u32) -> impl Iterator<Item = String> {
    (0..buckets).flat_map(|bucket| (0..OUTBOX_SUBS).map(move |sub| outbox_pk(bucket, sub)))
}

/// The bucket of an auction: by its first candidate's account, so that those who would conflict share one.
#[must_use]
pub fn outbox_bucket(account: &AccountId, buckets: u32) -> u32 {
    spread(account.as_bytes(), buckets)
}

/// The part of a bucket: by the slot, so that one account does not make one hot key.
#[must_use]
pub fn outbox_sub(slot: &SlotId) -> u32 {
    spread(slot.as_bytes(), OUTBOX_SUBS)
}

fn spread(bytes: &[u8; 16], count: u32) -> u32 {
    let hash = Sha256::digest(bytes);
    let head: [u8; 4] = hash[..4].try_into().expect("a digest has 32 bytes");
    u32::from_be_bytes(head) % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_spread_evenly() {
        let mut counts = [0_u32; 16];
        for index in 0..16_000_u128 {
            let account = AccountId::from_bytes(index.to_be_bytes());
            counts[usize::try_from(outbox_bucket(&account, 16)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(outbox_pks(16).count(), 64);
    }
}

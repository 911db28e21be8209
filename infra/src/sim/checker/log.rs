//! The log recomputed as it grows: for each shard its clock, its open windows, and what every closed one must leave.
//!
//! The rules of time and place are written here once more, from the design; nothing of the stages' cores, of the
//! audit or of the geometry's own methods is used. Only the decoder of records is shared, which golden bytes hold.

use std::collections::{BTreeMap, BTreeSet};

use schemas::bid::Bid;
use schemas::ids::{BidId, Region, ShardId, SlotId};
use schemas::item::GeometryItem;
use schemas::record::Rejected;

use super::auction::{Auction, Counted};

/// What a region's totals must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) bids: u64,
    pub(super) amount_sum: i128,
    pub(super) amount_max: Option<u64>,
    pub(super) top_ranked: u64,
    pub(super) latency_ms_sum: u64,
    pub(super) late: u64,
    pub(super) early: u64,
    pub(super) stray: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
}

/// An item that must be durable before a checkpoint passes the record that made it necessary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Aggregate(SlotId, u64),
    Totals(Region, u64, ShardId),
    Hot(u64, ShardId),
}

/// A record of a shard.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) sequence: u64,
    /// The shard clock after it.
    pub(super) clock: u64,
    pub(super) needs: Vec<Need>,
    /// Bids of slots that the shard owns.
    pub(super) owned: BTreeSet<BidId>,
}

/// A shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) low: u128,
    pub(super) high: u128,
    pub(super) parents: Vec<ShardId>,
    pub(super) children: Vec<ShardId>,
    /// The clock with which it began.
    pub(super) began: u64,
    pub(super) clock: u64,
    pub(super) ended: bool,
    pub(super) records: Vec<Record>,
    /// Records that retention removed.
    pub(super) trimmed: usize,
    /// The highest clock with which a reader that could not know what is gone began.
    pub(super) cut_at: u64,
    /// After which records another tool had it read.
    pub(super) edited: Vec<u64>,
    /// Whether the stream names it no longer.
    pub(super) expired: bool,
    open: BTreeMap<u64, BTreeMap<SlotId, Auction>>,
    pub(super) totals: BTreeMap<(u64, Region), Totals>,
}

/// The whole log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) agreed: GeometryItem,
    pub(super) hashes: BTreeMap<SlotId, u128>,
    pub(super) shards: BTreeMap<ShardId, Shard>,
    /// Closed auctions, with the shard whose clock closed them.
    pub(super) closed: BTreeMap<(SlotId, u64), (ShardId, Auction)>,
    /// Bids that lie anywhere in the stream.
    pub(super) landed: BTreeSet<BidId>,
}

/// Where a record lies and when it was stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) arrival: u64,
}

impl Log {
    pub(super) fn new(agreed: GeometryItem, hashes: BTreeMap<SlotId, u128>) -> Self {
        let (shards, closed, landed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { agreed, hashes, shards, closed, landed }
    }

    pub(super) fn window_of(&self, at: u64) -> u64 {
        at / self.agreed.geometry.window_ms * self.agreed.geometry.window_ms
    }

    pub(super) fn passed(&self, window: u64, clock: u64) -> bool {
        window + self.agreed.geometry.window_ms + self.agreed.geometry.grace_ms < clock
    }

    fn owns(&self, shard: &ShardId, slot: &SlotId) -> bool {
        let (hash, shard) = (self.hashes[slot], &self.shards[shard]);
        shard.low <= hash && hash <= shard.high
    }

    /// A shard was made; its parents have ended.
    pub(super) fn on_shard(&mut self, id: &ShardId, (low, high): (u128, u128), parents: &[ShardId]) {
        let mut shard = Shard { low, high, parents: parents.to_vec(), ..Shard::default() };
        for parent in parents {
            let parent = self.shards.get_mut(parent).expect("parents are made first");
            parent.ended = true;
            parent.children.push(id.clone());
            shard.clock = shard.clock.max(parent.clock);
            for (window, auctions) in &parent.open {
                let own = auctions.iter().filter(|(slot, _)| {
                    let hash = self.hashes[*slot];
                    low <= hash && hash <= high
                });
                let into = shard.open.entry(*window).or_default();
                into.extend(own.map(|(slot, auction)| (*slot, auction.clone())));
            }
        }
        shard.open.retain(|_, auctions| !auctions.is_empty());
        shard.began = shard.clock;
        self.shards.insert(id.clone(), shard);
        self.close(id);
    }

    /// A record was stored.
    pub(super) fn on_record(&mut self, id: &ShardId, stored: Stored, items: &[Result<Bid, Rejected>]) {
        let shard = self.shards.get_mut(id).expect("records lie in shards");
        shard.clock = shard.clock.max(stored.arrival);
        let clock = shard.clock;
        self.close(id);
        let (mut needs, mut owned) = (Vec::new(), BTreeSet::new());
        for (sub_sequence, item) in (0..).zip(items) {
            match item {
                Err(rejected) => {
                    let region = rejected.region.unwrap_or(Region::UNREADABLE);
                    needs.push(self.refuse(id, region, |totals| totals.rejected += 1));
                }
                Ok(bid) => {
                    self.landed.insert(bid.bid_id);
                    if self.owns(id, &bid.slot_id) {
                        owned.insert(bid.bid_id);
                    }
                    let counted =
                        Counted { bid: *bid, shard_id: id.clone(), sequence: stored.sequence, sub_sequence };
                    needs.push(self.judge(id, clock, counted));
                }
            }
        }
        let shard = self.shards.get_mut(id).expect("looked up above");
        shard.records.push(Record { sequence: stored.sequence, clock, needs, owned });
    }

    fn judge(&mut self, id: &ShardId, clock: u64, counted: Counted) -> Need {
        let bid = counted.bid;
        let window = self.window_of(bid.event_time.0);
        if !self.owns(id, &bid.slot_id) {
            self.refuse(id, bid.region, |totals| totals.stray += 1)
        } else if bid.event_time.0 > clock + self.agreed.geometry.ahead_max_ms {
            self.refuse(id, bid.region, |totals| totals.early += 1)
        } else if self.passed(window, clock) {
            self.refuse(id, bid.region, |totals| totals.late += 1)
        } else {
            let shard = self.shards.get_mut(id).expect("records lie in shards");
            shard.open.entry(window).or_default().entry(bid.slot_id).or_default().add(counted);
            Need::Aggregate(bid.slot_id, window)
        }
    }

    fn refuse(&mut self, id: &ShardId, region: Region, change: impl FnOnce(&mut Totals)) -> Need {
        let window = self.window_of(self.shards[id].clock);
        let shard = self.shards.get_mut(id).expect("records lie in shards");
        change(shard.totals.entry((window, region)).or_default());
        Need::Totals(region, window, id.clone())
    }

    /// Closes what the clock of a shard has passed.
    fn close(&mut self, id: &ShardId) {
        let clock = self.shards[id].clock;
        loop {
            let window = self.shards[id].open.first_key_value().map(|(window, _)| *window);
            let Some(window) = window.filter(|window| self.passed(*window, clock)) else { return };
            let shard = self.shards.get_mut(id).expect("looked up above");
            let auctions = shard.open.remove(&window).expect("its first key");
            for (slot, auction) in auctions {
                add_totals(&mut shard.totals, &self.agreed, window, &auction);
                self.closed.insert((slot, window), (id.clone(), auction));
            }
        }
    }

    /// Whether a shard's counts of a window are final.
    pub(super) fn is_final(&self, id: &ShardId, window: u64) -> bool {
        self.shards.get(id).is_some_and(|shard| shard.ended || self.passed(window, shard.clock))
    }

    /// The auctions that a shard closed in a window.
    pub(super) fn closed_by(&self, id: &ShardId, window: u64) -> Vec<(SlotId, &Auction)> {
        let here = self.closed.iter().filter(|((_, at), (by, _))| *at == window && by == id);
        here.map(|((slot, _), (_, auction))| (*slot, auction)).collect()
    }

    /// Whether another tool changed the row of a shard, or of one that it comes from.
    pub(super) fn is_edited(&self, id: &ShardId) -> bool {
        let shard = self.shards.get(id);
        shard.is_some_and(|one| {
            !one.edited.is_empty() || one.parents.iter().any(|parent| self.is_edited(parent))
        })
    }

    /// A window or count of an open shard that its clock has not closed and that may not be cut.
    pub(super) fn first_open(&self, cut: impl Fn(&ShardId, u64) -> bool) -> Option<String> {
        for (id, shard) in self.shards.iter().filter(|(_, shard)| !shard.ended) {
            let counts = shard.totals.keys().map(|(window, _)| window);
            let mut windows =
                shard.open.keys().chain(counts.filter(|window| !self.passed(**window, shard.clock)));
            if let Some(window) = windows.find(|window| !cut(id, **window)) {
                return Some(format!("window {window} of {id}"));
            }
        }
        None
    }
}

fn add_totals(
    totals: &mut BTreeMap<(u64, Region), Totals>,
    agreed: &GeometryItem,
    window: u64,
    auction: &Auction,
) {
    for one in &auction.counted {
        let total = totals.entry((window, one.bid.region)).or_default();
        total.bids += 1;
        total.amount_sum += i128::from(one.bid.amount.units());
        total.amount_max = total.amount_max.max(Some(one.bid.amount.units()));
        total.latency_ms_sum += u64::from(one.bid.latency_ms);
    }
    for (region, copies) in &auction.copies {
        totals.entry((window, *region)).or_default().duplicates += copies;
    }
    if let Some(first) = auction.first(&agreed.geometry) {
        totals.entry((window, first.bid.region)).or_default().top_ranked += 1;
    }
}

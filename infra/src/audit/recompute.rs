//! Every auction, total and hot-slot list once more, from the whole log alone.
//!
//! Reads each shard from its oldest record, parents before children, without checkpoints, leases or tails: a child
//! begins with the auctions that its parents left open. Windows whose beginning this reader cannot have seen are cut,
//! and those that the clock at the tip has not closed stay out: neither is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::bid::Bid;
use schemas::ids::{Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, GeometryItem, HotSlot, HotSlots, RegionTotals};
use schemas::limits::HOT_SLOTS;
use schemas::money::Money;
use schemas::time::Millis;

use super::ahead::{Ahead, ClockAhead};
use super::auction::{Auction, Counted, Place, name_regions, name_totals};
use super::edge::Edge;
use super::log::{Log, Record, Shard, hash_of, passed, ttl_of, window_of};
use super::reach::Reach;

/// What the log says about a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is closed, and all of it was seen.
    Judged,
    /// The clock at the tip has not closed it.
    Open,
    /// Its beginning is gone from the stream.
    Cut,
}

/// A shard as it was left at its tip or end.
#[derive(Clone, Debug)]
struct Covered {
    first: u128,
    last: u128,
    clock: Millis,
    ended: bool,
    edge: Edge,
    /// Bytes of its records and of those of the shards that it was made from.
    bytes: u64,
    open: BTreeMap<Millis, BTreeMap<SlotId, Auction>>,
}

impl Covered {
    /// Whether the window's beginning is gone for all who follow this shard. One that ended without a record left
    /// says nothing: its children know how far they see.
    fn cuts(&self, window: Millis) -> bool {
        let Edge { at, unknown } = self.edge;
        Edge { at, unknown: unknown && !self.ended }.cuts(window)
    }
}

/// Of which auctions everyone who bid is kept, and not only who the item names: thousands of accounts may be one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Of none.
    #[default]
    None,
    /// Of these.
    These(BTreeSet<(SlotId, Millis)>),
    /// Of all.
    All,
}

impl Kept {
    fn holds(&self, key: &(SlotId, Millis)) -> bool {
        match self {
            Self::None => false,
            Self::These(keys) => keys.contains(key),
            Self::All => true,
        }
    }
}

/// Everything that the log decides.
#[derive(Clone, Debug)]
pub struct Recomputed {
    /// What window, grace, ranking and pricing were agreed.
    pub agreed: GeometryItem,
    /// Closed auctions by slot and window.
    pub aggregates: BTreeMap<(SlotId, Millis), Aggregate>,
    /// The best bids of the accounts that an auction's item does not name, best first, where they are kept.
    pub behind: BTreeMap<(SlotId, Millis), Vec<Candidate>>,
    /// Where they are.
    pub kept: Kept,
    /// Counts by region, window and shard.
    pub totals: BTreeMap<(Region, Millis, ShardId), RegionTotals>,
    /// Busiest slots by window and shard.
    pub hot: BTreeMap<(Millis, ShardId), HotSlots>,
    /// Closed auctions that are not judged because their window is cut.
    pub cut: u64,
    /// Shards whose clock ran ahead of later arrivals.
    pub clocks_ahead: Vec<ClockAhead>,
    /// How much of the log stands before the close of those auctions.
    pub(super) reach: Reach,
    covered: BTreeMap<ShardId, Covered>,
}

impl Recomputed {
    /// Nothing yet.
    #[must_use]
    pub fn new(agreed: GeometryItem) -> Self {
        Self {
            agreed,
            aggregates: BTreeMap::new(),
            behind: BTreeMap::new(),
            kept: Kept::None,
            totals: BTreeMap::new(),
            hot: BTreeMap::new(),
            cut: 0,
            clocks_ahead: Vec::new(),
            reach: Reach::default(),
            covered: BTreeMap::new(),
        }
    }

    /// The stream was made then, and there was one before it: windows up to then are cut, for that one had a part of
    /// them or all.
    pub fn cut_through(&mut self, made: Millis) {
        for shard in self.covered.values_mut() {
            shard.edge.at = shard.edge.at.max(Some(made));
        }
        let before = self.aggregates.len();
        self.aggregates.retain(|(_, window), _| *window > made);
        self.behind.retain(|(_, window), _| *window > made);
        self.totals.retain(|(_, window, _), _| *window > made);
        self.hot.retain(|(window, _), _| *window > made);
        self.cut += super::auction::count(before - self.aggregates.len());
    }

    /// Recomputes a log that is all in memory.
    #[must_use]
    pub fn of(agreed: GeometryItem, log: &Log) -> Self {
        let mut all = Self { kept: Kept::All, ..Self::new(agreed) };
        for shard in &log.shards {
            let mut reading = all.begin(&shard.shard);
            for record in &shard.records {
                reading.read(&mut all, record);
            }
            reading.end(&mut all, shard.ended);
        }
        all
    }

    /// Starts a shard; its parents were read before, or are gone.
    #[must_use]
    pub fn begin(&mut self, shard: &Shard) -> Reading {
        let mut edge = Edge { at: None, unknown: shard.trimmed };
        let mut bytes = 0;
        let (mut clock, mut open) = (Millis(0), BTreeMap::<Millis, BTreeMap<SlotId, Auction>>::new());
        for parent in &shard.parents {
            let Some(left) = self.covered.get(parent) else {
                edge.unknown = true;
                continue;
            };
            clock = clock.max(left.clock);
            bytes += left.bytes;
            edge = Edge { at: edge.at.max(left.edge.at), unknown: edge.unknown || left.edge.unknown };
            for (window, auctions) in &left.open {
                for (slot, auction) in auctions.iter().filter(|(slot, _)| owns(shard, slot)) {
                    open.entry(*window).or_default().insert(*slot, auction.clone());
                }
            }
        }
        let ahead = Ahead::default();
        let (shard, totals) = (shard.clone(), BTreeMap::new());
        let mut reading = Reading { shard, clock, edge, bytes, open, totals, ahead };
        reading.close(self);
        reading
    }

    /// Whether an auction can be judged.
    #[must_use]
    pub fn verdict(&self, slot: &SlotId, window: Millis) -> Verdict {
        let hash = hash_of(slot);
        let owners = || self.covered.values().filter(|shard| shard.first <= hash && hash <= shard.last);
        if owners().any(|shard| shard.cuts(window)) {
            Verdict::Cut
        } else if owners().any(|shard| passed(&self.agreed, window, shard.clock)) {
            Verdict::Judged
        } else {
            Verdict::Open
        }
    }

    /// Whether what a shard counted in a window can be judged.
    #[must_use]
    pub fn verdict_of_shard(&self, shard: &ShardId, window: Millis) -> Verdict {
        let is_passed = |shard: &Covered| passed(&self.agreed, window, shard.clock);
        let (cut, closed) = match self.covered.get(shard) {
            Some(shard) => (shard.edge.cuts(window), shard.ended || is_passed(shard)),
            // A shard that the stream no longer names, or does not name yet.
            None => (
                self.covered.values().any(|shard| shard.cuts(window)),
                self.covered.values().all(|shard| shard.ended || is_passed(shard)),
            ),
        };
        match (cut, closed) {
            (true, _) => Verdict::Cut,
            (false, true) => Verdict::Judged,
            (false, false) => Verdict::Open,
        }
    }
}

fn owns(shard: &Shard, slot: &SlotId) -> bool {
    let hash = hash_of(slot);
    shard.first <= hash && hash <= shard.last
}

/// Why a bid does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Rejected,
    Stray,
    Early,
    Late,
}

/// One shard on its way from its oldest record to its tip.
#[derive(Debug)]
pub struct Reading {
    shard: Shard,
    clock: Millis,
    edge: Edge,
    bytes: u64,
    open: BTreeMap<Millis, BTreeMap<SlotId, Auction>>,
    totals: BTreeMap<(Millis, Region), RegionTotals>,
    ahead: Ahead,
}

impl Reading {
    /// Takes the next record.
    pub fn read(&mut self, all: &mut Recomputed, record: &Record) {
        self.clock = self.clock.max(record.arrival);
        if self.edge.unknown {
            let first = self.clock.plus(all.agreed.geometry.ahead_max_ms);
            self.edge = Edge { at: self.edge.at.max(Some(first)), unknown: false };
        }
        self.ahead.on_arrival(self.clock, record.arrival);
        self.close(all);
        all.reach.on_record(&self.shard.id, &record.sequence, self.bytes);
        self.bytes += record.bytes;
        let place = Arc::new(Place { shard_id: self.shard.id.clone(), sequence: record.sequence.clone() });
        for (sub_sequence, item) in (0..).zip(&record.items) {
            match item {
                Err(rejected) => {
                    self.refuse(
                        &all.agreed,
                        rejected.region.unwrap_or(Region::UNREADABLE),
                        Refused::Rejected,
                    );
                }
                Ok(bid) => match self.refusal(&all.agreed, bid) {
                    Some(refused) => {
                        self.ahead.on_refused(&all.agreed, record.arrival, (bid, refused));
                        self.refuse(&all.agreed, bid.region, refused);
                    }
                    None => {
                        let window = window_of(&all.agreed, bid.event_time);
                        let auction = self.open.entry(window).or_default().entry(bid.slot_id).or_default();
                        auction.add(Counted { bid: *bid, place: Arc::clone(&place), sub_sequence });
                    }
                },
            }
        }
    }

    /// Leaves the shard at its tip, or at its end when it is closed.
    pub fn end(self, all: &mut Recomputed, ended: bool) {
        let mut by_window: BTreeMap<Millis, Vec<RegionTotals>> = BTreeMap::new();
        for ((window, _), totals) in self.totals {
            by_window.entry(window).or_default().push(totals);
        }
        for (window, totals) in by_window {
            let written = ended || passed(&all.agreed, window, self.clock);
            if written && !self.edge.cuts(window) {
                let named = name_totals(totals).into_iter();
                all.totals.extend(named.map(|one| ((one.region, window, self.shard.id.clone()), one)));
            }
        }
        let Self { shard: Shard { id, first, last, .. }, clock, edge, bytes, open, ahead, .. } = self;
        all.clocks_ahead.extend(ahead.told(&id));
        all.covered.insert(id, Covered { first, last, clock, ended, edge, bytes, open });
    }

    fn refusal(&self, agreed: &GeometryItem, bid: &Bid) -> Option<Refused> {
        if !owns(&self.shard, &bid.slot_id) {
            Some(Refused::Stray)
        } else if bid.event_time.0 > self.clock.0 + agreed.geometry.ahead_max_ms {
            Some(Refused::Early)
        } else if passed(agreed, window_of(agreed, bid.event_time), self.clock) {
            Some(Refused::Late)
        } else {
            None
        }
    }

    fn refuse(&mut self, agreed: &GeometryItem, region: Region, refused: Refused) {
        let totals = self.totals(agreed, window_of(agreed, self.clock), region);
        match refused {
            Refused::Rejected => totals.rejected += 1,
            Refused::Stray => totals.stray += 1,
            Refused::Early => totals.early += 1,
            Refused::Late => totals.late += 1,
        }
    }

    fn totals(&mut self, agreed: &GeometryItem, window_start: Millis, region: Region) -> &mut RegionTotals {
        self.totals.entry((window_start, region)).or_insert_with(|| RegionTotals {
            region,
            window_start,
            shard_id: self.shard.id.clone(),
            bids: 0,
            amount_sum: Money(0),
            amount_max: None,
            top_ranked: 0,
            latency_ms_sum: 0,
            late: 0,
            early: 0,
            stray: 0,
            duplicates: 0,
            rejected: 0,
            ttl: ttl_of(agreed, window_start),
        })
    }

    /// Closes every window that the clock has passed.
    fn close(&mut self, all: &mut Recomputed) {
        let due = |window: &Millis| passed(&all.agreed, *window, self.clock);
        let windows: Vec<Millis> = self.open.keys().copied().filter(due).collect();
        for window in windows {
            let auctions = self.open.remove(&window).unwrap_or_default();
            self.close_window(all, window, &auctions);
        }
    }

    fn close_window(&mut self, all: &mut Recomputed, window: Millis, auctions: &BTreeMap<SlotId, Auction>) {
        let mut busiest = Vec::new();
        for (slot, auction) in auctions {
            let Some(mut aggregate) = auction.close(&all.agreed, *slot, window, &self.shard.id) else {
                continue;
            };
            self.add_totals(&all.agreed, &aggregate, &auction.duplicates);
            name_regions(auction, &all.agreed, &mut aggregate);
            busiest.push(HotSlot { slot_id: *slot, bids: aggregate.bids, amount_max: aggregate.amount_max });
            if self.edge.cuts(window) {
                all.cut += 1;
            } else {
                if all.kept.holds(&(*slot, window)) {
                    all.behind.insert((*slot, window), auction.behind(&all.agreed));
                    all.reach.on_close((*slot, window), self.bytes, self.edge.is_whole());
                }
                all.aggregates.insert((*slot, window), aggregate);
            }
        }
        if !self.edge.cuts(window) {
            busiest.sort_by_key(|slot| (std::cmp::Reverse(slot.bids), slot.slot_id));
            busiest.truncate(HOT_SLOTS);
            let ttl = ttl_of(&all.agreed, window);
            let hot = HotSlots { window_start: window, shard_id: self.shard.id.clone(), slots: busiest, ttl };
            all.hot.insert((window, self.shard.id.clone()), hot);
        }
    }

    fn add_totals(
        &mut self,
        agreed: &GeometryItem,
        aggregate: &Aggregate,
        duplicates: &BTreeMap<Region, u64>,
    ) {
        for (region, stats) in &aggregate.regions {
            let totals = self.totals(agreed, aggregate.window_start, *region);
            totals.bids += stats.bids;
            totals.amount_sum.0 += stats.amount_sum.0;
            totals.amount_max = totals.amount_max.max(Some(stats.amount_max));
            totals.latency_ms_sum += stats.latency_ms_sum;
        }
        for (region, copies) in duplicates {
            self.totals(agreed, aggregate.window_start, *region).duplicates += copies;
        }
        if let Some(first) = aggregate.candidates.first() {
            self.totals(agreed, aggregate.window_start, first.region).top_ranked += 1;
        }
    }
}

//! The shard machine: which windows are open, which bid counts, what a close leaves, and where to read again.
//!
//! Time is the highest arrival seen and nothing else. For each record: the clock moves, windows it passed are closed,
//! then each bid is judged by the first rule that holds. The same log gives the same items, however it is cut into
//! pages and however often it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use schemas::bid::Bid;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{Region, SequenceNumber, ShardId, SlotId};
use schemas::item::{Aggregate, BidEvent, GeometryItem, HotSlot, HotSlots, RegionTotals};
use schemas::lease::Checkpoint;
use schemas::limits::HOT_SLOTS;
use schemas::money::Money;
use schemas::record::Decoded;
use schemas::time::Millis;

use super::auction::{Auction, Placed};

type Hasher = foldhash::fast::FixedState;

/// Slots whose hash key is remembered: a hash costs as much as judging a bid.
const OWNED_MAX: usize = 1 << 20;

/// Why a bid was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// Not a valid bid.
    Rejected,
    /// In a shard that does not own its slot.
    Stray,
    /// Dated too far ahead of the shard clock.
    Early,
    /// Arrived after the close of its window.
    Late,
}

/// Refused bids of one region in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    rejected: u64,
    stray: u64,
    early: u64,
    late: u64,
}

/// From where a reader must begin again, and the clock it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The place.
    pub checkpoint: Checkpoint,
    /// The shard clock before the next record.
    pub clock: Millis,
}

#[derive(Debug, Default)]
struct Window {
    auctions: HashMap<SlotId, Auction, Hasher>,
    counts: BTreeMap<Region, Counts>,
    first: Option<Mark>,
}

/// What a closed window leaves, to be made durable before any checkpoint that passes it.
#[derive(Debug)]
pub struct Closed {
    /// Start of the window.
    pub window_start: Millis,
    /// One item per auction, by slot.
    pub aggregates: Vec<Aggregate>,
    /// One item per region.
    pub totals: Vec<RegionTotals>,
    /// The busiest slots, when there was a bid.
    pub hot: Option<HotSlots>,
    /// Each region's best bid in each auction.
    pub best: Vec<BidEvent>,
}

/// Where reading began, which decides whether windows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// At the shard's true beginning, or at a stored checkpoint.
    Whole,
    /// Anywhere else: windows that may have begun before are counted and never written.
    Cut,
}

/// What became of the bids of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Counted in an auction.
    pub counted: u64,
    /// Copies.
    pub duplicates: u64,
    /// Not valid.
    pub rejected: u64,
    /// In the wrong shard.
    pub stray: u64,
    /// Too far ahead.
    pub early: u64,
    /// Too late.
    pub late: u64,
    /// Counted before the last checkpoint already.
    pub replayed: u64,
}

/// The machine of one shard.
#[derive(Debug)]
pub struct ShardMachine {
    shard_id: ShardId,
    range: HashRange,
    agreed: GeometryItem,
    at: Mark,
    closed_through: Millis,
    beginning: Beginning,
    cut_until: Option<Millis>,
    windows: BTreeMap<Millis, Window>,
    owned: HashMap<SlotId, bool, Hasher>,
}

impl ShardMachine {
    /// A machine that begins at a mark.
    #[must_use]
    pub fn new(
        shard_id: ShardId,
        range: HashRange,
        agreed: GeometryItem,
        at: Mark,
        closed_through: Millis,
        beginning: Beginning,
    ) -> Self {
        let (windows, owned) = (BTreeMap::new(), HashMap::default());
        Self { shard_id, range, agreed, at, closed_through, beginning, cut_until: None, windows, owned }
    }

    /// Takes the next record: moves the clock, closes what it passed, judges each bid.
    pub fn on_record(
        &mut self,
        arrival: Millis,
        sequence: &SequenceNumber,
        record: &Decoded,
    ) -> (Vec<Closed>, Judged) {
        let before = self.at.clone();
        self.at.clock = self.at.clock.max(arrival);
        if self.beginning == Beginning::Cut && self.cut_until.is_none() {
            self.cut_until = Some(self.at.clock.plus(self.agreed.geometry.ahead_max_ms));
        }
        let closed = self.close_passed();
        let mut judged = Judged::default();
        let sequence = Arc::new(sequence.clone());
        for (index, item) in record.items.iter().enumerate() {
            let sub_sequence = u32::try_from(index).expect("a record holds fewer than 2^32 bids");
            match item {
                Ok(bid) => self.on_bid(
                    Placed { bid: *bid, sequence: Arc::clone(&sequence), sub_sequence },
                    &before,
                    &mut judged,
                ),
                Err(rejected) => {
                    judged.rejected += 1;
                    self.refuse(Refused::Rejected, rejected.region.unwrap_or(Region::UNREADABLE), &before);
                }
            }
        }
        self.at.checkpoint = Checkpoint::After(SequenceNumber::clone(&sequence));
        (closed, judged)
    }

    fn on_bid(&mut self, placed: Placed, before: &Mark, judged: &mut Judged) {
        let bid = placed.bid;
        let geometry = self.agreed.geometry;
        let (start, clock) = (geometry.window_start(bid.event_time), self.at.clock);
        let refused = if !self.owns(&bid) {
            judged.stray += 1;
            Refused::Stray
        } else if geometry.early(bid.event_time, clock) {
            judged.early += 1;
            Refused::Early
        } else if geometry.passed(start, clock) {
            judged.late += 1;
            Refused::Late
        } else if geometry.passed(start, self.closed_through) {
            judged.replayed += 1;
            return;
        } else {
            let window = self.windows.entry(start).or_default();
            window.first.get_or_insert_with(|| before.clone());
            let counted = window.auctions.entry(bid.slot_id).or_default().on_bid(placed, &geometry);
            judged.counted += u64::from(counted);
            judged.duplicates += u64::from(!counted);
            return;
        };
        self.refuse(refused, bid.region, before);
    }

    fn owns(&mut self, bid: &Bid) -> bool {
        if let Some(owned) = self.owned.get(&bid.slot_id) {
            return *owned;
        }
        if self.owned.len() >= OWNED_MAX {
            self.owned.clear();
        }
        let owned = self.range.owns(HashKey::of_slot(&bid.slot_id));
        self.owned.insert(bid.slot_id, owned);
        owned
    }

    /// Counts a refusal in the window in which the clock stands.
    fn refuse(&mut self, refused: Refused, region: Region, before: &Mark) {
        let geometry = self.agreed.geometry;
        let start = geometry.window_start(self.at.clock);
        if geometry.passed(start, self.closed_through) {
            return;
        }
        let window = self.windows.entry(start).or_default();
        window.first.get_or_insert_with(|| before.clone());
        let counts = window.counts.entry(region).or_default();
        match refused {
            Refused::Rejected => counts.rejected += 1,
            Refused::Stray => counts.stray += 1,
            Refused::Early => counts.early += 1,
            Refused::Late => counts.late += 1,
        }
    }

    fn close_passed(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        while let Some(entry) = self.windows.first_entry() {
            if !self.agreed.geometry.passed(*entry.key(), self.at.clock) {
                break;
            }
            let (start, window) = entry.remove_entry();
            if self.cut_until.is_none_or(|until| start > until) {
                closed.push(window.close(start, &self.shard_id, &self.agreed));
            }
        }
        closed
    }

    /// From where to read again, and the clock up to which everything is closed. Durable only when every [`Closed`]
    /// handed out so far is.
    #[must_use]
    pub fn checkpoint(&self) -> (Mark, Millis) {
        let oldest = self.windows.values().filter_map(|window| window.first.as_ref());
        // The first record of a window that opened later may lie before that of one that opened earlier.
        let mark = oldest.min_by(|a, b| place(&a.checkpoint).cmp(&place(&b.checkpoint))).unwrap_or(&self.at);
        (mark.clone(), self.closed_through.max(self.at.clock))
    }

    /// Whether a window or a count would be closed by a record that arrived now.
    #[must_use]
    pub fn due(&self, now: Millis) -> bool {
        self.windows.first_key_value().is_some_and(|(start, _)| self.agreed.geometry.passed(*start, now))
    }

    /// The shard clock.
    #[must_use]
    pub fn clock(&self) -> Millis {
        self.at.clock
    }

    /// Where the last record taken lies.
    #[must_use]
    pub fn position(&self) -> &Checkpoint {
        &self.at.checkpoint
    }

    /// Windows that hold bids or counts.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        self.windows.len()
    }
}

/// Marks in their order: the beginning first.
fn place(checkpoint: &Checkpoint) -> Option<&SequenceNumber> {
    match checkpoint {
        Checkpoint::After(sequence) => Some(sequence),
        Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::ShardEnd => None,
    }
}

impl Window {
    fn close(self, start: Millis, shard_id: &ShardId, agreed: &GeometryItem) -> Closed {
        let geometry = &agreed.geometry;
        let ttl = agreed.ttl(geometry.window_end(start));
        let mut slots: Vec<(SlotId, Auction)> = self.auctions.into_iter().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        let mut totals: BTreeMap<Region, RegionTotals> = BTreeMap::new();
        let mut total = |region: Region, change: &mut dyn FnMut(&mut RegionTotals)| {
            change(totals.entry(region).or_insert_with(|| empty(region, start, shard_id, ttl)));
        };
        for (region, counts) in &self.counts {
            total(*region, &mut |total| {
                total.rejected += counts.rejected;
                total.stray += counts.stray;
                total.early += counts.early;
                total.late += counts.late;
            });
        }
        let (mut aggregates, mut hot, mut best) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, auction) in &slots {
            let aggregate = auction.close(*slot, start, shard_id, geometry);
            for (region, stats) in &aggregate.regions {
                total(*region, &mut |total| {
                    total.bids += stats.bids;
                    total.amount_sum = Money(total.amount_sum.0 + stats.amount_sum.0);
                    total.amount_max = total.amount_max.max(Some(stats.amount_max));
                    total.latency_ms_sum += stats.latency_ms_sum;
                });
            }
            for (region, copies) in &auction.duplicates {
                total(*region, &mut |total| total.duplicates += copies);
            }
            if let Some(first) = aggregate.candidates.first() {
                total(first.region, &mut |total| total.top_ranked += 1);
            }
            hot.push(HotSlot { slot_id: *slot, bids: aggregate.bids, amount_max: aggregate.amount_max });
            best.extend(auction.best_by_region().map(|bid| BidEvent { bid, window_start: start, ttl }));
            aggregates.push(aggregate);
        }
        hot.sort_unstable_by_key(|slot| (std::cmp::Reverse(slot.bids), slot.slot_id));
        hot.truncate(HOT_SLOTS);
        let hot = (!hot.is_empty()).then(|| HotSlots {
            window_start: start,
            shard_id: shard_id.clone(),
            slots: hot,
            ttl,
        });
        Closed { window_start: start, aggregates, totals: totals.into_values().collect(), hot, best }
    }
}

fn empty(region: Region, window_start: Millis, shard_id: &ShardId, ttl: u64) -> RegionTotals {
    RegionTotals {
        region,
        window_start,
        shard_id: shard_id.clone(),
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
        ttl,
    }
}

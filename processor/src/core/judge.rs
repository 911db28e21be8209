//! The rules that say what becomes of a bid: the first that holds.

use hashbrown::HashMap;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{Region, SlotId};
use schemas::record::Rejected;
use schemas::time::Millis;

use super::mutant::{self, Mutant};

/// Slots whose owner is remembered: a hash costs more than all other rules together.
const OWNED_MAX: usize = 1 << 16;

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

impl Refused {
    /// The word in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Stray => "stray",
            Self::Early => "early",
            Self::Late => "late",
        }
    }
}

/// What becomes of a valid bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused(Refused),
    /// Counted before the last checkpoint.
    Replayed,
    /// It belongs to its auction, as a first copy or a later one.
    Taken,
}

/// A refused bid, for a sample in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Why it was refused.
    pub refused: Refused,
    /// Its region.
    pub region: Region,
    /// Its place in the record.
    pub sub_sequence: u32,
    /// Its slot, when it is a valid bid.
    pub slot: Option<SlotId>,
    /// What is wrong with it, when it is not a valid bid.
    pub reason: &'static str,
}

impl Sample {
    pub(super) fn of(refused: Refused, item: &Result<Bid, Rejected>, sub_sequence: u32) -> Self {
        let (region, reason) = match item {
            Ok(bid) => (bid.region, ""),
            Err(rejected) => (rejected.region.unwrap_or(Region::UNREADABLE), rejected.reason),
        };
        let slot = item.as_ref().ok().map(|bid| bid.slot_id);
        Self { refused, region, sub_sequence, slot, reason }
    }
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
    /// The first refused bid of the record.
    pub sample: Option<Sample>,
    /// The first copy of the record: its place and its region.
    pub copy: Option<(u32, Region)>,
}

impl Judged {
    pub(super) fn refuse(&mut self, sample: Sample) {
        match sample.refused {
            Refused::Rejected => self.rejected += 1,
            Refused::Stray => self.stray += 1,
            Refused::Early => self.early += 1,
            Refused::Late => self.late += 1,
        }
        self.sample.get_or_insert(sample);
    }

    /// Bids that belong to no auction.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.rejected + self.stray + self.early + self.late
    }

    /// All bids of the record.
    #[must_use]
    pub fn bids(&self) -> u64 {
        self.counted + self.duplicates + self.replayed + self.refused()
    }
}

/// The rules of one shard.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) geometry: Geometry,
    pub(super) range: HashRange,
    /// What this clock closed was counted before.
    pub(super) closed_through: Millis,
    owned: HashMap<SlotId, bool, foldhash::fast::FixedState>,
}

impl Judge {
    pub(super) fn new(geometry: Geometry, range: HashRange, closed_through: Millis) -> Self {
        Self { geometry, range, closed_through, owned: HashMap::default() }
    }

    /// Judges a bid in a window at a clock. `known` says that its slot has an auction here, so it is no stray.
    pub(super) fn verdict(&mut self, bid: &Bid, start: Millis, clock: Millis, known: bool) -> Verdict {
        if !known && !self.owns(&bid.slot_id) && !mutant::is(Mutant::StrayKept) {
            Verdict::Refused(Refused::Stray)
        } else if self.geometry.early(bid.event_time, clock) && !mutant::is(Mutant::EarlyKept) {
            Verdict::Refused(Refused::Early)
        } else if self.geometry.passed(start, clock) {
            Verdict::Refused(Refused::Late)
        } else if self.geometry.passed(start, self.closed_through) && !mutant::is(Mutant::ReplayCounted) {
            Verdict::Replayed
        } else {
            Verdict::Taken
        }
    }

    fn owns(&mut self, slot: &SlotId) -> bool {
        if let Some(owned) = self.owned.get(slot) {
            return *owned;
        }
        if self.owned.len() >= OWNED_MAX {
            self.owned.clear();
        }
        let owned = self.range.owns(HashKey::of_slot(slot));
        self.owned.insert(*slot, owned);
        owned
    }

    /// The rules of a tail that must not care whose its bids are; a mistake made on purpose.
    pub(super) fn of_tail(self) -> Self {
        if mutant::is(Mutant::TailKeepsStrays) { Self { range: HashRange::ALL, ..self } } else { self }
    }
}

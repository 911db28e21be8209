//! One slot in one window while it is open: its counts, and the best bids of distinct accounts.
//!
//! Who bid before is not kept here but beside all auctions of the window, and so is what each region bid. Of the bids
//! only those are kept that can still matter: the best of each of the first accounts, one more than become
//! candidates. An account that falls off the list has a better one before it for every place, and comes back only
//! with a better bid.

use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::Money;
use schemas::time::Millis;

use super::index::{emptied, place, wide};
use super::mark::{Places, Record};
use super::standing::{Regions, Standings};

/// Leaders that get memory with the first one.
const LEADERS_FIRST: usize = 5;

/// A bid on its way into its auction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) bid: &'a Bid,
    /// The score, or the highest number when it is above that: a lower one is a lower score.
    pub(super) low: u64,
    pub(super) geometry: &'a Geometry,
    pub(super) record: &'a Record<'a>,
    sub_sequence: u32,
}

#[inline]
fn low(score: u128) -> u64 {
    u64::try_from(score).unwrap_or(u64::MAX)
}

impl<'a> Offer<'a> {
    #[inline]
    pub(super) fn new(
        bid: &'a Bid,
        (record, sub_sequence): (&'a Record<'a>, u32),
        geometry: &'a Geometry,
    ) -> Self {
        let low = low(score(geometry.ranking, bid.amount, bid.quality));
        Self { bid, low, geometry, record, sub_sequence }
    }

    /// The bid as it is kept.
    pub(super) fn placed(&self, places: &mut Places) -> Placed {
        Placed { bid: *self.bid, place: places.of(self.record), sub_sequence: self.sub_sequence }
    }

    /// Keeps the bid in the place of another.
    #[inline]
    pub(super) fn replace(&self, kept: &mut Placed, places: &mut Places) {
        kept.bid = *self.bid;
        (kept.place, kept.sub_sequence) = (places.of(self.record), self.sub_sequence);
    }

    pub(super) fn rank(&self) -> RankKey {
        self.bid.rank_key(self.geometry.ranking)
    }
}

/// A bid that is kept, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) bid: Bid,
    place: u32,
    sub_sequence: u32,
}

impl Placed {
    pub(super) fn candidate(&self, places: &Places) -> Candidate {
        let (bid, place) = (self.bid, places.get(self.place));
        Candidate {
            bid_id: bid.bid_id,
            account_id: bid.account_id,
            region: bid.region,
            amount: bid.amount,
            quality: bid.quality,
            event_time: bid.event_time,
            shard_id: place.shard_id.clone(),
            sequence: place.sequence.clone(),
            sub_sequence: self.sub_sequence,
        }
    }

    pub(super) fn rank(&self, geometry: &Geometry) -> RankKey {
        self.bid.rank_key(geometry.ranking)
    }

    /// With its place so much further behind.
    pub(super) fn shifted(&self, offset: u32) -> Self {
        Self { place: self.place + offset, ..self.clone() }
    }
}

/// One of the first accounts of an auction, by its best bid.
#[derive(Clone, Copy, Debug)]
struct Leader {
    /// The score, or the highest number when it is above that.
    low: u64,
    account_id: AccountId,
    /// Where that bid is kept.
    kept: u32,
}

/// What a window keeps of the bids of its auctions.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The bids of leaders, in no order.
    pub(super) leading: Vec<Placed>,
    pub(super) standings: Standings,
    pub(super) places: Places,
}

impl Kept {
    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(self) -> Self {
        Self {
            leading: emptied(self.leading),
            standings: self.standings.emptied(),
            places: Places::default(),
        }
    }
}

/// An open auction. What every bid touches comes first, in one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Auction {
    pub(super) slot_id: SlotId,
    pub(super) regions: Regions,
    /// Distinct accounts.
    pub(super) bidders: u32,
    /// A lower score cannot become a leader.
    bar: u64,
    /// Best first, one per account, one more than become candidates.
    leaders: Vec<Leader>,
    /// Copies that were not counted, by the region they came from.
    pub(super) copies: Vec<(Region, u64)>,
}

impl Auction {
    pub(super) fn new(slot_id: SlotId) -> Self {
        Self {
            slot_id,
            regions: Regions::default(),
            bidders: 0,
            bar: 0,
            leaders: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Takes a bid that was not seen before.
    #[inline]
    pub(super) fn on_bid(&mut self, offer: &Offer<'_>, kept: &mut Kept) {
        if offer.low >= self.bar {
            self.lead(offer, &mut kept.leading, &mut kept.places);
        }
    }

    /// Takes a copy of a bid that was counted.
    pub(super) fn on_copy(&mut self, region: Region) {
        match self.copies.iter_mut().find(|(from, _)| *from == region) {
            Some((_, copies)) => *copies += 1,
            None => self.copies.push((region, 1)),
        }
    }

    /// Puts a bid among the leaders when it belongs there: in place of its account's own, or of the last.
    #[inline(never)]
    fn lead(&mut self, offer: &Offer<'_>, leading: &mut Vec<Placed>, places: &mut Places) {
        let (length, account_id) = (usize::from(offer.geometry.candidates) + 1, offer.bid.account_id);
        let leaders = &mut self.leaders;
        let own = leaders.iter().position(|leader| leader.account_id == account_id);
        let (mut at, kept) = match own.or((leaders.len() == length).then_some(length - 1)) {
            Some(at) => {
                let leader = leaders[at];
                if !is_before(offer, &leader, leading) {
                    return;
                }
                offer.replace(&mut leading[wide(leader.kept)], places);
                (at, leader.kept)
            }
            None => {
                if leaders.is_empty() {
                    leaders.reserve_exact(length.min(LEADERS_FIRST));
                }
                let kept = place(leading.len());
                leading.push(offer.placed(places));
                leaders.push(Leader { low: offer.low, account_id, kept });
                (leaders.len() - 1, kept)
            }
        };
        while let Some(better) =
            at.checked_sub(1).filter(|better| is_before(offer, &leaders[*better], leading))
        {
            leaders[at] = leaders[better];
            at = better;
        }
        leaders[at] = Leader { low: offer.low, account_id, kept };
        if let Some(last) = leaders.get(length - 1) {
            self.bar = last.low;
        }
    }

    fn leading<'a>(&'a self, kept: &'a Kept) -> impl Iterator<Item = &'a Placed> {
        self.leaders.iter().map(|leader| &kept.leading[wide(leader.kept)])
    }

    /// The item that this auction leaves; it counted at least one bid.
    pub(super) fn close(
        &self,
        start: Millis,
        shard_id: &ShardId,
        geometry: &Geometry,
        kept: &Kept,
    ) -> Aggregate {
        let candidates = usize::from(geometry.candidates);
        let next = self.leading(kept).nth(candidates).map(|placed| placed.bid);
        let Kept { standings, places, .. } = kept;
        let regions: std::collections::BTreeMap<Region, RegionStats> =
            standings.close(self.regions, places).collect();
        let (lowest, highest) =
            (standings.amount_min(self.regions), regions.values().map(|stats| stats.amount_max).max());
        let counted = "an auction that is closed counted a bid";
        Aggregate {
            slot_id: self.slot_id,
            window_start: start,
            window_end: geometry.window_end(start),
            bids: regions.values().map(|stats| stats.bids).sum(),
            bidders: u64::from(self.bidders),
            amount_sum: Money(regions.values().map(|stats| stats.amount_sum.0).sum()),
            amount_min: lowest.expect(counted),
            amount_max: highest.expect(counted),
            duplicates: self.copies.iter().map(|(_, copies)| copies).sum(),
            regions,
            candidates: self.leading(kept).take(candidates).map(|placed| placed.candidate(places)).collect(),
            next_amount: next.map(|bid| bid.amount),
            next_score: next.map(|bid| score(geometry.ranking, bid.amount, bid.quality)),
            shard_id: shard_id.clone(),
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        }
    }

    /// The same auction in another window, which keeps its leaders' bids now; its regions are not moved.
    pub(super) fn moved(mut self, from: &Kept, to: &mut Kept, offset: u32) -> Self {
        for leader in &mut self.leaders {
            to.leading.push(from.leading[wide(leader.kept)].shifted(offset));
            leader.kept = place(to.leading.len() - 1);
        }
        self
    }
}

/// Whether a bid ranks before a leader's.
#[inline]
fn is_before(offer: &Offer<'_>, leader: &Leader, leading: &[Placed]) -> bool {
    offer.low > leader.low || offer.low == leader.low && ties_before(offer, &leading[wide(leader.kept)])
}

/// Ties are rare, and only they look at the rest of the bids.
#[cold]
fn ties_before(offer: &Offer<'_>, other: &Placed) -> bool {
    offer.rank() < other.rank(offer.geometry)
}

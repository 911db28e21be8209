//! One slot in one window while it is open: its counts, and the best bids of distinct accounts.
//!
//! Who bid before is not kept here but beside all auctions of the window, and so is what each region bid. Of the bids
//! only those are kept that can still matter: the best of each of the first accounts, one more than become
//! candidates. An account that falls off the list has a better one before it for every place, and comes back only
//! with a better bid.

use std::cmp::Ordering;

use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::Money;
use schemas::time::Millis;

use super::index::{place, wide};
use super::mark::{Places, Record};
use super::standing::{Regions, Standings};

/// A bid on its way into its auction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) bid: &'a Bid,
    /// The score, or the highest number when it is above that: a lower one is a lower score.
    pub(super) low: u64,
    pub(super) geometry: &'a Geometry,
    record: &'a Record<'a>,
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

    fn score(&self) -> u128 {
        score(self.geometry.ranking, self.bid.amount, self.bid.quality)
    }

    /// The bid as it is kept.
    pub(super) fn placed(&self, places: &mut Places) -> Placed {
        Placed { bid: *self.bid, place: places.of(self.record), sub_sequence: self.sub_sequence }
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
    score: u128,
    account_id: AccountId,
    /// Where that bid is kept.
    kept: u32,
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
    /// Their bids, in no order.
    kept: Vec<Placed>,
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
            kept: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Takes a bid that was not seen before.
    #[inline]
    pub(super) fn on_bid(&mut self, offer: &Offer<'_>, places: &mut Places) {
        if offer.low >= self.bar {
            self.lead(offer, places);
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
    fn lead(&mut self, offer: &Offer<'_>, places: &mut Places) {
        let (length, account_id) = (usize::from(offer.geometry.candidates) + 1, offer.bid.account_id);
        let own = self.leaders.iter().position(|leader| leader.account_id == account_id);
        let mut at = match own.or((self.leaders.len() == length).then_some(length - 1)) {
            Some(at) if !self.is_before(offer, at) => return,
            Some(at) => at,
            None => {
                let kept = place(self.kept.len());
                self.leaders.push(Leader { score: 0, account_id, kept });
                self.kept.push(offer.placed(places));
                self.leaders.len() - 1
            }
        };
        let kept = self.leaders[at].kept;
        self.kept[wide(kept)] = offer.placed(places);
        while let Some(better) = at.checked_sub(1).filter(|better| self.is_before(offer, *better)) {
            self.leaders[at] = self.leaders[better];
            at = better;
        }
        self.leaders[at] = Leader { score: offer.score(), account_id, kept };
        if let Some(last) = self.leaders.get(length - 1) {
            self.bar = low(last.score);
        }
    }

    /// Whether a bid ranks before a leader's. Ties are rare, and only they look at the rest of the bids.
    #[inline]
    fn is_before(&self, offer: &Offer<'_>, at: usize) -> bool {
        let leader = &self.leaders[at];
        match offer.score().cmp(&leader.score) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => offer.rank() < self.kept[wide(leader.kept)].rank(offer.geometry),
        }
    }

    fn leading(&self) -> impl Iterator<Item = &Placed> {
        self.leaders.iter().map(|leader| &self.kept[wide(leader.kept)])
    }

    /// The item that this auction leaves; it counted at least one bid.
    pub(super) fn close(
        &self,
        start: Millis,
        shard_id: &ShardId,
        geometry: &Geometry,
        (standings, places): (&Standings, &Places),
    ) -> Aggregate {
        let candidates = usize::from(geometry.candidates);
        let next = self.leaders.get(candidates);
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
            candidates: self.leading().take(candidates).map(|placed| placed.candidate(places)).collect(),
            next_amount: next.map(|leader| self.kept[wide(leader.kept)].bid.amount),
            next_score: next.map(|leader| leader.score),
            shard_id: shard_id.clone(),
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        }
    }

    /// Its kept bids' places are so much further behind now.
    pub(super) fn shift_places(&mut self, offset: u32) {
        self.kept.iter_mut().for_each(|placed| placed.place += offset);
    }
}

//! One slot in one window while it is open: statistics by region and the best bids of distinct accounts.
//!
//! Who bid before is not kept here but in the window's tables. Of the bids only those are kept that can still matter:
//! the best of each of the first accounts, one more than become candidates, and the best of each region. An account
//! that falls off the list has a better one before it for every place, and comes back only with a better bid.

use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::{Money, Price};
use schemas::time::Millis;

use super::mark::{Places, Record};

/// A bid that is kept, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) bid: Bid,
    place: u32,
    sub_sequence: u32,
}

impl Placed {
    fn new(bid: &Bid, (record, places): (&Record<'_>, &mut Places), sub_sequence: u32) -> Self {
        Self { bid: *bid, place: places.of(record), sub_sequence }
    }

    fn rank(&self, geometry: &Geometry) -> RankKey {
        self.bid.rank_key(geometry.ranking)
    }

    fn candidate(&self, places: &Places) -> Candidate {
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
}

/// What a region bid so far: what every bid touches, in one or two cache lines.
#[derive(Clone, Debug)]
struct Standing {
    amount_sum: u128,
    /// The score of the region's best bid.
    best_score: u128,
    bids: u64,
    amount_max: Price,
    latency_ms_sum: u64,
    latency_ms_max: u32,
    region: Region,
}

/// An open auction.
#[derive(Clone, Debug)]
pub(super) struct Auction {
    pub(super) slot_id: SlotId,
    pub(super) bids: u64,
    /// Distinct accounts.
    pub(super) bidders: u64,
    amount_min: Price,
    /// A lower score cannot become a leader.
    bar: u128,
    standings: Vec<Standing>,
    /// Best first, one per account, one more than become candidates.
    leaders: Vec<Placed>,
    /// Each region's best bid, in the order of the standings.
    bests: Vec<Placed>,
    /// Copies that were not counted, by the region they came from.
    pub(super) copies: Vec<(Region, u64)>,
}

impl Auction {
    pub(super) fn new(slot_id: SlotId) -> Self {
        Self {
            slot_id,
            bids: 0,
            bidders: 0,
            amount_min: Price::MAX,
            bar: 0,
            standings: Vec::new(),
            leaders: Vec::new(),
            bests: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Takes a bid that was not seen before.
    #[inline]
    pub(super) fn on_bid(
        &mut self,
        bid: &Bid,
        (record, places): (&Record<'_>, &mut Places),
        sub_sequence: u32,
        geometry: &Geometry,
    ) {
        let score = score(geometry.ranking, bid.amount, bid.quality);
        self.bids += 1;
        self.amount_min = self.amount_min.min(bid.amount);
        if score >= self.bar {
            self.lead(Placed::new(bid, (record, places), sub_sequence), geometry);
        }
        let Some(at) = self.standing(bid.region) else {
            self.standings.push(Standing {
                amount_sum: u128::from(bid.amount.units()),
                best_score: score,
                bids: 1,
                amount_max: bid.amount,
                latency_ms_sum: u64::from(bid.latency_ms),
                latency_ms_max: bid.latency_ms,
                region: bid.region,
            });
            self.bests.push(Placed::new(bid, (record, places), sub_sequence));
            return;
        };
        let standing = &mut self.standings[at];
        standing.bids += 1;
        standing.amount_sum += u128::from(bid.amount.units());
        standing.amount_max = standing.amount_max.max(bid.amount);
        standing.latency_ms_sum += u64::from(bid.latency_ms);
        standing.latency_ms_max = standing.latency_ms_max.max(bid.latency_ms);
        if score >= standing.best_score {
            let best = &mut self.bests[at];
            if bid.rank_key(geometry.ranking) < best.rank(geometry) {
                (standing.best_score, *best) = (score, Placed::new(bid, (record, places), sub_sequence));
            }
        }
    }

    /// The place of a region's standing.
    #[inline]
    pub(super) fn standing(&self, region: Region) -> Option<usize> {
        self.standings.iter().position(|standing| standing.region == region)
    }

    /// Takes a copy of a bid that was counted.
    pub(super) fn on_copy(&mut self, region: Region) {
        match self.copies.iter_mut().find(|(from, _)| *from == region) {
            Some((_, copies)) => *copies += 1,
            None => self.copies.push((region, 1)),
        }
    }

    /// Puts a bid among the leaders when it belongs there.
    #[cold]
    fn lead(&mut self, placed: Placed, geometry: &Geometry) {
        let (rank, length) = (placed.rank(geometry), usize::from(geometry.candidates) + 1);
        let same = |leader: &Placed| leader.bid.account_id == placed.bid.account_id;
        if let Some(at) = self.leaders.iter().position(same) {
            if self.leaders[at].rank(geometry) <= rank {
                return;
            }
            self.leaders.remove(at);
        }
        let at = self.leaders.partition_point(|leader| leader.rank(geometry) < rank);
        self.leaders.insert(at, placed);
        self.leaders.truncate(length);
        if let Some(last) = self.leaders.get(length - 1) {
            self.bar = score(geometry.ranking, last.bid.amount, last.bid.quality);
        }
    }

    /// The item that this auction leaves; it counted at least one bid.
    pub(super) fn close(
        &self,
        start: Millis,
        shard_id: &ShardId,
        geometry: &Geometry,
        places: &Places,
    ) -> Aggregate {
        let candidates = usize::from(geometry.candidates);
        let next = self.leaders.get(candidates).map(|placed| placed.bid);
        let highest = self.standings.iter().map(|standing| standing.amount_max).max();
        Aggregate {
            slot_id: self.slot_id,
            window_start: start,
            window_end: geometry.window_end(start),
            bids: self.bids,
            bidders: self.bidders,
            amount_sum: Money(self.standings.iter().map(|standing| signed(standing.amount_sum)).sum()),
            amount_min: self.amount_min,
            amount_max: highest.expect("an auction that is closed counted a bid"),
            duplicates: self.copies.iter().map(|(_, copies)| copies).sum(),
            regions: self
                .standings
                .iter()
                .zip(&self.bests)
                .map(|(one, best)| (one.region, one.close(best, places)))
                .collect(),
            candidates: self.leaders.iter().take(candidates).map(|placed| placed.candidate(places)).collect(),
            next_amount: next.map(|bid| bid.amount),
            next_score: next.map(|bid| score(geometry.ranking, bid.amount, bid.quality)),
            shard_id: shard_id.clone(),
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        }
    }

    /// Its kept bids' places are so much further behind now.
    pub(super) fn shift_places(&mut self, offset: u32) {
        self.leaders.iter_mut().chain(&mut self.bests).for_each(|placed| placed.place += offset);
    }

    /// Each region's best bid.
    pub(super) fn best_by_region(&self) -> impl Iterator<Item = Bid> {
        self.bests.iter().map(|best| best.bid)
    }
}

impl Standing {
    fn close(&self, best: &Placed, places: &Places) -> RegionStats {
        RegionStats {
            bids: self.bids,
            amount_sum: Money(signed(self.amount_sum)),
            amount_max: self.amount_max,
            latency_ms_sum: self.latency_ms_sum,
            latency_ms_max: self.latency_ms_max,
            best: best.candidate(places),
        }
    }
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).expect("a sum of 64-bit prices that fit memory is below 2^127")
}

//! One slot in one window while it is open: statistics by region and the best bids of distinct accounts.
//!
//! Who bid before is not kept here but in the window's tables. Of the bids only those are kept that can still matter:
//! the best of each of the first accounts, one more than become candidates, and the best of each region. An account
//! that falls off the list has a better one before it for every place, and comes back only with a better bid.

use std::sync::Arc;

use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::{Money, Price};
use schemas::time::Millis;

use super::mark::{Place, Record};

/// A bid that is kept, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) bid: Bid,
    place: Arc<Place>,
    sub_sequence: u32,
}

impl Placed {
    pub(super) fn new(bid: &Bid, record: &mut Record<'_>, sub_sequence: u32) -> Self {
        Self { bid: *bid, place: record.place(), sub_sequence }
    }

    fn candidate(&self) -> Candidate {
        let bid = self.bid;
        Candidate {
            bid_id: bid.bid_id,
            account_id: bid.account_id,
            region: bid.region,
            amount: bid.amount,
            quality: bid.quality,
            event_time: bid.event_time,
            shard_id: self.place.shard_id.clone(),
            sequence: self.place.sequence.clone(),
            sub_sequence: self.sub_sequence,
        }
    }
}

/// What a region bid so far.
#[derive(Clone, Debug)]
struct Standing {
    region: Region,
    bids: u64,
    amount_sum: u128,
    amount_max: Price,
    latency_ms_sum: u64,
    latency_ms_max: u32,
    best_rank: RankKey,
    best: Placed,
}

/// An open auction.
#[derive(Clone, Debug)]
pub(super) struct Auction {
    pub(super) slot_id: SlotId,
    pub(super) bids: u64,
    /// Distinct accounts.
    pub(super) bidders: u64,
    amount_min: Price,
    /// Best first, one per account, one more than become candidates.
    leaders: Vec<(RankKey, Placed)>,
    standings: Vec<Standing>,
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
            leaders: Vec::new(),
            standings: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Takes a bid that was not seen before.
    #[inline]
    pub(super) fn on_bid(
        &mut self,
        bid: &Bid,
        record: &mut Record<'_>,
        sub_sequence: u32,
        geometry: &Geometry,
    ) {
        let rank = bid.rank_key(geometry.ranking);
        self.bids += 1;
        self.amount_min = self.amount_min.min(bid.amount);
        let length = usize::from(geometry.candidates) + 1;
        if self.leaders.len() < length || self.leaders.last().is_some_and(|last| rank < last.0) {
            self.lead(rank, Placed::new(bid, record, sub_sequence), length);
        }
        match self.standings.iter_mut().find(|standing| standing.region == bid.region) {
            Some(standing) => {
                standing.bids += 1;
                standing.amount_sum += u128::from(bid.amount.units());
                standing.amount_max = standing.amount_max.max(bid.amount);
                standing.latency_ms_sum += u64::from(bid.latency_ms);
                standing.latency_ms_max = standing.latency_ms_max.max(bid.latency_ms);
                if rank < standing.best_rank {
                    standing.best_rank = rank;
                    standing.best = Placed::new(bid, record, sub_sequence);
                }
            }
            None => self.standings.push(Standing {
                region: bid.region,
                bids: 1,
                amount_sum: u128::from(bid.amount.units()),
                amount_max: bid.amount,
                latency_ms_sum: u64::from(bid.latency_ms),
                latency_ms_max: bid.latency_ms,
                best_rank: rank,
                best: Placed::new(bid, record, sub_sequence),
            }),
        }
    }

    /// Takes a copy of a bid that was counted.
    pub(super) fn on_copy(&mut self, region: Region) {
        match self.copies.iter_mut().find(|(from, _)| *from == region) {
            Some((_, copies)) => *copies += 1,
            None => self.copies.push((region, 1)),
        }
    }

    fn lead(&mut self, rank: RankKey, placed: Placed, length: usize) {
        let account = placed.bid.account_id;
        let same = |(_, leader): &(RankKey, Placed)| leader.bid.account_id == account;
        if let Some(at) = self.leaders.iter().position(same) {
            if self.leaders[at].0 <= rank {
                return;
            }
            self.leaders.remove(at);
        }
        let at = self.leaders.partition_point(|(leader, _)| *leader < rank);
        self.leaders.insert(at, (rank, placed));
        self.leaders.truncate(length);
    }

    /// The item that this auction leaves; it counted at least one bid.
    pub(super) fn close(&self, start: Millis, shard_id: &ShardId, geometry: &Geometry) -> Aggregate {
        let candidates = usize::from(geometry.candidates);
        let next = self.leaders.get(candidates).map(|(_, placed)| placed.bid);
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
            regions: self.standings.iter().map(|standing| (standing.region, standing.close())).collect(),
            candidates: self.leaders.iter().take(candidates).map(|(_, placed)| placed.candidate()).collect(),
            next_amount: next.map(|bid| bid.amount),
            next_score: next.map(|bid| score(geometry.ranking, bid.amount, bid.quality)),
            shard_id: shard_id.clone(),
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        }
    }

    /// Each region's best bid.
    pub(super) fn best_by_region(&self) -> impl Iterator<Item = Bid> {
        self.standings.iter().map(|standing| standing.best.bid)
    }
}

impl Standing {
    fn close(&self) -> RegionStats {
        RegionStats {
            bids: self.bids,
            amount_sum: Money(signed(self.amount_sum)),
            amount_max: self.amount_max,
            latency_ms_sum: self.latency_ms_sum,
            latency_ms_max: self.latency_ms_max,
            best: self.best.candidate(),
        }
    }
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).expect("a sum of 64-bit prices that fit memory is below 2^127")
}

//! One slot in one window while it is open: exact removal of duplicates, statistics, and the best bid of each account.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, BidId, Region, SequenceNumber, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::{Money, Price};
use schemas::time::Millis;

type Hasher = foldhash::fast::FixedState;

/// A bid and where its record lies.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The bid.
    pub bid: Bid,
    /// Its record's number.
    pub sequence: Arc<SequenceNumber>,
    /// Its place in the record.
    pub sub_sequence: u32,
}

/// What a region bid so far.
#[derive(Clone, Debug)]
struct Standing {
    bids: u64,
    amount_sum: u128,
    amount_max: Price,
    latency_ms_sum: u64,
    latency_ms_max: u32,
    best: Placed,
}

/// An open auction.
#[derive(Clone, Debug, Default)]
pub struct Auction {
    seen: HashSet<(AccountId, BidId), Hasher>,
    best: HashMap<AccountId, Placed, Hasher>,
    regions: BTreeMap<Region, Standing>,
    amount_min: Option<Price>,
    /// Copies that were not counted, by the region they came from.
    pub duplicates: BTreeMap<Region, u64>,
}

impl Auction {
    /// Takes a bid; `false` when it is a copy of one that was counted.
    pub fn on_bid(&mut self, placed: Placed, geometry: &Geometry) -> bool {
        let bid = placed.bid;
        if !self.seen.insert((bid.account_id, bid.bid_id)) {
            *self.duplicates.entry(bid.region).or_default() += 1;
            return false;
        }
        self.amount_min = Some(self.amount_min.map_or(bid.amount, |least| least.min(bid.amount)));
        let better = |old: &Placed| rank(&placed, geometry) < rank(old, geometry);
        match self.best.get_mut(&bid.account_id) {
            Some(old) if better(old) => *old = placed.clone(),
            Some(_) => {}
            None => drop(self.best.insert(bid.account_id, placed.clone())),
        }
        match self.regions.get_mut(&bid.region) {
            Some(region) => {
                region.bids += 1;
                region.amount_sum += u128::from(bid.amount.units());
                region.amount_max = region.amount_max.max(bid.amount);
                region.latency_ms_sum += u64::from(bid.latency_ms);
                region.latency_ms_max = region.latency_ms_max.max(bid.latency_ms);
                if better(&region.best) {
                    region.best = placed;
                }
            }
            None => {
                let region = Standing {
                    bids: 1,
                    amount_sum: u128::from(bid.amount.units()),
                    amount_max: bid.amount,
                    latency_ms_sum: u64::from(bid.latency_ms),
                    latency_ms_max: bid.latency_ms,
                    best: placed,
                };
                self.regions.insert(bid.region, region);
            }
        }
        true
    }

    /// Bids counted so far.
    #[must_use]
    pub fn bids(&self) -> u64 {
        u64::try_from(self.seen.len()).expect("bids in memory are fewer than 2^64")
    }

    /// The item that this auction leaves.
    ///
    /// # Panics
    /// Never for an auction that counted a bid.
    #[must_use]
    pub fn close(
        &self,
        slot_id: SlotId,
        start: Millis,
        shard_id: &ShardId,
        geometry: &Geometry,
    ) -> Aggregate {
        let mut ranked: Vec<&Placed> = self.best.values().collect();
        ranked.sort_unstable_by_key(|placed| rank(placed, geometry));
        let kept = usize::from(geometry.candidates);
        let next = ranked.get(kept).map(|placed| placed.bid);
        let regions = self.regions.iter().map(|(region, stats)| (*region, stats.close(shard_id))).collect();
        Aggregate {
            slot_id,
            window_start: start,
            window_end: geometry.window_end(start),
            bids: self.bids(),
            bidders: u64::try_from(self.best.len()).expect("accounts in memory are fewer than 2^64"),
            amount_sum: Money(self.regions.values().map(|region| signed(region.amount_sum)).sum()),
            amount_min: self.amount_min.expect("an auction counted a bid"),
            amount_max: self
                .regions
                .values()
                .map(|region| region.amount_max)
                .max()
                .expect("an auction counted a bid"),
            duplicates: self.duplicates.values().sum(),
            regions,
            candidates: ranked.into_iter().take(kept).map(|placed| candidate(placed, shard_id)).collect(),
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
    pub fn best_by_region(&self) -> impl Iterator<Item = Bid> {
        self.regions.values().map(|region| region.best.bid)
    }
}

impl Standing {
    fn close(&self, shard_id: &ShardId) -> RegionStats {
        RegionStats {
            bids: self.bids,
            amount_sum: Money(signed(self.amount_sum)),
            amount_max: self.amount_max,
            latency_ms_sum: self.latency_ms_sum,
            latency_ms_max: self.latency_ms_max,
            best: candidate(&self.best, shard_id),
        }
    }
}

fn rank(placed: &Placed, geometry: &Geometry) -> RankKey {
    placed.bid.rank_key(geometry.ranking)
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).expect("a sum of 64-bit prices that fit memory is below 2^127")
}

fn candidate(placed: &Placed, shard_id: &ShardId) -> Candidate {
    let bid = placed.bid;
    Candidate {
        bid_id: bid.bid_id,
        account_id: bid.account_id,
        region: bid.region,
        amount: bid.amount,
        quality: bid.quality,
        event_time: bid.event_time,
        shard_id: shard_id.clone(),
        sequence: SequenceNumber::clone(&placed.sequence),
        sub_sequence: placed.sub_sequence,
    }
}

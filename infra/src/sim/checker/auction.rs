//! One auction recomputed: every bid is kept, and everything is worked out from the list when it closes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use schemas::bid::Bid;
use schemas::geometry::{Geometry, Ranking};
use schemas::ids::{AccountId, BidId, Region, ShardId};
use schemas::item::{Aggregate, Candidate};

/// A bid and where its record lies.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) bid: Bid,
    pub(super) shard_id: ShardId,
    pub(super) sequence: u64,
    pub(super) sub_sequence: u32,
}

/// An auction as the log has it so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Auction {
    pub(super) counted: Vec<Counted>,
    seen: BTreeSet<(AccountId, BidId)>,
    pub(super) copies: BTreeMap<Region, u64>,
}

/// The score by which candidates are ordered first.
pub(super) fn score(geometry: &Geometry, bid: &Bid) -> u128 {
    let amount = u128::from(bid.amount.units());
    match geometry.ranking {
        Ranking::Amount => amount,
        Ranking::AmountQuality => amount * u128::from(bid.quality.get()),
    }
}

/// The better bid first.
fn better(geometry: &Geometry, a: &Bid, b: &Bid) -> Ordering {
    score(geometry, b)
        .cmp(&score(geometry, a))
        .then_with(|| b.amount.units().cmp(&a.amount.units()))
        .then_with(|| a.event_time.0.cmp(&b.event_time.0))
        .then_with(|| a.bid_id.as_bytes().cmp(b.bid_id.as_bytes()))
        .then_with(|| a.account_id.as_bytes().cmp(b.account_id.as_bytes()))
}

impl Auction {
    /// Takes a bid or a copy of one.
    pub(super) fn add(&mut self, counted: Counted) {
        if self.seen.insert((counted.bid.account_id, counted.bid.bid_id)) {
            self.counted.push(counted);
        } else {
            *self.copies.entry(counted.bid.region).or_default() += 1;
        }
    }

    /// The best bid of each account, best first.
    fn ranked(&self, geometry: &Geometry) -> Vec<&Counted> {
        let mut all: Vec<&Counted> = self.counted.iter().collect();
        all.sort_by(|a, b| better(geometry, &a.bid, &b.bid));
        let mut accounts = BTreeSet::new();
        all.retain(|one| accounts.insert(one.bid.account_id));
        all
    }

    /// The best bid of each account, best first.
    pub(super) fn ranked_bids(&self, geometry: &Geometry) -> Vec<Bid> {
        self.ranked(geometry).into_iter().map(|one| one.bid).collect()
    }

    /// Who leads.
    pub(super) fn first(&self, geometry: &Geometry) -> Option<&Counted> {
        self.ranked(geometry).first().copied()
    }

    /// What is wrong with an item that claims to be this auction's.
    pub(super) fn compare(&self, geometry: &Geometry, item: &Aggregate) -> Result<(), String> {
        let (ranked, kept) = (self.ranked(geometry), usize::from(geometry.candidates));
        let amounts = || self.counted.iter().map(|one| i128::from(one.bid.amount.units()));
        let next = ranked.get(kept);
        same("bids", count(self.counted.len()), item.bids)?;
        same("bidders", count(ranked.len()), item.bidders)?;
        same("amount_sum", amounts().sum::<i128>(), item.amount_sum.0)?;
        same("amount_min", amounts().min(), Some(i128::from(item.amount_min.units())))?;
        same("amount_max", amounts().max(), Some(i128::from(item.amount_max.units())))?;
        same("duplicates", self.copies.values().sum::<u64>(), item.duplicates)?;
        same("next_amount", next.map(|one| one.bid.amount), item.next_amount)?;
        same("next_score", next.map(|one| score(geometry, &one.bid)), item.next_score)?;
        same("number of candidates", ranked.len().min(kept), item.candidates.len())?;
        for (rank, (ours, theirs)) in ranked.iter().zip(&item.candidates).enumerate() {
            same_bid(ours, theirs).map_err(|wrong| format!("candidate {rank}: {wrong}"))?;
        }
        let regions: BTreeSet<Region> = self.counted.iter().map(|one| one.bid.region).collect();
        same("regions", regions.iter().collect::<Vec<_>>(), item.regions.keys().collect())?;
        for (region, stats) in &item.regions {
            let own: Vec<&Counted> = self.counted.iter().filter(|one| one.bid.region == *region).collect();
            let latencies = || own.iter().map(|one| one.bid.latency_ms);
            let own_amounts = || own.iter().map(|one| one.bid.amount.units());
            same("a region's bids", count(own.len()), stats.bids)?;
            same("a region's amount_sum", own_amounts().map(i128::from).sum(), stats.amount_sum.0)?;
            same("a region's amount_max", own_amounts().max(), Some(stats.amount_max.units()))?;
            same("a region's latency_ms_sum", latencies().map(u64::from).sum(), stats.latency_ms_sum)?;
            same("a region's latency_ms_max", latencies().max(), Some(stats.latency_ms_max))?;
            let best = own.iter().min_by(|a, b| better(geometry, &a.bid, &b.bid));
            best.map_or(Ok(()), |best| same_bid(best, &stats.best))?;
        }
        Ok(())
    }

    /// Whether a bid event is one of this auction's: its region's best.
    pub(super) fn is_best(&self, geometry: &Geometry, region: Region, bid_id: BidId) -> bool {
        let own = self.counted.iter().filter(|one| one.bid.region == region);
        own.min_by(|a, b| better(geometry, &a.bid, &b.bid)).is_some_and(|best| best.bid.bid_id == bid_id)
    }
}

fn same_bid(ours: &Counted, theirs: &Candidate) -> Result<(), String> {
    let Counted { bid, shard_id, sequence, sub_sequence } = ours;
    same("bid", bid.bid_id, theirs.bid_id)?;
    same("account", bid.account_id, theirs.account_id)?;
    same("region", bid.region, theirs.region)?;
    same("amount", bid.amount, theirs.amount)?;
    same("quality", bid.quality, theirs.quality)?;
    same("event time", bid.event_time, theirs.event_time)?;
    same("shard", shard_id.0.as_str(), theirs.shard_id.0.as_str())?;
    same("sequence", sequence.to_string().as_str(), theirs.sequence.as_str())?;
    same("sub-sequence", *sub_sequence, theirs.sub_sequence)
}

/// Whether two values are equal, and what they are when not.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, want: T, have: T) -> Result<(), String> {
    if want == have { Ok(()) } else { Err(format!("{what} must be {want:?} and is {have:?}")) }
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).expect("memory is below 2^64")
}

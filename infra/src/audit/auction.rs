//! One auction while it is open, and the aggregate it leaves.
//!
//! Keeps every bid of the auction until it closes and computes each number from all of them at once: slower than a
//! running sum, and plainly right.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, Region, SequenceNumber, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, GeometryItem, RegionStats, RegionTotals, State};
use schemas::limits::{AGGREGATE_REGIONS_MAX, TOTALS_REGIONS_MAX};
use schemas::money::Money;
use schemas::time::Millis;

use super::log::{better, end_of, score_of};

/// Where a record lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard_id: ShardId,
    pub(super) sequence: SequenceNumber,
}

/// A counted bid and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) bid: Bid,
    pub(super) place: Arc<Place>,
    pub(super) sub_sequence: u32,
}

/// An open auction.
#[derive(Clone, Debug, Default)]
pub(super) struct Auction {
    bids: BTreeMap<(AccountId, BidId), Counted>,
    /// Copies that were not counted, by the region that the copy names.
    pub(super) duplicates: BTreeMap<Region, u64>,
}

impl Auction {
    /// Counts a bid, or a duplicate when the account's bid was seen before.
    pub(super) fn add(&mut self, counted: Counted) {
        match self.bids.entry((counted.bid.account_id, counted.bid.bid_id)) {
            Entry::Vacant(place) => drop(place.insert(counted)),
            Entry::Occupied(_) => *self.duplicates.entry(counted.bid.region).or_default() += 1,
        }
    }

    /// The best bids of the accounts that its item does not name, best first.
    pub(super) fn behind(&self, agreed: &GeometryItem) -> Vec<Candidate> {
        let mut ranked: Vec<&Counted> = self.bids.values().collect();
        ranked.sort_by(|a, b| better(agreed, &a.bid, &b.bid));
        let mut seen = BTreeSet::new();
        let distinct = ranked.into_iter().filter(|counted| seen.insert(counted.bid.account_id));
        distinct.skip(usize::from(agreed.geometry.candidates)).map(candidate).collect()
    }

    /// The aggregate it leaves, with all regions; none without a counted bid.
    pub(super) fn close(
        &self,
        agreed: &GeometryItem,
        slot_id: SlotId,
        window_start: Millis,
        shard_id: &ShardId,
    ) -> Option<Aggregate> {
        let mut ranked: Vec<&Counted> = self.bids.values().collect();
        ranked.sort_by(|a, b| better(agreed, &a.bid, &b.bid));
        let mut seen = BTreeSet::new();
        let distinct: Vec<&Counted> =
            ranked.iter().copied().filter(|c| seen.insert(c.bid.account_id)).collect();
        let kept = usize::from(agreed.geometry.candidates);
        let next = distinct.get(kept).map(|counted| counted.bid);
        let amounts = || ranked.iter().map(|counted| counted.bid.amount);
        Some(Aggregate {
            slot_id,
            window_start,
            window_end: end_of(agreed, window_start),
            bids: count(ranked.len()),
            bidders: count(distinct.len()),
            amount_sum: sum(&ranked),
            amount_min: amounts().min()?,
            amount_max: amounts().max()?,
            duplicates: self.duplicates.values().sum(),
            regions: regions(&ranked, |region| region),
            candidates: distinct.iter().take(kept).map(|counted| candidate(counted)).collect(),
            next_amount: next.map(|bid| bid.amount),
            next_score: next.map(|bid| score_of(agreed, &bid)),
            shard_id: shard_id.clone(),
            replay: None,
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        })
    }
}

/// Leaves as many regions as an item names: the others stand together in the last of their number.
pub(super) fn name_regions(auction: &Auction, agreed: &GeometryItem, aggregate: &mut Aggregate) {
    if aggregate.regions.len() <= AGGREGATE_REGIONS_MAX {
        return;
    }
    let mut busiest: Vec<Region> = aggregate.regions.keys().copied().collect();
    busiest.sort_by_key(|region| std::cmp::Reverse(aggregate.regions[region].bids));
    let named: BTreeSet<Region> = busiest.into_iter().take(AGGREGATE_REGIONS_MAX - 1).collect();
    let mut ranked: Vec<&Counted> = auction.bids.values().collect();
    ranked.sort_by(|a, b| better(agreed, &a.bid, &b.bid));
    aggregate.regions =
        regions(&ranked, |region| if named.contains(&region) { region } else { Region::OTHERS });
}

/// The totals of a shard and window as they are written: the busiest by name, the others in one.
pub(super) fn name_totals(mut totals: Vec<RegionTotals>) -> Vec<RegionTotals> {
    if totals.len() <= TOTALS_REGIONS_MAX {
        return totals;
    }
    let met = |one: &RegionTotals| {
        [one.bids, one.late, one.early, one.stray, one.duplicates, one.rejected].into_iter().sum::<u64>()
    };
    totals.sort_by(|a, b| met(b).cmp(&met(a)).then_with(|| a.region.cmp(&b.region)));
    if let Some(at) = totals.iter().position(|one| one.region == Region::UNREADABLE) {
        totals[..=at].rotate_right(1);
    }
    let rest = totals.split_off(TOTALS_REGIONS_MAX - 1);
    let mut others = RegionTotals { region: Region::OTHERS, ..rest[0].clone() };
    for one in &rest[1..] {
        others.bids += one.bids;
        others.amount_sum.0 += one.amount_sum.0;
        others.amount_max = others.amount_max.max(one.amount_max);
        others.top_ranked += one.top_ranked;
        others.latency_ms_sum += one.latency_ms_sum;
        others.late += one.late;
        others.early += one.early;
        others.stray += one.stray;
        others.duplicates += one.duplicates;
        others.rejected += one.rejected;
    }
    totals.push(others);
    totals
}

/// A length as the items count.
pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}

fn sum(bids: &[&Counted]) -> Money {
    Money(bids.iter().map(|counted| i128::from(counted.bid.amount.units())).sum())
}

fn candidate(counted: &Counted) -> Candidate {
    Candidate {
        bid_id: counted.bid.bid_id,
        account_id: counted.bid.account_id,
        region: counted.bid.region,
        amount: counted.bid.amount,
        quality: counted.bid.quality,
        event_time: counted.bid.event_time,
        shard_id: counted.place.shard_id.clone(),
        sequence: counted.place.sequence.clone(),
        sub_sequence: counted.sub_sequence,
    }
}

/// What each region bid, under the name it is given; `ranked` has the best bid first.
fn regions(ranked: &[&Counted], name: impl Fn(Region) -> Region) -> BTreeMap<Region, RegionStats> {
    let mut by_region: BTreeMap<Region, Vec<&Counted>> = BTreeMap::new();
    for counted in ranked {
        by_region.entry(name(counted.bid.region)).or_default().push(counted);
    }
    let stats = |bids: &[&Counted]| {
        Some(RegionStats {
            bids: count(bids.len()),
            amount_sum: sum(bids),
            amount_max: bids.iter().map(|counted| counted.bid.amount).max()?,
            latency_ms_sum: bids.iter().map(|counted| u64::from(counted.bid.latency_ms)).sum(),
            latency_ms_max: bids.iter().map(|counted| counted.bid.latency_ms).max()?,
            best: candidate(bids.first()?),
        })
    };
    by_region.iter().filter_map(|(region, bids)| Some((*region, stats(bids)?))).collect()
}

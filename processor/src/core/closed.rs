//! What a closed window leaves: aggregates, region totals, hot slots and bid events, all pure functions of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::ids::{Region, ShardId};
use schemas::item::{Aggregate, BidEvent, GeometryItem, HotSlot, HotSlots, RegionTotals, Replay};
use schemas::limits::HOT_SLOTS;
use schemas::money::Money;
use schemas::time::Millis;

use super::auction::Auction;
use super::book::BidEvents;
use super::regions::{name_busiest, name_busiest_totals};
use super::window::Window;

/// What a closed window leaves, to be made durable before any checkpoint that passes it.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Answered when it is durable; ascending from 0 within one machine.
    pub ticket: u64,
    /// Start of the window.
    pub window_start: Millis,
    /// One item per auction, by slot.
    pub aggregates: Vec<Aggregate>,
    /// One item per region, at most [`TOTALS_REGIONS_MAX`](schemas::limits::TOTALS_REGIONS_MAX).
    pub totals: Vec<RegionTotals>,
    /// The busiest slots, when there was a bid.
    pub hot: Option<HotSlots>,
    /// Single bids for analysts, by their keys, no key twice.
    pub events: Vec<BidEvent>,
}

impl Closed {
    /// Counted bids.
    #[must_use]
    pub fn bids(&self) -> u64 {
        self.totals.iter().map(|total| total.bids).sum()
    }

    /// Bids that came after the close of their window.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.totals.iter().map(|total| total.late).sum()
    }
}

/// Who closes, and by which rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closer<'a> {
    pub(super) shard_id: &'a ShardId,
    pub(super) agreed: &'a GeometryItem,
    pub(super) events: BidEvents,
    /// From where the window is read again.
    pub(super) replay: Option<&'a Arc<Replay>>,
}

impl Closer<'_> {
    /// What a window leaves; without its auctions, its counts alone.
    pub(super) fn close(&self, ticket: u64, start: Millis, window: &mut Window) -> Closed {
        let ttl = self.agreed.ttl(self.agreed.geometry.window_end(start));
        let mut totals = Totals { closer: self, start, ttl, by_region: BTreeMap::new() };
        for (region, counts) in &window.counts {
            let total = totals.of(*region);
            total.rejected += counts.rejected;
            total.stray += counts.stray;
            total.early += counts.early;
            total.late += counts.late;
        }
        let mut auctions: Vec<(u32, &Auction)> = (0..).zip(&window.auctions).collect();
        auctions.sort_unstable_by_key(|(_, auction)| auction.slot_id);
        let mut aggregates = Vec::with_capacity(auctions.len());
        for (at, auction) in auctions.iter().copied() {
            let mut aggregate = auction.close(at, start, self.shard_id, &self.agreed.geometry, &window.kept);
            totals.add(&aggregate, window.kept.copies.of(at));
            name_busiest(&mut aggregate.regions, self.agreed.geometry.ranking);
            if !aggregate.names_all() {
                aggregate.replay = self.replay.cloned();
            }
            aggregates.push(aggregate);
        }
        name_busiest_totals(&mut totals.by_region);
        let events = match self.events {
            BidEvents::None => Vec::new(),
            BidEvents::Best => auctions
                .iter()
                .flat_map(|(_, auction)| window.kept.standings.bests(auction.regions))
                .collect(),
            BidEvents::All => std::mem::take(&mut window.bids),
        };
        let event = |bid| BidEvent { bid, window_start: start, ttl };
        let mut events: Vec<BidEvent> = events.into_iter().map(event).collect();
        // Two accounts may have chosen the same bid id, and a batch must not name a key twice.
        events.sort_unstable_by_key(|e| (e.bid.slot_id, e.bid.region, e.bid.bid_id, e.bid.account_id));
        events.dedup_by_key(|e| (e.bid.slot_id, e.bid.region, e.bid.bid_id));
        Closed {
            ticket,
            window_start: start,
            hot: self.hot(start, ttl, &aggregates),
            totals: totals.by_region.into_values().collect(),
            aggregates,
            events,
        }
    }

    fn hot(&self, window_start: Millis, ttl: u64, aggregates: &[Aggregate]) -> Option<HotSlots> {
        let of =
            |one: &Aggregate| HotSlot { slot_id: one.slot_id, bids: one.bids, amount_max: one.amount_max };
        let mut slots: Vec<HotSlot> = aggregates.iter().map(of).collect();
        slots.sort_unstable_by_key(|slot| (std::cmp::Reverse(slot.bids), slot.slot_id));
        slots.truncate(HOT_SLOTS);
        (!slots.is_empty()).then(|| HotSlots { window_start, shard_id: self.shard_id.clone(), slots, ttl })
    }
}

struct Totals<'a> {
    closer: &'a Closer<'a>,
    start: Millis,
    ttl: u64,
    by_region: BTreeMap<Region, RegionTotals>,
}

impl Totals<'_> {
    fn of(&mut self, region: Region) -> &mut RegionTotals {
        self.by_region.entry(region).or_insert_with(|| RegionTotals {
            region,
            window_start: self.start,
            shard_id: self.closer.shard_id.clone(),
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
            ttl: self.ttl,
        })
    }

    fn add(&mut self, aggregate: &Aggregate, copies: &[(Region, u64)]) {
        for (region, stats) in &aggregate.regions {
            let total = self.of(*region);
            total.bids += stats.bids;
            total.amount_sum = Money(total.amount_sum.0 + stats.amount_sum.0);
            total.amount_max = total.amount_max.max(Some(stats.amount_max));
            total.latency_ms_sum += stats.latency_ms_sum;
        }
        for (region, copies) in copies {
            self.of(*region).duplicates += copies;
        }
        if let Some(first) = aggregate.candidates.first() {
            self.of(first.region).top_ranked += 1;
        }
    }
}

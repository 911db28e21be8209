//! Everything that whole logs decide, recomputed the slow way: no checkpoints, no tails, no tables.

use std::collections::{BTreeMap, BTreeSet};

use schemas::bid::Bid;
use schemas::geometry::Ranking;
use schemas::ids::{Region, SlotId};
use schemas::item::{
    Aggregate, Candidate, GeometryItem, HotSlot, HotSlots, RegionStats, RegionTotals, State,
};
use schemas::money::Money;
use schemas::time::Millis;

use super::store::{Table, key};
use super::world::{Shard, Stored};

/// A counted bid and where it lies: shard, record, place.
type Counted<'a> = (Bid, &'a Shard, &'a Stored, u32);

#[derive(Clone, Default)]
struct Open<'a> {
    bids: Vec<Counted<'a>>,
    copies: Vec<Region>,
}

type Windows<'a> = BTreeMap<(u64, SlotId), Open<'a>>;
type Totals = BTreeMap<(u64, Region), RegionTotals>;

struct Rules {
    agreed: GeometryItem,
}

impl Rules {
    fn window(&self, at: u64) -> u64 {
        at / self.agreed.geometry.window_ms * self.agreed.geometry.window_ms
    }

    fn passed(&self, window: u64, clock: u64) -> bool {
        clock > window + self.agreed.geometry.window_ms + self.agreed.geometry.grace_ms
    }

    fn ttl(&self, window: u64) -> u64 {
        (window + self.agreed.geometry.window_ms + self.agreed.ttl_after_ms) / 1_000
    }

    /// Whether one bid stands before another.
    fn sorted<'a>(&self, mut bids: Vec<Counted<'a>>) -> Vec<Counted<'a>> {
        let weight = |bid: &Bid| match self.agreed.geometry.ranking {
            Ranking::Amount => u128::from(bid.amount.units()),
            Ranking::AmountQuality => u128::from(bid.amount.units()) * u128::from(bid.quality.get()),
        };
        bids.sort_by(|(a, ..), (b, ..)| {
            let best_first = (weight(b), b.amount).cmp(&(weight(a), a.amount));
            let first_first =
                (a.event_time, a.bid_id, a.account_id).cmp(&(b.event_time, b.bid_id, b.account_id));
            best_first.then(first_first)
        });
        bids
    }
}

/// The tables that whole logs leave.
pub(in crate::core) fn recompute(shards: &[Shard], agreed: &GeometryItem) -> Table {
    let rules = Rules { agreed: agreed.clone() };
    let mut items = Table::new();
    let mut left: Vec<(u64, Windows<'_>)> = Vec::new();
    for shard in shards {
        let mut clock = shard.parents.iter().map(|parent| left[*parent].0).max().unwrap_or(0);
        let mut open = Windows::new();
        for parent in &shard.parents {
            for (at, auction) in &left[*parent].1 {
                if shard.owns(&at.1) {
                    open.insert(*at, auction.clone());
                }
            }
        }
        let mut totals = Totals::new();
        close(&rules, shard, clock, &mut open, (&mut totals, &mut items));
        for stored in &shard.log {
            clock = clock.max(stored.arrival.0);
            close(&rules, shard, clock, &mut open, (&mut totals, &mut items));
            for (sub, item) in (0..).zip(&stored.decoded.items) {
                read(&rules, (shard, stored, sub), item.as_ref().ok(), clock, (&mut open, &mut totals));
            }
        }
        for total in written(&totals) {
            let item = total.to_attrs();
            items.insert(key(&item), item);
        }
        left.push((clock, open));
    }
    items
}

/// The totals of each window: the 63 busiest regions and all others together, when there are more than 64.
fn written(totals: &Totals) -> Vec<RegionTotals> {
    let met =
        |one: &RegionTotals| one.rejected + one.bids + one.late + one.duplicates + one.early + one.stray;
    let mut out = Vec::new();
    let windows: BTreeSet<u64> = totals.keys().map(|(window, _)| *window).collect();
    for window in windows {
        let mut all: Vec<RegionTotals> =
            totals.iter().filter(|((at, _), _)| *at == window).map(|(_, one)| one.clone()).collect();
        all.sort_by_key(|one| (one.region.as_str() != "-", std::cmp::Reverse(met(one)), one.region));
        if all.len() > 64 {
            let others = all.split_off(63);
            let sum = |part: fn(&RegionTotals) -> u64| others.iter().map(part).sum::<u64>();
            out.push(RegionTotals {
                region: Region::OTHERS,
                bids: sum(|one| one.bids),
                amount_sum: Money(others.iter().map(|one| one.amount_sum.0).sum()),
                amount_max: others.iter().filter_map(|one| one.amount_max).max(),
                top_ranked: sum(|one| one.top_ranked),
                latency_ms_sum: sum(|one| one.latency_ms_sum),
                late: sum(|one| one.late),
                early: sum(|one| one.early),
                stray: sum(|one| one.stray),
                duplicates: sum(|one| one.duplicates),
                rejected: sum(|one| one.rejected),
                ..others[0].clone()
            });
        }
        out.extend(all);
    }
    out
}

fn read<'a>(
    rules: &Rules,
    (shard, stored, sub): (&'a Shard, &'a Stored, u32),
    bid: Option<&Bid>,
    clock: u64,
    (open, totals): (&mut Windows<'a>, &mut Totals),
) {
    let now = rules.window(clock);
    let Some(bid) = bid else {
        let rejected = stored.decoded.items[sub as usize].as_ref().unwrap_err();
        total(rules, shard, now, rejected.region.unwrap_or(Region::UNREADABLE), totals).rejected += 1;
        return;
    };
    let window = rules.window(bid.event_time.0);
    if !shard.owns(&bid.slot_id) {
        total(rules, shard, now, bid.region, totals).stray += 1;
    } else if bid.event_time.0 > clock + rules.agreed.geometry.ahead_max_ms {
        total(rules, shard, now, bid.region, totals).early += 1;
    } else if rules.passed(window, clock) {
        total(rules, shard, now, bid.region, totals).late += 1;
    } else {
        let auction = open.entry((window, bid.slot_id)).or_default();
        let same = |(one, ..): &Counted<'_>| (one.account_id, one.bid_id) == (bid.account_id, bid.bid_id);
        if auction.bids.iter().any(same) {
            auction.copies.push(bid.region);
        } else {
            auction.bids.push((*bid, shard, stored, sub));
        }
    }
}

fn total<'t>(
    rules: &Rules,
    shard: &Shard,
    window: u64,
    region: Region,
    totals: &'t mut Totals,
) -> &'t mut RegionTotals {
    totals.entry((window, region)).or_insert_with(|| RegionTotals {
        region,
        window_start: Millis(window),
        shard_id: shard.id.clone(),
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
        ttl: rules.ttl(window),
    })
}

fn close(
    rules: &Rules,
    shard: &Shard,
    clock: u64,
    open: &mut Windows<'_>,
    (totals, items): (&mut Totals, &mut Table),
) {
    let closing: BTreeSet<u64> = open.keys().map(|(window, _)| *window).collect();
    for window in closing.into_iter().filter(|window| rules.passed(*window, clock)) {
        let mut hot = Vec::new();
        let auctions: Vec<SlotId> =
            open.keys().filter(|(at, _)| *at == window).map(|(_, slot)| *slot).collect();
        for slot in auctions {
            let auction = open.remove(&(window, slot)).unwrap();
            let aggregate = aggregate(rules, shard, (window, slot), &auction);
            for (bid, ..) in &auction.bids {
                let total = total(rules, shard, window, bid.region, totals);
                total.bids += 1;
                total.amount_sum.0 += i128::from(bid.amount.units());
                total.amount_max = total.amount_max.max(Some(bid.amount));
                total.latency_ms_sum += u64::from(bid.latency_ms);
            }
            total(rules, shard, window, aggregate.candidates[0].region, totals).top_ranked += 1;
            for region in &auction.copies {
                total(rules, shard, window, *region, totals).duplicates += 1;
            }
            hot.push(HotSlot { slot_id: slot, bids: aggregate.bids, amount_max: aggregate.amount_max });
            let item = aggregate.to_attrs(rules.agreed.outbox_buckets);
            items.insert(key(&item), item);
        }
        hot.sort_by(|a, b| b.bids.cmp(&a.bids).then(a.slot_id.cmp(&b.slot_id)));
        hot.truncate(10);
        let (window_start, shard_id) = (Millis(window), shard.id.clone());
        let item = HotSlots { window_start, shard_id, slots: hot, ttl: rules.ttl(window) }.to_attrs();
        items.insert(key(&item), item);
    }
}

fn aggregate(rules: &Rules, shard: &Shard, (window, slot): (u64, SlotId), auction: &Open<'_>) -> Aggregate {
    let geometry = &rules.agreed.geometry;
    let ranked = rules.sorted(auction.bids.clone());
    let mut leaders: Vec<Counted<'_>> = Vec::new();
    for bid in &ranked {
        if leaders.iter().all(|(leader, ..)| leader.account_id != bid.0.account_id) {
            leaders.push(*bid);
        }
    }
    let kept = usize::from(geometry.candidates);
    let next = leaders.get(kept).map(|(bid, ..)| *bid);
    let amounts = || auction.bids.iter().map(|(bid, ..)| bid.amount);
    let named = named(&auction.bids);
    let name = |bid: &Bid| if named.contains(&bid.region) { bid.region } else { Region::OTHERS };
    let regions: BTreeSet<Region> = auction.bids.iter().map(|(bid, ..)| name(bid)).collect();
    let region = |region: Region| {
        let own: Vec<&Counted<'_>> = ranked.iter().filter(|(bid, ..)| name(bid) == region).collect();
        let stats = RegionStats {
            bids: own.len() as u64,
            amount_sum: Money(own.iter().map(|(bid, ..)| i128::from(bid.amount.units())).sum()),
            amount_max: own.iter().map(|(bid, ..)| bid.amount).max().unwrap(),
            latency_ms_sum: own.iter().map(|(bid, ..)| u64::from(bid.latency_ms)).sum(),
            latency_ms_max: own.iter().map(|(bid, ..)| bid.latency_ms).max().unwrap(),
            best: candidate(own[0]),
        };
        (region, stats)
    };
    Aggregate {
        slot_id: slot,
        window_start: Millis(window),
        window_end: Millis(window + geometry.window_ms),
        bids: auction.bids.len() as u64,
        bidders: leaders.len() as u64,
        amount_sum: Money(amounts().map(|amount| i128::from(amount.units())).sum()),
        amount_min: amounts().min().unwrap(),
        amount_max: amounts().max().unwrap(),
        duplicates: auction.copies.len() as u64,
        regions: regions.into_iter().map(region).collect(),
        candidates: leaders.iter().take(kept).map(candidate).collect(),
        next_amount: next.map(|bid| bid.amount),
        next_score: next.map(|bid| match geometry.ranking {
            Ranking::Amount => u128::from(bid.amount.units()),
            Ranking::AmountQuality => u128::from(bid.amount.units()) * u128::from(bid.quality.get()),
        }),
        shard_id: shard.id.clone(),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

/// The regions that an item names: all, or the 255 busiest.
fn named(bids: &[Counted<'_>]) -> BTreeSet<Region> {
    let mut count = BTreeMap::<Region, u64>::new();
    for (bid, ..) in bids {
        *count.entry(bid.region).or_default() += 1;
    }
    let mut regions: Vec<Region> = count.keys().copied().collect();
    if regions.len() > 256 {
        regions.sort_by(|a, b| count[b].cmp(&count[a]).then(a.cmp(b)));
        regions.truncate(255);
    }
    regions.into_iter().collect()
}

fn candidate((bid, shard, stored, sub): &Counted<'_>) -> Candidate {
    Candidate {
        bid_id: bid.bid_id,
        account_id: bid.account_id,
        region: bid.region,
        amount: bid.amount,
        quality: bid.quality,
        event_time: bid.event_time,
        shard_id: shard.id.clone(),
        sequence: stored.sequence.clone(),
        sub_sequence: *sub,
    }
}

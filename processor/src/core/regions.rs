//! Keeps an aggregate to as many regions as its item can name.
//!
//! A region is a code that whoever writes to the stream chose, so an auction may have as many as bids, and an item has
//! a largest size. Those with the most bids are named, and the others are added up; so are totals by region, each of
//! which is an item to write.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemas::geometry::Ranking;
use schemas::ids::Region;
use schemas::item::{RegionStats, RegionTotals};
use schemas::limits::{AGGREGATE_REGIONS_MAX, TOTALS_REGIONS_MAX};
use schemas::money::Money;

/// Adds up what cannot be named, under [`Region::OTHERS`].
pub(super) fn name_busiest(regions: &mut BTreeMap<Region, RegionStats>, ranking: Ranking) {
    if regions.len() <= AGGREGATE_REGIONS_MAX {
        return;
    }
    let mut busiest: Vec<(Reverse<u64>, Region)> =
        regions.iter().map(|(region, stats)| (Reverse(stats.bids), *region)).collect();
    busiest.sort_unstable();
    let others = busiest.split_off(AGGREGATE_REGIONS_MAX - 1);
    let unnamed = others.iter().filter_map(|(_, region)| regions.remove(region));
    let together = unnamed.reduce(|one, other| added(one, other, ranking));
    regions.extend(together.map(|stats| (Region::OTHERS, stats)));
}

/// Adds up the totals that get no item of their own, under [`Region::OTHERS`].
pub(super) fn name_busiest_totals(totals: &mut BTreeMap<Region, RegionTotals>) {
    if totals.len() <= TOTALS_REGIONS_MAX {
        return;
    }
    let all =
        |one: &RegionTotals| one.bids + one.duplicates + one.late + one.early + one.stray + one.rejected;
    // What could not be read is always told by itself.
    let key =
        |(region, one): (&Region, &RegionTotals)| (*region != Region::UNREADABLE, Reverse(all(one)), *region);
    let mut busiest: Vec<(bool, Reverse<u64>, Region)> = totals.iter().map(key).collect();
    busiest.sort_unstable();
    let others = busiest.split_off(TOTALS_REGIONS_MAX - 1);
    let unnamed = others.iter().filter_map(|(.., region)| totals.remove(region));
    let together = unnamed.reduce(|one, other| RegionTotals {
        bids: one.bids + other.bids,
        amount_sum: Money(one.amount_sum.0 + other.amount_sum.0),
        amount_max: one.amount_max.max(other.amount_max),
        top_ranked: one.top_ranked + other.top_ranked,
        latency_ms_sum: one.latency_ms_sum + other.latency_ms_sum,
        late: one.late + other.late,
        early: one.early + other.early,
        stray: one.stray + other.stray,
        duplicates: one.duplicates + other.duplicates,
        rejected: one.rejected + other.rejected,
        ..one
    });
    totals.extend(together.map(|one| (Region::OTHERS, RegionTotals { region: Region::OTHERS, ..one })));
}

fn added(one: RegionStats, other: RegionStats, ranking: Ranking) -> RegionStats {
    RegionStats {
        bids: one.bids + other.bids,
        amount_sum: Money(one.amount_sum.0 + other.amount_sum.0),
        amount_max: one.amount_max.max(other.amount_max),
        latency_ms_sum: one.latency_ms_sum + other.latency_ms_sum,
        latency_ms_max: one.latency_ms_max.max(other.latency_ms_max),
        best: if other.best.rank_key(ranking) < one.best.rank_key(ranking) { other.best } else { one.best },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::attr::Attr;
    use schemas::bid::Bid;
    use schemas::geometry::Geometry;
    use schemas::hash::HashRange;
    use schemas::ids::{AccountId, BidId, SequenceNumber, ShardId, SlotId};
    use schemas::item::{Aggregate, GeometryItem};
    use schemas::lease::Lease;
    use schemas::limits::ITEM_BYTES_MAX;
    use schemas::money::{BasisPoints, Price};
    use schemas::record::Decoded;
    use schemas::time::Millis;

    use crate::core::shard::ShardMachine;
    use crate::core::{BidEvents, Closed};

    /// Bytes of a value as DynamoDB counts them, or more (DynamoDB developer guide, item sizes).
    fn bytes(attr: &Attr) -> usize {
        match attr {
            Attr::S(text) | Attr::N(text) => text.len() + 1,
            Attr::Bool(_) => 1,
            Attr::B(bytes) => bytes.len(),
            Attr::Ss(texts) => texts.iter().map(|text| text.len() + 1).sum(),
            Attr::L(list) => 3 + list.iter().map(|value| bytes(value) + 1).sum::<usize>(),
            Attr::M(map) => 3 + map.iter().map(|(name, value)| name.len() + bytes(value) + 1).sum::<usize>(),
        }
    }

    /// The item of an auction that every one of so many regions bid in twice, with the longest of everything.
    fn item_of(regions: u64) -> Aggregate {
        closed_of(regions).aggregates.remove(0)
    }

    fn closed_of(regions: u64) -> Closed {
        let bid = |number: u64| Bid {
            bid_id: BidId::from_bytes(u128::from(number).to_be_bytes()),
            slot_id: SlotId::from_bytes([9; 16]),
            account_id: AccountId::from_bytes((u128::MAX - u128::from(number)).to_be_bytes()),
            region: format!("a-very-long-region-{:05}", number % regions).parse().unwrap(),
            amount: Price::from_units(999_999_999_999_999_999 - number).unwrap(),
            latency_ms: u32::MAX,
            quality: BasisPoints::new(9_999).unwrap(),
            event_time: Millis(1_800_000_000_000),
        };
        let agreed = GeometryItem { geometry: Geometry::default(), ttl_after_ms: 0, outbox_buckets: 16 };
        let row = Lease::new(ShardId("shardId-000000000001".into()), HashRange::ALL, Vec::new());
        let (mut machine, _) = ShardMachine::begin(&row, agreed, BidEvents::None, Vec::new());
        let record = |number: u64| format!("49{number:054}").parse::<SequenceNumber>().unwrap();
        let items = (0..regions * 2).map(|number| Ok(bid(number))).collect();
        let at = Millis(1_800_000_000_000);
        machine.on_record(at, &record(1), &Decoded { items, ..Decoded::default() });
        let (mut closed, _) = machine.on_record(at.plus(60_000), &record(2), &Decoded::default());
        closed.remove(0)
    }

    #[test]
    fn a_shard_writes_few_totals_of_a_window_however_many_regions_are_in_it() {
        let [few, many] = [64, 1_500].map(closed_of);
        assert!(few.totals.len() == 64 && few.totals.iter().all(|one| one.region != Region::OTHERS));
        assert_eq!((many.totals.len(), many.bids()), (64, 3_000));
        let others = many.totals.iter().find(|one| one.region == Region::OTHERS).unwrap();
        assert_eq!((others.bids, others.top_ranked), (2 * (1_500 - 63), 0));
        let sum = |part: fn(&RegionTotals) -> i128| many.totals.iter().map(part).sum::<i128>();
        assert_eq!(sum(|one| one.amount_sum.0), many.aggregates[0].amount_sum.0);
        assert_eq!(sum(|one| one.top_ranked.into()), 1);
        let named: Vec<Region> =
            many.totals.iter().map(|one| one.region).filter(|region| *region != Region::OTHERS).collect();
        let first: Vec<Region> =
            (0..63).map(|number| format!("a-very-long-region-{number:05}").parse().unwrap()).collect();
        assert_eq!(named, first, "of equals the first by name");
    }

    #[test]
    fn an_auction_of_any_number_of_regions_fits_an_item() {
        let [few, many] = [256, 1_500].map(item_of);
        assert!(few.regions.len() == 256 && !few.regions.contains_key(&Region::OTHERS));
        assert_eq!((many.regions.len(), many.bids), (256, 3_000));
        let others = &many.regions[&Region::OTHERS];
        assert_eq!(others.bids, 2 * (1_500 - 255));
        assert_eq!(others.best.region.as_str(), "a-very-long-region-00255", "the best that is not named");
        assert_eq!(many.regions.values().map(|stats| stats.bids).sum::<u64>(), many.bids);
        let size = bytes(&Attr::M(many.to_attrs(16)));
        assert!(size < ITEM_BYTES_MAX / 2, "{size}");
        assert_eq!(Aggregate::from_attrs(&many.to_attrs(16)).unwrap(), many);
    }
}

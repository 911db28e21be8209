//! What small logs must give.

use schemas::bid::Bid;
use schemas::geometry::Ranking;

use schemas::ids::{BidId, Region};
use schemas::item::{GeometryItem, RegionTotals};
use schemas::money::{BasisPoints, Money, Price};
use schemas::time::Millis;

use super::super::auction::name_totals;
use super::super::recompute::{Recomputed, Verdict};
use super::world::*;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

#[test]
fn a_window_closes_when_the_clock_is_past_its_grace_and_only_then() {
    let slot = slot(false, 0);
    let at_grace = log(vec![(
        shard("s", 0, u128::MAX, &[]),
        vec![record(1, 5, &[bid(slot, 1, 5)]), record(2, 12, &[])],
        false,
    )]);
    let all = Recomputed::of(agreed(), &at_grace);
    assert!(all.aggregates.is_empty() && all.totals.is_empty() && all.hot.is_empty());
    assert_eq!(all.verdict(&slot, Millis(0)), Verdict::Open);

    let mut past = at_grace;
    past.shards[0].records.push(record(3, 13, &[]));
    let all = Recomputed::of(agreed(), &past);
    assert_eq!(all.aggregates[&(slot, Millis(0))].bids, 1);
    assert_eq!(all.verdict(&slot, Millis(0)), Verdict::Judged);
    assert_eq!(all.verdict(&slot, Millis(10)), Verdict::Open);
}

#[test]
fn each_refusal_is_counted_per_copy_in_the_window_of_the_clock() {
    let (mine, other) = (slot(false, 0), slot(true, 0));
    let records = vec![
        record(1, 20, &[bid(mine, 1, 20), bid(other, 3, 20), bid(other, 3, 20)]),
        record(2, 21, &[bid(mine, 5, 27), bid(mine, 6, 26), bid(mine, 7, 3)]),
        unreadable(3, 22),
        record(4, 22, &[bid(mine, 1, 20), bid(mine, 1, 20)]),
        record(5, 99, &[]),
    ];
    let all = Recomputed::of(agreed(), &log(vec![(shard("s", 0, HALF, &[]), records, false)]));
    let odd = &all.totals[&(region("odd"), Millis(20), id("s"))];
    assert_eq!((odd.stray, odd.early, odd.late, odd.duplicates, odd.rejected), (2, 1, 1, 2, 0));
    assert_eq!(
        (odd.bids, odd.amount_sum, odd.amount_max),
        (1, Money(2), Some(Price::from_units(2).unwrap()))
    );
    assert_eq!((odd.top_ranked, odd.latency_ms_sum, odd.ttl), (0, 1, 100));
    let even = &all.totals[&(region("even"), Millis(20), id("s"))];
    assert_eq!((even.bids, even.top_ranked, even.early), (1, 1, 0));
    assert_eq!(all.totals[&(Region::UNREADABLE, Millis(20), id("s"))].rejected, 1);
    let auction = &all.aggregates[&(mine, Millis(20))];
    assert_eq!((auction.bids, auction.bidders, auction.duplicates, auction.amount_sum), (2, 2, 2, Money(66)));
    assert_eq!(all.hot[&(Millis(20), id("s"))].slots.len(), 1);
}

#[test]
fn a_clock_that_ran_ahead_of_later_arrivals_is_told_with_what_was_late_for_that_alone() {
    let slot = slot(false, 0);
    // Windows of 10 ms with 2 ms of grace: an arrival from 5 s ahead closes all that follows for 5 s.
    let records = vec![
        record(1, 1_000, &[bid(slot, 1, 1_000)]),
        record(2, 6_001, &[]),
        record(3, 1_001, &[bid(slot, 2, 1_001), bid(slot, 3, 500)]),
        record(4, 5_500, &[bid(slot, 4, 5_499), bid(slot, 5, 5_491)]),
        record(5, 6_005, &[bid(slot, 6, 6_005)]),
    ];
    let all = Recomputed::of(agreed(), &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));
    let [told] = &all.clocks_ahead[..] else { panic!("{:?}", all.clocks_ahead) };
    // The third was late by its own arrival, too.
    assert_eq!((told.ahead_ms, told.since, told.late), (5_000, Millis(1_001), 3));
    let back = vec![record(1, 2_000, &[]), record(2, 1_001, &[]), record(3, 2_001, &[])];
    let all = Recomputed::of(agreed(), &log(vec![(shard("s", 0, u128::MAX, &[]), back, false)]));
    assert_eq!(all.clocks_ahead, [], "arrivals may go back a little");
}

#[test]
fn an_auction_of_more_regions_than_an_item_names_keeps_the_busiest_and_adds_up_the_others() {
    let slot = slot(false, 0);
    let of = |n: u32, name: String| {
        let mut bid = bid(slot, 1, 5);
        (bid.bid_id, bid.region) = (BidId::from_bytes(u128::from(n).to_be_bytes()), region(&name));
        (bid.amount, bid.latency_ms) = (Price::from_units(u64::from(n) + 1).unwrap(), n);
        bid
    };
    // The last ten regions bid twice; of those that bid once, the first by name are named.
    let once = (0..300).map(|n| of(n, format!("r{n:03}")));
    let twice = (290..300).map(|n| of(n + 100, format!("r{n:03}")));
    let bids: Vec<Bid> = once.chain(twice).collect();
    let records = vec![record(1, 5, &bids), record(2, 13, &[])];
    let all = Recomputed::of(agreed(), &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));
    let regions = &all.aggregates[&(slot, Millis(0))].regions;
    let names: Vec<String> = (0..245).chain(290..300).map(|n| format!("r{n:03}")).collect();
    assert_eq!(regions.keys().skip(1).map(ToString::to_string).collect::<Vec<_>>(), names);
    let others = &regions[&Region::OTHERS];
    assert_eq!((others.bids, others.amount_sum), (45, Money((246..=290).sum())));
    assert_eq!((others.latency_ms_sum, others.latency_ms_max), ((245..290).sum(), 289));
    assert_eq!((others.amount_max.units(), others.best.region), (290, region("r289")));
    let named: Vec<String> = all.totals.keys().map(|(region, ..)| region.to_string()).collect();
    let busiest = (0..53).chain(290..300).map(|n| format!("r{n:03}"));
    assert_eq!(named, std::iter::once("*".to_owned()).chain(busiest).collect::<Vec<_>>());
    let others = &all.totals[&(Region::OTHERS, Millis(0), id("s"))];
    let amounts = (53..290).map(|n| n + 1).sum();
    assert_eq!((others.bids, others.amount_sum, others.top_ranked), (237, Money(amounts), 0));
    let attrs = others.to_attrs();
    assert_eq!(RegionTotals::from_attrs(&attrs).as_ref(), Ok(others), "what is written is read");
}

#[test]
fn what_could_not_be_read_has_totals_of_its_own_however_little_it_is() {
    let slot = slot(false, 0);
    let bids: Vec<Bid> = (0..70_u32)
        .map(|n| {
            let id = BidId::from_bytes(u128::from(n).to_be_bytes());
            Bid { bid_id: id, region: region(&format!("r{n:02}")), ..bid(slot, 1, 5) }
        })
        .collect();
    let all = Recomputed::of(
        agreed(),
        &log(vec![(shard("s", 0, u128::MAX, &[]), vec![record(1, 5, &bids), record(2, 13, &[])], false)]),
    );
    let mut totals: Vec<RegionTotals> =
        all.totals.into_values().filter(|one| one.region != Region::OTHERS).collect();
    totals.iter_mut().for_each(|one| one.late = 1);
    totals.push(RegionTotals { region: region("r99"), ..totals[0].clone() });
    totals.push(RegionTotals {
        region: Region::UNREADABLE,
        bids: 0,
        late: 0,
        rejected: 1,
        ..totals[0].clone()
    });
    let named = name_totals(totals);
    assert_eq!((named.len(), named[0].region, named[0].rejected), (64, Region::UNREADABLE, 1));
    assert_eq!((named[63].region, named[63].bids), (Region::OTHERS, 2), "r62 and r99");
}

#[test]
fn candidates_are_the_best_bids_of_distinct_accounts_in_the_order_of_the_design() {
    let slot = slot(false, 0);
    let with = |n: u32, units: u64, at: u64, quality: u16| {
        let mut bid = bid(slot, n, at);
        (bid.amount, bid.quality) = (Price::from_units(units).unwrap(), BasisPoints::new(quality).unwrap());
        bid
    };
    let mut weaker = with(9, 70, 1, 10_000);
    weaker.account_id = account(4);
    // The same amount from 3 and 4: the earlier one leads. 2 and 1: the same time too, the lower bid id leads.
    let bids = [
        with(4, 80, 3, 5_000),
        weaker,
        with(3, 80, 2, 1_000),
        with(2, 60, 1, 10_000),
        with(1, 60, 1, 10_000),
    ];
    let small =
        log(vec![(shard("s", 0, u128::MAX, &[]), vec![record(7, 3, &bids), record(8, 50, &[])], false)]);
    let auction = &Recomputed::of(agreed(), &small).aggregates[&(slot, Millis(0))];
    let order: Vec<_> = auction.candidates.iter().map(|c| (c.account_id, c.sub_sequence)).collect();
    assert_eq!(order, [(account(3), 2), (account(4), 0)]);
    assert_eq!((auction.bids, auction.bidders), (5, 4));
    assert_eq!((auction.next_amount, auction.next_score), (Some(Price::from_units(60).unwrap()), Some(60)));
    assert_eq!(auction.regions[&region("odd")].best.account_id, account(3));

    let geometry = schemas::geometry::Geometry { ranking: Ranking::AmountQuality, ..agreed().geometry };
    let by_quality = Recomputed::of(GeometryItem { geometry, ..agreed() }, &small);
    let auction = &by_quality.aggregates[&(slot, Millis(0))];
    let order: Vec<_> = auction.candidates.iter().map(|c| (c.account_id, c.amount.units())).collect();
    assert_eq!(order, [(account(4), 70), (account(1), 60)]);
    assert_eq!(auction.next_score, Some(600_000));

    // The same score by different amounts: the higher amount leads, though its bid came later.
    let equal = [with(1, 20, 1, 10_000), with(2, 40, 2, 5_000)];
    let small =
        log(vec![(shard("s", 0, u128::MAX, &[]), vec![record(7, 3, &equal), record(8, 50, &[])], false)]);
    let by_quality = Recomputed::of(GeometryItem { geometry, ..agreed() }, &small);
    assert_eq!(by_quality.aggregates[&(slot, Millis(0))].candidates[0].account_id, account(2));
}

#[test]
fn children_inherit_what_is_open_and_remember_what_was_counted() {
    let (low, high) = (slot(false, 0), slot(true, 0));
    let all = Recomputed::of(
        agreed(),
        &log(vec![
            (shard("p", 0, u128::MAX, &[]), vec![record(1, 5, &[bid(low, 1, 5), bid(high, 2, 5)])], true),
            (
                shard("a", 0, HALF, &["p"]),
                vec![record(9, 6, &[bid(low, 1, 5), bid(low, 3, 6)]), record(10, 40, &[])],
                false,
            ),
            (shard("b", HALF + 1, u128::MAX, &["p"]), vec![record(11, 12, &[bid(high, 4, 7)])], false),
        ]),
    );
    let auction = &all.aggregates[&(low, Millis(0))];
    assert_eq!((auction.bids, auction.duplicates, auction.amount_sum), (2, 1, Money(10)));
    assert_eq!(auction.shard_id, id("a"));
    let places: Vec<_> =
        auction.candidates.iter().map(|c| (c.shard_id.clone(), c.sequence.to_string())).collect();
    assert_eq!(places, [(id("a"), "9".to_owned()), (id("p"), "1".to_owned())]);
    assert!(!all.aggregates.contains_key(&(high, Millis(0))));
    assert_eq!(all.verdict(&high, Millis(0)), Verdict::Open);
    assert!(
        all.totals.keys().all(|(_, _, shard)| *shard == id("a")),
        "the parent counted nothing that closed"
    );
}

#[test]
fn a_merged_shard_begins_with_the_higher_clock_and_closes_by_it() {
    let (low, high) = (slot(false, 0), slot(true, 0));
    let late = bid(low, 3, 4);
    let all = Recomputed::of(
        agreed(),
        &log(vec![
            (shard("a", 0, HALF, &[]), vec![record(1, 5, &[bid(low, 1, 5)])], true),
            (
                shard("b", HALF + 1, u128::MAX, &[]),
                vec![record(2, 33, &[bid(high, 2, 33), bid(high, 5, 1)])],
                true,
            ),
            (shard("c", 0, u128::MAX, &["b", "a"]), vec![record(3, 6, &[late])], false),
        ]),
    );
    let auction = &all.aggregates[&(low, Millis(0))];
    assert_eq!((auction.bids, auction.shard_id.clone()), (1, id("c")));
    assert_eq!(all.verdict(&high, Millis(30)), Verdict::Open);
    // A shard's own refusals are written under its id when it ends, its windows closed or not.
    assert_eq!(all.totals[&(region("odd"), Millis(30), id("b"))].late, 1);
    assert!(!all.totals.contains_key(&(region("odd"), Millis(30), id("c"))), "the clock has not passed it");
}

#[test]
fn what_a_parents_clock_has_passed_is_closed_before_the_first_record() {
    let (low, high) = (slot(false, 0), slot(true, 0));
    let all = Recomputed::of(
        agreed(),
        &log(vec![
            (shard("a", 0, HALF, &[]), vec![record(1, 5, &[bid(low, 1, 5)])], true),
            (shard("b", HALF + 1, u128::MAX, &[]), vec![record(2, 33, &[bid(high, 2, 33)])], true),
            (shard("c", 0, u128::MAX, &["b", "a"]), vec![], false),
        ]),
    );
    assert_eq!(all.aggregates[&(low, Millis(0))].shard_id, id("c"));
    assert_eq!(all.totals[&(region("odd"), Millis(0), id("c"))].bids, 1);
}

#[test]
fn windows_at_the_edge_of_retention_are_cut_and_children_know_it() {
    let (low, high) = (slot(false, 0), slot(true, 0));
    let mut trimmed = shard("p", 0, u128::MAX, &[]);
    trimmed.trimmed = true;
    let all = Recomputed::of(
        agreed(),
        &log(vec![
            // First clock 15 and 5 ms ahead: window 20 begins just there and may have lost bids, 30 has not.
            (
                trimmed,
                vec![record(1, 15, &[bid(low, 1, 16), bid(low, 2, 20)]), record(2, 31, &[bid(high, 3, 31)])],
                true,
            ),
            (shard("a", 0, HALF, &["p"]), vec![record(3, 60, &[])], false),
            (shard("b", HALF + 1, u128::MAX, &["p"]), vec![record(4, 60, &[])], false),
        ]),
    );
    assert_eq!(all.aggregates.keys().collect::<Vec<_>>(), [&(high, Millis(30))]);
    assert_eq!(all.cut, 2);
    assert_eq!(all.verdict(&low, Millis(20)), Verdict::Cut);
    assert_eq!(all.verdict_of_shard(&id("a"), Millis(20)), Verdict::Cut);
    assert_eq!(all.verdict_of_shard(&id("gone"), Millis(0)), Verdict::Cut);
    assert_eq!(all.verdict_of_shard(&id("gone"), Millis(30)), Verdict::Judged);
}

#[test]
fn windows_of_which_a_stream_before_this_one_had_a_part_are_cut() {
    let slot = slot(false, 0);
    let records =
        vec![record(1, 15, &[bid(slot, 1, 15)]), record(2, 25, &[bid(slot, 2, 25)]), record(3, 60, &[])];
    let mut all = Recomputed::of(agreed(), &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));
    let windows = |all: &Recomputed| {
        let aggregates: Vec<u64> = all.aggregates.keys().map(|(_, window)| window.0).collect();
        let mut totals: Vec<u64> = all.totals.keys().map(|(_, window, _)| window.0).collect();
        totals.sort_unstable();
        [aggregates, totals, all.hot.keys().map(|(window, _)| window.0).collect()]
    };
    assert_eq!((windows(&all), all.cut), ([(); 3].map(|()| vec![10, 20]), 0));
    all.cut_through(Millis(15));
    assert_eq!((windows(&all), all.cut), ([(); 3].map(|()| vec![20]), 1));
    let shard = id("s");
    for (window, verdict) in [(10, Verdict::Cut), (20, Verdict::Judged)] {
        assert_eq!(all.verdict(&slot, Millis(window)), verdict);
        assert_eq!(all.verdict_of_shard(&shard, Millis(window)), verdict);
    }
}

#[test]
fn a_shard_whose_parents_are_gone_is_cut_at_its_first_record() {
    let slot = slot(false, 0);
    let records = vec![record(1, 16, &[bid(slot, 1, 16)]), record(2, 60, &[])];
    let all = Recomputed::of(agreed(), &log(vec![(shard("c", 0, u128::MAX, &["gone"]), records, false)]));
    assert_eq!((all.aggregates.len(), all.cut), (0, 1));
    assert_eq!(all.verdict(&slot, Millis(30)), Verdict::Judged);
}

#[test]
fn the_busiest_slots_come_first_and_equals_by_slot() {
    let slots: Vec<_> = (0..12).map(|n| slot(false, n)).collect();
    let mut bids: Vec<_> = slots.iter().map(|slot| bid(*slot, 1, 1)).collect();
    bids.push(bid(slots[11], 2, 1));
    let all = Recomputed::of(
        agreed(),
        &log(vec![(shard("s", 0, HALF, &[]), vec![record(1, 1, &bids), record(2, 50, &[])], false)]),
    );
    let hot: Vec<_> = all.hot[&(Millis(0), id("s"))].slots.iter().map(|slot| slot.slot_id).collect();
    let mut others = slots[..11].to_vec();
    others.sort();
    assert_eq!(hot[0], slots[11]);
    assert_eq!(hot[1..], others[..9]);
}

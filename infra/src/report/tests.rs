//! What the table adds up to, and the names of the JSON.

use schemas::attr::Attrs;
use schemas::ids::ShardId;
use schemas::item::{HotSlots, RegionTotals};
use schemas::money::Price;
use schemas::time::Millis;

use super::rows::{is_conflict, percentile};
use super::*;

fn totals(region: &str, bids: u64, ttl: u64) -> Attrs {
    RegionTotals {
        region: region.parse().unwrap(),
        window_start: Millis(0),
        shard_id: ShardId("s".to_owned()),
        bids,
        amount_sum: Money(16),
        amount_max: None,
        top_ranked: 0,
        latency_ms_sum: 0,
        late: 2,
        early: 0,
        stray: 0,
        duplicates: 4,
        rejected: 0,
        ttl,
    }
    .to_attrs()
}

fn hot(window: u64, slots: &[(u128, u64)]) -> Attrs {
    let one = |(slot, bids): &(u128, u64)| schemas::item::HotSlot {
        slot_id: schemas::ids::SlotId::from_bytes(slot.to_be_bytes()),
        bids: *bids,
        amount_max: Price::from_units(*bids).unwrap(),
    };
    let slots = slots.iter().map(one).collect();
    HotSlots { window_start: Millis(window), shard_id: ShardId("s".to_owned()), slots, ttl: 50 }.to_attrs()
}

#[test]
fn totals_add_up_by_region_and_expired_items_are_left_out() {
    let mut scanned = Scanned::at(10);
    for attrs in [totals("eu", 1, 11), totals("eu", 2, 50), totals("us", 4, 11), totals("us", 8, 10)] {
        scanned.take(&attrs);
    }
    for (pk, sk) in [("REGION#eu", "WINDOW#1#s"), ("HOT#1", "s"), ("SLOT#1", "WINDOW#1")] {
        let damaged = [("PK", pk), ("SK", sk), ("bids", "many"), ("state", "LOST")];
        scanned.take(&damaged.map(|(name, value)| (name.to_owned(), schemas::attr::s(value))).into());
    }
    [hot(0, &[(1, 4), (2, 8)]), hot(10, &[(1, 16)])].iter().for_each(|attrs| scanned.take(attrs));
    let report = scanned.finish();
    assert_eq!((report.unreadable_items, report.auctions_closed), (3, 0));
    assert_eq!((report.bids_counted, report.late, report.duplicates), (7, 6, 12));
    assert_eq!((report.regions["eu"].bids, report.regions["eu"].amount_sum), (3, Money(32)));
    assert_eq!(report.regions["us"].bids, 4);
    let hot: Vec<_> = report.hot_slots.iter().map(|slot| (slot.bids, slot.amount_max)).collect();
    assert_eq!(hot, [(20, Money(16)), (8, Money(8))]);
}

#[test]
fn a_percentile_is_a_value_that_was_there() {
    let waits: Vec<u64> = (1..=200).collect();
    assert_eq!((percentile(&waits, 50), percentile(&waits, 99)), (100, 198));
    assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 99)), (7, 7, 0));
}

#[test]
fn the_json_has_the_names_of_the_contract() {
    let json = serde_json::to_value(Report::default()).unwrap();
    let names = "bids_sent bids_accepted bids_per_second late early stray duplicates rejected expired auctions_closed \
        settled no_sale log_auctions log_accounts log_unknown log_reads log_bytes settle_latency_ms_p50 settle_latency_ms_p99 conflicts retries resolved resolutionRate ledger_sum \
        audit_differences regions hot_slots";
    for name in names.split_whitespace() {
        assert!(json.get(name).is_some(), "{name}");
    }
    assert_eq!(json["ledger_sum"], "0.0000");
}

#[test]
fn a_person_sees_a_dash_where_nobody_knows() {
    let mut printed = Vec::new();
    Report { bids_sent: Some(12), ..Report::default() }.print(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("bids sent                        12"), "{printed}");
    assert!(printed.contains("bids accepted                     -"), "{printed}");
    assert!(printed.contains("decided from log                  0"), "{printed}");
}

#[test]
fn conflicts_are_those_of_dsql_of_postgresql_of_a_derived_key_and_of_the_guard() {
    assert!(["40001", "40P01", "55P03", "23505", "22012"].into_iter().all(is_conflict));
    assert!(!["XX000", "lost", "away", "54000", "53400"].into_iter().any(is_conflict));
}

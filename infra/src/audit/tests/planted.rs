//! One plant at a time in a pipeline that agrees with its log: each must be found, and named.
//! Longer than 400 lines because it is one table: a fault planted, and the difference that must name it.

use std::collections::BTreeMap;

use schemas::geometry::Pricing;
use schemas::item::State;
use schemas::money::Money;
use schemas::time::Millis;
use uuid::Uuid;

use super::super::items::Items;
use super::super::rows::{Entry, Rows};
use super::super::{AuditResult, Pending, compare, earlier};
use super::pipeline::*;
use super::world::*;

#[test]
fn a_pipeline_that_kept_the_rules_has_no_difference() {
    for pricing in [Pricing::First, Pricing::Second] {
        let result = world(pricing).judge(Pending::Difference);
        assert_eq!(result.differences, []);
        assert_eq!((result.auctions, result.bids, result.settlements, result.entries), (2, 4, 2, 2));
        assert!(result.is_clean());
    }
}

#[test]
fn what_was_over_when_the_stream_was_made_is_of_one_before_it() {
    let mut world = world(Pricing::First);
    let last = world.rows.settlements.iter().map(|row| row.window_end).max().unwrap();
    let made = |world: &World, at| earlier(&world.items, &world.rows, Millis(at));
    assert_eq!([0, last.0].map(|at| made(&world, at)), [0, 2], "an item and its row are one auction");
    assert!(made(&world, last.0 - 1) < 2, "it was made within a window");
    world.items.aggregates.clear();
    assert_eq!(made(&world, last.0), 2, "rows stay when items are gone");
    world.rows.settlements.clear();
    assert_eq!(made(&world, last.0), 0);
}

#[test]
fn a_difference_names_its_auction_and_both_values() {
    let mut world = world(Pricing::First);
    world.first_item().item.bids = 4;
    let result = world.judge(Pending::Allowed);
    let found = &result.differences[0];
    let (slot, window) = *world.log.aggregates.keys().next().unwrap();
    assert_eq!(
        (found.what.as_str(), found.slot_id, found.window_start),
        ("aggregate bids", Some(slot), Some(window))
    );
    assert_eq!((found.expected.as_str(), found.found.as_str()), ("3", "4"));
    let told = printed(&result);
    assert!(told.contains(&format!("aggregate bids of slot {slot}")) && !told.contains("a matter of time"));
}

#[test]
fn only_what_time_may_mend_is_said_to_be_a_matter_of_time() {
    let told = |plant: fn(&mut World)| {
        let mut world = world(Pricing::First);
        plant(&mut world);
        let result = world.judge(Pending::Difference);
        assert!(!result.is_clean());
        let printed = printed(&result);
        let hint = printed.lines().find(|line| line.contains("a matter of time: let processors"));
        hint.and_then(|line| line.split_whitespace().next()).map(str::to_owned)
    };
    let undecided = |w: &mut World| {
        w.items.aggregates.pop_first();
        w.items.totals.pop_first();
        w.items.hot.pop_first();
        w.rows = Rows { accounts: w.rows.accounts.clone(), slots: w.rows.slots.clone(), ..Rows::default() };
    };
    assert_eq!(told(undecided).as_deref(), Some("3"));
    let pending = |w: &mut World| {
        let item = w.first_item().item.clone();
        let pending = schemas::item::Aggregate { state: State::Pending, decision: None, ttl: None, ..item };
        w.items.take(&pending.to_attrs(4));
    };
    assert_eq!(told(pending).as_deref(), Some("1"));
    // Something is not there in each of these, and it will not come: it was there, or comes with what is there.
    let spoiled: [fn(&mut World); 6] = [
        |w| drop(w.items.aggregates.pop_first()),
        |w| w.first_item().item.decision = None,
        |w| drop(w.rows.settlements.pop()),
        |w| drop(w.rows.entries.pop()),
        |w| w.rows.settlements[0].winner_account = None,
        |w| w.rows.evidence.values_mut().flatten().for_each(|one| one.passed_over = None),
    ];
    for plant in spoiled {
        assert_eq!(told(plant), None);
    }
}

#[test]
fn an_item_that_was_given_up_or_is_held_or_was_passed_is_no_matter_of_time() {
    let first = |w: &World| w.log.aggregates.values().next().unwrap().clone();
    let undecided = |w: &mut World| {
        w.items.aggregates.pop_first();
        w.rows = Rows { accounts: w.rows.accounts.clone(), slots: w.rows.slots.clone(), ..Rows::default() };
    };
    let found = |plant: &dyn Fn(&mut World)| {
        let mut world = world(Pricing::First);
        undecided(&mut world);
        plant(&mut world);
        let result = world.judge(Pending::Allowed);
        let aggregate: Vec<_> = result.differences.iter().filter(|one| one.what == "aggregate").collect();
        assert_eq!(aggregate.len(), 1, "{:?}", result.differences);
        (aggregate[0].found.clone(), aggregate[0].may_still_come(), result.clone())
    };
    let (words, may_come, _) = found(&|_| {});
    assert_eq!((words.as_str(), may_come), ("nothing", true), "nobody knows better");

    let skipped = |w: &mut World| {
        let one = first(w);
        let row = schemas::item::SkippedItem {
            key: one.key(),
            by: "ops".into(),
            at: Millis(7),
            reason: "agreed".into(),
            refused: "refused (ValidationException): odd".into(),
            shard_id: one.shard_id,
        };
        w.items.take(&row.to_attrs());
    };
    let (words, may_come, result) = found(&skipped);
    assert!(words.starts_with("nothing, skipped by ops at ") && words.contains("\"agreed\""), "{words}");
    assert!(!may_come && words.contains("ValidationException"));
    assert_eq!((result.skipped, result.refused), (1, 0));
    assert!(printed(&result).contains("1 skipped by a person"));

    let refused = |ttl| {
        move |w: &mut World| {
            let one = first(w);
            let (key, reason) = (one.key(), "odd".to_owned());
            let row =
                schemas::item::RefusedItem { key, shard_id: one.shard_id, reason, since: Millis(3), ttl };
            w.items.take(&row.to_attrs());
        }
    };
    let (words, may_come, result) = found(&refused(NOW.seconds() + 1));
    assert!(
        words.contains("a processor holds it since ") && words.contains("processor leases skip"),
        "{words}"
    );
    assert!(!may_come && result.refused == 1);
    let (words, ..) = found(&refused(NOW.seconds()));
    assert_eq!(words, "nothing", "it was told of too long ago");
    // The row about it stays for a while after the item was taken, or was given up.
    let mut taken = world(Pricing::First);
    refused(NOW.seconds() + 1)(&mut taken);
    assert_eq!(taken.judge(Pending::Difference).refused, 0, "it stands");
    let given_up = |w: &mut World| {
        refused(NOW.seconds() + 1)(w);
        skipped(w);
    };
    let (_, _, result) = found(&given_up);
    assert_eq!((result.skipped, result.refused), (1, 0));

    let through = |back: u64| {
        move |w: &mut World| {
            let one = first(w);
            let closes = one.window_end.0 + w.log.agreed.geometry.grace_ms;
            w.items.missing.closed_through.insert(one.shard_id, Millis(closes + 1 - back));
        }
    };
    let (words, may_come, _) = found(&through(0));
    assert!(words.contains("the checkpoint of ") && words.ends_with("has passed it") && !may_come, "{words}");
    assert_eq!(found(&through(1)).0, "nothing", "its checkpoint is before it");
}

#[test]
fn a_held_auction_is_a_difference_where_everything_should_be_decided() {
    let mut world = world(Pricing::First);
    world.rows =
        Rows { accounts: world.rows.accounts.clone(), slots: world.rows.slots.clone(), ..Rows::default() };
    let item = &mut world.first_item().item;
    (item.state, item.decision, item.held_error) = (State::Held, None, Some("why it is".to_owned()));
    let result = world.judge(Pending::Difference);
    let found = result.differences.iter().find(|one| one.what == "aggregate state").expect("it is told");
    assert!(found.found.starts_with("HELD: why it is; ") && found.found.contains("`settler release --slot "));
    assert!(!found.may_still_come());
    assert!(world.judge(Pending::Allowed).differences.iter().all(|one| one.what != "aggregate state"));
}

fn printed(result: &AuditResult) -> String {
    let mut printed = Vec::new();
    result.print(&mut printed).unwrap();
    String::from_utf8(printed).unwrap()
}

#[test]
fn every_attribute_of_an_aggregate_is_compared() {
    assert_eq!(
        planted(|w| w.first_item().item.amount_sum.0 += 1),
        ["aggregate amount_sum", "aggregate digest of its own attributes"]
    );
    assert_eq!(
        planted(|w| w.first_item().item.candidates.swap(0, 1))[..2],
        ["aggregate candidates[0]", "aggregate candidates[1]"]
    );
    let latency =
        planted(|w| w.first_item().item.regions.values_mut().for_each(|stats| stats.latency_ms_sum += 1));
    assert_eq!(
        latency[..2],
        ["aggregate regions.even.latency_ms_sum", "aggregate regions.odd.latency_ms_sum"]
    );
    assert_eq!(planted(|w| w.first_item().item.next_amount = None)[0], "aggregate next_amount");
    assert_eq!(
        planted(|w| w.first_item().digest.push('0')),
        ["aggregate digest", "aggregate digest of its own attributes"]
    );
    assert_eq!(planted(|w| w.first_item().item.ttl = None), ["aggregate ttl"]);
    assert_eq!(planted(|w| w.first_item().outbox.0 = Some("OUTBOX#0#0".to_owned())), ["aggregate outbox_pk"]);
}

#[test]
fn missing_and_extra_items_are_found() {
    assert_eq!(planted(|w| drop(w.items.aggregates.pop_first())), ["aggregate"]);
    assert_eq!(planted(|w| drop(w.items.totals.pop_first())), ["region totals"]);
    assert_eq!(planted(|w| drop(w.items.hot.pop_first())), ["hot slots"]);
    let extra = planted(|w| {
        let mut found = w.first_item().clone();
        (found.item.window_start, found.item.window_end) = (Millis(20), Millis(30));
        w.items.aggregates.insert((found.item.slot_id, Millis(20)), found);
    });
    assert_eq!(extra, ["aggregate", "settlement"]);
    assert_eq!(planted(|w| w.items.take(&BTreeMap::new())), ["item"]);
    // An item of a window that the stream has not closed is not judged.
    let open = planted(|w| {
        let (_, (mut totals, digest)) = w.items.totals.pop_last().unwrap();
        w.items.totals.insert(
            (totals.region, totals.window_start, totals.shard_id.clone()),
            (totals.clone(), digest.clone()),
        );
        totals.window_start = Millis(50);
        w.items.totals.insert((totals.region, Millis(50), totals.shard_id.clone()), (totals, digest));
    });
    assert_eq!(open, [""; 0]);
}

#[test]
fn counts_and_hot_slots_are_compared() {
    assert_eq!(
        planted(|w| w.items.totals.values_mut().next().unwrap().0.late = 1),
        ["region totals late", "region totals digest of its own attributes"]
    );
    assert_eq!(
        planted(|w| w.items.hot.values_mut().next().unwrap().0.slots[0].bids = 9),
        ["hot slots slots[0]", "hot slots digest of its own attributes"]
    );
}

#[test]
fn an_item_may_be_gone_only_after_its_ttl_and_with_the_rows_digest() {
    let late = Millis(200_000);
    let mut world = world(Pricing::First);
    world.items = Items::default();
    assert_eq!(compare(&world.log, &world.items, &world.rows, Pending::Difference, late).differences, []);
    world.rows.settlements[0].aggregate_digest.push('0');
    let found = compare(&world.log, &world.items, &world.rows, Pending::Difference, late);
    let whats: Vec<_> = found.differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(whats, ["aggregate", "settlement aggregate_digest"]);
}

#[test]
fn a_pending_auction_is_a_difference_only_when_asked() {
    let mut world = world(Pricing::First);
    let item = world.items.aggregates.values().next().unwrap().item.clone();
    let pending = schemas::item::Aggregate { state: State::Pending, decision: None, ttl: None, ..item };
    world.items.take(&pending.to_attrs(4));
    assert_eq!(world.judge(Pending::Allowed).differences, []);
    assert_eq!(world.judge(Pending::Allowed).pending, 1);
    assert_eq!(world.whats(), ["aggregate state"]);
    world.first_item().item.ttl = Some(100);
    assert_eq!(world.whats(), ["aggregate ttl", "aggregate state"]);
}

#[test]
fn the_winner_and_the_price_are_recomputed() {
    let price = planted(|w| {
        w.rows.settlements[0].clearing_price = money(15);
        w.rows.entries.iter_mut().for_each(|entry| entry.amount = Money(15));
        w.rows.accounts.get_mut(&account(4)).unwrap().balance = Some(Money(85));
    });
    assert_eq!(price, ["settlement clearing_price", "aggregate decision"]);
    let winner = planted(|w| w.rows.settlements[0].winner_account = Some(account(3)));
    for what in ["ledger entry of a settlement", "settlement winner_account", "aggregate decision"] {
        assert!(winner.contains(&what.to_owned()), "{what}");
    }
    // Without true evidence nobody is passed over: account 5 should have won.
    let rich = planted(|w| {
        w.rows
            .evidence
            .values_mut()
            .flatten()
            .filter(|e| e.account_id == account(5))
            .for_each(|e| e.balance_seen = money(24));
    });
    assert!(
        rich.contains(&"settlement winner_account".to_owned())
            && rich.contains(&"evidence balance_seen".to_owned())
    );
    let reason = planted(|w| {
        let row = &mut w.rows.settlements[1];
        row.no_sale_reason = Some("unknown_slot".to_owned());
        (row.floor_price, row.publisher_account_id) = (None, None);
    });
    assert_eq!(reason, ["aggregate decision"], "a slot that nothing proves to have existed was unknown");
    assert_eq!(planted(|w| w.rows.settlements[1].window_end = Millis(11)), ["settlement window_end"]);
}

#[test]
fn a_decision_stands_when_its_slot_gets_another_floor_and_publisher() {
    for pricing in [Pricing::First, Pricing::Second] {
        for floor in [0, 2, 20, 40] {
            let mut world = world(pricing);
            for slot in world.rows.slots.values_mut() {
                (slot.floor_price, slot.publisher_account_id) = (Some(Money(floor)), account(9));
            }
            assert_eq!(world.judge(Pending::Difference).differences, [], "{pricing:?}, {floor}");
        }
    }
}

#[test]
fn the_floor_and_the_publisher_of_a_row_are_held_to_what_was_decided_by_them() {
    // The winner bid 16 and the one before it 32, which it could not pay.
    let above = planted(|w| w.rows.settlements[0].floor_price = money(17));
    assert_eq!(above[..2], ["settlement outcome", "settlement no_sale_reason"]);
    assert_eq!(planted(|w| w.rows.settlements[0].floor_price = money(16)), [""; 0], "16 is not below it");
    let passed_over = planted(|w| w.rows.settlements[0].floor_price = money(33));
    let evidence = passed_over.iter().filter(|what| *what == "evidence passed_over").count();
    assert_eq!(evidence, 2, "both are below it, and neither was passed over for that: {passed_over:?}");
    // Passed over for the floor, and not below it.
    let below = planted(|w| w.rows.settlements[1].floor_price = money(2));
    assert_eq!(below[..2], ["settlement outcome", "settlement no_sale_reason"]);
    assert!(below.contains(&"evidence passed_over".to_owned()), "{below:?}");
    // The follower's 8 is the second price while it reaches the floor, and the floor is from there on.
    let mut world = world(Pricing::Second);
    world.rows.settlements[0].floor_price = money(9);
    assert_eq!(world.whats(), ["settlement clearing_price", "evidence passed_over"]);
    let publisher = planted(|w| w.rows.settlements[0].publisher_account_id = Some(account(9)));
    assert_eq!(publisher, ["ledger entry of a settlement", "ledger entry of a settlement"]);
}

#[test]
fn an_unknown_slot_has_no_floor_and_a_known_one_both_or_neither() {
    let unknown = planted(|w| w.rows.settlements[1].no_sale_reason = Some("unknown_slot".to_owned()));
    let kept = ["settlement floor_price", "settlement publisher_account_id"];
    assert_eq!(unknown, [kept[0], kept[1], "aggregate decision"]);
    assert_eq!(planted(|w| w.rows.settlements[1].floor_price = None), ["settlement slot as seen"]);
    assert_eq!(planted(|w| w.rows.settlements[1].publisher_account_id = None), ["settlement slot as seen"]);
    // Slots never go: a decision of one that is not there is no decision, whatever it says of it.
    let gone = planted(|w| w.rows.slots.clear());
    for what in [kept[0], kept[1], "settlement outcome", "settlement no_sale_reason"] {
        assert!(gone.contains(&what.to_owned()), "{what} in {gone:?}");
    }
}

#[test]
fn a_row_from_before_floors_were_kept_is_judged_by_what_its_slot_has_now() {
    let before = |change: fn(&mut World)| {
        planted(|w| {
            for row in &mut w.rows.settlements {
                (row.floor_price, row.publisher_account_id) = (None, None);
            }
            change(w);
        })
    };
    assert_eq!(before(|_| {}), [""; 0]);
    let floor = before(|w| w.rows.slots.values_mut().for_each(|slot| slot.floor_price = Some(Money(20))));
    assert_eq!(floor[..2], ["settlement outcome", "settlement no_sale_reason"]);
    let another = |w: &mut World| w.rows.slots.values_mut().for_each(|s| s.publisher_account_id = account(9));
    assert_eq!(before(another), ["ledger entry of a settlement", "ledger entry of a settlement"]);
}

#[test]
fn second_price_pays_the_next_who_could_have_paid() {
    let mut world = world(Pricing::Second);
    // Account 3 holds 0 with a limit of 8 and bid 8: it could always pay, so 4 owes 8. With nothing it could not.
    world.rows.accounts.get_mut(&account(3)).unwrap().credit_limit = Money(7);
    let differences = world.judge(Pending::Difference).differences;
    assert_eq!(differences[0].what, "evidence limit_seen", "{differences:?}");
    let mut world = super::pipeline::world(Pricing::Second);
    assert_eq!(world.whats(), [""; 0]);
    world.rows.settlements[0].clearing_price = money(4);
    assert!(world.whats().contains(&"settlement clearing_price".to_owned()));
}

#[test]
fn one_settlement_per_auction_and_none_without_one() {
    let twice = planted(|w| {
        let mut second = w.rows.settlements[1].clone();
        second.settlement_id = Uuid::from_u128(1);
        w.rows.settlements.push(second);
    });
    assert_eq!(twice[..2], ["settlements of one auction", "settlement settlement_id"]);
    let missing = planted(|w| drop(w.rows.settlements.pop()));
    assert_eq!(missing, ["settlement", "evidence without a settlement"]);
    let orphan = planted(|w| {
        let mut other = w.rows.settlements[1].clone();
        (other.window_start, other.window_end) = (Millis(20), Millis(30));
        other.settlement_id = Uuid::new_v5(&other.slot_id.0, Millis(20).to_string().as_bytes());
        w.rows.settlements.push(other);
    });
    assert_eq!(orphan, ["settlement without an auction"]);
    assert_eq!(planted(|w| drop(w.rows.evidence.pop_first())).len(), 1);
}

#[test]
fn the_ledger_must_add_up() {
    let half = planted(|w| drop(w.rows.entries.pop()));
    assert_eq!(half, ["ledger entry of a settlement", "ledger sum of a settlement", "ledger sum"]);
    let thrice = planted(|w| w.rows.entries.push(w.rows.entries[1].clone()));
    assert_eq!(thrice, ["ledger entry of a settlement", "ledger sum of a settlement", "ledger sum"]);
    let orphan = planted(|w| {
        w.rows.entries.push(entry(Uuid::from_u128(7), account(PUBLISHER), "CREDIT", None));
    });
    assert_eq!(orphan, ["ledger entries without a settlement", "ledger sum"]);
    let wrong = planted(|w| w.rows.entries[1].account_id = account(9));
    assert_eq!(wrong, ["ledger entry of a settlement", "ledger entry of a settlement"]);
}

#[test]
fn balances_follow_from_entries_and_versions_have_no_gap() {
    assert_eq!(
        planted(|w| w.rows.accounts.get_mut(&account(4)).unwrap().balance = Some(Money(83))),
        ["account balance"]
    );
    assert_eq!(planted(|w| w.rows.accounts.get_mut(&account(4)).unwrap().version = 2), ["account version"]);
    let gap = planted(|w| {
        w.rows.entries[0].account_version = Some(2);
        w.rows.accounts.get_mut(&account(4)).unwrap().version = 2;
    });
    assert_eq!(gap, ["account version in sequence"]);
    let below = planted(|w| {
        let row = w.rows.accounts.get_mut(&account(4)).unwrap();
        (row.opening_balance, row.balance) = (Money(1), Some(Money(-15)));
    });
    assert_eq!(
        below,
        ["account balance after a debit", "account balance below its limit", "evidence balance_seen"]
    );
}

#[test]
fn a_deposit_is_a_pair_of_its_own_and_raises_the_balance() {
    let mut world = world(Pricing::First);
    let deposit = |account_id, direction: &str| Entry {
        settlement_id: None,
        deposit_id: Some(Uuid::from_u128(5)),
        ..entry(Uuid::from_u128(5), account_id, direction, None)
    };
    world.rows.entries.extend([deposit(account(4), "CREDIT"), deposit(account(77), "DEBIT")]);
    assert_eq!(world.whats(), ["account balance"]);
    let paid = world.rows.accounts.get_mut(&account(4)).unwrap();
    paid.balance = paid.balance.map(|balance| Money(balance.0 + 16));
    assert_eq!(world.whats(), [""; 0]);
    world.rows.entries.pop();
    assert_eq!(world.whats(), ["ledger entries of a deposit", "ledger sum of a deposit", "ledger sum"]);
}

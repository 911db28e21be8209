//! Second prices and the evidence that proves them: what is false, and what is gone.

use schemas::geometry::Pricing;
use schemas::money::Money;
use schemas::time::Millis;

use super::pipeline::*;
use super::world::*;

/// Plants one thing beside a second price that is right.
fn planted_price(plant: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = priced();
    plant(&mut world);
    world.whats()
}

/// As a release left it that kept no floors and whose evidence ended at the winner.
fn earlier() -> World {
    let mut world = priced();
    let row = &mut world.rows.settlements[0];
    (row.floor_price, row.publisher_account_id) = (None, None);
    (row.log_accounts, row.log_unknown, row.log_reads, row.log_bytes) = (None, None, None, None);
    world.seen().truncate(2);
    world
}

#[test]
fn one_second_price_is_right_by_its_evidence() {
    assert_eq!(planted_price(|_| {}), [""; 0]);
    // By history alone account 4 may have been able to pay 16, and 3 may not have been there: neither is so.
    for price in [1, 4, 7, 9, 16, 32] {
        assert_eq!(planted_price(|w| w.charge(price)), ["settlement clearing_price"], "{price}");
    }
}

#[test]
fn evidence_that_is_gone_is_missed() {
    assert_eq!(planted_price(|w| drop(w.seen().pop())), ["evidence"], "who sets the price");
    assert_eq!(planted_price(|w| w.seen().truncate(2)), ["evidence"], "everyone behind the winner");
    let gap = planted_price(|w| drop(w.seen().remove(2)));
    assert_eq!(gap, ["evidence candidate"], "the next one stands in its place");
    for price in [4, 16] {
        let without = planted_price(|w| {
            w.seen().truncate(2);
            w.charge(price);
        });
        assert_eq!(without, ["evidence"], "a price of {price} that nothing contradicts");
    }
    let seen: [fn(&mut World); 3] = [
        |w| w.seen()[3].balance_seen = None,
        |w| w.seen()[2].version_seen = None,
        |w| w.seen()[1].limit_seen = None,
    ];
    for blind in seen {
        let found = planted_price(blind);
        assert!(found.contains(&"evidence account as seen".to_owned()), "{found:?}");
    }
}

#[test]
fn who_was_skipped_for_the_price_was_rightly_skipped() {
    let skipped = |why: &'static str, balance: i128| {
        planted_price(|w| {
            let seen = &mut w.seen()[2];
            (seen.passed_over, seen.balance_seen) = (Some(why.to_owned()), money(balance));
        })
    };
    assert_eq!(skipped("insufficient_funds", 7), [""; 0], "some deposits before it");
    assert_eq!(skipped("insufficient_funds", 1), ["evidence balance_seen"]);
    let rich = ["settlement clearing_price", "evidence", "evidence passed_over"];
    assert_eq!(skipped("insufficient_funds", 8), rich, "its amount exactly");
    for why in ["below_floor", "unknown_account"] {
        assert_eq!(skipped(why, 2), ["evidence passed_over"], "{why}");
    }
    let unknown = |since: u64| {
        planted_price(|w| {
            w.rows.entries.iter_mut().for_each(|entry| entry.created_at = Millis(since));
            let seen = &mut w.seen()[2];
            seen.passed_over = Some("unknown_account".to_owned());
            (seen.balance_seen, seen.limit_seen, seen.version_seen) = (None, None, None);
        })
    };
    assert_eq!(unknown(501), [""; 0], "nothing proves that it existed then");
    assert_eq!(unknown(500)[..2], ["evidence", "evidence passed_over"]);
    // The one that sets the price, skipped with the truth in its own row.
    let hidden = planted_price(|w| {
        let mut last = w.seen()[3].clone();
        w.seen()[3].passed_over = Some("insufficient_funds".to_owned());
        let candidate = w.log.aggregates.values().next().unwrap().candidates[4].clone();
        (last.rank, last.bid_id, last.account_id) = (4, candidate.bid_id, candidate.account_id);
        (last.region, last.amount) = (candidate.region.to_string(), candidate.amount.into());
        w.seen().push(last);
        w.charge(4);
    });
    assert_eq!(hidden, rich);
}

#[test]
fn who_sets_the_price_could_have_paid_it() {
    let unable = planted_price(|w| {
        w.seen()[2].passed_over = None;
        w.seen().truncate(3);
        w.charge(16);
    });
    assert_eq!(unable, ["settlement clearing_price", "evidence", "evidence passed_over"]);
}

#[test]
fn evidence_ends_where_the_price_is_set() {
    let more = planted_price(|w| {
        w.rows.accounts.get_mut(&account(4)).unwrap().opening_balance = Money(8);
        w.rows.accounts.get_mut(&account(4)).unwrap().balance = Some(Money(24));
        let seen = &mut w.seen()[2];
        (seen.passed_over, seen.balance_seen) = (None, money(8));
        w.charge(16);
    });
    assert_eq!(more, ["evidence"], "16 is proven, and who is behind it was not looked at");
    let first = planted_price(|w| {
        w.log.agreed.geometry.pricing = Pricing::First;
        w.items.take(&w.log.agreed.to_attrs());
        w.charge(32);
    });
    assert_eq!(first, ["evidence"], "under first price nobody behind the winner matters");
}

/// The first candidate is held to the winner's amount, not to its own: the winner could pay all of it.
#[test]
fn who_is_passed_over_before_the_winner_could_not_pay_what_it_would_have_been_charged() {
    let holds = |balance: i128| {
        planted_price(|w| {
            let row = w.rows.accounts.get_mut(&account(6)).unwrap();
            (row.opening_balance, row.balance) = (Money(balance), Some(Money(balance)));
            w.seen()[0].balance_seen = money(balance);
        })
    };
    assert_eq!(holds(23), [""; 0]);
    assert_eq!(holds(24)[0], "settlement winner_account");
}

#[test]
fn a_price_of_an_earlier_release_is_one_of_those_that_are_possible() {
    for (price, is_possible) in [(4, true), (8, true), (16, true), (5, false), (32, false)] {
        let mut world = earlier();
        world.charge(price);
        let found: &[&str] = if is_possible { &[] } else { &["settlement clearing_price"] };
        assert_eq!(world.whats(), found, "{price}");
    }
    let mut part = earlier();
    let third = priced().seen()[2].clone();
    part.seen().push(third);
    assert_eq!(part.whats(), ["evidence"], "at the winner, or where the price is set");
    part.seen().push(priced().seen()[3].clone());
    assert_eq!(part.whats(), [""; 0]);
    part.charge(16);
    assert_eq!(part.whats(), ["settlement clearing_price"]);
}

//! Prices and what accounts could have paid.

use std::collections::{BTreeMap, BTreeSet};

use schemas::geometry::Pricing;
use schemas::item::Candidate;
use schemas::money::{Money, Price};
use schemas::time::Millis;
use uuid::Uuid;

use super::super::choice::{Case, Choice, EXHAUSTED, Fate, Reach};
use super::super::history::Histories;
use super::super::rows::{Account, Entry, Rows};
use super::world::*;

fn candidates(amounts: &[u64]) -> Vec<Candidate> {
    let one = |(n, units): (u32, &u64)| {
        let bid = bid(slot(false, 0), n, 1);
        Candidate {
            bid_id: bid.bid_id,
            account_id: bid.account_id,
            region: bid.region,
            amount: Price::from_units(*units).unwrap(),
            quality: bid.quality,
            event_time: bid.event_time,
            shard_id: id("s"),
            sequence: "1".parse().unwrap(),
            sub_sequence: n,
        }
    };
    (1..).zip(amounts).map(one).collect()
}

/// Second prices of the first candidate.
fn prices(amounts: &[u64], reach: &[Reach], floor: i128, next: Option<u64>) -> Vec<i128> {
    let candidates = candidates(amounts);
    let next_amount = next.map(|units| Price::from_units(units).unwrap());
    let case = Case {
        candidates: &candidates.iter().collect::<Vec<_>>(),
        is_whole: true,
        reach,
        floor: Money(floor),
        next_amount,
        pricing: Pricing::Second,
    };
    case.prices(0).into_iter().map(|price| price.0).collect()
}

#[test]
fn a_second_price_is_the_next_eligible_amount_or_the_floor_and_never_above_the_own() {
    use Reach::{Always, Never, Sometimes};
    assert_eq!(prices(&[64, 32, 16], &[Always; 3], 4, Some(8)), [32]);
    assert_eq!(prices(&[64, 32, 16], &[Always, Never, Always], 4, Some(8)), [16]);
    assert_eq!(prices(&[64, 32, 16], &[Always, Never, Never], 4, Some(8)), [8]);
    assert_eq!(prices(&[64, 32], &[Always, Never], 4, Some(2)), [4]);
    assert_eq!(prices(&[64], &[Always], 0, None), [1], "a price is above zero");
    assert_eq!(prices(&[64, 32, 16], &[Always, Sometimes, Always], 4, None), [16, 32]);
    // Ranked by quality, a follower may have bid more.
    assert_eq!(prices(&[64, 128], &[Always; 2], 4, None), [64]);
    assert_eq!(prices(&[64], &[Always], 4, Some(128)), [64]);
}

#[test]
fn the_first_who_may_win_wins_and_otherwise_the_reason_is_stated() {
    let candidates = candidates(&[64, 32]);
    let case = Case {
        candidates: &candidates.iter().collect::<Vec<_>>(),
        is_whole: true,
        reach: &[Reach::Always; 2],
        floor: Money(4),
        next_amount: None,
        pricing: Pricing::First,
    };
    let sale = |place, price| Choice::Sale { place, prices: BTreeSet::from([Money(price)]) };
    assert_eq!(case.choose(&[Fate::Eligible, Fate::Eligible]), sale(0, 64));
    assert_eq!(case.choose(&[Fate::InsufficientFunds, Fate::Eligible]), sale(1, 32));
    assert_eq!(case.choose(&[Fate::BelowFloor; 2]), Choice::NoSale { reason: "below_floor" });
    let mixed = case.choose(&[Fate::UnknownAccount, Fate::BelowFloor]);
    assert_eq!(mixed, Choice::NoSale { reason: "no_eligible_candidate" });
    let exhausted = Choice::NoSale { reason: EXHAUSTED };
    let part = Case { is_whole: false, ..case };
    assert_eq!(part.choose(&[Fate::InsufficientFunds, Fate::Eligible]), sale(1, 32));
    assert_eq!(part.choose(&[Fate::Suspended; 2]), exhausted, "others bid that nobody looked at");
    let second = |reach| Case { reach, pricing: Pricing::Second, ..part }.choose(&[Fate::Eligible; 2]);
    assert_eq!(second(&[Reach::Always; 2]), sale(0, 32));
    assert_eq!(second(&[Reach::Always, Reach::Never]), exhausted);
}

#[test]
fn what_an_account_could_pay_follows_from_its_entries() {
    let entry = |version: Option<i64>, deposit: bool, amount| Entry {
        entry_id: Uuid::from_u128(1),
        settlement_id: None,
        deposit_id: deposit.then(|| Uuid::from_u128(2)),
        account_id: account(1),
        direction: if deposit { "CREDIT" } else { "DEBIT" }.to_owned(),
        amount: Money(amount),
        account_version: version,
        created_at: Millis(50),
    };
    let row = Account {
        opening_balance: Money(64),
        balance: Some(Money(40)),
        credit_limit: Money(0),
        version: 1,
        status: None,
        status_since: None,
    };
    let mut rows = Rows { accounts: BTreeMap::from([(account(1), row)]), ..Rows::default() };
    rows.entries = vec![entry(Some(1), false, 32), entry(None, true, 8)];
    let histories = Histories::of(&rows);
    let reach = |n, amount, at| histories.reach(&rows, &account(n), Money(amount), Millis(at));
    assert_eq!(reach(1, 32, 50), Reach::Always);
    assert_eq!(reach(1, 32, 49), Reach::Sometimes, "nothing proves that the account existed then");
    assert_eq!(reach(1, 33, 50), Reach::Sometimes);
    assert_eq!(reach(1, 72, 50), Reach::Sometimes);
    assert_eq!(reach(1, 73, 50), Reach::Never);
    assert_eq!(reach(2, 1, 50), Reach::Never);
    assert_eq!(histories.at(&account(1), 1), Some((Money(32), Money(40))));
    assert_eq!(histories.at(&account(1), 2), None);
}

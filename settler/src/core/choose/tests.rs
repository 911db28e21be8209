//! Claims about the choice; amounts are powers of two, so that a sum shows what went into it.

use super::*;
use proptest::prelude::*;
use schemas::ids::{BidId, Region, ShardId, SlotId};
use schemas::item::{Candidate, State};
use schemas::money::BasisPoints;
use schemas::time::Millis;

fn account(number: u128) -> AccountId {
    AccountId::from_bytes(number.to_be_bytes())
}

pub(crate) fn auction(amounts: &[u64], next: Option<u64>) -> Aggregate {
    let region: Region = "eu-central-1".parse().unwrap();
    let candidate = |(rank, units): (usize, &u64)| Candidate {
        bid_id: BidId::from_bytes([7; 16]),
        account_id: account(u128::try_from(rank).unwrap()),
        region,
        amount: Price::from_units(*units).unwrap(),
        quality: BasisPoints::ONE,
        event_time: Millis(1),
        shard_id: ShardId("s".to_owned()),
        sequence: "1".parse().unwrap(),
        sub_sequence: 0,
    };
    Aggregate {
        slot_id: SlotId::from_bytes([1; 16]),
        window_start: Millis(0),
        window_end: Millis(10),
        bids: 1,
        bidders: 1,
        amount_sum: Money(1),
        amount_min: Price::from_units(1).unwrap(),
        amount_max: Price::from_units(1).unwrap(),
        duplicates: 0,
        regions: BTreeMap::new(),
        candidates: amounts.iter().enumerate().map(candidate).collect(),
        next_amount: next.map(|units| Price::from_units(units).unwrap()),
        next_score: None,
        shard_id: ShardId("s".to_owned()),
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

fn accounts(balances: &[i128]) -> BTreeMap<AccountId, Account> {
    let one = |(rank, balance): (usize, &i128)| {
        let row = Account { balance: Money(*balance), credit_limit: Money(0), version: 5 };
        (account(u128::try_from(rank).unwrap()), row)
    };
    balances.iter().enumerate().map(one).collect()
}

fn slot(floor: i128) -> Slot {
    Slot { publisher: account(99), floor: Money(floor) }
}

#[test]
fn one_that_cannot_pay_yields_to_the_next_and_leaves_evidence() {
    let mut accounts = accounts(&[31, 16]);
    let (verdict, evidence) =
        choose(&auction(&[32, 16], None), Some(&slot(1)), &mut accounts, Pricing::First);
    let price = Price::from_units(16).unwrap();
    assert_eq!(verdict, Verdict::Sale { rank: 1, price, version: 6, publisher: account(99) });
    assert_eq!(evidence[0].passed_over, Some(PassedOver::InsufficientFunds));
    assert_eq!(accounts[&account(1)].balance, Money(0));
    assert_eq!(accounts[&account(0)].version, 5, "who was passed over is not touched");
}

#[test]
fn second_price_is_the_next_eligible_amount_or_the_floor() {
    let price = |amounts: &[u64], next, floor, balances: &[i128]| match choose(
        &auction(amounts, next),
        Some(&slot(floor)),
        &mut accounts(balances),
        Pricing::Second,
    )
    .0
    {
        Verdict::Sale { price, .. } => price.units(),
        Verdict::NoSale(reason) => panic!("{reason:?}"),
    };
    assert_eq!(price(&[32, 16], None, 2, &[64, 64]), 16);
    assert_eq!(price(&[32, 16, 8], None, 2, &[64, 0, 64]), 8, "the second cannot pay");
    assert_eq!(price(&[32], Some(4), 2, &[64]), 4);
    assert_eq!(price(&[32], Some(1), 2, &[64]), 2);
    assert_eq!(price(&[16, 32], None, 2, &[64, 64]), 16, "never above the winner's own");
}

#[test]
fn no_sale_says_why() {
    let none = |slot: Option<&Slot>, balances: &[i128]| {
        choose(&auction(&[32], None), slot, &mut accounts(balances), Pricing::First).0
    };
    assert_eq!(none(None, &[64]), Verdict::NoSale(NoSale::UnknownSlot));
    assert_eq!(none(Some(&slot(33)), &[64]), Verdict::NoSale(NoSale::BelowFloor));
    assert_eq!(none(Some(&slot(1)), &[]), Verdict::NoSale(NoSale::NoEligibleCandidate));
}

proptest! {
    #[test]
    fn the_price_lies_between_floor_and_bid_and_no_balance_goes_below_its_limit(
        amounts in proptest::collection::vec(1_u64..1_000, 1..5),
        balances in proptest::collection::vec(0_i128..1_000, 0..5),
        floor in 0_i128..1_000,
        next in proptest::option::of(1_u64..1_000),
        second: bool,
    ) {
        let pricing = if second { Pricing::Second } else { Pricing::First };
        let mut after = accounts(&balances);
        let (verdict, _) = choose(&auction(&amounts, next), Some(&slot(floor)), &mut after, pricing);
        prop_assert!(after.values().all(|account| account.balance.0 >= 0));
        if let Verdict::Sale { rank, price, .. } = verdict {
            prop_assert!(Money::from(price).0 >= floor && price.units() <= amounts[rank]);
            let paid = balances[rank] - after[&account(u128::try_from(rank).unwrap())].balance.0;
            prop_assert_eq!(paid, i128::from(price.units()));
        }
    }
}

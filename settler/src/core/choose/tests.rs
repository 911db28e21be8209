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

/// Of each candidate that left evidence: its rank, why it was skipped, and what it held.
fn evidence_of(
    amounts: &[u64],
    balances: &[i128],
    pricing: Pricing,
) -> Vec<(usize, Option<PassedOver>, i128)> {
    let (verdict, evidence) =
        choose(&auction(amounts, Some(2)), Some(&slot(4)), &mut accounts(balances), pricing);
    assert!(matches!(verdict, Verdict::Sale { .. }), "{verdict:?}");
    let balance = |seen: &Evidence| seen.account.map_or(-1, |account| account.balance.0);
    evidence.iter().map(|seen| (seen.rank, seen.passed_over, balance(seen))).collect()
}

#[test]
fn evidence_ends_at_the_winner_or_under_second_price_at_who_sets_the_price() {
    use PassedOver::{BelowFloor, InsufficientFunds, UnknownAccount};
    let (won, poor) = ((1, None, 128), (0, Some(InsufficientFunds), 7));
    let (amounts, balances) = ([64, 32, 16, 3, 8, 4], [7, 128, 15, 99, 8, 99]);
    assert_eq!(evidence_of(&amounts, &balances, Pricing::First), [poor, won]);
    // The first is charged 32 and not 8: the winner could pay all that it offered.
    let skipped = [(2, Some(InsufficientFunds), 15), (3, Some(BelowFloor), 99)];
    let all = [&[poor, won][..], &skipped, &[(4, None, 8)]].concat();
    assert_eq!(evidence_of(&amounts, &balances, Pricing::Second), all, "and nothing behind that one");
    // When nobody behind the winner sets it, everybody there was looked at.
    let nobody = [won, (2, Some(InsufficientFunds), 15), (3, Some(UnknownAccount), -1)];
    assert_eq!(evidence_of(&[64, 32, 16, 8], &[7, 128, 15], Pricing::Second)[1..], nobody);
    assert_eq!(evidence_of(&[64, 32], &[7, 128], Pricing::Second), [poor, won], "there is nobody behind it");
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

    /// The rule once more in other words, so that a decision stays what it was whatever its evidence says.
    #[test]
    fn the_decision_is_the_first_who_can_pay_what_the_next_was_worth(case in Case::any()) {
        let (winner, _) = case.decide();
        prop_assert_eq!(winner, case.first_able());
    }

    /// Who knows candidates, floor and next amount needs nothing but the evidence to say who won at what price.
    #[test]
    fn the_evidence_proves_the_winner_and_the_price(case in Case::any()) {
        let (winner, evidence) = case.decide();
        let ranks: Vec<usize> = evidence.iter().map(|seen| seen.rank).collect();
        prop_assert_eq!(&ranks, &(0..ranks.len()).collect::<Vec<_>>(), "no gaps");
        prop_assert_eq!(winner, case.proven(&evidence));
        if case.pricing == Pricing::First || winner.is_none() {
            let able = evidence.iter().filter(|seen| seen.passed_over.is_none()).count();
            prop_assert_eq!(able, usize::from(winner.is_some()));
            prop_assert!(evidence.last().is_none_or(|last| winner.is_none_or(|(rank, _)| rank == last.rank)));
        }
    }
}

/// An auction and what stands beside it; accounts without a balance are unknown.
#[derive(Clone, Debug)]
struct Case {
    amounts: Vec<u64>,
    balances: Vec<i128>,
    floor: i128,
    next: Option<u64>,
    pricing: Pricing,
}

impl Case {
    /// Few values, so that what is offered, held and asked for meet often.
    fn any() -> impl Strategy<Value = Self> {
        let amounts = proptest::collection::vec(1_u64..24, 0..7);
        let balances = proptest::collection::vec(0_i128..24, 0..7);
        let next = proptest::option::of(1_u64..24);
        (amounts, balances, 0_i128..24, next, any::<bool>()).prop_map(
            |(amounts, balances, floor, next, second)| {
                let pricing = if second { Pricing::Second } else { Pricing::First };
                Self { amounts, balances, floor, next, pricing }
            },
        )
    }

    fn decide(&self) -> (Option<(usize, i128)>, Vec<Evidence>) {
        let aggregate = auction(&self.amounts, self.next);
        let mut accounts = accounts(&self.balances);
        let (verdict, evidence) = choose(&aggregate, Some(&slot(self.floor)), &mut accounts, self.pricing);
        match verdict {
            Verdict::Sale { rank, price, .. } => (Some((rank, i128::from(price.units()))), evidence),
            Verdict::NoSale(_) => (None, evidence),
        }
    }

    fn offered(&self, rank: usize) -> i128 {
        i128::from(self.amounts[rank])
    }

    /// What a rank pays when this is the amount behind it.
    fn charged(&self, rank: usize, behind: Option<i128>) -> i128 {
        let follower = self.next.map(i128::from).filter(|next| *next >= self.floor);
        match self.pricing {
            Pricing::First => self.offered(rank),
            Pricing::Second => {
                behind.or(follower).unwrap_or_else(|| self.floor.max(1)).min(self.offered(rank))
            }
        }
    }

    fn first_able(&self) -> Option<(usize, i128)> {
        let ranks = 0..self.amounts.len();
        let bids = |rank: usize| self.offered(rank) >= self.floor;
        let holds = |rank: usize, units| self.balances.get(rank).is_some_and(|balance| *balance >= units);
        let behind = |rank| {
            let worth = |other: &usize| *other > rank && bids(*other) && holds(*other, self.offered(*other));
            ranks.clone().find(worth).map(|other| self.offered(other))
        };
        let priced = |rank| (rank, self.charged(rank, behind(rank)));
        ranks.clone().map(priced).find(|(rank, price)| bids(*rank) && holds(*rank, *price))
    }

    /// Winner and price by the evidence; it also must be true, and complete.
    fn proven(&self, evidence: &[Evidence]) -> Option<(usize, i128)> {
        let winner = evidence.iter().position(|seen| seen.passed_over.is_none());
        let (before, rest) = evidence.split_at(winner.unwrap_or(evidence.len()));
        let last = evidence.last();
        let sets = last.filter(|last| last.passed_over.is_none() && Some(last.rank) != winner);
        let is_second = self.pricing == Pricing::Second;
        if sets.is_none() && (winner.is_none() || is_second) {
            assert_eq!(evidence.len(), self.amounts.len(), "all were looked at");
        }
        let able = |seen: &&Evidence| {
            let reach = seen.account.map(|account| account.balance.0);
            seen.passed_over.is_none() && reach.is_some_and(|reach| reach >= self.offered(seen.rank))
        };
        let behind = rest.iter().find(able).map(|seen| self.offered(seen.rank));
        before.iter().for_each(|seen| self.is_true(seen, self.charged(seen.rank, behind)));
        let winner = winner.map(|rank| (rank, self.charged(rank, sets.map(|seen| self.offered(seen.rank)))));
        if let Some((rank, price)) = winner {
            self.is_true(&evidence[rank], price);
            evidence[rank + 1..].iter().for_each(|seen| self.is_true(seen, self.offered(seen.rank)));
        }
        winner
    }

    /// A piece of evidence says what follows from the account it shows, held to a price.
    fn is_true(&self, seen: &Evidence, price: i128) {
        let why = match seen.account {
            _ if self.offered(seen.rank) < self.floor => Some(PassedOver::BelowFloor),
            None => Some(PassedOver::UnknownAccount),
            Some(account) => (account.balance.0 < price).then_some(PassedOver::InsufficientFunds),
        };
        assert_eq!(seen.passed_over, why, "{seen:?} at {price} in {self:?}");
        let balance = self.balances.get(seen.rank).copied();
        assert_eq!(
            seen.account.map(|account| (account.balance.0, account.version)),
            balance.map(|one| (one, 5))
        );
    }
}

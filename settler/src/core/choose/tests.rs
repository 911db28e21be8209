//! Claims about the choice; amounts are powers of two, so that a sum shows what went into it.

use super::*;
use proptest::prelude::*;
use schemas::ids::{BidId, ShardId, SlotId};
use schemas::item::State;
use schemas::money::BasisPoints;
use schemas::time::Millis;

use crate::core::behind::Cost;

fn account(number: u128) -> AccountId {
    AccountId::from_bytes(number.to_be_bytes())
}

fn candidate(rank: usize, units: u64) -> Candidate {
    Candidate {
        bid_id: BidId::from_bytes([7; 16]),
        account_id: account(u128::try_from(rank).unwrap()),
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(units).unwrap(),
        quality: BasisPoints::ONE,
        event_time: Millis(1),
        shard_id: ShardId("s".to_owned()),
        sequence: "1".parse().unwrap(),
        sub_sequence: 0,
    }
}

pub(crate) fn auction(amounts: &[u64], next: Option<u64>) -> Aggregate {
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
        candidates: amounts.iter().enumerate().map(|(rank, units)| candidate(rank, *units)).collect(),
        next_amount: next.map(|units| Price::from_units(units).unwrap()),
        next_score: None,
        shard_id: ShardId("s".to_owned()),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

fn accounts(balances: &[i128]) -> BTreeMap<AccountId, Account> {
    let one = |(rank, balance): (usize, &i128)| (account(u128::try_from(rank).unwrap()), holds(*balance));
    balances.iter().enumerate().map(one).collect()
}

fn holds(balance: i128) -> Account {
    let (balance, credit_limit) = (Money(balance), Money(0));
    Account { balance, credit_limit, version: 5, status: AccountStatus::Active }
}

fn slot(floor: i128) -> Slot {
    Slot { publisher: account(99), floor: Money(floor) }
}

/// Bids from this rank on, as the log holds them behind the candidates.
fn read(from: usize, amounts: &[u64]) -> Behind {
    let bids = amounts.iter().zip(from..).map(|(units, rank)| candidate(rank, *units));
    Behind::Read(bids.collect(), Cost::default())
}

fn terms(pricing: Pricing) -> Terms {
    Terms { ranking: Ranking::Amount, pricing }
}

/// Winner's rank and price, or why there is none.
fn outcome(choice: &Choice) -> Result<(usize, u64), NoSale> {
    match choice.verdict {
        Verdict::Sale { rank, price, .. } => Ok((rank, price.units())),
        Verdict::NoSale(reason) => Err(reason),
        Verdict::Unread => panic!("not decided: {choice:?}"),
    }
}

#[test]
fn one_that_cannot_pay_yields_to_the_next_and_leaves_evidence() {
    let mut accounts = accounts(&[31, 16]);
    let item = auction(&[32, 16], None);
    let choice = choose((&item, &Behind::Nobody), Some(&slot(1)), &mut accounts, terms(Pricing::First));
    let price = Price::from_units(16).unwrap();
    assert_eq!(choice.verdict, Verdict::Sale { rank: 1, price, version: 6, publisher: account(99) });
    assert_eq!(choice.evidence[0].passed_over, Some(PassedOver::InsufficientFunds));
    assert_eq!(accounts[&account(1)].balance, Money(0));
    assert_eq!(accounts[&account(0)].version, 5, "who was passed over is not touched");
}

#[test]
fn second_price_is_the_next_eligible_amount_or_the_floor() {
    let price = |amounts: &[u64], floor, balances: &[i128]| {
        let item = auction(amounts, None);
        let mut accounts = accounts(balances);
        let terms = terms(Pricing::Second);
        outcome(&choose((&item, &Behind::Nobody), Some(&slot(floor)), &mut accounts, terms)).unwrap().1
    };
    assert_eq!(price(&[32, 16], 2, &[64, 64]), 16);
    assert_eq!(price(&[32, 16, 8], 2, &[64, 0, 64]), 8, "the second cannot pay");
    assert_eq!(price(&[32], 2, &[64]), 2);
    assert_eq!(price(&[16, 32], 2, &[64, 64]), 16, "never above the winner's own");
}

/// A bids 10, so many phantoms 9.9, B bids 3, and the floor is 0.01; the first four are candidates.
fn phantoms(many: usize, phantom: Option<Account>, pricing: Pricing) -> (Choice, usize) {
    let units = [&[100_000][..], &vec![99_000; many], &[30_000]].concat();
    let named = units.len().min(4);
    let item = auction(&units[..named], units.get(named).copied());
    let behind = if named == units.len() { Behind::Nobody } else { read(named, &units[named..]) };
    let mut accounts: BTreeMap<AccountId, Account> = (0..units.len())
        .filter_map(|rank| {
            let is_phantom = (1..=many).contains(&rank);
            let held = if is_phantom { phantom? } else { holds(1_000_000) };
            Some((account(u128::try_from(rank).unwrap()), held))
        })
        .collect();
    let choice = choose((&item, &behind), Some(&slot(100)), &mut accounts, terms(pricing));
    (choice, many + 1)
}

/// Unknown, suspended and broke accounts, however many: the price is one that a payer stands behind.
#[test]
fn no_number_of_phantoms_sets_a_price() {
    let suspended = Account { status: AccountStatus::Suspended, ..holds(1_000_000) };
    for phantom in [None, Some(suspended), Some(holds(0))] {
        for many in [0, 2, 3, 4, 50, 1_500] {
            let (choice, _) = phantoms(many, phantom, Pricing::Second);
            assert_eq!(outcome(&choice), Ok((0, 30_000)), "{many} of {phantom:?}");
        }
    }
    let (choice, last) = phantoms(20_000, None, Pricing::Second);
    assert_eq!(outcome(&choice), Ok((0, 30_000)));
    assert_eq!(choice.looked, Looked { accounts: 20_001 - 3, unknown: 20_001 - 4 });
    let ranks: Vec<usize> = choice.evidence.iter().map(|seen| seen.rank).collect();
    assert_eq!(ranks, [0, 1, 2, 3, last], "unknown accounts behind the candidates need no row");
    // Known accounts need one each, and a transaction holds so many.
    let (choice, _) = phantoms(2_500, Some(holds(0)), Pricing::Second);
    assert_eq!(outcome(&choice), Err(NoSale::CandidatesExhausted));
    assert_eq!(choice.evidence.len(), EVIDENCE_MAX);
}

#[test]
fn no_number_of_phantoms_blocks_a_sale() {
    for many in [3, 4, 50, 20_000] {
        let units = [&vec![100_000; many][..], &[90_000]].concat();
        let (named, further) = units.split_at(4.min(units.len()));
        let behind = if further.is_empty() { Behind::Nobody } else { read(4, further) };
        let solvent = (account(u128::try_from(many).unwrap()), holds(1_000_000));
        let item = auction(named, further.first().copied());
        for pricing in [Pricing::First, Pricing::Second] {
            let mut accounts = BTreeMap::from([solvent]);
            let choice = choose((&item, &behind), Some(&slot(100)), &mut accounts, terms(pricing));
            let price = if pricing == Pricing::First { 90_000 } else { 100 };
            assert_eq!(outcome(&choice), Ok((many, price)), "{many} under {pricing:?}");
        }
    }
}

/// What the candidates of an item come to before the log was read, and where it cannot be.
#[test]
fn candidates_that_do_not_suffice_decide_nothing() {
    let item = auction(&[32, 16], Some(8));
    let decide = |behind: &Behind, balances: &[i128], floor, terms| {
        choose((&item, behind), Some(&slot(floor)), &mut accounts(balances), terms)
    };
    let (first, second) = (terms(Pricing::First), terms(Pricing::Second));
    let (rich, poor, broke) = (&[64, 64][..], &[64, 0][..], &[0, 0][..]);
    assert_eq!(outcome(&decide(&Behind::Unread, rich, 1, second)), Ok((0, 16)), "they suffice");
    assert_eq!(outcome(&decide(&Behind::Unread, poor, 1, first)), Ok((0, 32)));
    for (balances, terms) in [(poor, second), (broke, first), (broke, second)] {
        assert_eq!(decide(&Behind::Unread, balances, 1, terms).verdict, Verdict::Unread);
        let beyond = decide(&Behind::OutOfReach(None), balances, 1, terms);
        assert_eq!(outcome(&beyond), Err(NoSale::CandidatesExhausted));
        assert_eq!(beyond.evidence.len(), 2, "everyone that could be looked at");
        // Nobody behind them bid the floor: there is nothing to read.
        assert_ne!(decide(&Behind::Unread, balances, 9, terms).verdict, Verdict::Unread);
        let quality = Terms { ranking: Ranking::AmountQuality, ..terms };
        assert_eq!(decide(&Behind::Unread, balances, 9, quality).verdict, Verdict::Unread);
    }
    assert_eq!(outcome(&decide(&Behind::Unread, poor, 9, second)), Ok((0, 9)));
    assert_eq!(outcome(&decide(&Behind::Unread, rich, 33, first)), Err(NoSale::BelowFloor));
}

/// Of each candidate that left evidence: its rank, why it was skipped, and what it held.
fn evidence_of(
    amounts: &[u64],
    balances: &[i128],
    pricing: Pricing,
) -> Vec<(usize, Option<PassedOver>, i128)> {
    let item = auction(amounts, None);
    let choice = choose((&item, &Behind::Nobody), Some(&slot(4)), &mut accounts(balances), terms(pricing));
    assert!(matches!(choice.verdict, Verdict::Sale { .. }), "{choice:?}");
    let balance = |seen: &Evidence| seen.account.map_or(-1, |account| account.balance.0);
    choice.evidence.iter().map(|seen| (seen.rank, seen.passed_over, balance(seen))).collect()
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
        let item = auction(&[32], None);
        let mut accounts = accounts(balances);
        outcome(&choose((&item, &Behind::Nobody), slot, &mut accounts, terms(Pricing::First)))
    };
    assert_eq!(none(None, &[64]), Err(NoSale::UnknownSlot));
    assert_eq!(none(Some(&slot(33)), &[64]), Err(NoSale::BelowFloor));
    assert_eq!(none(Some(&slot(1)), &[]), Err(NoSale::NoEligibleCandidate));
}

proptest! {
    #[test]
    fn the_price_lies_between_floor_and_bid_and_no_balance_goes_below_its_limit(case in Case::any()) {
        let mut after = accounts(&case.balances);
        let choice = case.choose(&mut after);
        prop_assert!(after.values().all(|account| account.balance.0 >= 0));
        if let Ok((rank, price)) = outcome(&choice) {
            prop_assert!(i128::from(price) >= case.floor && i128::from(price) <= case.offered(rank));
            let paid = case.balances[rank] - after[&account(u128::try_from(rank).unwrap())].balance.0;
            prop_assert_eq!(paid, i128::from(price));
        }
    }

    /// The rule once more in other words, so that a decision stays what it was whatever its evidence says.
    #[test]
    fn the_decision_is_the_first_who_can_pay_what_the_next_was_worth(case in Case::any()) {
        let choice = case.choose(&mut accounts(&case.balances));
        prop_assert_eq!(outcome(&choice).ok().map(|(rank, price)| (rank, i128::from(price))), case.first_able());
    }

    /// Who knows all offers needs nothing but the evidence to say who won at what price.
    #[test]
    fn the_evidence_proves_the_winner_and_the_price(case in Case::any()) {
        let choice = case.choose(&mut accounts(&case.balances));
        let decided = outcome(&choice).ok().map(|(rank, price)| (rank, i128::from(price)));
        prop_assert_eq!(decided, case.proven(&choice));
        let able = choice.evidence.iter().filter(|seen| seen.passed_over.is_none()).count();
        match (decided, case.pricing) {
            (None, _) => prop_assert_eq!(able, 0),
            (Some(_), Pricing::First) => prop_assert_eq!(able, 1),
            (Some(_), Pricing::Second) => prop_assert!(able <= 2),
        }
    }
}

/// An auction and what stands beside it; accounts without a balance are unknown.
#[derive(Clone, Debug)]
struct Case {
    /// Those of the candidates first, then those that only the log holds.
    amounts: Vec<u64>,
    named: usize,
    balances: Vec<i128>,
    floor: i128,
    pricing: Pricing,
}

impl Case {
    /// Few values, so that what is offered, held and asked for meet often.
    fn any() -> impl Strategy<Value = Self> {
        let amounts = proptest::collection::vec(1_u64..24, 0..9);
        let balances = proptest::collection::vec(0_i128..24, 0..9);
        (amounts, 0_usize..5, balances, 0_i128..24, any::<bool>()).prop_map(
            |(amounts, named, balances, floor, second)| {
                let pricing = if second { Pricing::Second } else { Pricing::First };
                let named = named.min(amounts.len());
                Self { amounts, named, balances, floor, pricing }
            },
        )
    }

    fn choose(&self, accounts: &mut BTreeMap<AccountId, Account>) -> Choice {
        let (named, further) = self.amounts.split_at(self.named);
        let item = auction(named, further.first().copied());
        let behind = if further.is_empty() { Behind::Nobody } else { read(self.named, further) };
        choose((&item, &behind), Some(&slot(self.floor)), accounts, terms(self.pricing))
    }

    fn offered(&self, rank: usize) -> i128 {
        i128::from(self.amounts[rank])
    }

    /// What a rank pays when this is the amount behind it.
    fn charged(&self, rank: usize, behind: Option<i128>) -> i128 {
        match self.pricing {
            Pricing::First => self.offered(rank),
            Pricing::Second => behind.unwrap_or_else(|| self.floor.max(1)).min(self.offered(rank)),
        }
    }

    fn holds(&self, rank: usize, units: i128) -> bool {
        self.balances.get(rank).is_some_and(|balance| *balance >= units)
    }

    /// Who could pay its own amount.
    fn worth(&self, rank: usize) -> bool {
        self.offered(rank) >= self.floor && self.holds(rank, self.offered(rank))
    }

    fn first_able(&self) -> Option<(usize, i128)> {
        let ranks = 0..self.amounts.len();
        let behind = |rank| {
            ranks.clone().find(|other| *other > rank && self.worth(*other)).map(|other| self.offered(other))
        };
        let priced = |rank| (rank, self.charged(rank, behind(rank)));
        ranks
            .clone()
            .map(priced)
            .find(|(rank, price)| self.offered(*rank) >= self.floor && self.holds(*rank, *price))
    }

    /// Winner and price by the evidence; it also must be true, and complete.
    fn proven(&self, choice: &Choice) -> Option<(usize, i128)> {
        let evidence = &choice.evidence;
        let winner = evidence.iter().find(|seen| seen.passed_over.is_none()).map(|seen| seen.rank);
        let sets = evidence.last().filter(|last| last.passed_over.is_none() && Some(last.rank) != winner);
        let is_over = winner.is_some() && (sets.is_some() || self.pricing == Pricing::First);
        let end = if is_over { evidence.last().unwrap().rank + 1 } else { self.amounts.len() };
        // Behind the candidates: those that bid the floor, and of these a row for each that is known.
        let looked: Vec<usize> =
            (0..end).filter(|rank| *rank < self.named || self.offered(*rank) >= self.floor).collect();
        let leaves = |rank: &usize| *rank < self.named || *rank < self.balances.len();
        let wanted: Vec<usize> = looked.iter().copied().filter(leaves).collect();
        assert_eq!(evidence.iter().map(|seen| seen.rank).collect::<Vec<_>>(), wanted, "{self:?}");
        let further = looked.iter().filter(|rank| **rank >= self.named);
        let unknown = further.clone().filter(|rank| **rank >= self.balances.len());
        let counts = [further.clone().count(), unknown.count()].map(|many| u64::try_from(many).unwrap());
        assert_eq!([choice.looked.accounts, choice.looked.unknown], counts, "{self:?}");
        for seen in evidence {
            self.is_true(seen, winner);
        }
        let charged = |rank| self.charged(rank, sets.map(|seen| self.offered(seen.rank)));
        winner.map(|rank| (rank, charged(rank)))
    }

    /// A piece of evidence says what follows from the account it shows, held to its own amount.
    fn is_true(&self, seen: &Evidence, winner: Option<usize>) {
        let why = match seen.account {
            _ if winner == Some(seen.rank) => None,
            _ if self.offered(seen.rank) < self.floor => Some(PassedOver::BelowFloor),
            None => Some(PassedOver::UnknownAccount),
            Some(account) => {
                (account.balance.0 < self.offered(seen.rank)).then_some(PassedOver::InsufficientFunds)
            }
        };
        assert_eq!(seen.passed_over, why, "{seen:?} in {self:?}");
        let balance = self.balances.get(seen.rank).copied();
        assert_eq!(
            seen.account.map(|account| (account.balance.0, account.version)),
            balance.map(|one| (one, 5))
        );
    }
}

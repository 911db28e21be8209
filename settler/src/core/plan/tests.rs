//! Claims about plans: whatever a batch holds, money is neither made nor lost, and nothing overflows unnoticed.

use proptest::{prop_assert, prop_assert_eq, proptest};
use schemas::geometry::Pricing;
use schemas::ids::SlotId;
use schemas::settlement::{AccountStatus, PassedOver};

use super::*;
use crate::core::choose::Account;
use crate::core::choose::tests::auction;
use crate::core::rows::Booked;

const MOST: i128 = Money::MAX.0;

fn id(number: usize) -> AccountId {
    AccountId(Uuid::from_u128(u128::try_from(number).unwrap()))
}

fn held(balance: i128, limit: i128, version: i64) -> Account {
    let (balance, credit_limit) = (Money(balance), Money(limit));
    Account { balance, credit_limit, version, status: AccountStatus::Active }
}

fn terms(pricing: Pricing) -> Terms {
    Terms { pricing, ..Terms::default() }
}

fn batch(amounts: &[Vec<(usize, u64)>]) -> Vec<Arc<Auction>> {
    let one = |(number, bids): (usize, &Vec<(usize, u64)>)| {
        let units: Vec<u64> = bids.iter().map(|(_, units)| *units).collect();
        let mut aggregate = auction(&units, None);
        aggregate.slot_id = SlotId(Uuid::from_u128(u128::try_from(number).unwrap()));
        for (candidate, (account, _)) in aggregate.candidates.iter_mut().zip(bids) {
            candidate.account_id = id(*account);
        }
        Arc::new(Auction::of(aggregate))
    };
    amounts.iter().enumerate().map(one).collect()
}

fn seen(reads: &Reads, balances: &[(i128, i128)], floor: i128) -> Snapshot {
    let slot = Slot { publisher: id(99), floor: Money(floor) };
    let account =
        |(number, (balance, limit)): (usize, &(i128, i128))| (id(number), held(*balance, *limit, 7));
    Snapshot {
        slots: reads.slots.iter().map(|slot_id| (*slot_id, slot)).collect(),
        accounts: balances
            .iter()
            .enumerate()
            .map(account)
            .filter(|(id, _)| reads.accounts.contains(id))
            .collect(),
        ..Snapshot::default()
    }
}

proptest! {
    #[test]
    fn a_plan_neither_makes_nor_loses_money_at_any_size(
        amounts in proptest::collection::vec(
            proptest::collection::vec((0_usize..5, 1_u64..=Price::MAX.units()), 1..4), 1..12),
        balances in proptest::collection::vec((-MOST..=MOST, 0..=MOST), 5),
        floor in 0..=MOST,
        second: bool,
    ) {
        let pricing = if second { Pricing::Second } else { Pricing::First };
        let job = Job::Settle(batch(&amounts));
        let snapshot = seen(&job.reads(), &balances, floor);
        let plan = job.plan(&snapshot, terms(pricing), Millis(5)).unwrap();
        prop_assert_eq!(&plan, &job.plan(&snapshot, terms(pricing), Millis(5)).unwrap(), "the same from the same");
        let signed = |row: &EntryRow| {
            let amount = Money::from(row.amount).0;
            if row.direction == Direction::Debit { -amount } else { amount }
        };
        prop_assert_eq!(plan.writes.entries.iter().map(signed).sum::<i128>(), 0);
        for change in &plan.writes.changes {
            let debits: Vec<&EntryRow> = plan.writes.entries.iter()
                .filter(|row| row.account == change.account && row.direction == Direction::Debit).collect();
            prop_assert_eq!(change.add.0, debits.iter().map(|row| signed(row)).sum::<i128>());
            let versions: Vec<i64> = debits.iter().filter_map(|row| row.version).collect();
            prop_assert_eq!(versions, (change.seen + 1..=change.version).collect::<Vec<_>>());
            let before = snapshot.accounts[&change.account];
            let after = before.balance.stored_sum(change.add);
            prop_assert!(after.is_some_and(|after| after.0 >= -before.credit_limit.0), "it fits and stays above its limit");
        }
        let changed: Vec<AccountId> = plan.writes.changes.iter().map(|change| change.account).collect();
        prop_assert!(changed.is_sorted(), "accounts are written in sorted order");
        prop_assert_eq!(plan.writes.settlements.len(), amounts.len());
    }

    #[test]
    fn a_deposit_fits_or_is_refused_before_it_is_sent(balance in -MOST..=MOST, units in 1..=Price::MAX.units()) {
        let amount = Price::from_units(units).unwrap();
        let deposit = Deposit { id: Uuid::from_u128(1), account: id(0), amount, at: Millis(5) };
        let job = Job::Deposit(deposit);
        let snapshot = seen(&job.reads(), &[(balance, 0)], 0);
        let planned = job.plan(&snapshot, Terms::default(), Millis(9));
        prop_assert_eq!(planned.is_ok(), balance + i128::from(units) <= MOST);
        if let Ok(plan) = planned {
            prop_assert_eq!(plan.writes.changes[0].add, Money::from(amount));
            prop_assert_eq!(plan.writes.changes[0].version, 7, "deposits carry no version");
        }
    }
}

#[test]
fn what_was_decided_before_is_read_and_not_written() {
    let job = Job::Settle(batch(&[vec![(0, 8)], vec![(1, 16)]]));
    let Job::Settle(auctions) = &job else { unreachable!() };
    let mut snapshot = seen(&job.reads(), &[(100, 0), (100, 0)], 0);
    let outcome = Outcome::NoSale { reason: "below_floor".to_owned() };
    let decision = Decision { settlement_id: auctions[0].id, settled_at: Millis(1), outcome };
    let stands = Decided { decision, digest: auctions[0].digest.clone() };
    snapshot.settlements.insert(auctions[0].id, stands.clone());
    let plan = job.plan(&snapshot, Terms::default(), Millis(5)).unwrap();
    assert_eq!(plan.writes.settlements.len(), 1);
    let Done::Decided(rows) = plan.done else { panic!("decided") };
    assert_eq!(rows[&auctions[0].id], stands, "the row that stands, not an opinion");
}

/// Sold, not sold for the floor, and of a slot that nobody knows.
#[test]
fn every_row_carries_the_slot_that_it_was_decided_by() {
    let job = Job::Settle(batch(&[vec![(0, 8)], vec![(0, 16)], vec![(0, 32)]]));
    let Job::Settle(auctions) = &job else { unreachable!() };
    let mut snapshot = seen(&job.reads(), &[(100, 0)], 4);
    let dear = Slot { publisher: id(98), floor: Money(17) };
    snapshot.slots.insert(auctions[1].aggregate.slot_id, dear);
    snapshot.slots.remove(&auctions[2].aggregate.slot_id);
    let plan = job.plan(&snapshot, Terms::default(), Millis(5)).unwrap();
    let rows: Vec<_> = plan.writes.settlements.iter().map(|row| (row.outcome.is_ok(), row.slot)).collect();
    let cheap = Slot { publisher: id(99), floor: Money(4) };
    assert_eq!(rows, [(true, Some(cheap)), (false, Some(dear)), (false, None)]);
}

#[test]
fn one_account_pays_for_its_auctions_in_turn_until_it_cannot() {
    let job = Job::Settle(batch(&[vec![(0, 8), (1, 1)], vec![(0, 8), (1, 2)], vec![(0, 8), (1, 4)]]));
    let snapshot = seen(&job.reads(), &[(16, 0), (100, 0)], 0);
    let plan = job.plan(&snapshot, Terms::default(), Millis(5)).unwrap();
    let change = |number| plan.writes.changes.iter().find(|change| change.account == id(number)).unwrap();
    assert_eq!((change(0).add, change(0).version), (Money(-16), 9));
    assert_eq!((change(1).add, change(1).version), (Money(-4), 8));
    let passed = plan.writes.evidence.iter().find(|row| row.passed_over.is_some()).unwrap();
    let account = passed.account.unwrap();
    assert_eq!((account.balance, account.version), (Money(0), 9), "as the batch itself left it");
}

/// The account that sets a price is seen as the auctions before it in the batch left it, and each such row is counted.
#[test]
fn under_second_price_the_rows_of_who_set_the_price_are_written_and_counted() {
    let job = Job::Settle(batch(&[vec![(0, 16)], vec![(1, 32), (2, 9), (0, 8), (3, 4)]]));
    let snapshot = seen(&job.reads(), &[(20, 0), (64, 0), (8, 0), (64, 0)], 2);
    let plan = |pricing| job.plan(&snapshot, terms(pricing), Millis(5)).unwrap().writes;
    let (first, second) = (plan(Pricing::First), plan(Pricing::Second));
    assert_eq!((first.evidence.len(), second.evidence.len()), (2, 4));
    assert_eq!(second.rows(), first.rows() + 2);
    assert!(second.bytes() > first.bytes());
    let row = |rank: usize| {
        let row = &second.evidence[1 + rank];
        (row.rank, row.candidate.account_id, row.passed_over, row.account.unwrap())
    };
    let account = |balance, version| held(balance, 0, version);
    assert_eq!(row(0), (0, id(1), None, account(64, 7)));
    assert_eq!(row(1), (1, id(2), Some(PassedOver::InsufficientFunds), account(8, 7)));
    assert_eq!(row(2), (2, id(0), None, account(18, 8)), "it paid the floor of 2 just before");
    assert_eq!(second.entries[2].amount, Price::from_units(8).unwrap());
}

#[test]
fn an_id_that_was_used_for_another_deposit_is_refused() {
    let amount = Price::from_units(8).unwrap();
    let deposit = Deposit { id: Uuid::from_u128(1), account: id(0), amount, at: Millis(5) };
    let job = Job::Deposit(deposit);
    let mut snapshot = seen(&job.reads(), &[(0, 0)], 0);
    for (entry, _, account) in deposit.entries() {
        snapshot.entries.insert(entry, Booked { account, amount: Money(8) });
    }
    let before = job.plan(&snapshot, Terms::default(), Millis(9)).unwrap();
    assert!(before.done == Done::DepositedBefore && before.writes.is_empty());
    // Another amount, and another account: either is another deposit, and the one that stands is named.
    let amount = Price::from_units(9).unwrap();
    for other in [Deposit { amount, ..deposit }, Deposit { account: id(1), ..deposit }] {
        let refused = Job::Deposit(other).plan(&snapshot, Terms::default(), Millis(9)).unwrap_err();
        let stands = format!("used for a deposit of 0.0008 to account {} before", id(0));
        assert!(refused.contains(&stands) && refused.contains("id of its own"), "{refused}");
    }
}

/// The accounts and slots of a snapshot that are damaged have no sound row.
fn damage(snapshot: &mut Snapshot, account: usize) {
    snapshot.accounts.remove(&id(account));
    snapshot.damaged.accounts.insert(id(account), format!("account {account} holds NaN"));
}

#[test]
fn a_damaged_account_holds_only_the_decisions_that_look_at_it() {
    let of_first = |job: &Job, damaged: usize, pricing| {
        let mut snapshot = seen(&job.reads(), &[(100, 0), (100, 0), (100, 0), (100, 0)], 1);
        damage(&mut snapshot, damaged);
        job.plan(&snapshot, terms(pricing), Millis(5))
    };
    let one = Job::Settle(batch(&[vec![(0, 16), (1, 8), (2, 4)]]));
    let told = of_first(&one, 0, Pricing::First).unwrap_err();
    assert!(told.starts_with("account 0 holds NaN; put that right") && told.contains("release"), "{told}");
    assert!(of_first(&one, 1, Pricing::First).is_ok(), "nobody looks behind a first price");
    assert!(of_first(&one, 1, Pricing::Second).is_err(), "it may set the price");
    assert!(of_first(&one, 2, Pricing::Second).is_ok(), "the one before it sets the price");
    // What it would have been without the damage.
    let sound = seen(&one.reads(), &[(100, 0), (100, 0), (100, 0), (100, 0)], 1);
    let (damaged, sound) =
        (of_first(&one, 2, Pricing::Second), one.plan(&sound, terms(Pricing::Second), Millis(5)));
    assert_eq!(damaged, sound);
}

#[test]
fn a_batch_is_refused_by_one_damaged_row_so_that_it_is_halved_down_to_it() {
    let job = Job::Settle(batch(&[vec![(0, 16)], vec![(1, 8)]]));
    let mut snapshot = seen(&job.reads(), &[(100, 0), (100, 0)], 1);
    damage(&mut snapshot, 1);
    assert!(job.plan(&snapshot, terms(Pricing::First), Millis(5)).is_err());
    let (first, second) = job.halves().unwrap();
    assert!(first.plan(&snapshot, terms(Pricing::First), Millis(5)).is_ok());
    assert!(second.plan(&snapshot, terms(Pricing::First), Millis(5)).is_err());
}

#[test]
fn a_damaged_slot_or_decision_is_never_overlooked() {
    let Job::Settle(auctions) = Job::Settle(batch(&[vec![(0, 16)]])) else { unreachable!() };
    let job = Job::Settle(auctions.clone());
    let sound = seen(&job.reads(), &[(100, 0)], 1);
    let mut no_slot = Snapshot { slots: BTreeMap::new(), ..sound.clone() };
    no_slot.damaged.slots.insert(auctions[0].aggregate.slot_id, "floor_price holds NaN".to_owned());
    let told = job.plan(&no_slot, terms(Pricing::First), Millis(5)).unwrap_err();
    assert!(told.contains("floor_price holds NaN"), "{told}");
    let mut decided = sound;
    decided.damaged.settlements.insert(auctions[0].id, "clearing_price holds NaN".to_owned());
    let told = job.plan(&decided, terms(Pricing::First), Millis(5)).unwrap_err();
    assert!(told.contains("clearing_price holds NaN"), "a second decision would be made: {told}");
}

#[test]
fn a_deposit_into_a_damaged_account_is_refused_with_the_cell() {
    let deposit = Deposit {
        id: Uuid::from_u128(1),
        account: id(0),
        amount: Price::from_units(4).unwrap(),
        at: Millis(5),
    };
    let job = Job::Deposit(deposit);
    let mut snapshot = seen(&job.reads(), &[(100, 0)], 1);
    damage(&mut snapshot, 0);
    let told = job.plan(&snapshot, terms(Pricing::First), Millis(5)).unwrap_err();
    assert!(told.contains("account 0 holds NaN") && told.contains("give this deposit again"), "{told}");
}

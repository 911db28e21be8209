//! Who wins and what is paid, from candidates in order, the floor and what accounts can pay.
//!
//! The evidence of a sale proves both. It has one piece for each rank from 0, without gaps; the winner's is the one of
//! the settlement's winning bid. Under first price it ends there. Under second price it goes on to the one that sets the
//! price: everyone behind the winner who is skipped for it, and at last the first who could pay its own amount. When all
//! behind the winner are skipped, what follows the last candidate sets the price, or the floor.

use std::collections::BTreeMap;

use schemas::geometry::Pricing;
use schemas::ids::AccountId;
use schemas::item::Aggregate;
use schemas::money::{Money, Price};
use schemas::mutant::{self, Mutant};
use schemas::settlement::{NoSale, PassedOver};

/// A buyer's row as an attempt read it, and as earlier auctions of the same batch changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What is there.
    pub balance: Money,
    /// How far below zero it may go.
    pub credit_limit: Money,
    /// Raised by one with each debit.
    pub version: i64,
}

/// A slot's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who is paid.
    pub publisher: AccountId,
    /// The least that is taken.
    pub floor: Money,
}

/// What was seen of a candidate that was considered: to win, or behind the winner to set the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its place among the candidates, from 0.
    pub rank: usize,
    /// Why it was passed over; none for the winner, and for the one behind it that sets the price.
    pub passed_over: Option<PassedOver>,
    /// Its account as seen before this auction took anything, when there was one.
    pub account: Option<Account>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sold to the candidate of this rank.
    Sale {
        /// From 0.
        rank: usize,
        /// What is paid.
        price: Price,
        /// The version that the debit gives the account.
        version: i64,
        /// Who is paid.
        publisher: AccountId,
    },
    /// Not sold.
    NoSale(NoSale),
}

/// Decides one auction and takes the price from the winner's account, so that the next auction of the batch sees it.
#[must_use]
pub fn choose(
    aggregate: &Aggregate,
    slot: Option<&Slot>,
    accounts: &mut BTreeMap<AccountId, Account>,
    pricing: Pricing,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let Some(slot) = slot else { return (Verdict::NoSale(NoSale::UnknownSlot), evidence) };
    for (rank, candidate) in aggregate.candidates.iter().enumerate() {
        let account = accounts.get(&candidate.account_id).copied();
        let (price, behind) = price(aggregate, rank, slot, accounts, pricing);
        let passed_over = passed_over(candidate.amount, price, slot, account);
        evidence.push(Evidence { rank, passed_over, account });
        if let (None, Some(mut account)) = (passed_over, account) {
            if !mutant::is(Mutant::PriceUnproven) {
                evidence.extend(behind);
            }
            account.balance = Money(account.balance.0 - Money::from(price).0);
            account.version += 1;
            accounts.insert(candidate.account_id, account);
            return (
                Verdict::Sale { rank, price, version: account.version, publisher: slot.publisher },
                evidence,
            );
        }
    }
    let floor =
        !evidence.is_empty() && evidence.iter().all(|seen| seen.passed_over == Some(PassedOver::BelowFloor));
    (Verdict::NoSale(if floor { NoSale::BelowFloor } else { NoSale::NoEligibleCandidate }), evidence)
}

fn passed_over(amount: Price, price: Price, slot: &Slot, account: Option<Account>) -> Option<PassedOver> {
    if Money::from(amount) < slot.floor && !mutant::is(Mutant::FloorIgnored) {
        return Some(PassedOver::BelowFloor);
    }
    let Some(account) = account else { return Some(PassedOver::UnknownAccount) };
    let twice = if mutant::is(Mutant::LimitDoubled) { 2 } else { 1 };
    let reach = account.balance.0 + account.credit_limit.0 * twice;
    (reach < Money::from(price).0).then_some(PassedOver::InsufficientFunds)
}

/// What the candidate of this rank would pay, and who was looked at for it. Prices are amounts that were offered, or the
/// floor, in ten-thousandths: nothing is divided, so nothing is rounded.
fn price(
    aggregate: &Aggregate,
    rank: usize,
    slot: &Slot,
    accounts: &BTreeMap<AccountId, Account>,
    pricing: Pricing,
) -> (Price, Vec<Evidence>) {
    let own = aggregate.candidates[rank].amount;
    if pricing == Pricing::First || mutant::is(Mutant::AlwaysFirstPrice) {
        return (own, Vec::new());
    }
    let behind = behind(aggregate, rank, slot, accounts);
    let next = behind
        .last()
        .filter(|last| last.passed_over.is_none())
        .map(|last| aggregate.candidates[last.rank].amount)
        .or_else(|| aggregate.next_amount.filter(|amount| Money::from(*amount) >= slot.floor));
    let floor = u64::try_from(slot.floor.0).ok().and_then(|units| Price::from_units(units.max(1)).ok());
    (next.or(floor).map_or(own, |price| price.min(own)), behind)
}

/// Everyone behind a rank up to the first whose bid was worth its amount: above the floor, of a known account that could
/// pay all of it.
fn behind(
    aggregate: &Aggregate,
    rank: usize,
    slot: &Slot,
    accounts: &BTreeMap<AccountId, Account>,
) -> Vec<Evidence> {
    let mut seen = Vec::new();
    for (rank, candidate) in aggregate.candidates.iter().enumerate().skip(rank + 1) {
        let account = accounts.get(&candidate.account_id).copied();
        let passed_over = passed_over(candidate.amount, candidate.amount, slot, account);
        seen.push(Evidence { rank, passed_over, account });
        if passed_over.is_none() {
            break;
        }
    }
    seen
}

#[cfg(test)]
pub(crate) mod tests;

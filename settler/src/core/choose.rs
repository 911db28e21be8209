//! Who wins and what is paid, from offers in order, the floor and what accounts can pay.
//!
//! Only an account that was looked at and can be held to its offer wins or sets a price. The offers are the candidates
//! of the item; where nobody among them suffices and others bid, those behind them in the log follow in rank order.
//!
//! The evidence of a decision proves it. Of the candidates it has one piece for each rank from 0, without gaps; of those
//! behind them one for each account that the ledger knows, and the row says how many were looked at and how many of
//! these are unknown. The winner's is the one of the settlement's winning bid. Under first price it ends there. Under
//! second price it goes on to the one that sets the price: everyone behind the winner who is skipped for it, and at last
//! the first who could pay its own amount. When there is no such one among all who bid, the floor is the price.

use std::collections::BTreeMap;

use schemas::geometry::{Geometry, Pricing, Ranking};
use schemas::ids::AccountId;
use schemas::item::{Aggregate, Candidate};
use schemas::limits::EVIDENCE_MAX;
use schemas::money::{Money, Price};
use schemas::mutant::{self, Mutant};
use schemas::settlement::{AccountStatus, NoSale, PassedOver};

use super::behind::Behind;

/// A buyer's row as an attempt read it, and as earlier auctions of the same batch changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What is there.
    pub balance: Money,
    /// How far below zero it may go.
    pub credit_limit: Money,
    /// Raised by one with each debit.
    pub version: i64,
    /// Whether it may bid.
    pub status: AccountStatus,
}

/// A slot's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who is paid.
    pub publisher: AccountId,
    /// The least that is taken.
    pub floor: Money,
}

/// What was agreed about order and price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What offers are ordered by.
    pub ranking: Ranking,
    /// What the winner pays.
    pub pricing: Pricing,
}

impl From<&Geometry> for Terms {
    fn from(geometry: &Geometry) -> Self {
        Self { ranking: geometry.ranking, pricing: geometry.pricing }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::from(&Geometry::default())
    }
}

/// What was seen of an offer that was considered: to win, or behind the winner to set the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its place among all accounts that bid, from 0.
    pub rank: usize,
    /// Why it was passed over; none for the winner, and for one that could pay its own amount.
    pub passed_over: Option<PassedOver>,
    /// Its account as seen before this auction took anything, when there was one.
    pub account: Option<Account>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sold to the offer of this rank.
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
    /// Not to be said before the log was read behind the candidates.
    Unread,
}

/// How many accounts were looked at behind the candidates of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// All of them.
    pub accounts: u64,
    /// Those that the ledger does not know, which leave no evidence.
    pub unknown: u64,
}

/// The decision and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The decision.
    pub verdict: Verdict,
    /// In rank order.
    pub evidence: Vec<Evidence>,
    /// Behind the candidates.
    pub looked: Looked,
}

/// Decides one auction and takes the price from the winner's account, so that the next auction of the batch sees it.
#[must_use]
pub fn choose(
    (aggregate, behind): (&Aggregate, &Behind),
    slot: Option<&Slot>,
    accounts: &mut BTreeMap<AccountId, Account>,
    terms: Terms,
) -> Choice {
    let Some(slot) = slot else {
        let verdict = Verdict::NoSale(NoSale::UnknownSlot);
        return Choice { verdict, evidence: Vec::new(), looked: Looked::default() };
    };
    let offers = Offers::new((aggregate, behind), slot, accounts, terms);
    let choice = offers.decide();
    if let Verdict::Sale { rank, price, version, .. } = choice.verdict {
        let account_id = offers.list.iter().find(|offer| offer.rank == rank).map(|one| one.bid.account_id);
        if let Some(account) = account_id.and_then(|id| accounts.get_mut(&id)) {
            account.balance = Money(account.balance.0 - Money::from(price).0);
            account.version = version;
        }
    }
    choice
}

/// One account's best bid, held to its own amount.
#[derive(Debug)]
struct Offer<'a> {
    rank: usize,
    bid: &'a Candidate,
    account: Option<Account>,
    passed_over: Option<PassedOver>,
}

/// All that are known of an auction, best first.
#[derive(Debug)]
struct Offers<'a> {
    list: Vec<Offer<'a>>,
    /// How many of them the item names.
    named: usize,
    slot: &'a Slot,
    pricing: Pricing,
    /// Whether nobody else can be worth anything.
    is_whole: bool,
    /// What is said when it cannot be decided by these.
    undecided: Verdict,
    /// The amount that follows the last candidate: it says who needs no look, and is never a price.
    next_amount: Option<Price>,
}

impl<'a> Offers<'a> {
    fn new(
        (aggregate, behind): (&'a Aggregate, &'a Behind),
        slot: &'a Slot,
        accounts: &BTreeMap<AccountId, Account>,
        terms: Terms,
    ) -> Self {
        let named = aggregate.candidates.len();
        // Behind the candidates nobody looks below the floor.
        let further = behind.bids().iter().enumerate().map(|(at, bid)| (named + at, bid));
        let further = further.filter(|(_, bid)| Money::from(bid.amount) >= slot.floor);
        let offer = |(rank, bid): (usize, &'a Candidate)| {
            let account = accounts.get(&bid.account_id).copied();
            Offer { rank, bid, account, passed_over: passed_over(bid.amount, slot, account.as_ref()) }
        };
        let list = aggregate.candidates.iter().enumerate().chain(further).map(offer).collect();
        // By amount alone, everything behind one below the floor is below it too.
        let last = aggregate.next_amount.or(aggregate.candidates.last().map(|last| last.amount));
        let ends_below =
            terms.ranking == Ranking::Amount && last.is_some_and(|amount| Money::from(amount) < slot.floor);
        let (is_known, undecided) = match behind {
            Behind::Nobody | Behind::Read(..) => (true, Verdict::NoSale(NoSale::CandidatesExhausted)),
            Behind::Unread => (false, Verdict::Unread),
            Behind::OutOfReach(_) => (false, Verdict::NoSale(NoSale::CandidatesExhausted)),
        };
        let is_whole = is_known || ends_below || mutant::is(Mutant::PhantomBlocksSale);
        let is_first = mutant::is(Mutant::AlwaysFirstPrice);
        let pricing = if is_first { Pricing::First } else { terms.pricing };
        Self { list, named, slot, pricing, is_whole, undecided, next_amount: aggregate.next_amount }
    }

    fn decide(&self) -> Choice {
        let next = self.next_worth();
        for (at, offer) in self.list.iter().enumerate() {
            let may_buy = matches!(offer.passed_over, None | Some(PassedOver::InsufficientFunds));
            let (true, Some(account)) = (may_buy, offer.account) else { continue };
            let Some(price) = self.price(at, next[at]) else {
                return self.ends(self.undecided, self.list.len());
            };
            if reach(&account) < Money::from(price).0 {
                continue;
            }
            let end = match self.pricing {
                Pricing::Second if !mutant::is(Mutant::PriceUnproven) => {
                    next[at].map_or(self.list.len(), |next| next + 1)
                }
                _ => at + 1,
            };
            let (rank, version, publisher) = (offer.rank, account.version + 1, self.slot.publisher);
            let mut choice = self.ends(Verdict::Sale { rank, price, version, publisher }, end);
            // It pays less than it offered, and may be unable to pay all of that.
            choice
                .evidence
                .iter_mut()
                .filter(|seen| seen.rank == rank)
                .for_each(|seen| seen.passed_over = None);
            return choice;
        }
        if !self.is_whole {
            return self.ends(self.undecided, self.list.len());
        }
        let below = |offer: &Offer<'_>| offer.passed_over == Some(PassedOver::BelowFloor);
        let is_below = !self.list.is_empty() && self.list.iter().all(below);
        let reason = if is_below { NoSale::BelowFloor } else { NoSale::NoEligibleCandidate };
        self.ends(Verdict::NoSale(reason), self.list.len())
    }

    /// For each place the first one behind it that could pay its own amount.
    fn next_worth(&self) -> Vec<Option<usize>> {
        let mut next = vec![None; self.list.len()];
        let mut worth = None;
        for (at, offer) in self.list.iter().enumerate().rev() {
            next[at] = worth;
            if offer.passed_over.is_none() {
                worth = Some(at);
            }
        }
        next
    }

    /// What the offer of a place would pay; none while that depends on offers nobody has looked at. Prices are amounts
    /// that were offered, or the floor, in ten-thousandths: nothing is divided, so nothing is rounded.
    fn price(&self, at: usize, next: Option<usize>) -> Option<Price> {
        let own = self.list[at].bid.amount;
        match (self.pricing, next) {
            (Pricing::First, _) => Some(own),
            (Pricing::Second, Some(next)) => Some(own.min(self.list[next].bid.amount)),
            (Pricing::Second, None) if self.is_whole || mutant::is(Mutant::PhantomSetsPrice) => {
                let unproven = self.next_amount.filter(|amount| {
                    mutant::is(Mutant::PhantomSetsPrice) && Money::from(*amount) >= self.slot.floor
                });
                let floor = u64::try_from(self.slot.floor.0)
                    .ok()
                    .and_then(|units| Price::from_units(units.max(1)).ok());
                Some(unproven.or(floor).map_or(own, |price| price.min(own)))
            }
            (Pricing::Second, None) => None,
        }
    }

    /// A verdict for which the first `end` of the list were looked at. One that needs more evidence than a transaction
    /// may hold cannot be proven, so it is none.
    fn ends(&self, verdict: Verdict, end: usize) -> Choice {
        let seen = &self.list[..end];
        let further = || seen.iter().filter(|offer| offer.rank >= self.named);
        let count = |length: usize| u64::try_from(length).expect("memory is below 2^64");
        let looked = Looked {
            accounts: count(further().count()),
            unknown: count(further().filter(|offer| offer.account.is_none()).count()),
        };
        let leaves = |offer: &&Offer<'_>| offer.rank < self.named || offer.account.is_some();
        let evidence = |offer: &Offer<'_>| Evidence {
            rank: offer.rank,
            passed_over: offer.passed_over,
            account: offer.account,
        };
        let mut evidence: Vec<Evidence> = seen.iter().filter(leaves).map(evidence).collect();
        if evidence.len() > EVIDENCE_MAX && verdict != Verdict::Unread {
            evidence.truncate(EVIDENCE_MAX);
            return Choice { verdict: Verdict::NoSale(NoSale::CandidatesExhausted), evidence, looked };
        }
        Choice { verdict, evidence, looked }
    }
}

fn reach(account: &Account) -> i128 {
    let twice = if mutant::is(Mutant::LimitDoubled) { 2 } else { 1 };
    account.balance.0 + account.credit_limit.0 * twice
}

/// Why an offer is worth nothing, held to its own amount.
fn passed_over(amount: Price, slot: &Slot, account: Option<&Account>) -> Option<PassedOver> {
    if Money::from(amount) < slot.floor && !mutant::is(Mutant::FloorIgnored) {
        return Some(PassedOver::BelowFloor);
    }
    let Some(account) = account else { return Some(PassedOver::UnknownAccount) };
    if account.status == AccountStatus::Suspended && !mutant::is(Mutant::SuspendedMayBuy) {
        return Some(PassedOver::Suspended);
    }
    (reach(account) < Money::from(amount).0).then_some(PassedOver::InsufficientFunds)
}

#[cfg(test)]
pub(crate) mod tests;

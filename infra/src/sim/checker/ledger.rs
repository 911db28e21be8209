//! Commits, marks and money, judged from the rows and the log alone: who had to win, at what price, and whether the
//! books add up after every commit.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Pricing;
use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::money::Money;
use settler::core::rows::{Cause, Direction, SettlementRow, Writes};
use uuid::Uuid;

use super::auction::same;
use super::items::Items;
use super::log::Log;

/// A buyer's row in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// What is there.
    pub balance: i128,
    /// How far below zero it may go.
    pub limit: i128,
    /// Debits so far.
    pub version: i64,
}

/// A decision as the log and a snapshot demand it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Sale { winner: AccountId, bid: schemas::ids::BidId, price: u64, publisher: AccountId },
    NoSale(&'static str),
}

/// The books as the checker keeps them.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// What the ledger knows of slots: publisher and floor.
    pub(super) slots: BTreeMap<SlotId, (AccountId, i128)>,
    /// Balances by the checker's own count.
    pub(super) balances: BTreeMap<AccountId, i128>,
    pub(super) sums: (u128, u128),
    /// Decisions by key.
    pub(super) decided: BTreeMap<SettlementId, (SettlementRow, SlotId, u64)>,
}

impl Books {
    /// A transaction that settles commits; `purses` are the accounts in its snapshot.
    pub(super) fn on_commit(
        &mut self,
        log: &Log,
        items: &Items,
        writes: &Writes,
        purses: &BTreeMap<AccountId, Purse>,
    ) -> Result<(), String> {
        let mut purses = purses.clone();
        let before = purses.clone();
        let mut entries = Vec::new();
        for row in &writes.settlements {
            let within = |wrong| format!("decision of slot {} in {}: {wrong}", row.slot_id, row.window_start);
            let verdict = self.decide(log, items, row, &mut purses).map_err(within)?;
            if let Verdict::Sale { winner, price, publisher, .. } = verdict {
                entries.push((row.id, Direction::Debit, winner, price, Some(purses[&winner].version)));
                entries.push((row.id, Direction::Credit, publisher, price, None));
            }
            let key = (row.clone(), row.slot_id, row.window_start.0);
            if self.decided.insert(row.id, key).is_some() {
                return Err(within("it is made a second time".to_owned()));
            }
        }
        self.entries(writes, entries)?;
        for (account, purse) in &purses {
            let debits = before[account].balance - purse.balance;
            *self.balances.entry(*account).or_default() -= debits;
            let change = writes.changes.iter().find(|change| change.account == *account);
            let want = (debits != 0).then_some((-debits, before[account].version, purse.version));
            let have = change.map(|change| (change.add.0, change.seen, change.version));
            same("change of an account", want, have).map_err(|wrong| format!("{account}: {wrong}"))?;
        }
        let foreign = writes.changes.iter().find(|change| !purses.contains_key(&change.account));
        foreign.map_or(Ok(()), |change| Err(format!("account {} is changed for no one", change.account)))
    }

    /// What the log and the snapshot demand for a row, and whether the row says so.
    fn decide(
        &self,
        log: &Log,
        items: &Items,
        row: &SettlementRow,
        purses: &mut BTreeMap<AccountId, Purse>,
    ) -> Result<Verdict, String> {
        let (slot, start) = (row.slot_id, row.window_start.0);
        let key = Uuid::new_v5(&slot.0, row.window_start.to_string().as_bytes());
        same("key", key, row.id.0)?;
        let Some((_, auction)) = log.closed.get(&(slot, start)) else {
            return Err("the log has not closed it".to_owned());
        };
        same("digest", items.digests.get(&(slot, start)), Some(&row.digest))?;
        let ranked = auction.ranked_bids(&log.agreed.geometry);
        let kept = usize::from(log.agreed.geometry.candidates).min(ranked.len());
        let next = ranked.get(kept).map(|bid| i128::from(bid.amount.units()));
        let as_seen = row.slot.map(|slot| (slot.publisher, slot.floor.0));
        same("publisher and floor", self.slots.get(&slot).copied(), as_seen)?;
        let verdict = self.choose(&ranked[..kept], next, slot, purses, log.agreed.geometry.pricing);
        let have = match &row.outcome {
            Ok((winner, price)) => {
                let publisher = self.slots.get(&slot).map_or(winner.account_id, |(publisher, _)| *publisher);
                let (winner, bid) = (winner.account_id, winner.bid_id);
                Verdict::Sale { winner, bid, price: price.units(), publisher }
            }
            Err(reason) => Verdict::NoSale(reason.as_str()),
        };
        same("outcome", &verdict, &have)?;
        Ok(verdict)
    }

    fn choose(
        &self,
        ranked: &[Bid],
        next: Option<i128>,
        slot: SlotId,
        purses: &mut BTreeMap<AccountId, Purse>,
        pricing: Pricing,
    ) -> Verdict {
        let Some((publisher, floor)) = self.slots.get(&slot).copied() else {
            return Verdict::NoSale("unknown_slot");
        };
        let amount = |bid: &Bid| i128::from(bid.amount.units());
        let able = |purses: &BTreeMap<AccountId, Purse>, bid: &Bid, price: i128| {
            purses.get(&bid.account_id).is_some_and(|purse| purse.balance + purse.limit >= price)
        };
        for (rank, bid) in ranked.iter().enumerate() {
            if amount(bid) < floor {
                continue;
            }
            let runner_up =
                ranked[rank + 1..].iter().find(|bid| amount(bid) >= floor && able(purses, bid, amount(bid)));
            let second = runner_up.map(amount).or(next.filter(|next| *next >= floor)).unwrap_or(floor.max(1));
            let price = match pricing {
                Pricing::First => amount(bid),
                Pricing::Second => second.min(amount(bid)),
            };
            if !able(purses, bid, price) {
                continue;
            }
            let purse = purses.get_mut(&bid.account_id).expect("an account that is able to pay");
            purse.balance -= price;
            purse.version += 1;
            let price = u64::try_from(price).expect("prices are above zero");
            return Verdict::Sale { winner: bid.account_id, bid: bid.bid_id, price, publisher };
        }
        let all_below = !ranked.is_empty() && ranked.iter().all(|bid| amount(bid) < floor);
        Verdict::NoSale(if all_below { "below_floor" } else { "no_eligible_candidate" })
    }

    fn entries(
        &mut self,
        writes: &Writes,
        want: Vec<(SettlementId, Direction, AccountId, u64, Option<i64>)>,
    ) -> Result<(), String> {
        same("number of entries", want.len(), writes.entries.len())?;
        for (id, direction, account, units, version) in want {
            let have = writes
                .entries
                .iter()
                .find(|entry| entry.cause == Cause::Settlement(id) && entry.direction == direction);
            let Some(have) = have else {
                return Err(format!("settlement {} has no {} entry", id, direction.as_str()));
            };
            let key = Uuid::new_v5(&id.0, direction.as_str().as_bytes());
            same(
                "entry",
                (key, account, units, version),
                (have.id, have.account, have.amount.units(), have.version),
            )?;
            match direction {
                Direction::Debit => self.sums.0 += u128::from(units),
                Direction::Credit => self.sums.1 += u128::from(units),
            }
        }
        same("sum of debits and of credits", self.sums.0, self.sums.1)
    }

    /// Someone deposits money.
    pub(super) fn on_deposit(&mut self, account: AccountId, units: u64) {
        *self.balances.entry(account).or_default() += i128::from(units);
    }

    /// The rows of the ledger after a commit: every balance as counted here, and none below its limit.
    pub(super) fn on_rows(&self, rows: &BTreeMap<AccountId, Purse>) -> Result<(), String> {
        for (account, purse) in rows {
            let want = self.balances.get(account).copied().unwrap_or_default();
            same("balance", Money(want), Money(purse.balance))
                .map_err(|wrong| format!("{account}: {wrong}"))?;
            if purse.balance + purse.limit < 0 {
                return Err(format!("{account}: balance {} is below its limit", Money(purse.balance)));
            }
        }
        Ok(())
    }
}

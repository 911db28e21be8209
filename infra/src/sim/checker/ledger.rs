//! Commits, marks and money, judged from the rows and the log alone: who had to win, at what price, what had to be kept
//! as evidence of it, and whether the books add up after every commit.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Pricing;
use schemas::ids::{AccountId, BidId, SettlementId, SlotId};
use schemas::money::Money;
use settler::core::choose::Account;
use settler::core::rows::{Cause, Direction, EvidenceRow, SettlementRow, Writes};
use uuid::Uuid;

use super::auction::{count, same};
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
    /// Whether it is not suspended.
    pub may_bid: bool,
}

/// A decision as the log and a snapshot demand it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Sale { winner: AccountId, bid: BidId, price: u64, publisher: AccountId },
    NoSale(&'static str),
}

/// A candidate that had to be looked at, and what was to be seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    rank: usize,
    bid: BidId,
    account: AccountId,
    why: Option<&'static str>,
    purse: Option<Purse>,
}

impl Seen {
    /// As it was written down.
    fn of(row: &EvidenceRow) -> Self {
        let purse = |seen: Account| Purse {
            balance: seen.balance.0,
            limit: seen.credit_limit.0,
            version: seen.version,
            may_bid: seen.status == schemas::settlement::AccountStatus::Active,
        };
        Self {
            rank: row.rank,
            bid: row.candidate.bid_id,
            account: row.candidate.account_id,
            why: row.passed_over.map(schemas::settlement::PassedOver::as_str),
            purse: row.account.map(purse),
        }
    }
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
            let (verdict, seen) = self.decide(log, items, row, &mut purses).map_err(within)?;
            let kept = writes.evidence.iter().filter(|one| one.id == row.id).map(Seen::of).collect();
            same("evidence", seen, kept).map_err(within)?;
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

    /// What the log and the snapshot demand for a row, and whether the row says so; and what evidence they demand.
    fn decide(
        &self,
        log: &Log,
        items: &Items,
        row: &SettlementRow,
        purses: &mut BTreeMap<AccountId, Purse>,
    ) -> Result<(Verdict, Vec<Seen>), String> {
        let (slot, start) = (row.slot_id, row.window_start.0);
        let key = Uuid::new_v5(&slot.0, row.window_start.to_string().as_bytes());
        same("key", key, row.id.0)?;
        let Some((_, auction)) = log.closed.get(&(slot, start)) else {
            return Err("the log has not closed it".to_owned());
        };
        same("digest", items.digests.get(&(slot, start)), Some(&row.digest))?;
        let ranked = auction.ranked_bids(&log.agreed.geometry);
        let kept = usize::from(log.agreed.geometry.candidates).min(ranked.len());
        let as_seen = row.slot.map(|slot| (slot.publisher, slot.floor.0));
        same("publisher and floor", self.slots.get(&slot).copied(), as_seen)?;
        let (verdict, seen, looked) = self.choose((&ranked, kept), slot, purses, log.agreed.geometry.pricing);
        same("accounts looked at behind the candidates", looked.0, row.log.looked.accounts)?;
        same("unknown ones among them", looked.1, row.log.looked.unknown)?;
        if looked.0 > 0 && row.log.cost.reads == 0 {
            return Err("it looked behind the candidates without reading".to_owned());
        }
        let have = match &row.outcome {
            Ok((winner, price)) => {
                let publisher = self.slots.get(&slot).map_or(winner.account_id, |(publisher, _)| *publisher);
                let (winner, bid) = (winner.account_id, winner.bid_id);
                Verdict::Sale { winner, bid, price: price.units(), publisher }
            }
            Err(reason) => Verdict::NoSale(reason.as_str()),
        };
        same("outcome", &verdict, &have)?;
        Ok((verdict, seen))
    }

    /// The verdict, its evidence, and how many accounts had to be looked at behind those that the item names: all, and
    /// those that nobody knows.
    fn choose(
        &self,
        (ranked, kept): (&[Bid], usize),
        slot: SlotId,
        purses: &mut BTreeMap<AccountId, Purse>,
        pricing: Pricing,
    ) -> (Verdict, Vec<Seen>, (u64, u64)) {
        let Some((publisher, floor)) = self.slots.get(&slot).copied() else {
            return (Verdict::NoSale("unknown_slot"), Vec::new(), (0, 0));
        };
        let amount = |rank: usize| i128::from(ranked[rank].amount.units());
        let purse = |rank: usize| purses.get(&ranked[rank].account_id).copied();
        let able = |rank, price| {
            purse(rank).is_some_and(|purse| purse.may_bid && purse.balance + purse.limit >= price)
        };
        let bids = |rank: usize| amount(rank) >= floor;
        let runner_up =
            |rank| (rank + 1..ranked.len()).find(|other| bids(*other) && able(*other, amount(*other)));
        let charged = |rank| match pricing {
            Pricing::First => amount(rank),
            Pricing::Second => runner_up(rank).map_or(floor.max(1), amount).min(amount(rank)),
        };
        let winner = (0..ranked.len()).find(|rank| bids(*rank) && able(*rank, charged(*rank)));
        let looked_at = match (winner, pricing) {
            (None, _) => ranked.len(),
            (Some(winner), Pricing::First) => winner + 1,
            (Some(winner), Pricing::Second) => runner_up(winner).map_or(ranked.len(), |last| last + 1),
        };
        let seen = |rank: usize| {
            let price = if winner == Some(rank) { charged(rank) } else { amount(rank) };
            let why = match purse(rank) {
                _ if !bids(rank) => Some("below_floor"),
                None => Some("unknown_account"),
                Some(purse) if !purse.may_bid => Some("suspended"),
                Some(_) => (!able(rank, price)).then_some("insufficient_funds"),
            };
            Seen { rank, bid: ranked[rank].bid_id, account: ranked[rank].account_id, why, purse: purse(rank) }
        };
        let further = || (kept..looked_at).filter(|rank| bids(*rank));
        let unknown = further().filter(|rank| purse(*rank).is_none()).count();
        let looked = (count(further().count()), count(unknown));
        let behind = further().filter(|rank| purse(*rank).is_some());
        let evidence = (0..looked_at.min(kept)).chain(behind).map(seen).collect();
        let Some(rank) = winner else {
            let all_below = !ranked.is_empty() && !(0..ranked.len()).any(bids);
            let reason = if all_below { "below_floor" } else { "no_eligible_candidate" };
            return (Verdict::NoSale(reason), evidence, looked);
        };
        let (bid, price) = (&ranked[rank], charged(rank));
        let purse = purses.get_mut(&bid.account_id).expect("an account that is able to pay");
        purse.balance -= price;
        purse.version += 1;
        let price = u64::try_from(price).expect("prices are above zero");
        (Verdict::Sale { winner: bid.account_id, bid: bid.bid_id, price, publisher }, evidence, looked)
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

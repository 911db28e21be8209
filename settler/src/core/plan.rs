//! From a job and what was read to what is written: a pure function, the same whenever an attempt sees the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::ids::{AccountId, SettlementId};
use schemas::item::{Decision, Outcome};
use schemas::money::{Money, Price};
use schemas::mutant::{self, Mutant};
use schemas::settlement::derived_id;
use schemas::time::Millis;
use uuid::Uuid;

use super::choose::{Choice, Slot, Terms, Verdict, choose};
use super::rows::{
    Auction, Booked, Cause, Change, Decided, Direction, EntryRow, EvidenceRow, LogRead, Reads, SettlementRow,
    Snapshot, Writes,
};

/// The account that deposits come from; it has entries and no row.
pub const CASH: AccountId = AccountId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));

/// Money for an account, booked once per id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Its id.
    pub id: Uuid,
    /// Who gets it.
    pub account: AccountId,
    /// How much.
    pub amount: Price,
    /// When it is booked.
    pub at: Millis,
}

/// What one transaction is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Decide these auctions.
    Settle(Vec<Arc<Auction>>),
    /// Book a deposit.
    Deposit(Deposit),
}

/// What a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The row of every auction, made now or before; none of one that cannot be decided before the log was read behind
    /// its candidates.
    Decided(BTreeMap<SettlementId, Decided>),
    /// Booked by this job.
    Deposited,
    /// Booked before.
    DepositedBefore,
}

/// What is written, and what the job then came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The writes.
    pub writes: Writes,
    /// The result, true once they are committed.
    pub done: Done,
}

impl Deposit {
    fn entries(&self) -> [(Uuid, Direction, AccountId); 2] {
        let id = |direction: Direction| Uuid::new_v5(&self.id, direction.as_str().as_bytes());
        [
            (id(Direction::Debit), Direction::Debit, CASH),
            (id(Direction::Credit), Direction::Credit, self.account),
        ]
    }
}

impl Job {
    /// How many parts it could be cut into.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Settle(batch) => batch.len(),
            Self::Deposit(_) => 1,
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an attempt reads before anything else.
    #[must_use]
    pub fn reads(&self) -> Reads {
        match self {
            Self::Settle(batch) => Reads {
                settlements: batch.iter().map(|one| one.id).collect(),
                slots: batch.iter().map(|one| one.aggregate.slot_id).collect(),
                accounts: batch
                    .iter()
                    .flat_map(|one| one.bids().map(|candidate| candidate.account_id))
                    .collect(),
                ..Reads::default()
            },
            Self::Deposit(deposit) => Reads {
                accounts: [deposit.account].into(),
                entries: deposit.entries().map(|(id, ..)| id).into(),
                ..Reads::default()
            },
        }
    }

    /// Both halves; nothing of a job of one part.
    #[must_use]
    pub fn halves(self) -> Option<(Job, Job)> {
        match self {
            Self::Settle(mut batch) if batch.len() > 1 => {
                let second = batch.split_off(batch.len() / 2);
                Some((Self::Settle(batch), Self::Settle(second)))
            }
            _ => None,
        }
    }

    /// What is to be written, given what was read.
    ///
    /// # Errors
    /// Why the job can never be done as it is.
    pub fn plan(&self, seen: &Snapshot, terms: Terms, now: Millis) -> Result<Plan, String> {
        match self {
            Self::Settle(batch) => settle(batch, seen, terms, now),
            Self::Deposit(deposit) => deposit_plan(deposit, seen),
        }
    }
}

fn settle(batch: &[Arc<Auction>], seen: &Snapshot, terms: Terms, now: Millis) -> Result<Plan, String> {
    let damaged = &seen.damaged;
    let refused = |damage: &str| Err(format!("{damage}; put that right with SQL, then release the auction"));
    let before = damaged.with_stand_ins(&seen.accounts);
    let mut accounts = before.clone();
    let mut writes = Writes::default();
    let mut rows = seen.settlements.clone();
    for auction in batch {
        if let Some(damage) = damaged.settlements.get(&auction.id) {
            return refused(damage);
        }
        let stands = rows.contains_key(&auction.id) && !mutant::is(Mutant::RetryWithoutReading);
        if stands && !mutant::is(Mutant::MarkOwnOpinion) {
            continue;
        }
        if mutant::is(Mutant::BatchForgetsDebits) {
            accounts.clone_from(&before);
        }
        if let Some(damage) = damaged.slots.get(&auction.aggregate.slot_id) {
            return refused(damage);
        }
        let slot = seen.slots.get(&auction.aggregate.slot_id);
        let chosen = choose((&auction.aggregate, &auction.behind), slot, &mut accounts, terms);
        if let Some(damage) = damaged.met_by(auction, &chosen) {
            return refused(damage);
        }
        let Some(outcome) = outcome(auction, &chosen.verdict) else { continue };
        if !stands {
            decide(&mut writes, auction, slot, &chosen, now);
        }
        let decision = Decision { settlement_id: auction.id, settled_at: now, outcome };
        rows.insert(auction.id, Decided { decision, digest: auction.digest.clone() });
    }
    for (account, after) in &accounts {
        let before = before[account];
        if before.version != after.version {
            let add = Money(after.balance.0 - before.balance.0);
            writes.changes.push(Change {
                account: *account,
                add,
                seen: before.version,
                version: after.version,
            });
        }
    }
    Ok(Plan { writes, done: Done::Decided(rows) })
}

fn outcome(auction: &Auction, verdict: &Verdict) -> Option<Outcome> {
    match verdict {
        Verdict::Sale { rank, price, .. } => {
            Some(Outcome::Sale { winner: auction.bid(*rank).account_id, clearing_price: *price })
        }
        Verdict::NoSale(reason) => Some(Outcome::NoSale { reason: reason.as_str().to_owned() }),
        Verdict::Unread => None,
    }
}

fn decide(
    writes: &mut Writes,
    auction: &Auction,
    slot: Option<&Slot>,
    Choice { verdict, evidence, looked }: &Choice,
    at: Millis,
) {
    let (id, aggregate) = (auction.id, &auction.aggregate);
    let outcome = match verdict {
        Verdict::Sale { rank, price, .. } => Ok((auction.bid(*rank).clone(), *price)),
        Verdict::NoSale(reason) => Err(*reason),
        Verdict::Unread => return,
    };
    writes.settlements.push(SettlementRow {
        id,
        slot_id: aggregate.slot_id,
        window_start: aggregate.window_start,
        window_end: aggregate.window_end,
        outcome,
        slot: slot.copied(),
        digest: auction.digest.clone(),
        settled_at: at,
        log: LogRead { looked: *looked, cost: auction.behind.cost().unwrap_or_default() },
    });
    writes.evidence.extend(evidence.iter().map(|seen| EvidenceRow {
        id,
        rank: seen.rank,
        candidate: auction.bid(seen.rank).clone(),
        passed_over: seen.passed_over,
        account: seen.account,
    }));
    if let Verdict::Sale { rank, price, version, publisher } = verdict {
        let winner = auction.bid(*rank).account_id;
        let entry = |account, direction: Direction, version| EntryRow {
            id: derived_id(&id, direction.as_str()),
            cause: Cause::Settlement(id),
            account,
            direction,
            amount: *price,
            version,
            at,
        };
        writes.entries.push(entry(winner, Direction::Debit, Some(*version)));
        writes.entries.push(entry(*publisher, Direction::Credit, None));
    }
}

fn deposit_plan(deposit: &Deposit, seen: &Snapshot) -> Result<Plan, String> {
    let entries = deposit.entries();
    let of_entries = entries.iter().find_map(|(id, ..)| seen.damaged.entries.get(id));
    if let Some(damage) = of_entries.or_else(|| seen.damaged.accounts.get(&deposit.account)) {
        return Err(format!("{damage}; put that right with SQL, then give this deposit again"));
    }
    let [debit, credit] = entries.map(|(id, ..)| seen.entries.get(&id));
    if let Some(stands) = credit.or(debit) {
        let is_mine = |booked: Option<&Booked>, account| {
            booked.is_some_and(|one| one.account == account && one.amount == Money::from(deposit.amount))
        };
        if is_mine(debit, CASH) && is_mine(credit, deposit.account) {
            return Ok(Plan { writes: Writes::default(), done: Done::DepositedBefore });
        }
        return Err(format!(
            "the id {} was used for a deposit of {} to account {} before; give this one an id of its own",
            deposit.id, stands.amount, stands.account
        ));
    }
    let Some(account) = seen.accounts.get(&deposit.account) else {
        return Err(format!("account {} is unknown; provision it first", deposit.account));
    };
    let add = Money::from(deposit.amount);
    if account.balance.stored_sum(add).is_none() {
        return Err(format!(
            "account {} holds {} and cannot hold {} more: a balance has at most 14 integer digits",
            deposit.account, account.balance, deposit.amount
        ));
    }
    let entry = |(id, direction, account)| EntryRow {
        id,
        cause: Cause::Deposit(deposit.id),
        account,
        direction,
        amount: deposit.amount,
        version: None,
        at: deposit.at,
    };
    // The version counts debits, so a deposit leaves it; the row is written all the same, and that is the fence.
    let change = Change { account: deposit.account, add, seen: account.version, version: account.version };
    let writes = Writes { entries: entries.map(entry).into(), changes: vec![change], ..Writes::default() };
    Ok(Plan { writes, done: Done::Deposited })
}

#[cfg(test)]
mod tests;

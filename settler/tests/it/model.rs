//! A ledger under snapshot isolation, as a value: what Aurora DSQL promises, in a page. It shares no code with the
//! settler but the rows themselves.

use std::collections::BTreeMap;

use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::item::{Decision, Outcome};
use schemas::money::Money;
use settler::core::attempt::{Failure, Origin};
use settler::core::choose::{Account, Slot};
use settler::core::rows::{
    Booked, Decided, Direction, EntryRow, EvidenceRow, Reads, SettlementRow, Snapshot, Writes,
};
use uuid::Uuid;

/// Committed rows, each with the number of the transaction that wrote it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) slots: BTreeMap<SlotId, Slot>,
    pub(crate) accounts: BTreeMap<AccountId, (u64, Account)>,
    pub(crate) settlements: BTreeMap<SettlementId, (u64, SettlementRow)>,
    pub(crate) entries: BTreeMap<Uuid, (u64, EntryRow)>,
    pub(crate) evidence: Vec<EvidenceRow>,
    pub(crate) commits: u64,
}

impl Ledger {
    /// What stands at the keys, and when that was.
    pub(crate) fn read(&self, reads: &Reads) -> (u64, Snapshot) {
        let decided = |row: &SettlementRow| Decided {
            decision: Decision {
                settlement_id: row.id,
                settled_at: row.settled_at,
                outcome: match &row.outcome {
                    Ok((winner, price)) => {
                        Outcome::Sale { winner: winner.account_id, clearing_price: *price }
                    }
                    Err(reason) => Outcome::NoSale { reason: reason.as_str().to_owned() },
                },
            },
            digest: row.digest.clone(),
        };
        let booked = |row: &EntryRow| Booked { account: row.account, amount: Money::from(row.amount) };
        let snapshot = Snapshot {
            settlements: keep(&self.settlements, |id| reads.settlements.contains(id), decided),
            slots: self
                .slots
                .iter()
                .filter(|(id, _)| reads.slots.contains(id))
                .map(|(id, s)| (*id, *s))
                .collect(),
            accounts: keep(&self.accounts, |id| reads.accounts.contains(id), |account| *account),
            entries: keep(&self.entries, |id| reads.entries.contains(id), booked),
            ..Snapshot::default()
        };
        (self.commits, snapshot)
    }

    /// Commits what was worked out from a snapshot, or finds that another transaction was faster.
    pub(crate) fn commit(&mut self, seen_at: u64, writes: &Writes) -> Result<(), Failure> {
        let newer = |stamp: Option<u64>| stamp.is_some_and(|stamp| stamp > seen_at);
        let conflicts =
            writes.settlements.iter().any(|row| newer(self.settlements.get(&row.id).map(|one| one.0)))
                || writes.entries.iter().any(|row| newer(self.entries.get(&row.id).map(|one| one.0)))
                || writes.changes.iter().any(|row| newer(self.accounts.get(&row.account).map(|one| one.0)));
        if conflicts {
            return Err(refusal("40001"));
        }
        // The guard: what was in the snapshot already is not written again, and then the counts are short.
        let present = writes.settlements.iter().any(|row| self.settlements.contains_key(&row.id))
            || writes.entries.iter().any(|row| self.entries.contains_key(&row.id))
            || writes.changes.iter().any(|row| self.accounts[&row.account].1.version != row.seen);
        if present {
            return Err(refusal("22012"));
        }
        self.commits += 1;
        for row in &writes.settlements {
            self.settlements.insert(row.id, (self.commits, row.clone()));
        }
        for row in &writes.entries {
            self.entries.insert(row.id, (self.commits, *row));
        }
        for change in &writes.changes {
            let (stamp, account) = self.accounts.get_mut(&change.account).unwrap();
            *stamp = self.commits;
            account.balance = Money(account.balance.0 + change.add.0);
            account.version = change.version;
        }
        self.evidence.extend(writes.evidence.iter().cloned());
        Ok(())
    }

    /// Credits less debits.
    pub(crate) fn sum(&self) -> i128 {
        let signed = |(_, row): &(u64, EntryRow)| match row.direction {
            Direction::Debit => -Money::from(row.amount).0,
            Direction::Credit => Money::from(row.amount).0,
        };
        self.entries.values().map(signed).sum()
    }
}

fn keep<K: Ord + Copy, V, T>(
    rows: &BTreeMap<K, (u64, V)>,
    wanted: impl Fn(&K) -> bool,
    of: impl Fn(&V) -> T,
) -> BTreeMap<K, T> {
    rows.iter().filter(|(key, _)| wanted(key)).map(|(key, (_, value))| (*key, of(value))).collect()
}

fn refusal(sqlstate: &str) -> Failure {
    Failure::answered(sqlstate, "told by the model".to_owned(), Origin::Genuine)
}

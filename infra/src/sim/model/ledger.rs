//! The ledger of a world: snapshot isolation, and conflicts found at COMMIT as on Aurora DSQL.
//!
//! Nothing waits: a transaction reads one snapshot, and when it commits, each row it changed must still be the one its
//! snapshot showed. Inserts of keys that the snapshot shows do nothing; of keys that came later they conflict. Source:
//! Aurora DSQL user guide, "Concurrency control".

use std::collections::{BTreeMap, BTreeSet};

use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::item::{Decision, Outcome};
use schemas::money::Money;
use settler::core::choose::{Account, Slot};
use settler::core::rows::{Booked, Decided, EntryRow, EvidenceRow, Reads, SettlementRow, Snapshot, Writes};
use uuid::Uuid;

use crate::sim::call::{Answer, Life, Reply, Trouble};
use crate::sim::chance::Chance;
use crate::sim::checker::{Checker, Purse};
use crate::sim::setting::Setting;

/// A row and the commit that made it.
type Versions<T> = Vec<(u64, T)>;

/// A transaction that began.
#[derive(Clone, Copy, Debug)]
struct Open {
    snapshot: u64,
}

/// Why a commit is refused although no row of this world conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// It is not.
    Nothing,
    /// A conflict, with data or with the schema.
    Conflict,
}

const DATA: Trouble =
    Trouble::Sql("40001", "change conflicts with another transaction, please retry: (OC000)");
const SCHEMA: Trouble = Trouble::Sql("40001", "schema has been updated by another transaction: (OC001)");

/// The ledger.
#[derive(Debug)]
pub struct LedgerModel {
    commits: u64,
    schema: u64,
    accounts: BTreeMap<AccountId, Versions<Account>>,
    slots: BTreeMap<SlotId, Slot>,
    settlements: BTreeMap<SettlementId, (u64, SettlementRow)>,
    evidence: BTreeMap<(SettlementId, usize), (u64, EvidenceRow)>,
    entries: BTreeMap<Uuid, (u64, EntryRow)>,
    open: BTreeMap<Life, Open>,
    poisoned: BTreeSet<SlotId>,
    rows_max: usize,
}

impl LedgerModel {
    /// A ledger that was provisioned.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let account = |spec: &crate::sim::setting::AccountSpec| {
            let (balance, credit_limit, status) = (spec.opening?, spec.credit_limit, spec.status);
            let account = Account { balance, credit_limit, version: 0, status };
            Some((spec.account_id, vec![(0, account)]))
        };
        let slot = |spec: &crate::sim::setting::SlotSpec| {
            Some((spec.slot_id, Slot { publisher: spec.publisher?, floor: spec.floor }))
        };
        let poisoned = setting.slots.iter().filter(|slot| slot.poisoned).map(|slot| slot.slot_id);
        Self {
            commits: 0,
            schema: 0,
            accounts: setting.accounts.iter().filter_map(account).collect(),
            slots: setting.slots.iter().filter_map(slot).collect(),
            settlements: BTreeMap::new(),
            evidence: BTreeMap::new(),
            entries: BTreeMap::new(),
            open: BTreeMap::new(),
            poisoned: poisoned.collect(),
            rows_max: setting.rows_max,
        }
    }

    /// Begins a transaction of this process, ending the one it had, and reads.
    pub fn read(&mut self, life: Life, reads: &Reads) -> Reply {
        let snapshot = self.commits;
        self.open.insert(life, Open { snapshot });
        Ok(Answer::Seen(Snapshot {
            settlements: reads
                .settlements
                .iter()
                .filter_map(|id| Some((*id, decided(&self.settlements.get(id)?.1))))
                .collect(),
            slots: reads.slots.iter().filter_map(|id| Some((*id, *self.slots.get(id)?))).collect(),
            accounts: self.accounts_at(snapshot, reads.accounts.iter().copied()),
            entries: reads
                .entries
                .iter()
                .filter_map(|id| {
                    let entry = &self.entries.get(id)?.1;
                    Some((*id, Booked { account: entry.account, amount: Money::from(entry.amount) }))
                })
                .collect(),
            ..Snapshot::default()
        }))
    }

    fn accounts_at(
        &self,
        snapshot: u64,
        ids: impl Iterator<Item = AccountId>,
    ) -> BTreeMap<AccountId, Account> {
        let at = |id: AccountId| {
            let versions = self.accounts.get(&id)?;
            let seen = versions.iter().rev().find(|(commit, _)| *commit <= snapshot)?;
            Some((id, seen.1))
        };
        ids.filter_map(at).collect()
    }

    /// Writes in the process's transaction and commits it.
    pub fn write(
        &mut self,
        life: Life,
        writes: &Writes,
        (injected, chance): (Injected, &mut Chance),
        checker: &mut Checker,
    ) -> Reply {
        let Some(Open { snapshot }) = self.open.remove(&life) else {
            return Err(Trouble::Sql("25P01", "there is no transaction in progress"));
        };
        if writes.rows() > self.rows_max {
            return Err(Trouble::Sql("54000", "transaction row limit exceeded"));
        }
        if writes.settlements.iter().any(|row| self.poisoned.contains(&row.slot_id)) {
            return Err(Trouble::Sql("23514", "new row violates a check constraint"));
        }
        let before = self.accounts_at(snapshot, self.accounts.keys().copied());
        let effective = self.effective(writes, snapshot, &before);
        if !self.guard(writes, &effective, snapshot, &before) {
            return Err(Trouble::Sql("22012", "division by zero"));
        }
        if injected == Injected::Conflict {
            return Err(if chance.happens(300) { SCHEMA } else { DATA });
        }
        if !effective.is_empty() && self.schema > snapshot {
            return Err(SCHEMA);
        }
        if self.conflicts(&effective, snapshot) {
            return Err(DATA);
        }
        self.apply(&effective);
        if !effective.settlements.is_empty() {
            let purses = before.into_iter().map(|(id, account)| (id, purse(&account))).collect();
            checker.on_commit(&effective, &purses);
        } else if let Some(entry) = effective.entries.last() {
            checker.on_deposit(entry.account, entry.amount.units());
        }
        checker.on_rows(&self.purses());
        Ok(Answer::Done)
    }

    /// What is really changed: keys that the snapshot shows are left alone, and so are accounts of another version.
    fn effective(&self, writes: &Writes, snapshot: u64, before: &BTreeMap<AccountId, Account>) -> Writes {
        let mut effective = writes.clone();
        let shown = |made: Option<u64>| made.is_some_and(|commit| commit <= snapshot);
        effective.settlements.retain(|row| !shown(self.settlements.get(&row.id).map(|made| made.0)));
        effective.evidence.retain(|row| !shown(self.evidence.get(&(row.id, row.rank)).map(|made| made.0)));
        effective.entries.retain(|row| !shown(self.entries.get(&row.id).map(|made| made.0)));
        effective
            .changes
            .retain(|row| before.get(&row.account).is_some_and(|account| account.version == row.seen));
        effective
    }

    /// The statement that divides by zero when fewer rows stand than were planned.
    fn guard(
        &self,
        writes: &Writes,
        effective: &Writes,
        snapshot: u64,
        before: &BTreeMap<AccountId, Account>,
    ) -> bool {
        let shown = |made: Option<u64>| made.is_some_and(|commit| commit <= snapshot);
        let settlements = writes.settlements.iter().all(|row| {
            effective.settlements.iter().any(|one| one.id == row.id)
                || shown(self.settlements.get(&row.id).map(|made| made.0))
        });
        let entries = writes.entries.iter().all(|row| {
            effective.entries.iter().any(|one| one.id == row.id)
                || shown(self.entries.get(&row.id).map(|made| made.0))
        });
        let changes = writes.changes.iter().all(|row| {
            effective.changes.iter().any(|one| one.account == row.account)
                || before.get(&row.account).is_some_and(|account| account.version == row.version)
        });
        settlements && entries && changes
    }

    fn conflicts(&self, effective: &Writes, snapshot: u64) -> bool {
        let later = |made: Option<u64>| made.is_some_and(|commit| commit > snapshot);
        effective.settlements.iter().any(|row| later(self.settlements.get(&row.id).map(|made| made.0)))
            || effective
                .evidence
                .iter()
                .any(|row| later(self.evidence.get(&(row.id, row.rank)).map(|made| made.0)))
            || effective.entries.iter().any(|row| later(self.entries.get(&row.id).map(|made| made.0)))
            || effective.changes.iter().any(|row| {
                later(self.accounts.get(&row.account).and_then(|versions| versions.last()).map(|made| made.0))
            })
    }

    fn apply(&mut self, effective: &Writes) {
        self.commits += 1;
        let commit = self.commits;
        for row in &effective.settlements {
            self.settlements.insert(row.id, (commit, row.clone()));
        }
        for row in &effective.evidence {
            self.evidence.insert((row.id, row.rank), (commit, row.clone()));
        }
        for row in &effective.entries {
            self.entries.insert(row.id, (commit, *row));
        }
        for row in &effective.changes {
            let versions = self.accounts.get_mut(&row.account).expect("an account that was seen");
            let last = versions.last().expect("an account has a first version").1;
            let balance = Money(last.balance.0 + row.add.0);
            versions.push((commit, Account { balance, version: row.version, ..last }));
        }
    }

    /// An operator's deposit: a transaction of someone else.
    pub fn deposit(&mut self, account: AccountId, units: u64, checker: &mut Checker) -> bool {
        let Some(versions) = self.accounts.get_mut(&account) else { return false };
        self.commits += 1;
        let last = versions.last().expect("an account has a first version").1;
        let balance = Money(last.balance.0 + i128::from(units));
        versions.push((self.commits, Account { balance, ..last }));
        checker.on_deposit(account, units);
        checker.on_rows(&self.purses());
        true
    }

    /// An operator changes the schema.
    pub fn change_schema(&mut self) {
        self.commits += 1;
        self.schema = self.commits;
    }

    /// Transactions that began and did not end.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn purses(&self) -> BTreeMap<AccountId, Purse> {
        let last = |versions: &Versions<Account>| versions.last().map(|(_, account)| purse(account));
        self.accounts.iter().filter_map(|(id, versions)| Some((*id, last(versions)?))).collect()
    }
}

fn purse(account: &Account) -> Purse {
    Purse {
        balance: account.balance.0,
        limit: account.credit_limit.0,
        version: account.version,
        may_bid: account.status == schemas::settlement::AccountStatus::Active,
    }
}

fn decided(row: &SettlementRow) -> Decided {
    let outcome = match &row.outcome {
        Ok((winner, price)) => Outcome::Sale { winner: winner.account_id, clearing_price: *price },
        Err(reason) => Outcome::NoSale { reason: reason.as_str().to_owned() },
    };
    let decision = Decision { settlement_id: row.id, settled_at: row.settled_at, outcome };
    Decided { decision, digest: row.digest.clone() }
}

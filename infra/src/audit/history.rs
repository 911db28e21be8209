//! What accounts held, rebuilt from opening balances and ledger entries alone.
//!
//! Debits carry the version they gave the account; deposits carry none, so a balance at a version is known up to the
//! deposits that may or may not have come before it. Without deposits it is known exactly.

use std::collections::BTreeMap;

use schemas::ids::{AccountId, SlotId};
use schemas::money::Money;
use schemas::time::Millis;

use super::books::change;
use super::choice::Reach;
use super::rows::{Account, Rows};

/// What accounts held, and since when slots are known to have existed: an account or slot that was provisioned later
/// was rightly unknown before, and only what it did earlier proves the opposite.
pub(super) struct Known {
    pub(super) slots: BTreeMap<SlotId, Millis>,
    pub(super) histories: Histories,
}

impl Known {
    pub(super) fn of(rows: &Rows) -> Self {
        let mut known = Self { slots: BTreeMap::new(), histories: Histories::of(rows) };
        for row in rows.settlements.iter().filter(|row| row.no_sale_reason.as_deref() != Some("unknown_slot"))
        {
            let since = known.slots.entry(row.slot_id).or_insert(row.settled_at);
            *since = row.settled_at.min(*since);
        }
        known
    }
}

/// One account.
#[derive(Clone, Debug)]
struct History {
    /// Balances by version, without deposits.
    at: BTreeMap<i64, Money>,
    /// All deposits together.
    deposits: i128,
    /// The lowest and the highest it can ever have held.
    bounds: (Money, Money),
    /// Since when its entries prove that it existed.
    since: Option<Millis>,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Histories(BTreeMap<AccountId, History>);

impl Histories {
    pub(super) fn of(rows: &Rows) -> Self {
        let mut all: BTreeMap<AccountId, History> =
            rows.accounts.iter().map(|(id, account)| (*id, History::new(account))).collect();
        let mut changes: BTreeMap<AccountId, BTreeMap<i64, i128>> = BTreeMap::new();
        for entry in &rows.entries {
            let Some(history) = all.get_mut(&entry.account_id) else { continue };
            if let Some(version) = entry.account_version {
                *changes.entry(entry.account_id).or_default().entry(version).or_default() += change(entry);
            } else if entry.deposit_id.is_some() {
                history.deposits += change(entry);
            } else {
                continue;
            }
            history.since = Some(history.since.map_or(entry.created_at, |since| since.min(entry.created_at)));
        }
        for (id, changes) in changes {
            if let Some(history) = all.get_mut(&id) {
                history.apply(&changes);
            }
        }
        Self(all)
    }

    /// The least and the most an account can have held at a version, none when it never had that version.
    pub(super) fn at(&self, account: &AccountId, version: i64) -> Option<(Money, Money)> {
        let history = self.0.get(account)?;
        let balance = history.at.get(&version)?;
        Some((*balance, Money(balance.0 + history.deposits)))
    }

    /// Whether entries prove that the account existed at a time.
    pub(super) fn existed(&self, account: &AccountId, at: Millis) -> bool {
        self.0.get(account).and_then(|history| history.since).is_some_and(|since| since <= at)
    }

    /// Whether the account could have paid an amount at the time of a decision.
    pub(super) fn reach(&self, rows: &Rows, account: &AccountId, amount: Money, at: Millis) -> Reach {
        let (Some(history), Some(row)) = (self.0.get(account), rows.accounts.get(account)) else {
            return Reach::Never;
        };
        let reaches = |balance: Money| amount.0 <= balance.0 + row.credit_limit.0;
        let (least, most) = history.bounds;
        match (reaches(least), reaches(Money(most.0 + history.deposits))) {
            (_, false) => Reach::Never,
            (true, _) if self.existed(account, at) => Reach::Always,
            _ => Reach::Sometimes,
        }
    }
}

impl History {
    fn new(account: &Account) -> Self {
        let opening = account.opening_balance;
        Self { at: BTreeMap::from([(0, opening)]), deposits: 0, bounds: (opening, opening), since: None }
    }

    fn apply(&mut self, changes: &BTreeMap<i64, i128>) {
        let mut balance = self.bounds.0;
        for (version, change) in changes {
            balance.0 += change;
            self.at.insert(*version, balance);
            self.bounds = (self.bounds.0.min(balance), self.bounds.1.max(balance));
        }
    }
}

//! Cells of the ledger that hold what no stage writes: told one by one, and what stands on them is not judged.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use schemas::cell::{DamagedCell, RowOf};
use schemas::ids::AccountId;
use schemas::money::Money;
use schemas::time::Millis;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::difference::{About, Findings};

/// What could not be read, and what cannot be judged for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    /// Each cell.
    pub cells: Vec<DamagedCell>,
    /// Decisions that are there and say nothing, with the digests they carry.
    pub settlements: BTreeMap<Uuid, String>,
    /// Decisions whose evidence is not whole.
    pub evidence: BTreeSet<Uuid>,
    /// Settlements and deposits whose entries are not whole.
    pub booked: BTreeSet<Uuid>,
    /// How many entries are not in the books.
    pub entries: u64,
    /// Accounts that are there, and of which it is not known what they held.
    pub accounts: BTreeSet<AccountId>,
}

impl Damaged {
    /// Adds each cell. A balance alone is told by the books, which know what it should be.
    pub(super) fn tell(&self, findings: &mut Findings) {
        for cell in &self.cells {
            let DamagedCell { table, key, column, found, wanted } = cell;
            if (*table, *column) == ("enterprise_accounts", "balance") {
                continue;
            }
            let found = format!("{found}; {}", next(table));
            findings.add(format!("{table} {column}"), &About::subject(key), wanted, found);
        }
    }
}

/// What to do about a damaged cell of a table.
pub(super) fn next(table: &str) -> &'static str {
    match table {
        "enterprise_accounts" | "ad_slots" | "settlements" => {
            "put it right with SQL, then release what settlers hold for it (`settler release`)"
        }
        _ => "put it right with SQL",
    }
}

/// The cells of one row. What cannot be read is noted, and a value that is never used stands in for it.
pub(super) struct Cells<'a> {
    row: &'a Row,
    of: RowOf,
    noted: Vec<DamagedCell>,
    /// The row's key.
    pub(super) key: Uuid,
}

impl<'a> Cells<'a> {
    /// A row of a table whose first column is its key.
    pub(super) fn of(row: &'a Row, table: &'static str, column: &'static str) -> anyhow::Result<Self> {
        let key: Uuid = row.try_get(0).with_context(|| format!("a row of {table} has no {column}"))?;
        Ok(Self { row, of: RowOf::new(table, column, key), noted: Vec::new(), key })
    }

    /// Gives away what was noted; answers whether that was nothing.
    pub(super) fn hand_over(&mut self, damaged: &mut Damaged) -> bool {
        let is_sound = self.is_sound();
        damaged.cells.append(&mut self.noted);
        is_sound
    }

    /// Whether nothing was noted since the last time.
    pub(super) fn is_sound(&self) -> bool {
        self.noted.is_empty()
    }

    /// A column that may be NULL.
    pub(super) fn get<T: FromSql<'a>>(&mut self, column: usize, name: &'static str) -> Option<T> {
        let read = self.row.try_get(column);
        read.unwrap_or_else(|_| {
            self.noted.push(self.of.damaged(
                name,
                Some("a value of another type"),
                "a value of the column's type",
            ));
            None
        })
    }

    /// A column that is never NULL.
    pub(super) fn there<T: FromSql<'a> + Default>(&mut self, column: usize, name: &'static str) -> T {
        let before = self.noted.len();
        let value = self.get(column, name);
        if value.is_none() && self.noted.len() == before {
            self.absent(name);
        }
        value.unwrap_or_default()
    }

    /// A number that is a part of the row's key.
    pub(super) fn beside(&mut self, column: usize, name: &'static str) -> i64 {
        let number = self.there(column, name);
        let key = format!("{} {name} {number}", self.key);
        self.of = RowOf::new("ad_bids", "settlement_id", key);
        number
    }

    /// Notes that nothing stands in a column that is never NULL.
    pub(super) fn absent(&mut self, name: &'static str) {
        self.noted.push(self.of.damaged(name, None, "a value"));
    }

    /// An amount, of any sign, that may be NULL.
    pub(super) fn maybe_money(&mut self, column: usize, name: &'static str) -> Option<Money> {
        let text: Option<&str> = self.get(column, name);
        let money = self.of.money(name, Some(text?));
        self.noted(money)
    }

    /// An amount of any sign.
    pub(super) fn money(&mut self, column: usize, name: &'static str) -> Money {
        let text: Option<&str> = self.get(column, name);
        let money = self.of.money(name, text);
        self.noted(money).unwrap_or_default()
    }

    /// An amount that is not below zero.
    pub(super) fn money_from_zero(&mut self, column: usize, name: &'static str) -> Money {
        let text: Option<&str> = self.get(column, name);
        let money = self.of.money_from_zero(name, text);
        self.noted(money).unwrap_or_default()
    }

    /// A time.
    pub(super) fn millis(&mut self, column: usize, name: &'static str) -> Millis {
        let text: Option<&str> = self.get(column, name);
        let at = self.of.millis(name, text);
        self.noted(at).unwrap_or_default()
    }

    /// A time that may be NULL.
    pub(super) fn maybe_millis(&mut self, column: usize, name: &'static str) -> Option<Millis> {
        let text: Option<&str> = self.get(column, name);
        let at = self.of.millis(name, Some(text?));
        self.noted(at)
    }

    /// A version, which counts debits.
    pub(super) fn version(&mut self, column: usize, name: &'static str) -> i64 {
        let version = self.get(column, name);
        let version = self.of.version(name, version);
        self.noted(version).unwrap_or_default()
    }

    /// The word of an account's status.
    pub(super) fn status(&mut self, name: &'static str, word: Option<&str>) {
        let status = self.of.status(name, word);
        self.noted(status);
    }

    fn noted<T>(&mut self, read: Result<T, DamagedCell>) -> Option<T> {
        read.map_err(|cell| self.noted.push(cell)).ok()
    }
}

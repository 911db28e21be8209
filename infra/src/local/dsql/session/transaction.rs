//! What DSQL counts in one transaction: changed rows, and whether it makes tables or changes them.

use super::super::reply::{CHANGED_ROWS_MAX, Refusal};
use super::super::statement::Kind;

/// Status of a connection without a transaction, as PostgreSQL says it.
pub(super) const IDLE: u8 = b'I';
/// Status of a connection in a transaction that may still commit.
const OPEN: u8 = b'T';

/// The transaction of a connection, or its absence.
#[derive(Debug)]
pub(super) struct Transaction {
    status: u8,
    changed_rows: u64,
    has_changed: bool,
    has_ddl: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { status: IDLE, changed_rows: 0, has_changed: false, has_ddl: false }
    }
}

impl Transaction {
    pub(super) fn status(&self) -> u8 {
        self.status
    }

    pub(super) fn set_status(&mut self, status: u8) {
        self.status = status;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status == IDLE
    }

    /// Whether a COMMIT now could conflict: one that only read never does.
    pub(super) fn has_changes_to_commit(&self) -> bool {
        self.status == OPEN && self.has_changed
    }

    /// Forgets what the transaction before did.
    pub(super) fn reset(&mut self) {
        *self = Self { status: self.status, ..Self::default() };
    }

    /// One DDL statement a transaction, and never beside changes of rows.
    pub(super) fn refuses(&self, kind: Kind) -> Option<Refusal> {
        let what = match kind {
            Kind::Ddl | Kind::IndexAsync if self.has_ddl => {
                "multiple ddl statements are not supported in a transaction"
            }
            Kind::Ddl | Kind::IndexAsync if self.has_changed => {
                "ddl and dml are not supported in the same transaction"
            }
            Kind::Dml if self.has_ddl => "ddl and dml are not supported in the same transaction",
            _ => return None,
        };
        Some(Refusal::unsupported(what))
    }

    /// Takes note of a statement that succeeded; an error when it changed too many rows.
    pub(super) fn on_complete(&mut self, kind: Kind, rows: u64) -> Result<(), Refusal> {
        match kind {
            Kind::Ddl | Kind::IndexAsync => self.has_ddl = true,
            Kind::Commit | Kind::Rollback => self.reset(),
            Kind::Dml => self.has_changed = true,
            Kind::Begin | Kind::Other => {}
        }
        self.changed_rows = self.changed_rows.saturating_add(rows);
        if self.changed_rows > CHANGED_ROWS_MAX { Err(Refusal::too_many_rows()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_last_number_of_rows_that_passes() {
        let mut tx = Transaction::default();
        assert!(tx.on_complete(Kind::Dml, CHANGED_ROWS_MAX - 1).is_ok());
        assert!(tx.on_complete(Kind::Dml, 1).is_ok());
        assert_eq!(tx.on_complete(Kind::Dml, 1), Err(Refusal::too_many_rows()));
    }

    #[test]
    fn ddl_stands_alone_in_its_transaction() {
        let mut tx = Transaction::default();
        assert!(tx.on_complete(Kind::Ddl, 0).is_ok());
        assert!(tx.refuses(Kind::Ddl).is_some() && tx.refuses(Kind::Dml).is_some());
        assert!(tx.refuses(Kind::Commit).is_none());
        assert!(tx.on_complete(Kind::Commit, 0).is_ok());
        assert!(tx.refuses(Kind::Ddl).is_none());
    }
}

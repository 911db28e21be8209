//! What DSQL counts in one transaction: changed rows and bytes, its age, and whether it makes tables or changes them.
//!
//! A transaction that met a conflict is *doomed*: PostgreSQL has failed it already, and the client learns that at its
//! COMMIT, as on DSQL.

use std::time::{Duration, Instant};

use super::super::reply::{CHANGED_ROWS_MAX, Refusal};
use super::super::statement::Kind;

/// Status of a connection without a transaction, as PostgreSQL says it.
pub(super) const IDLE: u8 = b'I';
/// Status of a connection in a transaction that may still commit.
const OPEN: u8 = b'T';

/// What bounds a transaction beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) age_max: Duration,
}

/// The transaction of a connection, or its absence.
#[derive(Debug)]
pub(super) struct Transaction {
    bounds: Bounds,
    status: u8,
    changed_rows: u64,
    changed_bytes: u64,
    has_changed: bool,
    has_ddl: bool,
    began: Option<Instant>,
    is_doomed: bool,
}

impl Transaction {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            status: IDLE,
            changed_rows: 0,
            changed_bytes: 0,
            has_changed: false,
            has_ddl: false,
            began: None,
            is_doomed: false,
        }
    }

    /// What the client is told.
    pub(super) fn status(&self) -> u8 {
        if self.is_doomed { OPEN } else { self.status }
    }

    pub(super) fn set_status(&mut self, status: u8) {
        if self.status == IDLE && status != IDLE {
            self.began = Some(Instant::now());
        }
        self.status = status;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status == IDLE
    }

    /// Whether a change that fails now fails a transaction that could go on.
    pub(super) fn is_open(&self) -> bool {
        self.status == OPEN
    }

    /// Whether a COMMIT now could conflict: one that only read never does.
    pub(super) fn has_changes_to_commit(&self) -> bool {
        self.status == OPEN && (self.has_changed || self.has_ddl)
    }

    /// A conflict was met, and the client is not told before its COMMIT.
    pub(super) fn doom(&mut self) {
        self.is_doomed = true;
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.is_doomed
    }

    /// The client is told now.
    pub(super) fn undoom(&mut self) {
        self.is_doomed = false;
    }

    /// Forgets what the transaction before did.
    pub(super) fn reset(&mut self) {
        *self = Self { status: self.status, ..Self::new(self.bounds) };
    }

    /// One DDL statement a transaction, never beside changes of rows, and nothing after its time.
    pub(super) fn refuses(&self, kind: Kind) -> Option<Refusal> {
        let is_late = self.began.is_some_and(|began| began.elapsed() > self.bounds.age_max);
        if is_late && self.is_open() && kind != Kind::Rollback {
            return Some(Refusal::too_old(self.bounds.age_max));
        }
        let what = match kind {
            Kind::Ddl | Kind::IndexAsync if self.has_ddl => {
                "multiple ddl statements are not supported in a transaction"
            }
            Kind::Ddl | Kind::IndexAsync if self.has_changed => {
                "ddl and dml are not supported in the same transaction"
            }
            kind if kind.changes() && self.has_ddl => "ddl and dml are not supported in the same transaction",
            _ => return None,
        };
        Some(Refusal::unsupported(what))
    }

    /// Takes note of bytes that a change brought.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.changed_bytes = self.changed_bytes.saturating_add(bytes);
    }

    /// Why a COMMIT is refused, before any dice are thrown.
    pub(super) fn refuses_commit(&self) -> Option<Refusal> {
        let is_large = self.has_changed && self.changed_bytes > self.bounds.bytes_max;
        is_large.then(|| Refusal::too_many_bytes(self.changed_bytes))
    }

    /// Takes note of a statement that succeeded; an error when it changed too many rows.
    pub(super) fn on_complete(&mut self, kind: Kind, rows: u64) -> Result<(), Refusal> {
        match kind {
            Kind::Ddl | Kind::IndexAsync => self.has_ddl = true,
            Kind::Commit | Kind::Rollback => self.reset(),
            Kind::Change(_) | Kind::Dml | Kind::CopyIn => self.has_changed = true,
            // Its rows were read.
            Kind::CopyOut => return Ok(()),
            Kind::Begin | Kind::Other => {}
        }
        self.changed_rows = self.changed_rows.saturating_add(rows);
        if self.changed_rows > CHANGED_ROWS_MAX { Err(Refusal::too_many_rows()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction::new(Bounds { bytes_max: 100, age_max: Duration::from_secs(300) })
    }

    #[test]
    fn the_limit_is_the_last_number_of_rows_that_passes() {
        let mut tx = transaction();
        assert!(tx.on_complete(Kind::Dml, CHANGED_ROWS_MAX - 1).is_ok());
        assert!(tx.on_complete(Kind::Dml, 1).is_ok());
        assert!(tx.on_complete(Kind::CopyOut, CHANGED_ROWS_MAX).is_ok());
        assert_eq!(tx.on_complete(Kind::CopyIn, 1), Err(Refusal::too_many_rows()));
    }

    #[test]
    fn bytes_are_refused_at_the_commit_and_forgotten_with_the_transaction() {
        let mut tx = transaction();
        assert!(tx.on_complete(Kind::Dml, 1).is_ok());
        tx.add_bytes(100);
        assert_eq!(tx.refuses_commit(), None);
        tx.add_bytes(1);
        assert_eq!(tx.refuses_commit().map(|refusal| refusal.code), Some("54000".to_owned()));
        tx.reset();
        assert_eq!(tx.refuses_commit(), None);
    }

    #[test]
    fn ddl_stands_alone_in_its_transaction() {
        let mut tx = transaction();
        assert!(tx.on_complete(Kind::Ddl, 0).is_ok());
        assert!(tx.refuses(Kind::Ddl).is_some() && tx.refuses(Kind::Dml).is_some());
        assert!(tx.refuses(Kind::Commit).is_none());
        assert!(tx.on_complete(Kind::Commit, 0).is_ok());
        assert!(tx.refuses(Kind::Ddl).is_none());
    }
}

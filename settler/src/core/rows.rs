//! What a transaction reads and what it writes, as values: the ledger's rows without a ledger.

use std::collections::{BTreeMap, BTreeSet};

use schemas::attr::Attrs;
use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::item::{Aggregate, Candidate, Decision};
use schemas::limits::{DSQL_BYTES_MAX, DSQL_ROWS_MAX};
use schemas::money::{Money, Price};
use schemas::mutant::{self, Mutant};
use schemas::settlement::{NoSale, PassedOver, settlement_id};
use schemas::time::Millis;
use uuid::Uuid;

use super::behind::{Behind, Cost};
use super::choose::{Account, Looked, Slot};
use super::damaged::Damaged;

/// An auction that awaits its decision, with what is derived from it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auction {
    /// The key of its row.
    pub id: SettlementId,
    /// What the log came to.
    pub aggregate: Aggregate,
    /// The aggregate's digest.
    pub digest: String,
    /// What is known of the accounts that its candidates do not name.
    pub behind: Behind,
}

impl Auction {
    /// The auction of this aggregate; the log behind it was not read.
    #[must_use]
    pub fn of(aggregate: Aggregate) -> Self {
        let (id, digest) = (settlement_id(&aggregate.slot_id, aggregate.window_start), aggregate.digest());
        let behind = Behind::of(&aggregate);
        Self { id, aggregate, digest, behind }
    }

    /// Everyone whose bid is known, best first.
    pub fn bids(&self) -> impl Iterator<Item = &Candidate> {
        self.aggregate.candidates.iter().chain(self.behind.bids())
    }

    /// The bid of a rank that was looked at.
    #[must_use]
    pub fn bid(&self, rank: usize) -> &Candidate {
        let candidates = &self.aggregate.candidates;
        candidates.get(rank).unwrap_or_else(|| &self.behind.bids()[rank - candidates.len()])
    }

    /// Reads an item that awaits settlement; its digest must be that of what it says.
    ///
    /// # Errors
    /// Why the item cannot be decided.
    pub fn read(item: &Attrs) -> Result<Self, String> {
        let aggregate = Aggregate::from_attrs(item).map_err(|error| error.to_string())?;
        let stored = Aggregate::stored_digest(item).map_err(|error| error.to_string())?;
        let auction = Self::of(aggregate);
        if stored == auction.digest || mutant::is(Mutant::DigestIgnored) {
            Ok(auction)
        } else {
            Err(format!("digest {stored} stands in the item, and its attributes give {}", auction.digest))
        }
    }
}

/// The keys that an attempt begins by reading; sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Decisions.
    pub settlements: BTreeSet<SettlementId>,
    /// Slots.
    pub slots: BTreeSet<SlotId>,
    /// Accounts.
    pub accounts: BTreeSet<AccountId>,
    /// Entries of the ledger.
    pub entries: BTreeSet<Uuid>,
}

/// A decided auction: the row as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The digest that the row carries.
    pub digest: String,
}

/// An entry as it stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Whose.
    pub account: AccountId,
    /// How much.
    pub amount: Money,
}

/// What stood at the keys that were read, in one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Decisions that were made before.
    pub settlements: BTreeMap<SettlementId, Decided>,
    /// Known slots.
    pub slots: BTreeMap<SlotId, Slot>,
    /// Known accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// Entries that were booked before.
    pub entries: BTreeMap<Uuid, Booked>,
    /// Rows that stood there and cannot be read.
    pub damaged: Damaged,
}

/// A new row of `settlements`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementRow {
    /// Its key.
    pub id: SettlementId,
    /// What was auctioned.
    pub slot_id: SlotId,
    /// Start of the window.
    pub window_start: Millis,
    /// End of the window.
    pub window_end: Millis,
    /// The winner and the price, or the reason why there is none.
    pub outcome: Result<(Candidate, Price), NoSale>,
    /// The slot's floor and publisher as this decision saw them: it may have others later. None for an unknown slot.
    pub slot: Option<Slot>,
    /// The aggregate's digest.
    pub digest: String,
    /// When.
    pub settled_at: Millis,
    /// What was looked at behind the candidates: nothing where they sufficed.
    pub log: LogRead,
}

/// What a decision took from the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRead {
    /// Accounts that were looked at behind the candidates.
    pub looked: Looked,
    /// What reading took.
    pub cost: Cost,
}

/// A new row of `ad_bids`: a candidate that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRow {
    /// The decision it belongs to.
    pub id: SettlementId,
    /// Its place, from 0.
    pub rank: usize,
    /// The candidate.
    pub candidate: Candidate,
    /// Why it was passed over; none for the winner, and for the one behind it that sets the price.
    pub passed_over: Option<PassedOver>,
    /// Its account as seen.
    pub account: Option<Account>,
}

/// Which way money goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the account.
    Debit,
    /// To the account.
    Credit,
}

impl Direction {
    /// The word in `financial_ledger.direction`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debit => "DEBIT",
            Self::Credit => "CREDIT",
        }
    }
}

/// What an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A sale.
    Settlement(SettlementId),
    /// A deposit.
    Deposit(Uuid),
}

/// A new row of `financial_ledger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its derived key.
    pub id: Uuid,
    /// What it belongs to.
    pub cause: Cause,
    /// Whose.
    pub account: AccountId,
    /// Which way.
    pub direction: Direction,
    /// How much.
    pub amount: Price,
    /// The account's version after it, for the debit of a sale.
    pub version: Option<i64>,
    /// When.
    pub at: Millis,
}

/// A change of a buyer's row, which is the one that conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub account: AccountId,
    /// What is added; below zero for debits.
    pub add: Money,
    /// The version it was worked out from.
    pub seen: i64,
    /// The version it leaves: higher by the number of debits.
    pub version: i64,
}

/// Everything one transaction writes, in the order in which it is sent: keys first, the rows that conflict last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Decisions.
    pub settlements: Vec<SettlementRow>,
    /// Evidence.
    pub evidence: Vec<EvidenceRow>,
    /// Entries.
    pub entries: Vec<EntryRow>,
    /// Accounts, in sorted order.
    pub changes: Vec<Change>,
}

/// Bytes of a row beside its texts: ids, numbers, times and the engine's own; generous.
const ROW_BYTES: usize = 320;

impl Writes {
    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settlements.is_empty() && self.entries.is_empty() && self.changes.is_empty()
    }

    /// Rows as DSQL counts them: those of tables and those of indexes, and an entry has one more in the index by account
    /// (Aurora DSQL user guide, "Quotas and limits").
    #[must_use]
    pub fn rows(&self) -> usize {
        self.settlements.len() + self.evidence.len() + 2 * self.entries.len() + self.changes.len()
    }

    /// Bytes, never fewer than DSQL counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = |one: &Candidate| one.shard_id.0.len() + one.sequence.as_str().len();
        let winner = |row: &SettlementRow| row.outcome.as_ref().map_or(0, |(winner, _)| texts(winner));
        let settlements: usize = self.settlements.iter().map(|row| row.digest.len() + winner(row)).sum();
        settlements + self.rows() * ROW_BYTES
    }

    /// Whether one transaction may hold it.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.rows() <= DSQL_ROWS_MAX && self.bytes() <= DSQL_BYTES_MAX
    }
}

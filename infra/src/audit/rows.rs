//! The rows of the ledger as the audit reads them, in one snapshot.
//!
//! NUMERIC travels as text and becomes whole ten-thousandths; times are cut to milliseconds. A cell that holds what no
//! stage writes is kept apart, with what cannot be judged for it, and the rest is read.

use std::collections::BTreeMap;

use anyhow::Context;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::money::Money;
use schemas::time::Millis;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::cells::{Cells, Damaged};

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of the table settlements, which says what they are")]
pub struct Settlement {
    pub settlement_id: Uuid,
    pub slot_id: SlotId,
    pub window_start: Millis,
    pub window_end: Millis,
    pub outcome: String,
    pub winner_account: Option<AccountId>,
    pub winning_bid: Option<BidId>,
    pub winning_amount: Option<Money>,
    pub clearing_price: Option<Money>,
    pub no_sale_reason: Option<String>,
    pub aggregate_digest: String,
    pub settled_at: Millis,
    pub winner_region: Option<String>,
    pub winner_shard: Option<String>,
    pub winner_sequence: Option<String>,
    pub winner_sub_sequence: Option<i64>,
    pub floor_price: Option<Money>,
    pub publisher_account_id: Option<AccountId>,
    pub log_accounts: Option<i64>,
    pub log_unknown: Option<i64>,
    pub log_reads: Option<i64>,
    pub log_bytes: Option<i64>,
}

/// A candidate as the decision saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of the table ad_bids, which says what they are")]
pub struct Evidence {
    pub settlement_id: Uuid,
    pub rank: i64,
    pub bid_id: BidId,
    pub account_id: AccountId,
    pub region: String,
    pub amount: Money,
    pub passed_over: Option<String>,
    pub balance_seen: Option<Money>,
    pub limit_seen: Option<Money>,
    pub version_seen: Option<i64>,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of the table financial_ledger, which says what they are")]
pub struct Entry {
    pub entry_id: Uuid,
    pub settlement_id: Option<Uuid>,
    pub deposit_id: Option<Uuid>,
    pub account_id: AccountId,
    pub direction: String,
    pub amount: Money,
    pub account_version: Option<i64>,
    pub created_at: Millis,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of the table enterprise_accounts, which says what they are")]
pub struct Account {
    pub opening_balance: Money,
    /// None where no number stands there.
    pub balance: Option<Money>,
    pub credit_limit: Money,
    pub version: i64,
    pub status: Option<String>,
    pub status_since: Option<Millis>,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of the table ad_slots, which says what they are")]
pub struct Slot {
    pub publisher_account_id: AccountId,
    /// None where no floor stands there.
    pub floor_price: Option<Money>,
}

/// All rows that a decision leaves or stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Decisions in no order.
    pub settlements: Vec<Settlement>,
    /// Candidates by decision, in rank order.
    pub evidence: BTreeMap<Uuid, Vec<Evidence>>,
    /// Entries in no order.
    pub entries: Vec<Entry>,
    /// Accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// Slots.
    pub slots: BTreeMap<SlotId, Slot>,
    /// Cells that cannot be read, and what cannot be judged for them.
    pub damaged: Damaged,
}

const SETTLEMENTS: &str = "SELECT settlement_id, slot_id, \
    floor(extract(epoch FROM window_start) * 1000)::text, floor(extract(epoch FROM window_end) * 1000)::text, \
    outcome, winner_account, winning_bid, winning_amount::text, clearing_price::text, no_sale_reason, \
    aggregate_digest, floor(extract(epoch FROM settled_at) * 1000)::text, winner_region, winner_shard, \
    winner_sequence, winner_sub_sequence, floor_price::text, publisher_account_id, \
    log_accounts, log_unknown, log_reads, log_bytes FROM settlements";
const EVIDENCE: &str = "SELECT settlement_id, rank, bid_id, account_id, region, amount::text, passed_over, \
    balance_seen::text, limit_seen::text, version_seen FROM ad_bids";
const ENTRIES: &str = "SELECT entry_id, settlement_id, deposit_id, account_id, direction, amount::text, \
    account_version, floor(extract(epoch FROM created_at) * 1000)::text FROM financial_ledger";
const ACCOUNTS: &str = "SELECT account_id, opening_balance::text, balance::text, credit_limit::text, version, \
    status, floor(extract(epoch FROM status_since) * 1000)::text FROM enterprise_accounts";
const SLOTS: &str = "SELECT slot_id, publisher_account_id, floor_price::text FROM ad_slots";

/// Reads everything in one transaction, so that rows that were written together are seen together.
///
/// # Errors
/// When the ledger cannot be read or a row holds what no stage writes.
pub async fn read(db: &Client) -> anyhow::Result<Rows> {
    db.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .context("the ledger takes no transaction")?;
    let rows = read_all(db).await;
    let end = db.batch_execute(if rows.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let rows = rows?;
    end.context("the ledger's snapshot cannot be ended")?;
    Ok(rows)
}

async fn read_all(db: &Client) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    for row in query(db, SETTLEMENTS).await? {
        rows.take_settlement(&row)?;
    }
    for row in query(db, &format!("{EVIDENCE} ORDER BY settlement_id, rank")).await? {
        rows.take_evidence(&row)?;
    }
    for row in query(db, ENTRIES).await? {
        rows.take_entry(&row)?;
    }
    for row in query(db, ACCOUNTS).await? {
        rows.take_account(&row)?;
    }
    for row in query(db, SLOTS).await? {
        rows.take_slot(&row)?;
    }
    Ok(rows)
}

/// Reads what one decision left: its row, its evidence and its entries.
///
/// # Errors
/// As [`read`].
pub async fn read_one(db: &Client, settlement_id: Uuid) -> anyhow::Result<Rows> {
    let of = async |statement: &str, order: &str| {
        let statement = format!("{statement} WHERE settlement_id = $1 ORDER BY {order}");
        let rows = db.query(&statement, &[&settlement_id]).await;
        rows.map_err(|error| cannot_be_read(&statement, error))
    };
    let mut rows = Rows::default();
    for row in of(SETTLEMENTS, "settlement_id").await? {
        rows.take_settlement(&row)?;
    }
    for row in of(EVIDENCE, "rank").await? {
        rows.take_evidence(&row)?;
    }
    for row in of(ENTRIES, "direction DESC").await? {
        rows.take_entry(&row)?;
    }
    Ok(rows)
}

async fn query(db: &Client, statement: &str) -> anyhow::Result<Vec<Row>> {
    db.query(statement, &[]).await.map_err(|error| cannot_be_read(statement, error))
}

fn cannot_be_read(statement: &str, error: tokio_postgres::Error) -> anyhow::Error {
    let after = statement.split(" FROM ").last().unwrap_or_default();
    let table = after.split(' ').next().unwrap_or_default();
    let lacking = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN];
    let advice = match error.code() {
        Some(code) if lacking.contains(code) => {
            "; this release has not provisioned it, run `exchange provision`"
        }
        _ => "",
    };
    anyhow::Error::new(error).context(format!("the ledger's {table} cannot be read{advice}"))
}

impl Rows {
    /// Takes a decision; one with a damaged cell is known by its id alone.
    fn take_settlement(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells = Cells::of(row, "settlements", "settlement_id")?;
        let settlement = Settlement {
            settlement_id: cells.key,
            slot_id: SlotId(cells.there(1, "slot_id")),
            window_start: cells.millis(2, "window_start"),
            window_end: cells.millis(3, "window_end"),
            outcome: cells.there(4, "outcome"),
            winner_account: cells.get(5, "winner_account").map(AccountId),
            winning_bid: cells.get(6, "winning_bid").map(BidId),
            winning_amount: cells.maybe_money(7, "winning_amount"),
            clearing_price: cells.maybe_money(8, "clearing_price"),
            no_sale_reason: cells.get(9, "no_sale_reason"),
            aggregate_digest: cells.there(10, "aggregate_digest"),
            settled_at: cells.millis(11, "settled_at"),
            winner_region: cells.get(12, "winner_region"),
            winner_shard: cells.get(13, "winner_shard"),
            winner_sequence: cells.get(14, "winner_sequence"),
            winner_sub_sequence: cells.get(15, "winner_sub_sequence"),
            floor_price: cells.maybe_money(16, "floor_price"),
            publisher_account_id: cells.get(17, "publisher_account_id").map(AccountId),
            log_accounts: cells.get(18, "log_accounts"),
            log_unknown: cells.get(19, "log_unknown"),
            log_reads: cells.get(20, "log_reads"),
            log_bytes: cells.get(21, "log_bytes"),
        };
        if cells.hand_over(&mut self.damaged) {
            self.settlements.push(settlement);
        } else {
            self.damaged.settlements.insert(settlement.settlement_id, settlement.aggregate_digest);
        }
        Ok(())
    }

    fn take_evidence(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells = Cells::of(row, "ad_bids", "settlement_id")?;
        let evidence = Evidence {
            settlement_id: cells.key,
            rank: cells.beside(1, "rank"),
            bid_id: BidId(cells.there(2, "bid_id")),
            account_id: AccountId(cells.there(3, "account_id")),
            region: cells.there(4, "region"),
            amount: cells.money(5, "amount"),
            passed_over: cells.get(6, "passed_over"),
            balance_seen: cells.maybe_money(7, "balance_seen"),
            limit_seen: cells.maybe_money(8, "limit_seen"),
            version_seen: cells.get(9, "version_seen"),
        };
        if cells.hand_over(&mut self.damaged) {
            self.evidence.entry(evidence.settlement_id).or_default().push(evidence);
        } else {
            self.damaged.evidence.insert(evidence.settlement_id);
        }
        Ok(())
    }

    /// Takes an entry; of what one with a damaged cell belongs to nothing is added up.
    fn take_entry(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells = Cells::of(row, "financial_ledger", "entry_id")?;
        let entry = Entry {
            entry_id: cells.key,
            settlement_id: cells.get(1, "settlement_id"),
            deposit_id: cells.get(2, "deposit_id"),
            account_id: AccountId(cells.there(3, "account_id")),
            direction: cells.there(4, "direction"),
            amount: cells.money(5, "amount"),
            account_version: cells.get(6, "account_version"),
            created_at: cells.millis(7, "created_at"),
        };
        if cells.hand_over(&mut self.damaged) {
            self.entries.push(entry);
        } else {
            self.damaged.entries += 1;
            self.damaged.booked.extend([entry.settlement_id, entry.deposit_id].into_iter().flatten());
            self.damaged.accounts.insert(entry.account_id);
        }
        Ok(())
    }

    /// Takes an account. Its balance and its status are compared, and nothing else is worked out from them.
    fn take_account(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells = Cells::of(row, "enterprise_accounts", "account_id")?;
        let id = AccountId(cells.key);
        let account = Account {
            opening_balance: cells.money(1, "opening_balance"),
            balance: None,
            credit_limit: cells.money_from_zero(3, "credit_limit"),
            version: cells.version(4, "version"),
            status: None,
            status_since: None,
        };
        let is_whole = cells.hand_over(&mut self.damaged);
        let balance = cells.maybe_money(2, "balance");
        if balance.is_none() && cells.is_sound() {
            cells.absent("balance");
        }
        let status: Option<String> = cells.get(5, "status");
        cells.status("status", status.as_deref());
        let status_since = cells.maybe_millis(6, "status_since");
        cells.hand_over(&mut self.damaged);
        if !is_whole {
            self.damaged.accounts.insert(id);
        }
        self.accounts.insert(id, Account { balance, status, status_since, ..account });
        Ok(())
    }

    fn take_slot(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells = Cells::of(row, "ad_slots", "slot_id")?;
        let slot_id = SlotId(cells.key);
        let publisher_account_id = AccountId(cells.there(1, "publisher_account_id"));
        let floor = cells.money_from_zero(2, "floor_price");
        let floor_price = cells.hand_over(&mut self.damaged).then_some(floor);
        self.slots.insert(slot_id, Slot { publisher_account_id, floor_price });
        Ok(())
    }
}

//! The rows of the ledger as the audit reads them, in one snapshot.
//!
//! NUMERIC travels as text and becomes whole ten-thousandths; times are cut to milliseconds.

use std::collections::BTreeMap;

use anyhow::Context;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::money::Money;
use schemas::time::Millis;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

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
    pub balance: Money,
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
    pub floor_price: Money,
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
}

const SETTLEMENTS: &str = "SELECT settlement_id, slot_id, \
    floor(extract(epoch FROM window_start) * 1000)::bigint, floor(extract(epoch FROM window_end) * 1000)::bigint, \
    outcome, winner_account, winning_bid, winning_amount::text, clearing_price::text, no_sale_reason, \
    aggregate_digest, floor(extract(epoch FROM settled_at) * 1000)::bigint, winner_region, winner_shard, \
    winner_sequence, winner_sub_sequence, floor_price::text, publisher_account_id, \
    log_accounts, log_unknown, log_reads, log_bytes FROM settlements";
const EVIDENCE: &str = "SELECT settlement_id, rank, bid_id, account_id, region, amount::text, passed_over, \
    balance_seen::text, limit_seen::text, version_seen FROM ad_bids";
const ENTRIES: &str = "SELECT entry_id, settlement_id, deposit_id, account_id, direction, amount::text, \
    account_version, floor(extract(epoch FROM created_at) * 1000)::bigint FROM financial_ledger";
const ACCOUNTS: &str = "SELECT account_id, opening_balance::text, balance::text, credit_limit::text, version, \
    status, floor(extract(epoch FROM status_since) * 1000)::bigint FROM enterprise_accounts";
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
        rows.settlements.push(settlement(&row)?);
    }
    for row in query(db, &format!("{EVIDENCE} ORDER BY settlement_id, rank")).await? {
        let evidence = evidence(&row)?;
        rows.evidence.entry(evidence.settlement_id).or_default().push(evidence);
    }
    for row in query(db, ENTRIES).await? {
        rows.entries.push(entry(&row)?);
    }
    for row in query(db, ACCOUNTS).await? {
        let account = Account {
            opening_balance: money(&row, 1)?,
            balance: money(&row, 2)?,
            credit_limit: money(&row, 3)?,
            version: row.try_get(4)?,
            status: row.try_get(5)?,
            status_since: row.try_get::<_, Option<i64>>(6)?.map(moment).transpose()?,
        };
        rows.accounts.insert(AccountId(row.try_get(0)?), account);
    }
    for row in query(db, SLOTS).await? {
        let slot = Slot { publisher_account_id: AccountId(row.try_get(1)?), floor_price: money(&row, 2)? };
        rows.slots.insert(SlotId(row.try_get(0)?), slot);
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
        rows.settlements.push(settlement(&row)?);
    }
    for row in of(EVIDENCE, "rank").await? {
        rows.evidence.entry(settlement_id).or_default().push(evidence(&row)?);
    }
    for row in of(ENTRIES, "direction DESC").await? {
        rows.entries.push(entry(&row)?);
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

fn maybe_money(row: &Row, column: usize) -> anyhow::Result<Option<Money>> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().with_context(|| format!("{text} is no amount of money"))).transpose()
}

fn money(row: &Row, column: usize) -> anyhow::Result<Money> {
    maybe_money(row, column)?.context("an amount is absent")
}

fn millis(row: &Row, column: usize) -> anyhow::Result<Millis> {
    moment(row.try_get(column)?)
}

fn moment(ms: i64) -> anyhow::Result<Millis> {
    Ok(Millis(u64::try_from(ms).context("a time is before 1970")?))
}

fn settlement(row: &Row) -> anyhow::Result<Settlement> {
    Ok(Settlement {
        settlement_id: row.try_get(0)?,
        slot_id: SlotId(row.try_get(1)?),
        window_start: millis(row, 2)?,
        window_end: millis(row, 3)?,
        outcome: row.try_get(4)?,
        winner_account: row.try_get::<_, Option<Uuid>>(5)?.map(AccountId),
        winning_bid: row.try_get::<_, Option<Uuid>>(6)?.map(BidId),
        winning_amount: maybe_money(row, 7)?,
        clearing_price: maybe_money(row, 8)?,
        no_sale_reason: row.try_get(9)?,
        aggregate_digest: row.try_get(10)?,
        settled_at: millis(row, 11)?,
        winner_region: row.try_get(12)?,
        winner_shard: row.try_get(13)?,
        winner_sequence: row.try_get(14)?,
        winner_sub_sequence: row.try_get(15)?,
        floor_price: maybe_money(row, 16)?,
        publisher_account_id: row.try_get::<_, Option<Uuid>>(17)?.map(AccountId),
        log_accounts: row.try_get(18)?,
        log_unknown: row.try_get(19)?,
        log_reads: row.try_get(20)?,
        log_bytes: row.try_get(21)?,
    })
}

fn evidence(row: &Row) -> anyhow::Result<Evidence> {
    Ok(Evidence {
        settlement_id: row.try_get(0)?,
        rank: row.try_get(1)?,
        bid_id: BidId(row.try_get(2)?),
        account_id: AccountId(row.try_get(3)?),
        region: row.try_get(4)?,
        amount: money(row, 5)?,
        passed_over: row.try_get(6)?,
        balance_seen: maybe_money(row, 7)?,
        limit_seen: maybe_money(row, 8)?,
        version_seen: row.try_get(9)?,
    })
}

fn entry(row: &Row) -> anyhow::Result<Entry> {
    Ok(Entry {
        entry_id: row.try_get(0)?,
        settlement_id: row.try_get(1)?,
        deposit_id: row.try_get(2)?,
        account_id: AccountId(row.try_get(3)?),
        direction: row.try_get(4)?,
        amount: money(row, 5)?,
        account_version: row.try_get(6)?,
        created_at: millis(row, 7)?,
    })
}

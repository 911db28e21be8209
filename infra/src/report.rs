//! The report: traffic by region, hot slots, decisions, conflicts and ledger totals, from table and ledger alone.
//!
//! What only the producers know (how many bids were sent, and how fast) is taken from their rows in `simulation_runs`;
//! when nobody wrote one, it stays empty and is not guessed. Judges nothing: that is [`crate::audit`].

mod print;
mod rows;
mod scanned;

use std::collections::BTreeMap;

use runtime::clients::Clients;
use schemas::keys;
use schemas::money::Money;
use serde::{Deserialize, Serialize, Serializer};
use tokio_postgres::Client;

use self::scanned::Scanned;
use crate::audit::table;
use crate::failure::Failure;

/// What to report on.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// The table of aggregates.
    pub table: String,
    /// How many conflicts a local DSQL injected, when the caller has it; else `conflict_events` says.
    pub injected: Option<u64>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { table: keys::TABLE.to_owned(), injected: None }
    }
}

/// What only the producers know: the outcome in their rows of `simulation_runs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNumbers {
    /// Bids taken in.
    pub bids_sent: u64,
    /// Bids that the stream has.
    pub bids_accepted: u64,
    /// Bids that could no longer make their window.
    #[serde(default)]
    pub expired: u64,
}

/// One region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Counted bids.
    pub bids: u64,
    /// Sum of their amounts.
    #[serde(serialize_with = "as_text")]
    pub amount_sum: Money,
    /// Auctions won.
    pub wins: u64,
}

/// One of the busiest slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HotSlot {
    /// The slot.
    pub slot_id: String,
    /// Its bids in the windows in which it was among a shard's busiest.
    pub bids: u64,
    /// The highest amount there.
    #[serde(serialize_with = "as_text")]
    pub amount_max: Money,
}

/// What happened. The names of the fields are the names in the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Bids that producers took in, when somebody knows.
    pub bids_sent: Option<u64>,
    /// Bids that the stream has, when somebody knows.
    pub bids_accepted: Option<u64>,
    /// Accepted bids per second of sending, when somebody knows.
    pub bids_per_second: Option<u64>,
    /// Bids that count.
    pub bids_counted: u64,
    /// Bids that came after the close of their window.
    pub late: u64,
    /// Bids dated too far ahead.
    pub early: u64,
    /// Bids in a shard that does not own their slot.
    pub stray: u64,
    /// Copies of counted bids.
    pub duplicates: u64,
    /// Bids that are not valid.
    pub rejected: u64,
    /// Bids that producers refused because their window was over, when somebody knows.
    pub expired: Option<u64>,
    /// Items that cannot be read and are left out of everything here.
    pub unreadable_items: u64,
    /// Items that the table refused and that persons gave up.
    pub skipped_items: u64,
    /// Aggregates in the table.
    pub auctions_closed: u64,
    /// Those that await their decision.
    pub pending: u64,
    /// Those set aside with an error.
    pub held: u64,
    /// Decisions that sold.
    pub settled: u64,
    /// Decisions that did not.
    pub no_sale: u64,
    /// Why they did not, by reason.
    pub no_sale_reasons: BTreeMap<String, u64>,
    /// Decisions that the settler took from the log behind their candidates.
    pub log_auctions: u64,
    /// Accounts that they looked at there.
    pub log_accounts: u64,
    /// Those of them that nobody knew.
    pub log_unknown: u64,
    /// GetRecords calls for them; auctions of one window and shard are read together, and counted once.
    pub log_reads: u64,
    /// Bytes that these calls gave.
    pub log_bytes: u64,
    /// Half of all decisions came this soon after window end and grace, in ms.
    pub settle_latency_ms_p50: u64,
    /// And 99 of 100 this soon.
    pub settle_latency_ms_p99: u64,
    /// Attempts refused by concurrency control.
    pub conflicts: u64,
    /// Those that a local DSQL made on purpose.
    pub conflicts_injected: u64,
    /// Attempts that were tried again for any reason.
    pub retries: u64,
    /// Conflicts of batches that were decided in the end.
    pub resolved: u64,
    /// Resolved conflicts as a share of all, 1 without any.
    #[serde(rename = "resolutionRate")]
    pub resolution_rate: f64,
    /// Credits less debits: zero.
    #[serde(serialize_with = "as_text")]
    pub ledger_sum: Money,
    /// What the audit found; empty until it has run.
    pub audit_differences: Option<u64>,
    /// Regions by name.
    pub regions: BTreeMap<String, Region>,
    /// The busiest slots, busiest first.
    pub hot_slots: Vec<HotSlot>,
}

fn as_text<S: Serializer>(money: &Money, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(money)
}

/// Reads table and ledger.
///
/// # Errors
/// A [`Failure`] when one of them cannot be read.
pub async fn report(clients: &Clients, db: &Client, options: &ReportOptions) -> anyhow::Result<Report> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &options.table, None).await;
    let agreed = agreed.map_err(Failure::from)?;
    let mut scanned = Scanned::at(runtime::clock::now().seconds());
    table::scan(&clients.dynamodb, &options.table, |attrs| scanned.take(attrs)).await?;
    let mut report = scanned.finish();
    rows::sent(db, &mut report).await?;
    rows::decisions(db, agreed.geometry.grace_ms, &mut report).await?;
    rows::contention(db, &mut report).await?;
    rows::entries(db, &mut report).await?;
    if let Some(injected) = options.injected {
        report.conflicts_injected = injected;
    }
    Ok(report)
}

#[cfg(test)]
mod tests;

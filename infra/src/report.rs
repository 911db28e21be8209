//! The report: traffic by region, hot slots, decisions, conflicts and ledger totals, from table and ledger alone.
//!
//! What only the stages know (how many bids were sent, and how fast) is given by the caller, or taken from what
//! producers wrote into `simulation_runs`; when nobody knows, it stays empty and is not guessed. Judges nothing: that
//! is [`crate::audit`].

mod print;

use std::collections::BTreeMap;

use anyhow::Context;
use runtime::clients::Clients;
use schemas::attr::{Attrs, text};
use schemas::item::{HotSlots, RegionTotals, State};
use schemas::keys;
use schemas::limits::HOT_SLOTS;
use schemas::money::Money;
use serde::{Deserialize, Serialize, Serializer};
use tokio_postgres::Client;

use crate::audit::table;
use crate::failure::Failure;

/// What to report on.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// The table of aggregates.
    pub table: String,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { table: keys::TABLE.to_owned() }
    }
}

/// What only the producers know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LiveNumbers {
    /// Bids taken in.
    pub bids_sent: u64,
    /// Bids that the stream has.
    pub bids_accepted: u64,
    /// Bids that could no longer make their window.
    #[serde(default)]
    pub expired: u64,
    /// For how long was sent, in ms.
    #[serde(default)]
    pub elapsed_ms: u64,
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
    /// Half of all decisions came this soon after window end and grace, in ms.
    pub settle_latency_ms_p50: u64,
    /// And 99 of 100 this soon.
    pub settle_latency_ms_p99: u64,
    /// Attempts refused by concurrency control.
    pub conflicts: u64,
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

const OUTCOMES: &str =
    "SELECT outcome, winner_region, count(*) FROM settlements GROUP BY outcome, winner_region";
const WAITS: &str =
    "SELECT floor(extract(epoch FROM settled_at - window_end) * 1000)::bigint FROM settlements";
const CONFLICTS: &str =
    "SELECT sqlstate, resolved, count(*) FROM conflict_events GROUP BY sqlstate, resolved";
const ENTRIES: &str = "SELECT direction, sum(amount)::text FROM financial_ledger GROUP BY direction";
const RUNS: &str = "SELECT outcome, floor(extract(epoch FROM started_at) * 1000)::bigint, \
    floor(extract(epoch FROM finished_at) * 1000)::bigint FROM simulation_runs WHERE kind = 'producer'";
/// SQLSTATEs that are conflicts: that of Aurora DSQL, and those in which PostgreSQL and a derived key say the same.
const CONFLICT_STATES: [&str; 4] = ["40001", "40P01", "55P03", "23505"];

/// Reads table and ledger. `live` is what the caller's own producers know; without it `simulation_runs` is asked.
///
/// # Errors
/// A [`Failure`] when one of them cannot be read.
pub async fn report(
    clients: &Clients,
    db: &Client,
    options: &ReportOptions,
    live: Option<LiveNumbers>,
) -> anyhow::Result<Report> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &options.table, None).await;
    let agreed = agreed.map_err(|error| Failure { code: error.exit_code(), sentence: error.to_string() })?;
    let mut scanned = Scanned { now_s: runtime::clock::now().seconds(), ..Scanned::default() };
    table::scan(&clients.dynamodb, &options.table, |attrs| scanned.take(attrs)).await?;
    let mut report = scanned.finish();
    let live = match live {
        Some(live) => Some(live),
        None => runs(db).await?,
    };
    report.bids_sent = live.map(|live| live.bids_sent);
    report.bids_accepted = live.map(|live| live.bids_accepted);
    report.expired = live.map(|live| live.expired);
    report.bids_per_second = live.and_then(|live| (live.bids_accepted * 1_000).checked_div(live.elapsed_ms));
    decisions(db, agreed.geometry.grace_ms, &mut report).await?;
    contention(db, &mut report).await?;
    for row in rows(db, ENTRIES).await? {
        let (direction, sum): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let sum = schemas::attr::money(&Attrs::from([("sum".to_owned(), schemas::attr::n(sum))]), "sum")?;
        report.ledger_sum.0 += if direction == "DEBIT" { -sum.0 } else { sum.0 };
    }
    Ok(report)
}

async fn rows(db: &Client, statement: &str) -> anyhow::Result<Vec<tokio_postgres::Row>> {
    db.query(statement, &[]).await.with_context(|| format!("the ledger refused: {statement}"))
}

fn count(row: &tokio_postgres::Row, column: usize) -> anyhow::Result<u64> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?)?)
}

/// What producers wrote about themselves, none when no producer did.
async fn runs(db: &Client) -> anyhow::Result<Option<LiveNumbers>> {
    let mut all: Option<(LiveNumbers, i64, i64)> = None;
    for row in rows(db, RUNS).await? {
        let (outcome, began, ended): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let one: LiveNumbers =
            serde_json::from_str(&outcome).context("the outcome of a producer cannot be read")?;
        let (sum, first, last) = all.get_or_insert((LiveNumbers::default(), began, ended));
        sum.bids_sent += one.bids_sent;
        sum.bids_accepted += one.bids_accepted;
        sum.expired += one.expired;
        (*first, *last) = (began.min(*first), ended.max(*last));
    }
    let finish = |(sum, first, last): (LiveNumbers, i64, i64)| LiveNumbers {
        elapsed_ms: u64::try_from(last - first).unwrap_or(0),
        ..sum
    };
    Ok(all.map(finish))
}

async fn decisions(db: &Client, grace_ms: u64, report: &mut Report) -> anyhow::Result<()> {
    for row in rows(db, OUTCOMES).await? {
        let (outcome, region, decided) =
            (row.try_get::<_, String>(0)?, row.try_get::<_, Option<String>>(1)?, count(&row, 2)?);
        match region.filter(|_| outcome == "SALE") {
            Some(region) => {
                report.settled += decided;
                report.regions.entry(region).or_default().wins += decided;
            }
            None => report.no_sale += decided,
        }
    }
    let mut waits = Vec::new();
    for row in rows(db, WAITS).await? {
        let ms: i64 = row.try_get(0)?;
        waits.push(u64::try_from(ms).unwrap_or(0).saturating_sub(grace_ms));
    }
    waits.sort_unstable();
    report.settle_latency_ms_p50 = percentile(&waits, 50);
    report.settle_latency_ms_p99 = percentile(&waits, 99);
    Ok(())
}

/// The smallest value that at least this share of all do not exceed; 0 of none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

async fn contention(db: &Client, report: &mut Report) -> anyhow::Result<()> {
    for row in rows(db, CONFLICTS).await? {
        let (sqlstate, resolved, attempts) =
            (row.try_get::<_, String>(0)?, row.try_get::<_, bool>(1)?, count(&row, 2)?);
        report.retries += attempts;
        if CONFLICT_STATES.contains(&sqlstate.as_str()) {
            report.conflicts += attempts;
            report.resolved += if resolved { attempts } else { 0 };
        }
    }
    report.resolution_rate = rate(report.resolved, report.conflicts);
    Ok(())
}

#[expect(clippy::float_arithmetic, reason = "a share that is shown, not money")]
fn rate(resolved: u64, conflicts: u64) -> f64 {
    let float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if conflicts == 0 { 1.0 } else { float(resolved) / float(conflicts) }
}

/// What the table says, item by item; items that are past their TTL are left out, as every reader does.
#[derive(Default)]
struct Scanned {
    now_s: u64,
    report: Report,
    hot: BTreeMap<String, (u64, Money)>,
}

impl Scanned {
    fn take(&mut self, attrs: &Attrs) {
        let key = |name| text::<String>(attrs, name).unwrap_or_default();
        let (pk, sk) = (key("PK"), key("SK"));
        if schemas::attr::number::<u64>(attrs, "ttl").is_ok_and(|ttl| ttl <= self.now_s) {
            return;
        }
        let report = &mut self.report;
        if pk.starts_with("SLOT#") && sk.starts_with("WINDOW#") {
            let state = text::<State>(attrs, "state").ok();
            report.auctions_closed += 1;
            report.pending += u64::from(state == Some(State::Pending));
            report.held += u64::from(state == Some(State::Held));
        } else if let (true, Ok(totals)) = (pk.starts_with("REGION#"), RegionTotals::from_attrs(attrs)) {
            report.bids_counted += totals.bids;
            report.late += totals.late;
            report.early += totals.early;
            report.stray += totals.stray;
            report.duplicates += totals.duplicates;
            report.rejected += totals.rejected;
            let region = report.regions.entry(totals.region.to_string()).or_default();
            region.bids += totals.bids;
            region.amount_sum.0 += totals.amount_sum.0;
        } else if let (true, Ok(hot)) = (pk.starts_with("HOT#"), HotSlots::from_attrs(attrs)) {
            for slot in hot.slots {
                let (bids, amount_max) = self.hot.entry(slot.slot_id.to_string()).or_default();
                *bids += slot.bids;
                *amount_max = Money::from(slot.amount_max).max(*amount_max);
            }
        }
    }

    fn finish(mut self) -> Report {
        let slots = self.hot.into_iter();
        let mut slots: Vec<HotSlot> =
            slots.map(|(slot_id, (bids, amount_max))| HotSlot { slot_id, bids, amount_max }).collect();
        // By slot already; a stable sort keeps that among equals.
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.bids));
        slots.truncate(HOT_SLOTS);
        self.report.hot_slots = slots;
        self.report
    }
}

#[cfg(test)]
mod tests;

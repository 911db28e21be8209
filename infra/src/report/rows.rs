//! What the ledger adds up to.

use anyhow::Context;
use schemas::attr::Attrs;
use settler::core::attempt::{Meaning, meaning};
use tokio_postgres::{Client, Row};

use super::{LiveNumbers, Report};
use crate::runs;

const OUTCOMES: &str = "SELECT outcome, winner_region, no_sale_reason, count(*) FROM settlements \
    GROUP BY outcome, winner_region, no_sale_reason";
/// What no stage writes (infinity, NaN) is left out: `exchange audit` names it.
const WAITS: &str = "SELECT floor(extract(epoch FROM settled_at - window_end) * 1000)::bigint FROM settlements \
    WHERE settled_at BETWEEN '1970-01-01Z'::timestamptz AND '9999-12-31Z'::timestamptz \
    AND window_end BETWEEN '1970-01-01Z'::timestamptz AND '9999-12-31Z'::timestamptz";
/// Auctions that one reading served have its cost in each of their rows.
const LOG: &str = "SELECT coalesce(sum(auctions), 0)::bigint, coalesce(sum(accounts), 0)::bigint, \
    coalesce(sum(unknown), 0)::bigint, coalesce(sum(log_reads), 0)::bigint, coalesce(sum(log_bytes), 0)::bigint \
    FROM (SELECT count(*) AS auctions, sum(log_accounts) AS accounts, sum(log_unknown) AS unknown, log_reads, log_bytes \
    FROM settlements WHERE log_reads > 0 GROUP BY window_start, log_reads, log_bytes) readings";
const CONFLICTS: &str = "SELECT sqlstate, resolved, origin, count(*) FROM conflict_events \
    GROUP BY sqlstate, resolved, origin";
const ENTRIES: &str = "SELECT direction, sum(amount)::text FROM financial_ledger \
    WHERE amount BETWEEN -99999999999999.9999 AND 99999999999999.9999 GROUP BY direction";
const RUNS: &str = "SELECT outcome, floor(extract(epoch FROM started_at) * 1000)::bigint, \
    floor(extract(epoch FROM finished_at) * 1000)::bigint FROM simulation_runs WHERE kind = $1";
/// Whether the settler took this SQLSTATE for a conflict: what it counts and what is reported here are one thing.
pub(super) fn is_conflict(sqlstate: &str) -> bool {
    meaning(sqlstate) == Meaning::Conflict
}

async fn rows(db: &Client, statement: &str) -> anyhow::Result<Vec<Row>> {
    db.query(statement, &[]).await.with_context(|| format!("the ledger refused: {statement}"))
}

fn count(row: &Row, column: usize) -> anyhow::Result<u64> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?)?)
}

/// What producers wrote about themselves; nothing when none did.
pub(super) async fn sent(db: &Client, report: &mut Report) -> anyhow::Result<()> {
    let rows = db.query(RUNS, &[&runs::PRODUCER]).await;
    let (mut sum, mut first, mut last) = (None::<LiveNumbers>, i64::MAX, i64::MIN);
    for row in rows.context("the ledger's simulation_runs cannot be read")? {
        let (outcome, began, ended): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let one: LiveNumbers =
            serde_json::from_str(&outcome).context("the outcome of a producer cannot be read")?;
        let sum = sum.get_or_insert_default();
        sum.bids_sent += one.bids_sent;
        sum.bids_accepted += one.bids_accepted;
        sum.expired += one.expired;
        (first, last) = (began.min(first), ended.max(last));
    }
    let Some(sum) = sum else { return Ok(()) };
    (report.bids_sent, report.bids_accepted) = (Some(sum.bids_sent), Some(sum.bids_accepted));
    report.expired = Some(sum.expired);
    let elapsed_ms = u64::try_from(last - first).unwrap_or(0);
    report.bids_per_second = (sum.bids_accepted * 1_000).checked_div(elapsed_ms);
    Ok(())
}

/// Decisions, and how long they took.
pub(super) async fn decisions(db: &Client, grace_ms: u64, report: &mut Report) -> anyhow::Result<()> {
    for row in rows(db, OUTCOMES).await? {
        let (outcome, decided) = (row.try_get::<_, String>(0)?, count(&row, 3)?);
        let (region, reason): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        if outcome == "SALE" {
            report.settled += decided;
            let region = region.unwrap_or_else(|| "-".to_owned());
            report.regions.entry(region).or_default().wins += decided;
        } else {
            report.no_sale += decided;
            let reason = reason.unwrap_or_else(|| "-".to_owned());
            *report.no_sale_reasons.entry(reason).or_default() += decided;
        }
    }
    for row in rows(db, LOG).await? {
        let into = [
            &mut report.log_auctions,
            &mut report.log_accounts,
            &mut report.log_unknown,
            &mut report.log_reads,
            &mut report.log_bytes,
        ];
        for (column, number) in into.into_iter().enumerate() {
            *number = count(&row, column)?;
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
pub(super) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// Conflicts, by where they came from and what became of them.
pub(super) async fn contention(db: &Client, report: &mut Report) -> anyhow::Result<()> {
    for row in rows(db, CONFLICTS).await? {
        let (sqlstate, resolved) = (row.try_get::<_, String>(0)?, row.try_get::<_, bool>(1)?);
        let (origin, attempts) = (row.try_get::<_, String>(2)?, count(&row, 3)?);
        report.retries += attempts;
        if is_conflict(&sqlstate) {
            report.conflicts += attempts;
            report.resolved += if resolved { attempts } else { 0 };
            report.conflicts_injected += if origin == "injected" { attempts } else { 0 };
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

/// Credits less debits.
pub(super) async fn entries(db: &Client, report: &mut Report) -> anyhow::Result<()> {
    for row in rows(db, ENTRIES).await? {
        let (direction, sum): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let sum = schemas::attr::money(&Attrs::from([("sum".to_owned(), schemas::attr::n(sum))]), "sum")?;
        report.ledger_sum.0 += if direction == "DEBIT" { -sum.0 } else { sum.0 };
    }
    Ok(())
}

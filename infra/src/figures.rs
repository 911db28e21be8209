//! The report: what was sent, counted, closed and settled, and whether the ledger adds up.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use runtime::failure::classify;
use schemas::item::RegionTotals;
use schemas::money::Money;
use serde::Serialize;
use settler::db::Ledger;

use crate::failure::Failure;
use crate::place::Place;
use crate::provision::{agreed, sentence};

/// What only the running stages know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bids taken in.
    pub sent: u64,
    /// Bids that Kinesis has.
    pub accepted: u64,
    /// Lines refused.
    pub refused: u64,
    /// Bids without an answer.
    pub unknown: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// How long was sent, in ms.
    pub sending_ms: u64,
    /// Items that stood there with another digest.
    pub divergence: u64,
}

/// One region.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Region {
    /// Counted bids.
    pub bids: u64,
    /// Sum of their amounts.
    pub amount_sum: String,
    /// Auctions won.
    pub wins: i64,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are the contract, and the page on the report explains them")]
pub struct Report {
    pub bids_sent: u64,
    pub bids_accepted: u64,
    pub bids_refused: u64,
    pub bids_unknown: u64,
    pub bids_per_second: u64,
    pub record_bytes: u64,
    pub bids_counted: u64,
    pub late: u64,
    pub early: u64,
    pub stray: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub auctions_closed: u64,
    pub pending: u64,
    pub settled: i64,
    pub no_sale: i64,
    pub settle_latency_ms_p50: i64,
    pub settle_latency_ms_p99: i64,
    pub conflicts: i64,
    pub retries: i64,
    pub resolved: i64,
    #[serde(rename = "resolutionRate")]
    pub resolution_rate: f64,
    pub ledger_sum: String,
    pub balance_differences: i64,
    pub unbalanced_settlements: i64,
    pub divergence: u64,
    pub regions: BTreeMap<String, Region>,
}

/// Every auction is decided after its window's end and grace: the grace is taken off here, in ms.
const LATENCY: &str = "SELECT \
     COALESCE(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), 0)::bigint, \
     COALESCE(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), 0)::bigint FROM \
     (SELECT EXTRACT(EPOCH FROM (settled_at - window_end)) * 1000 - $1::bigint AS ms FROM settlements) AS waits";

/// Balance = opening balance + deposits - debits, for every account.
const BALANCES: &str = "SELECT count(*) FROM enterprise_accounts a LEFT JOIN \
     (SELECT account_id, \
        SUM(CASE WHEN settlement_id IS NOT NULL AND direction = 'DEBIT' THEN amount ELSE 0 END) AS debits, \
        SUM(CASE WHEN deposit_id IS NOT NULL AND direction = 'CREDIT' THEN amount ELSE 0 END) AS deposits \
      FROM financial_ledger GROUP BY account_id) l ON l.account_id = a.account_id \
     WHERE a.balance <> a.opening_balance + COALESCE(l.deposits, 0) - COALESCE(l.debits, 0) \
        OR a.balance < -a.credit_limit";

/// Each sale has one debit and one credit of its clearing price; nothing else has any.
const UNBALANCED: &str = "SELECT count(*) FROM settlements s FULL JOIN \
     (SELECT settlement_id, count(*) AS entries, \
        SUM(CASE direction WHEN 'DEBIT' THEN amount ELSE 0 END) AS debits, \
        SUM(CASE direction WHEN 'CREDIT' THEN amount ELSE 0 END) AS credits \
      FROM financial_ledger WHERE settlement_id IS NOT NULL GROUP BY settlement_id) l \
     ON l.settlement_id = s.settlement_id \
     WHERE s.settlement_id IS NULL \
        OR (s.outcome = 'SALE' AND (COALESCE(l.entries, 0) <> 2 OR l.debits <> s.clearing_price OR l.credits <> s.clearing_price)) \
        OR (s.outcome <> 'SALE' AND l.entries IS NOT NULL)";

/// Reads tables and ledger.
///
/// # Errors
/// A [`Failure`] when one of them cannot be read.
pub async fn make(place: &Place, ledger: &Ledger, traffic: Traffic) -> anyhow::Result<Report> {
    let grace_ms = i64::try_from(agreed(place).await?.geometry.grace_ms)?;
    let scanned = scan(place).await?;
    let connection = ledger.connect().await.map_err(|error| crate::ledger::failure(&error))?;
    let client = &connection.client;
    let one = |sql: &'static str| async move {
        client.query_one(sql, &[]).await.with_context(|| format!("the ledger refused: {sql}"))
    };
    let outcomes = one(
        "SELECT count(*) FILTER (WHERE outcome = 'SALE'), count(*) FILTER (WHERE outcome <> 'SALE') FROM settlements",
    )
    .await?;
    let latency = client.query_one(LATENCY, &[&grace_ms]).await.context("latencies")?;
    let conflicts = one("SELECT count(*), count(*) FILTER (WHERE resolved) FROM conflict_events").await?;
    let sum = one("SELECT COALESCE(SUM(CASE direction WHEN 'DEBIT' THEN -amount ELSE amount END), 0)::text FROM financial_ledger").await?;
    let mut regions = scanned.regions;
    let wins =
        "SELECT winner_region, count(*) FROM settlements WHERE outcome = 'SALE' GROUP BY winner_region";
    for row in client.query(wins, &[]).await.context("winning regions")? {
        regions.entry(row.get(0)).or_default().wins = row.get(1);
    }
    let (conflicts, resolved): (i64, i64) = (conflicts.get(0), conflicts.get(1));
    Ok(Report {
        bids_sent: traffic.sent,
        bids_accepted: traffic.accepted,
        bids_refused: traffic.refused,
        bids_unknown: traffic.unknown,
        bids_per_second: (traffic.accepted * 1_000).checked_div(traffic.sending_ms).unwrap_or(0),
        record_bytes: traffic.bytes,
        bids_counted: scanned.counts[0],
        late: scanned.counts[1],
        early: scanned.counts[2],
        stray: scanned.counts[3],
        duplicates: scanned.counts[4],
        rejected: scanned.counts[5],
        auctions_closed: scanned.closed,
        pending: scanned.pending,
        settled: outcomes.get(0),
        no_sale: outcomes.get(1),
        settle_latency_ms_p50: latency.get(0),
        settle_latency_ms_p99: latency.get(1),
        conflicts,
        retries: conflicts,
        resolved,
        resolution_rate: rate(resolved, conflicts),
        ledger_sum: sum.get(0),
        balance_differences: one(BALANCES).await?.get(0),
        unbalanced_settlements: one(UNBALANCED).await?.get(0),
        divergence: traffic.divergence,
        regions,
    })
}

#[expect(clippy::float_arithmetic, reason = "a rate that is shown, not money")]
fn rate(resolved: i64, conflicts: i64) -> f64 {
    let float = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
    if conflicts == 0 { 1.0 } else { float(resolved) / float(conflicts) }
}

#[derive(Default)]
struct Scanned {
    regions: BTreeMap<String, Region>,
    counts: [u64; 6],
    closed: u64,
    pending: u64,
}

async fn scan(place: &Place) -> anyhow::Result<Scanned> {
    let (client, table) = (&place.clients.dynamodb, &place.names.table);
    let (mut scanned, mut from) = (Scanned::default(), None);
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    loop {
        let page = client.scan().table_name(table).set_exclusive_start_key(from).send().await;
        let page =
            page.map_err(|error| sentence(&format!("table {table} cannot be read"), &classify(&error)))?;
        for item in page.items() {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str);
            let key = (text("PK").unwrap_or_default(), text("SK").unwrap_or_default());
            if key.0.starts_with("SLOT#") && key.1.starts_with("WINDOW#") {
                scanned.closed += 1;
                scanned.pending += u64::from(text("state") == Some("PENDING"));
            } else if key.0.starts_with("REGION#") {
                let total = RegionTotals::from_attrs(&runtime::attrs::from_sdk(item)?)?;
                let here =
                    [total.bids, total.late, total.early, total.stray, total.duplicates, total.rejected];
                scanned.counts.iter_mut().zip(here).for_each(|(sum, count)| *sum += count);
                let region = total.region.to_string();
                scanned.regions.entry(region.clone()).or_default().bids += total.bids;
                *sums.entry(region).or_default() += total.amount_sum.0;
            }
        }
        from = page.last_evaluated_key().cloned();
        if from.is_none() {
            break;
        }
    }
    for (region, sum) in sums {
        scanned.regions.entry(region).or_default().amount_sum = Money(sum).to_string();
    }
    Ok(scanned)
}

impl Report {
    /// Writes the report for a person.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\ntraffic")?;
        writeln!(
            out,
            "  accepted {} of {} bids, {} bids/s, {} bytes of records",
            self.bids_accepted, self.bids_sent, self.bids_per_second, self.record_bytes
        )?;
        writeln!(out, "  refused {}  unknown {}", self.bids_refused, self.bids_unknown)?;
        writeln!(
            out,
            "  counted {}  late {}  early {}  stray {}  duplicates {}  rejected {}",
            self.bids_counted, self.late, self.early, self.stray, self.duplicates, self.rejected
        )?;
        writeln!(out, "  {:<18} {:>12} {:>22} {:>8}", "region", "bids", "amount", "wins")?;
        for (name, region) in &self.regions {
            writeln!(out, "  {name:<18} {:>12} {:>22} {:>8}", region.bids, region.amount_sum, region.wins)?;
        }
        writeln!(out, "truth")?;
        writeln!(
            out,
            "  closed {}  sold {}  not sold {}  pending {}",
            self.auctions_closed, self.settled, self.no_sale, self.pending
        )?;
        writeln!(
            out,
            "  window end + grace to settled: p50 {} ms, p99 {} ms",
            self.settle_latency_ms_p50, self.settle_latency_ms_p99
        )?;
        writeln!(
            out,
            "  conflicts {}  retries {}  resolved {}  rate {}",
            self.conflicts, self.retries, self.resolved, self.resolution_rate
        )?;
        writeln!(
            out,
            "  ledger sum {}  balances that differ {}  sales that do not balance {}  divergence {}",
            self.ledger_sum, self.balance_differences, self.unbalanced_settlements, self.divergence
        )
    }

    /// Whether nothing was lost and the ledger adds up.
    ///
    /// # Errors
    /// A [`Failure`] that says what does not hold.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let judged =
            self.bids_counted + self.late + self.early + self.stray + self.duplicates + self.rejected;
        let decided = u64::try_from(self.settled + self.no_sale).unwrap_or(0);
        let broken = [
            (
                judged < self.bids_accepted,
                format!("{} accepted bids, {judged} counted or refused with a reason", self.bids_accepted),
            ),
            (self.pending > 0, format!("{} auctions still pending", self.pending)),
            (
                decided != self.auctions_closed,
                format!("{} auctions closed, {decided} decided", self.auctions_closed),
            ),
            (
                self.balance_differences > 0,
                format!("{} balances differ from their entries", self.balance_differences),
            ),
            (
                self.unbalanced_settlements > 0,
                format!("{} sales do not balance", self.unbalanced_settlements),
            ),
            (self.divergence > 0, format!("{} divergent items", self.divergence)),
            (self.bids_unknown > 0, format!("{} bids without an answer", self.bids_unknown)),
        ];
        let broken: Vec<String> = broken.into_iter().filter(|(bad, _)| *bad).map(|(_, text)| text).collect();
        if broken.is_empty() { Ok(()) } else { Err(Failure::found(broken.join("; ")).into()) }
    }
}

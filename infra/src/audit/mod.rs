//! The audit: reads the stream again from the start of retention, recomputes every auction with code of its own, and
//! compares table and ledger with the result.
//!
//! Shares only contracts with the stages: how a record is decoded, what an item holds, how a digest is made. What is
//! absent: any use of the processor or the settler, their windows, their order of candidates or their choice of a
//! winner. [`recompute`] is the log's side, `ahead` whose clocks ran ahead, [`items`] and [`rows`] what was found, [`items::compare`],
//! [`decisions::compare`] and [`books::compare`] the pure comparison.

mod ahead;
mod auction;
mod behind;
pub mod books;
mod cells;
pub mod choice;
pub mod decisions;
pub mod difference;
mod edge;
mod history;
pub mod items;
pub mod log;
mod marks;
pub mod missing;
mod reach;
pub mod recompute;
mod retry;
pub mod rows;
mod stream;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Context;
use runtime::clients::Clients;
use schemas::ids::SlotId;
use schemas::item::State;
use schemas::keys;
use schemas::time::Millis;
use serde::Serialize;

pub use self::ahead::ClockAhead;
pub use self::decisions::Pending;
pub use self::difference::Difference;
use self::difference::Findings;
use self::items::Items;
use self::recompute::{Kept, Recomputed};
use self::rows::Rows;
use crate::failure::Failure;

/// Differences that [`AuditResult::print`] lists.
const PRINTED_MAX: usize = 50;

/// What to audit.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The stream of bids.
    pub stream: String,
    /// The table of aggregates.
    pub table: String,
    /// The table of leases: how far checkpoints are tells what may still be written.
    pub lease_table: String,
    /// Whether an auction that still awaits its decision is a difference.
    pub expect_settled: bool,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            stream: keys::STREAM.to_owned(),
            table: keys::TABLE.to_owned(),
            lease_table: keys::LEASE_TABLE.to_owned(),
            expect_settled: false,
        }
    }
}

/// What the audit saw and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditResult {
    /// Records read from the stream.
    pub records: u64,
    /// Closed auctions that were recomputed and judged.
    pub auctions: u64,
    /// Bids counted in them.
    pub bids: u64,
    /// Bids in the log's counts that came after the close of their window.
    pub late: u64,
    /// Bids dated too far ahead.
    pub early: u64,
    /// Bids in a shard that does not own their slot.
    pub stray: u64,
    /// Copies of counted bids.
    pub duplicates: u64,
    /// Bids that are not valid.
    pub rejected: u64,
    /// Closed auctions that are not judged because the stream no longer holds their beginning.
    pub cut: u64,
    /// Auctions of a stream before this one, which are not judged by the log.
    pub earlier: u64,
    /// Auctions whose item awaits its decision.
    pub pending: u64,
    /// Auctions set aside with an error.
    pub held: u64,
    /// Items that processors hold because the table refuses them.
    pub refused: u64,
    /// Items that persons gave up.
    pub skipped: u64,
    /// Decisions in the ledger.
    pub settlements: u64,
    /// Decisions that stand on rows which cannot be read.
    pub unjudged: u64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Shards whose clock ran ahead of later arrivals, so that bids were late which came in time.
    pub clocks_ahead: Vec<ClockAhead>,
    /// Everything that is not as the log says.
    pub differences: Vec<Difference>,
}

/// Audits a pipeline: stream first, then the table, then the ledger, so that what is marked has its row by then.
///
/// The stages should be idle: an auction that the stream has closed and a processor has not yet written is a
/// difference.
///
/// # Errors
/// A [`Failure`] when stream, table or ledger cannot be read; differences are no error.
pub async fn audit(
    clients: &Clients,
    db: &tokio_postgres::Client,
    options: &AuditOptions,
) -> anyhow::Result<AuditResult> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &options.table, None).await;
    let agreed = agreed.map_err(Failure::from)?;
    let mut log = Recomputed::new(agreed);
    let stream =
        stream::Stream { client: &clients.kinesis, name: &options.stream, clock: &clients.kinesis_clock };
    let stream::Read { made, records, managed } = stream.read(&mut log).await?;
    let mut items = Items::default();
    // Before the items: what a checkpoint has passed by now must stand when they are read.
    if let Err(error) = items.missing.read_leases(&clients.dynamodb, &options.lease_table).await {
        tracing::warn!(%error, "leases cannot be read: what a checkpoint has passed is not told apart");
    }
    let foreign = table::scan(&clients.dynamodb, &options.table, |attrs| items.take(attrs)).await?;
    items.unreadable.extend(foreign);
    let rows = rows::read(db).await?;
    let read = rows.settlements.iter().filter(|row| row.log_reads.is_some_and(|reads| reads > 0));
    let read: BTreeSet<(SlotId, Millis)> = read.map(|row| (row.slot_id, row.window_start)).collect();
    if !read.is_empty() {
        // Who bid behind the candidates is kept for these alone, so it is read once it is known which they are.
        let mut again = Recomputed::new(log.agreed.clone());
        again.kept = Kept::These(read);
        stream.read(&mut again).await?;
        log.behind = again.behind;
    }
    let earlier = earlier(&items, &rows, made);
    if earlier > 0 {
        log.cut_through(made);
    }
    let pending = if options.expect_settled { Pending::Difference } else { Pending::Allowed };
    let now = clients.kinesis_clock.now().context("replies of the stream have no Date")?;
    let mut result = compare(&log, &items, &rows, pending, now);
    (result.records, result.earlier, result.clocks_ahead) = (records, earlier, log.clocks_ahead);
    if let Some(managed) = managed {
        let mut findings = Findings::default();
        let about = difference::About::subject(&managed.stream);
        findings.add("stream distribution", &about, "USER_PARTITION_KEY", format!("AUTO: {managed}"));
        result.differences.splice(0..0, findings.0);
    }
    tracing::info!(records, auctions = result.auctions, differences = result.differences.len(), "audit done");
    Ok(result)
}

/// How many auctions are of a stream that was there before this one was made: their windows were over by then.
fn earlier(items: &Items, rows: &Rows, made: Millis) -> u64 {
    let written =
        items.aggregates.iter().filter(|(_, found)| found.item.window_end <= made).map(|(key, _)| *key);
    let decided = rows.settlements.iter().filter(|row| row.window_end <= made);
    let decided = decided.map(|row| (row.slot_id, row.window_start));
    auction::count(written.chain(decided).collect::<BTreeSet<_>>().len())
}

/// The pure comparison of everything that was read. `now` decides which items may be gone.
#[must_use]
pub fn compare(log: &Recomputed, items: &Items, rows: &Rows, pending: Pending, now: Millis) -> AuditResult {
    let digests: BTreeMap<(SlotId, Millis), &str> = rows
        .settlements
        .iter()
        .map(|row| ((row.slot_id, row.window_start), row.aggregate_digest.as_str()))
        .collect();
    let mut findings = Findings::default();
    rows.damaged.tell(&mut findings);
    let digest = |key: &(SlotId, Millis)| {
        let unread = || rows.damaged.settlements.get(&decisions::id_of(key)).map(String::as_str);
        digests.get(key).copied().or_else(unread)
    };
    items::compare(log, items, now, digest, &mut findings);
    // The books first: an entry that is missing also belies every balance that was seen after it.
    books::compare(rows, &mut findings);
    let unjudged = decisions::compare(log, items, rows, pending, &mut findings);
    let in_state =
        |state| auction::count(items.aggregates.values().filter(|found| found.item.state == state).count());
    let total = |count: fn(&schemas::item::RegionTotals) -> u64| log.totals.values().map(count).sum();
    AuditResult {
        records: 0,
        auctions: auction::count(log.aggregates.len()),
        bids: log.aggregates.values().map(|aggregate| aggregate.bids).sum(),
        late: total(|totals| totals.late),
        early: total(|totals| totals.early),
        stray: total(|totals| totals.stray),
        duplicates: total(|totals| totals.duplicates),
        rejected: total(|totals| totals.rejected),
        cut: log.cut,
        earlier: 0,
        pending: in_state(State::Pending),
        held: in_state(State::Held),
        refused: auction::count(items.held_by_processors(now).count()),
        skipped: auction::count(items.missing.skipped.len()),
        settlements: auction::count(rows.settlements.len() + rows.damaged.settlements.len()),
        unjudged,
        entries: auction::count(rows.entries.len()) + rows.damaged.entries,
        clocks_ahead: Vec::new(),
        differences: findings.0,
    }
}

impl AuditResult {
    /// Whether everything is as the log says.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    /// Writes the result for a person: what was judged, then the first differences.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "audit")?;
        writeln!(out, "  read      {:>10} records", self.records)?;
        writeln!(out, "  judged    {:>10} auctions with {} bids", self.auctions, self.bids)?;
        writeln!(
            out,
            "  counted   {:>10} late, {} early, {} stray, {} duplicates, {} rejected",
            self.late, self.early, self.stray, self.duplicates, self.rejected
        )?;
        for ClockAhead { shard_id, ahead_ms, since, late } in &self.clocks_ahead {
            writeln!(
                out,
                "  clock     of {shard_id} ran up to {ahead_ms} ms ahead of later arrivals from {since} on; {late} bids were late for that alone"
            )?;
        }
        writeln!(out, "  not judged{:>10} cut where what the stream holds begins", self.cut)?;
        if self.earlier > 0 {
            writeln!(out, "  not judged{:>10} of a stream before this one", self.earlier)?;
        }
        if self.unjudged > 0 {
            writeln!(
                out,
                "  not judged{:>10} decisions that stand on rows of the ledger which cannot be read",
                self.unjudged
            )?;
        }
        writeln!(out, "  decided   {:>10} settlements, {} ledger entries", self.settlements, self.entries)?;
        writeln!(out, "  undecided {:>10} pending, {} held", self.pending, self.held)?;
        if self.stray > 0 {
            writeln!(
                out,
                "  stray     {:>10} bids lie in shards that do not own their slots and are in no auction: their stream was \
                 under service-managed distribution for a while, or their producer knew an old shard map and was never \
                 answered; producers answer such bids as accepted only where a copy lies right",
                self.stray
            )?;
        }
        if self.refused + self.skipped > 0 {
            writeln!(
                out,
                "  unwritten {:>10} items that the table refuses and processors hold, {} skipped by a person",
                self.refused, self.skipped
            )?;
        }
        writeln!(out, "  differences {:>8}", self.differences.len())?;
        for difference in self.differences.iter().take(PRINTED_MAX) {
            writeln!(out, "    {difference}")?;
        }
        let more = self.differences.len().saturating_sub(PRINTED_MAX);
        if more > 0 {
            writeln!(out, "    and {more} more")?;
        }
        let awaited = self.differences.iter().filter(|difference| difference.may_still_come()).count();
        if awaited > 0 {
            writeln!(
                out,
                "  {awaited} of them may be a matter of time: let processors and settlers finish \
                 (`processor leases`, `exchange query outbox`), then audit again"
            )?;
        }
        Ok(())
    }
}

//! `exchange demo`: the whole pipeline on local engines, a live view, and what came out.
//!
//! `stages` starts producers, processors and settlers in this process, as their own binaries would; `options` is what
//! a person may ask for. The first SIGINT or SIGTERM ends the sending and nothing else: what was sent is drained,
//! reported and audited.

mod drain;
mod options;
mod refused;
mod stages;

use std::io::Write;
use std::time::Duration;

use runtime::shutdown::{self, Shutdown};
use schemas::geometry::Geometry;
use schemas::item::GeometryItem;
use settler::db::Ledger;
use tokio::time::Instant;

pub use self::options::Demo;
use self::refused::Refused;
use self::stages::{Sent, Stages};
use crate::audit::{AuditOptions, AuditResult, audit};
use crate::engines::{Engines, Keep, Ports};
use crate::failure::Failure;
use crate::interrupt::Signals;
use crate::local::kinesis::Limits;
use crate::output::{JsonFile, lost};
use crate::place::{Names, Place};
use crate::provision;
use crate::report::{Report, ReportOptions, report};
use crate::runs;
use crate::view::{Style, View};

/// Shards of the stream.
const SHARDS: i32 = 4;
/// Windows are short, so that a run shows many auctions.
const GRACE_MS: u64 = 500;
/// How long the pipeline may take to finish what was sent.
const DRAIN: Duration = Duration::from_secs(20);
/// Between two looks at the pipeline while it is sending, and while it is drained.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the demo.
///
/// # Errors
/// When an engine cannot start, a stage fails, bids were not accepted, or the audit finds a difference.
pub async fn run(options: Demo) -> anyhow::Result<()> {
    // Everything that can be wrong with the command is found out before anything is started.
    let refused = Refused::open(&options)?;
    let json = options.json.as_deref().map(JsonFile::open).transpose()?;
    let (trigger, asked) = shutdown::channel();
    tokio::spawn(Signals::install()?.watch(trigger));
    let mut view = match &json {
        // JSON on standard output stands there alone.
        Some(json) if json.is_stdout() => {
            View::new(Box::new(std::io::stderr()), Style::of(&std::io::stderr()))
        }
        _ => View::new(Box::new(std::io::stdout()), Style::of(&std::io::stdout())),
    };
    let engines = Engines::start(&Keep::Memory, Ports::default(), Limits::Aws).await?;
    let done = pipeline(&options, &engines, &refused, (&asked, &mut view)).await;
    engines.stop().await;
    let outcome = done?;
    outcome.print(view.out(), &refused).map_err(lost)?;
    if let Some(json) = json {
        json.write(&outcome.report)?;
    }
    outcome.verdict()
}

/// What the run came to.
struct Outcome {
    report: Report,
    audit: AuditResult,
    sent: Sent,
    /// Items that another run of the same log would have written otherwise.
    divergence: u64,
}

impl Outcome {
    fn print(&self, out: &mut dyn Write, refused: &Refused) -> std::io::Result<()> {
        writeln!(out)?;
        refused.print(out)?;
        self.report.print(out)?;
        writeln!(out)?;
        self.audit.print(out)?;
        out.flush()
    }

    fn verdict(&self) -> anyhow::Result<()> {
        let broken = [
            (self.audit.differences.len(), "differences found by the audit"),
            (count(self.divergence), "items that diverge"),
            (count(self.sent.undelivered), "bids not delivered"),
            (count(self.sent.unknown), "bids without an answer"),
            (count(self.sent.refused), "bids refused"),
        ];
        let broken: Vec<String> = broken
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if broken.is_empty() { Ok(()) } else { Err(Failure::found(broken.join("; ")).into()) }
    }
}

fn count(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

async fn pipeline(
    options: &Demo,
    engines: &Engines,
    refused: &Refused,
    (asked, view): (&Shutdown, &mut View),
) -> anyhow::Result<Outcome> {
    let place = Place { clients: engines.clients().await, names: Names::default() };
    let agreed = GeometryItem {
        geometry: Geometry { window_ms: options.window, grace_ms: GRACE_MS, ..Geometry::default() },
        ttl_after_ms: provision::TTL_AFTER_MS,
        outbox_buckets: schemas::limits::OUTBOX_BUCKETS,
    };
    provision::provision(&place, Some(SHARDS), &agreed).await?;
    let ledger = Ledger::stand_in(&engines.database_url());
    let accounts: Vec<_> = (0..options.accounts).map(provision::sample_account).collect();
    let slots: Vec<_> = (0..options.slots).map(provision::sample_slot).collect();
    let connection = provision::ledger(&ledger, &accounts, &slots).await?;
    provision::roster(&place, &connection).await?;
    drop(connection);
    engines.inject_conflicts(options.conflicts, options.seed.unsigned_abs());

    let mut stages = Stages::start(engines, &ledger).await?;
    stages.send(options, refused.path(), asked)?;
    while !stages.sent_all() {
        if !stages.next_within(LOOK_EVERY).await? {
            view.show(stages.look()).map_err(lost)?;
        }
    }
    let deadline = Instant::now() + DRAIN;
    while !stages.drained().await? && Instant::now() < deadline {
        stages.next_within(DRAIN_LOOK_EVERY).await?;
    }
    view.show(stages.look()).map_err(lost)?;
    let runs = stages.runs(options);
    let (sent, divergence) = (stages.sent(), stages.divergence());
    stages.stop().await?;

    let injected = engines.injected_conflicts();
    engines.inject_conflicts(0, 0);
    let connection = ledger.connect().await.map_err(Failure::from)?;
    let db = &connection.client;
    for run in &runs {
        runs::record(db, run).await?;
    }
    let wanted = AuditOptions { expect_settled: true, ..AuditOptions::default() };
    let found = audit(&place.clients, db, &wanted).await?;
    let wanted = ReportOptions { injected: Some(injected), ..ReportOptions::default() };
    let mut report = report(&place.clients, db, &wanted).await?;
    report.audit_differences = Some(u64::try_from(found.differences.len())?);
    Ok(Outcome { report, audit: found, sent, divergence })
}

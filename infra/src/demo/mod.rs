//! `exchange demo`: the whole pipeline on local engines, a live view, and what came out.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use runtime::clients::Clients;
use runtime::shutdown;
use schemas::geometry::Geometry;
use schemas::item::GeometryItem;
use settler::db::Ledger;
use tokio::task::JoinSet;

use crate::audit::{AuditOptions, AuditResult, audit};
use crate::engines::{Engines, Keep, Ports};
use crate::failure::Failure;
use crate::local::kinesis::Limits;
use crate::place::{Names, Place};
use crate::provision;
use crate::report::{LiveNumbers, Report, ReportOptions, report};
use crate::view::{Look, View};

/// Where the four producers stand.
const REGIONS: [&str; 4] = ["us-east-1", "eu-central-1", "ap-northeast-1", "sa-east-1"];
/// Processors and settlers each.
const WORKERS: usize = 2;
/// Shards of the stream.
const SHARDS: i32 = 4;
/// How long the pipeline may take to finish what was sent.
const DRAIN: Duration = Duration::from_secs(20);

/// Options of the demo.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Seconds of load.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    duration: u64,
    /// Bids a second, all regions together.
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    rate: u32,
    /// Slots that are auctioned.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    slots: u32,
    /// Accounts that bid.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    accounts: u32,
    /// Seed of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Window length, in ms.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    window: u64,
    /// NDJSON to send instead of generated load; `-` is standard input.
    #[arg(long)]
    bids: Option<PathBuf>,
    /// Writes the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When an engine cannot start, a stage fails, or the ledger does not add up.
pub async fn run(options: Demo) -> anyhow::Result<()> {
    let engines = Engines::start(&Keep::Memory, Ports::default(), Limits::Aws).await?;
    let done = pipeline(&options, &engines).await;
    engines.stop().await;
    let outcome = done?;
    let mut out = std::io::stdout();
    writeln!(out)?;
    outcome.report.print(&mut out)?;
    writeln!(out)?;
    outcome.audit.print(&mut out)?;
    if let Some(path) = &options.json {
        crate::cli::write_json(path, &outcome.report)?;
    }
    outcome.verdict()
}

/// What the run came to.
struct Outcome {
    report: Report,
    audit: AuditResult,
    /// Bids that were not delivered, or of which no answer came.
    unanswered: u64,
    /// Items that another run of the same log would have written otherwise.
    divergence: u64,
    /// Lines of input that were refused.
    refused: u64,
}

impl Outcome {
    fn verdict(&self) -> anyhow::Result<()> {
        let broken = [
            (!self.audit.is_clean(), format!("the audit found {} differences", self.audit.differences.len())),
            (self.divergence > 0, format!("{} items diverge", self.divergence)),
            (self.unanswered > 0, format!("{} bids were not delivered", self.unanswered)),
            (self.refused > 0, format!("{} lines of input were refused", self.refused)),
        ];
        let broken: Vec<String> = broken.into_iter().filter(|(bad, _)| *bad).map(|(_, text)| text).collect();
        if broken.is_empty() { Ok(()) } else { Err(Failure::found(broken.join("; ")).into()) }
    }
}

struct Stages {
    producers: Vec<(String, Arc<producer::Metrics>)>,
    processors: Vec<Arc<processor::Metrics>>,
    settlers: Vec<Arc<settler::Metrics>>,
}

async fn pipeline(options: &Demo, engines: &Engines) -> anyhow::Result<Outcome> {
    let clients = engines.clients().await;
    let place = Place { clients: clients.clone(), names: Names::default() };
    let geometry = Geometry { window_ms: options.window, grace_ms: 500, ..Geometry::default() };
    let agreed = GeometryItem {
        geometry,
        ttl_after_ms: provision::TTL_AFTER_MS,
        outbox_buckets: schemas::limits::OUTBOX_BUCKETS,
    };
    provision::provision(&place, SHARDS, &agreed).await?;
    let ledger = Ledger::stand_in(&engines.database_url());
    provision::ledger(&ledger, options.accounts, options.slots).await?;

    let (halt, halted) = shutdown::channel();
    let (trigger, asked) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    let mut readers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut stages = Stages { producers: Vec::new(), processors: Vec::new(), settlers: Vec::new() };
    for number in 0..WORKERS {
        let config = processor::Config::try_parse_from([
            "processor",
            "--bid-events",
            "best",
            "--failover-ms",
            "1500",
            "--worker",
            &format!("processor-{number}"),
        ])?;
        let metrics = Arc::new(processor::Metrics::default());
        stages.processors.push(Arc::clone(&metrics));
        let (clients, stop) = (clients.clone(), halted.clone());
        readers.spawn(async move { Ok(processor::run(config, clients, stop, metrics).await?) });
        let mut config =
            settler::Config::try_parse_from(["settler", "--worker", &format!("settler-{number}")])?;
        config.ledger = ledger.clone();
        let metrics = Arc::new(settler::Metrics::default());
        stages.settlers.push(Arc::clone(&metrics));
        let (clients, stop) = (engines.clients().await, halted.clone());
        readers.spawn(async move { Ok(settler::run(config, clients, stop, metrics).await?) });
    }
    let began = Instant::now();
    let mut producers = start_producers(options, engines, &asked, &mut stages).await?;
    let mut view = View::default();
    while !producers.is_empty() {
        tokio::select! {
            done = producers.join_next() => if let Some(done) = done { done??; },
            () = tokio::time::sleep(Duration::from_secs(1)) => view.show(stages.look(began))?,
            Some(done) = readers.join_next() => { done??; }
        }
    }
    let sending = began.elapsed();
    let deadline = Instant::now() + DRAIN;
    while !stages.drained() && Instant::now() < deadline {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            Some(done) = readers.join_next() => { done??; }
        }
    }
    view.show(stages.look(began))?;
    halt.trigger();
    while let Some(done) = readers.join_next().await {
        done??;
    }
    let connection = ledger.connect().await.map_err(|error| crate::ledger::failure(&error))?;
    let found = audit(
        &place.clients,
        &connection.client,
        &AuditOptions { expect_settled: true, ..AuditOptions::default() },
    )
    .await?;
    let mut report =
        report(&place.clients, &connection.client, &ReportOptions::default(), Some(stages.live(sending)))
            .await?;
    report.audit_differences = Some(u64::try_from(found.differences.len())?);
    let sum = |pick: fn(&producer::Summary) -> u64| {
        stages.producers.iter().map(|(_, one)| pick(&one.summary())).sum()
    };
    let divergence = stages.processors.iter().map(|one| one.divergence.load(Ordering::Relaxed)).sum();
    let (unanswered, refused) =
        (sum(|one| one.unknown + one.undelivered), sum(|one| one.refused + one.expired));
    Ok(Outcome { report, audit: found, unanswered, divergence, refused })
}

async fn start_producers(
    options: &Demo,
    engines: &Engines,
    asked: &shutdown::Shutdown,
    stages: &mut Stages,
) -> anyhow::Result<JoinSet<Result<producer::Summary, producer::Error>>> {
    let mut producers = JoinSet::new();
    let count = if options.bids.is_some() { 1 } else { REGIONS.len() };
    for region in REGIONS.iter().take(count) {
        let text = |value: &dyn std::fmt::Display| value.to_string();
        let mut arguments = vec!["producer".to_owned(), "--region".to_owned(), text(region)];
        match &options.bids {
            Some(path) if path.as_os_str() == "-" => {}
            Some(path) => {
                if !path.is_file() {
                    return Err(Failure::io(format!(
                        "bids {} is not a file that can be read",
                        path.display()
                    ))
                    .into());
                }
                arguments.extend(["--input".to_owned(), path.display().to_string()]);
            }
            None => {
                let rate = options.rate / u32::try_from(REGIONS.len()).unwrap_or(1);
                let values = [
                    ("--generate", text(&rate)),
                    ("--duration", text(&options.duration)),
                    ("--slots", text(&options.slots)),
                    ("--accounts", text(&options.accounts)),
                    ("--seed", text(&options.seed)),
                ];
                arguments.extend(values.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
            }
        }
        let config = producer::Config::try_parse_from(arguments)?;
        let metrics = Arc::new(producer::Metrics::default());
        stages.producers.push(((*region).to_owned(), Arc::clone(&metrics)));
        let clients: Clients = engines.clients().await;
        producers.spawn(producer::run(config, clients, asked.clone(), metrics));
    }
    Ok(producers)
}

impl Stages {
    fn look(&self, began: Instant) -> Look {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let decided = |one: &Arc<settler::Metrics>| get(&one.settled) + get(&one.no_sale) + get(&one.held);
        Look {
            elapsed_s: began.elapsed().as_secs(),
            accepted: self
                .producers
                .iter()
                .map(|(region, one)| (region.clone(), get(&one.accepted)))
                .collect(),
            open_windows: self.processors.iter().map(|one| get(&one.open_windows)).sum(),
            closed: self.processors.iter().map(|one| get(&one.auctions_closed)).sum(),
            settled: self.settlers.iter().map(decided).sum(),
            conflicts: self.settlers.iter().map(|one| get(&one.conflicts)).sum(),
        }
    }

    /// Whether everything that was accepted was read, closed and decided.
    fn drained(&self) -> bool {
        let look = self.look(Instant::now());
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let read: u64 = self
            .processors
            .iter()
            .map(|one| {
                get(&one.counted)
                    + get(&one.duplicates)
                    + get(&one.rejected)
                    + get(&one.stray)
                    + get(&one.early)
                    + get(&one.late)
            })
            .sum();
        let accepted: u64 = look.accepted.iter().map(|(_, accepted)| accepted).sum();
        read >= accepted && look.open_windows == 0 && look.settled >= look.closed
    }

    fn live(&self, sending: Duration) -> LiveNumbers {
        let sum = |pick: fn(&producer::Summary) -> u64| {
            self.producers.iter().map(|(_, one)| pick(&one.summary())).sum()
        };
        LiveNumbers {
            bids_sent: sum(|one| one.sent),
            bids_accepted: sum(|one| one.accepted),
            expired: sum(|one| one.expired),
            elapsed_ms: u64::try_from(sending.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

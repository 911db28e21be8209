//! The command line of `exchange`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use contend::{Contend, contend};
use runtime::shutdown;
use schemas::exit;
use settler::db::Ledger;

use crate::audit::{AuditOptions, audit};
use crate::demo::Demo;
use crate::explain::Explain;
use crate::failure::{Failure, exit_code};
use crate::ledger;
use crate::output::{JsonFile, lost};
use crate::place::{Names, Place};
use crate::provision::Provision;
use crate::query::Query;
use crate::report::{ReportOptions, report};
use crate::up::Up;

/// Auctions at the edge, settled beyond doubt: the whole pipeline, its engines and its checks.
#[derive(Parser, Debug)]
#[command(name = "exchange", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole pipeline on local engines, then the report and the audit (the default).
    Demo(Demo),
    /// Durable local engines until interrupted; writes `.local/env`.
    Up(Up),
    /// Stream, tables, index, TTL, geometry and the ledger's schema; repeatable.
    Provision(Provision),
    /// Adds money to an account, through the ledger, once per --id.
    Deposit(ledger::Deposit),
    /// What happened: traffic, winners, conflicts, ledger totals.
    Report(Read),
    /// Recomputes every auction from the stream and compares tables and ledger; exit 1 on any difference.
    Audit(Audit),
    /// Seeded worlds of faults around the cores of all stages; exit 1 and the shortest history when one breaks.
    Sim(crate::sim::command::Sim),
    /// One auction: who won and why, and each loser's reason; exit 1 when item, row and entries contradict each other.
    Explain(Explain),
    /// Settlers race for one account or one auction, by backoff strategy; writes into the ledger, so never one that counts.
    Contend(Box<Contend>),
    /// Windows of a slot, totals of regions, hot slots and the outbox, as a table, CSV or JSON.
    Query(Query),
}

#[derive(Args, Debug)]
struct Audit {
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    ledger: Ledger,
    /// A closed auction that still awaits its decision, or is held, is a difference too.
    #[arg(long)]
    expect_settled: bool,
    /// Writes the result as JSON to this file, `-` for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Read {
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    ledger: Ledger,
    /// Writes the report as JSON to this file, `-` for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the command line and answers the exit code.
pub async fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return runtime::args::answer(&told),
    };
    let command = cli.command.unwrap_or(Command::Demo(cli.demo));
    runtime::telemetry::init(matches!(command, Command::Demo(_)).then_some("error"));
    match run(command).await {
        Ok(()) => exit::DONE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "exchange: {error:#}");
            exit_code(&error)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(options) => crate::demo::run(options).await,
        Command::Up(options) => crate::up::run(options).await,
        Command::Provision(options) => crate::provision::run(options).await,
        Command::Deposit(options) => ledger::deposit(options).await,
        Command::Report(options) => run_report(options).await,
        Command::Audit(options) => run_audit(options).await,
        Command::Sim(options) => crate::sim::command::run(&options),
        Command::Explain(options) => crate::explain::run(options).await,
        Command::Query(options) => crate::query::run(options).await,
        Command::Contend(options) => {
            let (trigger, stop) = shutdown::channel();
            tokio::spawn(shutdown::on_signals(trigger));
            Ok(contend(&options, &stop).await.map_err(Failure::from)?)
        }
    }
}

async fn run_report(options: Read) -> anyhow::Result<()> {
    let json = options.json.as_deref().map(JsonFile::open).transpose()?;
    let ledger = options.ledger.connector().await.map_err(Failure::from)?;
    let place = Place::from_env(options.names).await?;
    let connection = ledger.connect().await.map_err(Failure::from)?;
    let wanted = ReportOptions { table: place.names.table, ..ReportOptions::default() };
    let report = report(&place.clients, &connection.client, &wanted).await?;
    match json {
        Some(json) => json.write(&report)?,
        None => report.print(&mut std::io::stdout()).map_err(lost)?,
    }
    match report.unreadable_items {
        0 => Ok(()),
        count => Err(Failure::found(format!(
            "{count} items of table {} cannot be read and are in no figure above; `exchange query` and `exchange audit` name them",
            wanted.table
        ))
        .into()),
    }
}

async fn run_audit(options: Audit) -> anyhow::Result<()> {
    let json = options.json.as_deref().map(JsonFile::open).transpose()?;
    let ledger = options.ledger.connector().await.map_err(Failure::from)?;
    let place = Place::from_env(options.names).await?;
    let connection = ledger.connect().await.map_err(Failure::from)?;
    let Names { stream, table, lease_table } = place.names;
    let wanted = AuditOptions { stream, table, lease_table, expect_settled: options.expect_settled };
    let result = audit(&place.clients, &connection.client, &wanted).await?;
    match json {
        Some(json) => json.write(&result)?,
        None => result.print(&mut std::io::stdout()).map_err(lost)?,
    }
    if result.is_clean() {
        return Ok(());
    }
    Err(Failure::found(format!("the audit found {} differences", result.differences.len())).into())
}

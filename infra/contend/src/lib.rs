//! `exchange contend`: N workers race for one auction or one account, by strategy, on the real engine.
//!
//! Every worker runs the settler's own transaction runner; only the spacing of attempts differs. Between a worker and
//! the ledger every flight takes a hop, so that a fast local engine meets as much contention as a service far away.
//! It writes accounts, slots and settlements of its own into the ledger it is pointed at, and takes them away again:
//! what stays is its row in `simulation_runs`. While it runs they stand there, so never point it at a ledger that counts.

mod fixture;
mod latency_proxy;
mod plot;
mod published;
mod race;
mod simulator;
pub mod statements;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use runtime::shutdown::Shutdown;
use schemas::time::Millis;

pub use self::latency_proxy::HopLatency;
pub use self::race::{HotRow, Outcome, Race};
use settler::Error;
use settler::core::jitter::Strategy;
use settler::db::{Connection, Ledger};
use settler::provision::{STATEMENT_WITHIN, again};
use settler::statements::INSERT_RUN;

/// Options of `exchange contend`.
#[derive(Args, Clone, Debug)]
pub struct Contend {
    #[command(flatten)]
    ledger: Ledger,
    /// The row that all of them write.
    #[arg(long, default_value = "account", value_parser = ["account", "auction"])]
    hot_row: String,
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_value = "10,20,50", value_parser = clap::value_parser!(u16).range(1..=200))]
    workers: Vec<u16>,
    /// Strategies, in the order of the table.
    #[arg(long, value_delimiter = ',', default_value = "none,exponential,equal,full,decorrelated,connector")]
    strategies: Vec<Strategy>,
    /// Races of each kind; the table shows their mean.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Mean time of a hop between worker and ledger, in ms; 0 leaves the connection as it is.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    hop_ms: u32,
    /// Standard deviation of a hop, in ms.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    hop_deviation_ms: u32,
    /// Writes the plot to this file, as SVG or PNG by its name; may be given twice.
    #[arg(long)]
    plot: Vec<PathBuf>,
    /// Writes the rows as JSON to this file, `-` for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The mean of several races.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// How attempts are spaced.
    pub strategy: String,
    /// How many race.
    pub workers: u16,
    /// Attempts of all, mean of the races.
    pub calls: f64,
    /// From the start to the last who is done, mean of the races, in ms.
    pub completion_ms: f64,
    /// The most attempts that any one needed in any race.
    pub attempts_max: u32,
    /// How many, of all workers of all races, would have been failed by a policy that stops after three tries more.
    pub beyond_three_retries: u32,
    /// What AWS's simulator counts: calls and completion in ms.
    pub simulated: Option<(f64, f64)>,
}

/// Runs the races, and says and writes what came out; a stop leaves out what was not over.
///
/// # Errors
/// When the ledger cannot be used, a file cannot be written, or a stop left out some of the races.
pub async fn contend(options: &Contend, stop: &Shutdown) -> Result<(), Error> {
    if let Some(path) = options.plot.iter().find(|path| !plot::is_drawable(path)) {
        return Err(Error::Usage(format!(
            "--plot {}: a plot is a file that ends in .svg or .png",
            path.display()
        )));
    }
    let connection = options.ledger.connect().await?;
    settler::schema::apply(&connection).await?;
    fixture::clear_left(&connection).await?;
    let hot_row = if options.hot_row == "auction" { HotRow::Auction } else { HotRow::Account };
    let hops = HopLatency { mean_ms: options.hop_ms, deviation_ms: options.hop_deviation_ms };
    let mut lines = Vec::new();
    for workers in &options.workers {
        for strategy in &options.strategies {
            let race = Race { hot_row, workers: *workers, strategy: *strategy };
            match several(options, &connection, race, hops, stop).await {
                Ok(line) => lines.push(line),
                Err(error) if !stop.requested() => return Err(error),
                Err(_) => {}
            }
        }
    }
    let all = options.workers.len() * options.strategies.len();
    let interrupted = Error::Input(format!(
        "interrupted when {} of {all} lines were raced; {} and nothing of the others was kept",
        lines.len(),
        if lines.is_empty() { "there is nothing to show," } else { "those are shown," }
    ));
    if lines.is_empty() {
        return Err(interrupted);
    }
    show(options, &lines, published::why_none(hot_row, hops))?;
    if lines.len() < all { Err(interrupted) } else { Ok(()) }
}

/// Says and writes what came out.
fn show(options: &Contend, lines: &[Summary], why_none: Option<&str>) -> Result<(), Error> {
    // Where JSON goes to standard output nothing else does.
    if options.json.as_deref() != Some("-".as_ref()) {
        let mut out = std::io::stdout();
        let written = table::print(&mut out, options.ledger.name(), &options.hot_row, lines, why_none);
        written.map_err(|error| Error::Io(format!("standard output: {error}")))?;
    }
    for path in &options.plot {
        plot::draw(path, &options.hot_row, lines)
            .map_err(|error| Error::Io(format!("{} cannot be written: {error}", path.display())))?;
    }
    match &options.json {
        Some(path) => write_json(path, lines),
        None => Ok(()),
    }
}

/// Races of one kind, and their mean, written down.
async fn several(
    options: &Contend,
    connection: &Connection,
    race: Race,
    hops: HopLatency,
    stop: &Shutdown,
) -> Result<Summary, Error> {
    let began = runtime::clock::now();
    let mut outcomes = Vec::new();
    for _ in 0..options.runs {
        if stop.requested() {
            return Err(Error::Input("stopped before the races were over".to_owned()));
        }
        outcomes.push(race.run(&options.ledger, connection, hops, stop).await?);
    }
    let line = mean(&race, hops, &outcomes);
    write_down(connection, options, &line, began).await?;
    let Summary { strategy, workers, calls, completion_ms, .. } = &line;
    tracing::info!(strategy, workers, calls, completion_ms, "race over");
    Ok(line)
}

fn write_json(path: &std::path::Path, lines: &[Summary]) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Io(format!("{} cannot be written: {error}", path.display()));
    let mut text = serde_json::to_vec_pretty(lines).map_err(|error| failed(&error))?;
    text.push(b'\n');
    let written =
        if path.as_os_str() == "-" { std::io::stdout().write_all(&text) } else { std::fs::write(path, text) };
    written.map_err(|error| failed(&error))
}

#[expect(clippy::float_arithmetic, reason = "means of counts that are shown, not money or time that is kept")]
fn mean(race: &Race, hops: HopLatency, outcomes: &[Outcome]) -> Summary {
    let count = f64::from(u32::try_from(outcomes.len().max(1)).unwrap_or(u32::MAX));
    let tries = || outcomes.iter().flat_map(|one| &one.tries);
    let completion: Duration = outcomes.iter().map(|one| one.completion).sum();
    Summary {
        strategy: race.strategy.to_string(),
        workers: race.workers,
        calls: f64::from(tries().sum::<u32>()) / count,
        completion_ms: completion.as_secs_f64() * 1_000.0 / count,
        attempts_max: tries().copied().max().unwrap_or(0),
        beyond_three_retries: u32::try_from(tries().filter(|tries| **tries > 4).count()).unwrap_or(u32::MAX),
        simulated: published::simulated(race, hops),
    }
}

async fn write_down(
    connection: &Connection,
    options: &Contend,
    line: &Summary,
    began: Millis,
) -> Result<(), Error> {
    let parameters = serde_json::json!({
        "hot_row": options.hot_row,
        "strategy": line.strategy,
        "workers": line.workers,
        "runs": options.runs,
        "hop_ms": options.hop_ms,
        "hop_deviation_ms": options.hop_deviation_ms,
        "ledger": options.ledger.name(),
    })
    .to_string();
    let outcome = serde_json::to_string(line).unwrap_or_default();
    let id = fixture::random_id();
    let (began, ended) = (began.to_string(), runtime::clock::now().to_string());
    again(connection.ledger(), "a row of simulation_runs", STATEMENT_WITHIN, async || {
        let columns: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&id, &"contend", &0_i64, &parameters, &outcome, &began, &ended];
        connection.client.execute(INSERT_RUN, &columns).await.map(|_| ())
    })
    .await
}

//! `exchange sim`: many worlds, what they met, and the shortest history of one that broke.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;

use super::checker::Broken;
use super::net::Keep;
use super::script::Script;
use super::shrink::shrink;
pub use super::soak::{AfterBroken, Found, Summary, Told};
use super::soak::{BROKEN_TOLD_MAX, Progress, Ticker, rate, run_worlds};
use super::world::{run_script, run_seed};
use crate::failure::Failure;
use crate::output::lost;

/// Worlds after which every fault must have been met: the rarest is met about once in some hundred.
const COVERED_AFTER: u64 = 2_000;

/// Options of `exchange sim`.
#[derive(Args, Clone, Debug)]
pub struct Sim {
    /// How many worlds are run.
    #[arg(long, default_value_t = 1_000)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Operations of each world.
    #[arg(long, default_value_t = 100)]
    pub ops: usize,
    /// Threads; as many as there are cores when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Runs this script instead and prints its history.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    pub script: Option<PathBuf>,
    /// Prints the history of the one seed that is run.
    #[arg(long)]
    pub history: bool,
    /// Makes this mistake on purpose, or each of them in turn for `all`, until it is caught.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    pub mutant: Option<String>,
}

impl Sim {
    /// How many threads run worlds.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Runs the worlds of seeds on threads.
#[must_use]
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    ops: usize,
    threads: usize,
    after: AfterBroken,
    told: &(dyn Fn(Told<'_>) + Sync),
) -> Summary {
    run_worlds(seeds, threads, after, &|seed| run_seed(seed, ops, Keep::Nothing), told)
}

/// Runs the command.
///
/// # Errors
/// When a world breaks, or many worlds never meet a fault; when a script cannot be read.
pub fn run(options: &Sim) -> anyhow::Result<()> {
    match perform(options) {
        // Only what is printed is written here.
        Err(error) => {
            Err(error.downcast::<std::io::Error>().map_or_else(|other| other, |error| lost(error).into()))
        }
        done => done,
    }
}

fn perform(options: &Sim) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if let Some(path) = &options.script {
        return run_file(path, &mut out);
    }
    #[cfg(feature = "mutants")]
    if let Some(name) = &options.mutant {
        return super::mutants::run(name, options, &mut out);
    }
    if options.history {
        let (_, outcome) = run_seed(options.from, options.ops, Keep::History);
        out.write_all(outcome.history.as_bytes())?;
        return outcome.broken.map_or(Ok(()), |broken| Err(broke(&broken)));
    }
    let threads = options.threads();
    let began = Instant::now();
    let summary = soak(options, threads, began);
    let took = began.elapsed();
    if let Some(found) = &summary.found {
        return tell_broken(found, &summary, options.ops, &mut out);
    }
    writeln!(
        out,
        "{} worlds of {} operations in {:.1} s: {} a second on {threads} threads",
        summary.worlds,
        options.ops,
        took.as_secs_f64(),
        rate(summary.worlds, took)
    )?;
    write!(out, "{}", summary.coverage)?;
    let missing = summary.coverage.missing();
    if summary.worlds >= COVERED_AFTER && !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(|met| met.as_str()).collect();
        return Err(Failure::found(format!("no world met: {}", missing.join(", "))).into());
    }
    Ok(())
}

/// Runs all worlds, and says on standard error how it goes and which of them broke.
fn soak(options: &Sim, threads: usize, began: Instant) -> Summary {
    let (ticker, broken) = (Ticker::from(began), AtomicU64::new(0));
    let told = |told: Told<'_>| match told {
        Told::Broken(found) => {
            let before = broken.fetch_add(1, Ordering::Relaxed);
            if before < u64::try_from(BROKEN_TOLD_MAX).unwrap_or(u64::MAX) {
                let _ = writeln!(std::io::stderr(), "{}", line(found.seed, &found.broken, options.ops));
            }
        }
        Told::Done(done) if ticker.is_due(Instant::now()) => {
            let (of, took) = (options.seeds, began.elapsed());
            let progress = Progress { done, of, broken: broken.load(Ordering::Relaxed), took };
            let _ = writeln!(std::io::stderr(), "{progress}");
        }
        Told::Done(_) => {}
    };
    let seeds = options.from..options.from.saturating_add(options.seeds);
    run_seeds(seeds, options.ops, threads, AfterBroken::GoOn, &told)
}

fn broke(broken: &Broken) -> anyhow::Error {
    Failure::found(format!("{} do not hold: {}", broken.invariant, broken.detail)).into()
}

/// What broke in the world of a seed, and the command that runs it again.
fn line(seed: u64, broken: &Broken, ops: usize) -> String {
    let Broken { invariant, detail } = broken;
    format!("seed {seed} breaks {invariant}: {detail}; run it again: {}", again(seed, ops))
}

fn again(seed: u64, ops: usize) -> String {
    format!("exchange sim --from {seed} --seeds 1 --ops {ops}")
}

fn tell_broken(found: &Found, summary: &Summary, ops: usize, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "seed {} breaks {}: {}", found.seed, found.broken.invariant, found.broken.detail)?;
    writeln!(out, "the shortest script that was found:\n")?;
    let short = shrink(&found.script, found.broken.invariant);
    write!(out, "{short}")?;
    let outcome = run_script(&short, Keep::History);
    writeln!(out, "\nits history:\n\n{}", outcome.history)?;
    writeln!(out, "run the whole seed again: {}", again(found.seed, ops))?;
    writeln!(out, "run the short script again: put it into a file and run exchange sim --script FILE")?;
    let (broken, worlds) = (summary.broken_worlds, summary.worlds);
    if broken == 1 {
        return Err(broke(&found.broken));
    }
    let told = summary.broken.len();
    let which =
        if told < usize::try_from(broken).unwrap_or(usize::MAX) { ", the lowest seeds first" } else { "" };
    writeln!(out, "\n{broken} of {worlds} worlds broke; {told} of them{which}:\n")?;
    for (seed, broken) in &summary.broken {
        writeln!(out, "{}", line(*seed, broken, ops))?;
    }
    Err(Failure::found(format!("{broken} of {worlds} worlds broke")).into())
}

fn run_file(path: &std::path::Path, out: &mut impl Write) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("script {} cannot be read: {error}", path.display())))?;
    let script: Script = text
        .parse()
        .map_err(|error| Failure::usage(format!("script {} is no script: {error}", path.display())))?;
    let outcome = run_script(&script, Keep::History);
    out.write_all(outcome.history.as_bytes())?;
    outcome.broken.map_or(Ok(()), |broken| Err(broke(&broken)))
}

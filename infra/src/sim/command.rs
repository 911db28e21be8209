//! `exchange sim`: many worlds, what they met, and the shortest history of one that broke.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::checker::Broken;
use super::coverage::Coverage;
use super::net::Keep;
use super::script::Script;
use super::shrink::shrink;
use super::world::{run_script, run_seed};
use crate::failure::Failure;
use crate::output::lost;

/// Worlds after which every fault must have been met: the rarest is met about once in some hundred.
const COVERED_AFTER: u64 = 2_000;
/// Seeds that a thread takes at once.
const SEEDS_AT_ONCE: u64 = 16;

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

/// A world that broke.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub broken: Broken,
    /// Its whole script, fates included.
    pub script: Script,
}

/// What many worlds came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds that were run.
    pub worlds: u64,
    /// What they met.
    pub coverage: Coverage,
    /// The broken world with the lowest seed among those that were found.
    pub found: Option<Found>,
}

/// Runs worlds on threads until all are run or one breaks; `told` hears how many were run so far.
#[must_use]
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    ops: usize,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
) -> Summary {
    #[cfg(feature = "mutants")]
    let mutant = schemas::mutant::made();
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Summary::default());
    let work = || {
        #[cfg(feature = "mutants")]
        schemas::mutant::make(mutant);
        let mut own = Summary::default();
        while !stop.load(Ordering::Relaxed) {
            let from = next.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed);
            if from >= seeds.end {
                break;
            }
            for seed in from..(from + SEEDS_AT_ONCE).min(seeds.end) {
                let (script, outcome) = run_seed(seed, ops, Keep::Nothing);
                own.worlds += 1;
                own.coverage.add(&outcome.coverage);
                if let Some(broken) = outcome.broken {
                    stop.store(true, Ordering::Relaxed);
                    own.found = Some(Found { seed, broken, script });
                    break;
                }
            }
            told(done.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed) + SEEDS_AT_ONCE);
        }
        let mut all = all.lock().expect("no holder panics");
        all.worlds += own.worlds;
        all.coverage.add(&own.coverage);
        let lower = own.found.filter(|own| all.found.as_ref().is_none_or(|found| own.seed < found.seed));
        all.found = lower.or(all.found.take());
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    all.into_inner().expect("no holder panicked")
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
    let last = Mutex::new(began);
    let told = |done: u64| {
        let mut last = last.lock().expect("no holder panics");
        if last.elapsed() >= Duration::from_secs(5) {
            *last = Instant::now();
            let _ = writeln!(std::io::stderr(), "{done} worlds, {} a second", rate(done, began.elapsed()));
        }
    };
    let seeds = options.from..options.from.saturating_add(options.seeds);
    let summary = run_seeds(seeds, options.ops, threads, &told);
    let took = began.elapsed();
    if let Some(found) = &summary.found {
        return tell_broken(found, options.ops, &mut out);
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

fn rate(worlds: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    worlds.saturating_mul(1_000) / ms
}

fn broke(broken: &Broken) -> anyhow::Error {
    Failure::found(format!("{} do not hold: {}", broken.invariant, broken.detail)).into()
}

fn tell_broken(found: &Found, ops: usize, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "seed {} breaks {}: {}", found.seed, found.broken.invariant, found.broken.detail)?;
    writeln!(out, "the shortest script that was found:\n")?;
    let short = shrink(&found.script, found.broken.invariant);
    write!(out, "{short}")?;
    let outcome = run_script(&short, Keep::History);
    writeln!(out, "\nits history:\n\n{}", outcome.history)?;
    writeln!(out, "run the whole seed again: exchange sim --from {} --seeds 1 --ops {ops}", found.seed)?;
    writeln!(out, "run the short script again: put it into a file and run exchange sim --script FILE")?;
    Err(broke(&found.broken))
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

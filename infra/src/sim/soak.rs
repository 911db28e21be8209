//! Many worlds on threads: what they met, which of them broke, and how far the run is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::checker::Broken;
use super::coverage::Coverage;
use super::script::Script;
use super::world::Outcome;

/// Seeds that a thread takes at once.
const SEEDS_AT_ONCE: u64 = 16;
/// Broken worlds that are told of one by one; those beyond are counted.
pub const BROKEN_TOLD_MAX: usize = 20;
/// Between two lines of progress.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(10);

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
    /// How many worlds broke.
    pub broken_worlds: u64,
    /// What broke, by seed: the lowest [`BROKEN_TOLD_MAX`].
    pub broken: BTreeMap<u64, Broken>,
}

impl Summary {
    fn on_broken(&mut self, found: Found) {
        self.broken_worlds += 1;
        self.broken.insert(found.seed, found.broken.clone());
        self.bound();
        if self.found.as_ref().is_none_or(|lowest| found.seed < lowest.seed) {
            self.found = Some(found);
        }
    }

    fn bound(&mut self) {
        while self.broken.len() > BROKEN_TOLD_MAX {
            self.broken.pop_last();
        }
    }

    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.coverage.add(&other.coverage);
        self.broken_worlds += other.broken_worlds;
        self.broken.extend(other.broken);
        self.bound();
        let lower = other.found.filter(|one| self.found.as_ref().is_none_or(|found| one.seed < found.seed));
        self.found = lower.or(self.found.take());
    }
}

/// What becomes of a run in which a world breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterBroken {
    /// It ends soon.
    Stop,
    /// All other worlds are run.
    GoOn,
}

/// What whoever runs worlds is told while they run.
#[derive(Debug)]
pub enum Told<'a> {
    /// So many are done.
    Done(u64),
    /// One broke.
    Broken(&'a Found),
}

/// Runs the world of each seed with `world` on threads.
pub fn run_worlds(
    seeds: std::ops::Range<u64>,
    threads: usize,
    after: AfterBroken,
    world: &(dyn Fn(u64) -> (Script, Outcome) + Sync),
    told: &(dyn Fn(Told<'_>) + Sync),
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
                let (script, outcome) = world(seed);
                own.worlds += 1;
                own.coverage.add(&outcome.coverage);
                if let Some(broken) = outcome.broken {
                    let found = Found { seed, broken, script };
                    told(Told::Broken(&found));
                    own.on_broken(found);
                    if after == AfterBroken::Stop {
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
                told(Told::Done(done.fetch_add(1, Ordering::Relaxed) + 1));
            }
        }
        all.lock().expect("no holder panics").add(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    all.into_inner().expect("no holder panicked")
}

/// How a run goes, for a line now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Worlds that are done.
    pub done: u64,
    /// Worlds in all.
    pub of: u64,
    /// Those that broke.
    pub broken: u64,
    /// Since the beginning.
    pub took: Duration,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { done, of, broken, took } = *self;
        write!(f, "{done} of {of} worlds, {} a second, ", rate(done, took))?;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // In 128 bits: a long run of many worlds.
        let left_ms = u128::from(took_ms) * u128::from(of.saturating_sub(done)) / u128::from(done.max(1));
        match u64::try_from(left_ms / 1_000).unwrap_or(u64::MAX) {
            _ if done == 0 => f.write_str("time left not known yet")?,
            left_s @ 0..60 => write!(f, "{left_s} s left")?,
            left_s @ 60..3_600 => write!(f, "{} min {} s left", left_s / 60, left_s % 60)?,
            left_s => write!(f, "{} h {} min left", left_s / 3_600, left_s % 3_600 / 60)?,
        }
        if broken > 0 { write!(f, "; {broken} broke so far") } else { Ok(()) }
    }
}

/// Worlds a second.
#[must_use]
pub fn rate(worlds: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    worlds.saturating_mul(1_000) / ms
}

/// Says when a line of progress is due.
#[derive(Debug)]
pub struct Ticker(Mutex<Instant>);

impl Ticker {
    /// The first line is due [`PROGRESS_EVERY`] from now.
    #[must_use]
    pub fn from(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Whether a line is due; then the next is due [`PROGRESS_EVERY`] later.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().expect("no holder panics");
        let is_due = now.saturating_duration_since(*last) >= PROGRESS_EVERY;
        if is_due {
            *last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests;

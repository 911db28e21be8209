//! Mistakes made on purpose: each must break a world within a bound, or the faults or the checker are not done.

use std::io::Write;

use schemas::mutant::{self, Mutant};

use super::command::{AfterBroken, Found, Sim, run_seeds};
use super::script::Script;
use super::shrink::shrink;
use crate::failure::Failure;

/// Most worlds until a mistake must be caught.
pub const SEEDS_MAX: u64 = 20_000;

/// Makes a mistake in world after world, from seed 0, until one breaks.
#[must_use]
pub fn catch(mistake: Mutant, ops: usize, threads: usize) -> Option<Found> {
    mutant::make(Some(mistake));
    let found = run_seeds(0..SEEDS_MAX, ops, threads, AfterBroken::Stop, &|_| {}).found;
    mutant::make(None);
    found
}

/// The shortest script found of a world that a mistake broke.
fn shortest(mistake: Mutant, found: &Found) -> Script {
    mutant::make(Some(mistake));
    let script = shrink(&found.script, found.broken.invariant);
    mutant::make(None);
    script
}

/// Runs one mistake, or all of them, and prints what caught each.
///
/// # Errors
/// When there is no such mistake, or one is not caught.
pub fn run(name: &str, options: &Sim, out: &mut impl Write) -> anyhow::Result<()> {
    let chosen: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|mutant| name == "all" || mutant.as_str() == name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.as_str()).collect();
        return Err(
            Failure::usage(format!("there is no mutant {name}; there are {}", names.join(", "))).into()
        );
    }
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for mistake in chosen {
        match catch(mistake, options.ops, options.threads()) {
            Some(found) => {
                let (worlds, invariant) = (found.seed + 1, found.broken.invariant);
                writeln!(out, "| {:<24} | {worlds:>6} | {invariant:<12} |", mistake.as_str())?;
                if name != "all" {
                    writeln!(out, "{}\n\n{}", found.broken.detail, shortest(mistake, &found))?;
                }
            }
            None => {
                writeln!(out, "| {:<24} | MISSED |              |", mistake.as_str())?;
                missed.push(mistake.as_str());
            }
        }
        out.flush()?;
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(Failure::found(format!("not caught within {SEEDS_MAX} worlds: {}", missed.join(", "))).into())
}

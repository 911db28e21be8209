//! Shortens a script that fails: operations and fates are taken out, in ever smaller pieces, while the same invariant
//! still breaks (delta debugging, Zeller and Hildebrandt).

use super::checker::Invariant;
use super::net::Keep;
use super::script::{Actor, Script, Timed};
use super::words::Fate;
use super::world::run_script;

/// Most worlds that are run to shorten one script.
const RUNS_MAX: usize = 3_000;

/// One line of a script that can be taken out.
#[derive(Clone, Copy, Debug)]
enum Line {
    Op(Timed),
    Fate((Actor, u64), Fate),
}

/// The shortest script found that still breaks the invariant.
#[must_use]
pub fn shrink(script: &Script, invariant: Invariant) -> Script {
    let ops = script.ops.iter().copied().map(Line::Op);
    let fates = script.fates.iter().map(|(call, fate)| Line::Fate(*call, *fate));
    let mut lines: Vec<Line> = ops.chain(fates).collect();
    let mut runs = 0;
    let mut fails = |lines: &[Line]| {
        runs += 1;
        runs <= RUNS_MAX && breaks(&of(script, lines), invariant)
    };
    let mut pieces = 2;
    while !lines.is_empty() && pieces <= lines.len() {
        let size = lines.len().div_ceil(pieces);
        let shorter = (0..lines.len()).step_by(size).find_map(|from| {
            let without: Vec<Line> = [&lines[..from], &lines[(from + size).min(lines.len())..]].concat();
            fails(&without).then_some(without)
        });
        match shorter {
            Some(shorter) => {
                lines = shorter;
                pieces = pieces.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => pieces = (pieces * 2).min(lines.len()),
        }
    }
    of(script, &lines)
}

fn of(script: &Script, lines: &[Line]) -> Script {
    let mut shorter = Script { ops: Vec::new(), fates: std::collections::BTreeMap::new(), ..script.clone() };
    for line in lines {
        match line {
            Line::Op(timed) => shorter.ops.push(*timed),
            Line::Fate(call, fate) => drop(shorter.fates.insert(*call, *fate)),
        }
    }
    shorter
}

fn breaks(script: &Script, invariant: Invariant) -> bool {
    run_script(script, Keep::Nothing).broken.is_some_and(|broken| broken.invariant == invariant)
}

//! The simulated world: seeds hold, histories repeat, what was found once stays mended, and mistakes are caught.

use std::path::Path;

use infra::sim::command::{AfterBroken, run_seeds};
use infra::sim::net::Keep;
use infra::sim::script::Script;
use infra::sim::world::{run_script, run_seed};

/// Operations of each world, as `exchange sim` has them.
const OPS: usize = 100;

#[test]
fn the_same_seed_gives_the_same_history_byte_for_byte() {
    for seed in 0..40 {
        let (script, first) = run_seed(seed, OPS, Keep::History);
        let (again, second) = run_seed(seed, OPS, Keep::History);
        assert!(first.history.lines().count() > 100, "seed {seed} has a history");
        assert_eq!(script, again, "seed {seed}");
        assert_eq!(first.history, second.history, "seed {seed}");
    }
}

#[test]
fn a_history_runs_again_from_the_text_of_its_script() {
    for seed in 0..40 {
        let (script, drawn) = run_seed(seed, OPS, Keep::History);
        let script: Script = script.to_string().parse().unwrap();
        assert_eq!(run_script(&script, Keep::History).history, drawn.history, "seed {seed}");
    }
}

#[test]
fn worlds_hold_and_meet_every_fault() {
    let summary = run_seeds(0..2_000, OPS, 2, AfterBroken::GoOn, &|_| {});
    assert!(summary.found.is_none(), "{:?}", summary.found);
    assert_eq!(summary.worlds, 2_000);
    assert_eq!(summary.coverage.missing(), []);
}

#[test]
fn what_broke_once_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim/regressions");
    let mut scripts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script: Script = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let outcome = run_script(&script, Keep::Nothing);
        assert_eq!(outcome.broken, None, "{}", path.display());
        scripts += 1;
    }
    assert!(scripts > 0, "there are scripts");
}

/// With the feature `mutants` alone: without it there are no mistakes to make.
#[cfg(feature = "mutants")]
#[test]
fn every_mistake_is_caught() {
    for mistake in schemas::mutant::Mutant::ALL {
        let caught = infra::sim::mutants::catch(*mistake, OPS, 2);
        assert!(caught.is_some(), "{} goes unseen", mistake.as_str());
    }
}

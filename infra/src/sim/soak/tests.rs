//! Runs in which some worlds are said to break.

use std::collections::BTreeSet;

use super::*;
use crate::sim::checker::Invariant;
use crate::sim::net::Keep;
use crate::sim::world::run_seed;

/// A small world; each seventh is said to break.
fn world(seed: u64) -> (Script, Outcome) {
    let (script, mut outcome) = run_seed(seed, 1, Keep::Nothing);
    let detail = format!("seed {seed}");
    outcome.broken = seed.is_multiple_of(7).then_some(Broken { invariant: Invariant::Progress, detail });
    (script, outcome)
}

#[test]
fn a_broken_world_ends_no_soak_and_each_is_told_once() {
    let (told, done) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let tell = |one: Told<'_>| {
        let (is_new, what) = match one {
            Told::Broken(found) => (told.lock().unwrap().insert(found.seed), found.seed),
            Told::Done(count) => (done.lock().unwrap().insert(count), count),
        };
        assert!(is_new, "{what} is told twice");
    };
    let summary = run_worlds(1..301, 3, AfterBroken::GoOn, &world, &tell);
    assert_eq!((summary.worlds, summary.broken_worlds), (300, 42), "the count is whole");
    let sevenths: Vec<u64> = (1..=42).map(|n| 7 * n).collect();
    assert_eq!(told.into_inner().unwrap().into_iter().collect::<Vec<_>>(), sevenths);
    let kept: Vec<u64> = summary.broken.keys().copied().collect();
    assert_eq!(kept, sevenths[..BROKEN_TOLD_MAX], "the lowest of them");
    assert_eq!(summary.broken[&14].detail, "seed 14");
    assert_eq!(summary.found.unwrap().seed, 7);
    assert_eq!(done.into_inner().unwrap(), (1..=300).collect());
}

#[test]
fn a_search_ends_with_the_first_that_breaks() {
    let summary = run_worlds(1..3_000, 2, AfterBroken::Stop, &world, &|_| {});
    assert!(summary.worlds < 100, "{} worlds", summary.worlds);
    assert!((1..=2).contains(&summary.broken_worlds) && summary.found.is_some());
}

#[test]
fn a_line_of_progress_says_how_far_how_fast_and_how_long() {
    let line = |done, of, broken, s| Progress { done, of, broken, took: Duration::from_secs(s) }.to_string();
    assert_eq!(line(4_000, 20_000, 0, 10), "4000 of 20000 worlds, 400 a second, 40 s left");
    assert_eq!(
        line(4_000, 200_000, 3, 10),
        "4000 of 200000 worlds, 400 a second, 8 min 10 s left; 3 broke so far"
    );
    assert_eq!(line(10, 1_000_000, 0, 1), "10 of 1000000 worlds, 10 a second, 27 h 46 min left");
    assert_eq!(line(0, 5, 0, 10), "0 of 5 worlds, 0 a second, time left not known yet");
}

#[test]
fn a_line_is_due_every_ten_seconds() {
    let began = Instant::now();
    let ticker = Ticker::from(began);
    let due = |s| ticker.is_due(began + Duration::from_secs(s));
    assert_eq!(
        [0, 9, 10, 11, 19, 20, 45, 46].map(due),
        [false, false, true, false, false, true, true, false]
    );
}

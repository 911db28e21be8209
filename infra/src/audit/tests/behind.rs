//! Decisions that needed the log: what is false in them, and what in those that did not look there.

use std::sync::Arc;

use schemas::item::Replay;
use schemas::lease::Checkpoint;
use schemas::limits::LOG_BYTES_MAX;
use schemas::time::Millis;

use super::pipeline::*;
use super::world::*;

/// Two candidates, of 1,024 and 512 units; behind them 256, 128 and 16 in the log. Nobody knows accounts 9, 8 and 7.
fn planted_behind(plant: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = crowded();
    plant(&mut world);
    world.whats()
}

#[test]
fn the_price_is_one_that_somebody_could_be_held_to() {
    assert_eq!(planted_behind(|_| {}), [""; 0]);
    // The amount that follows the last candidate, those of the others that nobody knows, and the floor.
    for price in [256, 512, 128, 4] {
        assert_eq!(planted_behind(|w| w.charge(price)), ["settlement clearing_price"], "{price}");
    }
}

#[test]
fn the_row_says_how_many_were_looked_at() {
    let row = |plant: fn(&mut super::super::rows::Settlement)| {
        planted_behind(|w| plant(&mut w.rows.settlements[0]))
    };
    assert_eq!(row(|row| row.log_accounts = Some(4)), ["settlement log_accounts"]);
    assert_eq!(row(|row| row.log_unknown = Some(3)), ["settlement log_unknown"]);
    let without = planted_behind(|w| drop(w.seen().pop()));
    assert!(without.contains(&"settlement clearing_price".to_owned()), "who sets the price: {without:?}");
}

#[test]
fn a_decision_that_stops_at_its_candidates_is_found() {
    let stopped = |w: &mut World| {
        let row = &mut w.rows.settlements[0];
        (row.log_accounts, row.log_unknown) = (Some(0), Some(0));
        (row.log_reads, row.log_bytes) = (Some(0), Some(0));
        w.seen().truncate(2);
    };
    for price in [4, 256] {
        let found = planted_behind(|w| {
            stopped(w);
            w.charge(price);
        });
        assert_eq!(found[0], "settlement outcome", "sold at {price}: {found:?}");
    }
    // What a release that knew no better decided stands.
    let earlier = planted_behind(|w| {
        stopped(w);
        let row = &mut w.rows.settlements[0];
        (row.log_accounts, row.log_unknown, row.log_reads, row.log_bytes) = (None, None, None, None);
        w.charge(256);
    });
    assert_eq!(earlier, [""; 0]);
}

#[test]
fn what_the_stream_does_not_hold_any_more_is_not_judged() {
    assert_eq!(planted_behind(|w| w.log.behind.clear()), [""; 0]);
}

#[test]
fn nothing_is_exhausted_while_the_log_can_be_read() {
    let exhausted = |place: bool| {
        planted_behind(|w| {
            let (first, rest) = w.unsold("candidates_exhausted");
            (first.log_accounts, first.log_unknown) = (Some(0), Some(0));
            (first.log_reads, first.log_bytes) = (Some(0), Some(0));
            rest.truncate(2);
            let replay = Replay { checkpoint: Checkpoint::TrimHorizon, clock: Millis(0), tails: Vec::new() };
            w.first_item().item.replay = place.then(|| Arc::new(replay));
        })
    };
    assert_eq!(exhausted(false), [""; 0], "an item of an earlier release does not say where its log begins");
    assert_eq!(exhausted(true), ["settlement log_reads"]);
}

#[test]
fn a_suspended_account_wins_nothing_and_only_one_that_was() {
    let suspended = |since: Option<u64>, status: &str| {
        planted_behind(|w| {
            let row = w.rows.accounts.get_mut(&account(10)).unwrap();
            (row.status, row.status_since) = (Some(status.to_owned()), since.map(Millis));
        })
    };
    assert_eq!(suspended(None, "active"), [""; 0]);
    assert_eq!(suspended(Some(600), "suspended"), [""; 0], "after the decision");
    let mut late = crowded();
    late.rows.settlements[0].settled_at = Millis(70_000);
    late.charge(16);
    let row = late.rows.accounts.get_mut(&account(10)).unwrap();
    (row.status, row.status_since) = (Some("suspended".to_owned()), Some(Millis(1)));
    assert!(late.whats().contains(&"settlement winner_account".to_owned()), "{:?}", late.whats());
    let claimed = planted_behind(|w| w.seen()[0].passed_over = Some("suspended".to_owned()));
    assert_eq!(claimed, ["evidence passed_over"], "nobody ever suspended it");
}

/// A row that says its log is too long to read, over a log that is not.
fn too_long(plant: impl Fn(&mut World)) -> Vec<String> {
    planted_behind(|w| {
        let (first, rest) = w.unsold("candidates_exhausted");
        (first.log_accounts, first.log_unknown) = (Some(0), Some(0));
        (first.log_reads, first.log_bytes) = (Some(9), Some(i64::try_from(LOG_BYTES_MAX).unwrap() + 1));
        rest.truncate(2);
        plant(w);
    })
}

#[test]
fn a_row_that_calls_a_short_log_too_long_is_held_to_the_log() {
    let found = too_long(|_| {});
    assert!(found.contains(&"settlement log_bytes".to_owned()), "{found:?}");
    assert!(
        found.contains(&"settlement outcome".to_owned()),
        "somebody stands behind its candidates: {found:?}"
    );
    // Where the stream does not hold the auction's log any more, nobody knows better.
    assert_eq!(too_long(|w| w.log.reach = Default::default()), [""; 0]);
    // And where it is as long as that.
    let long = too_long(|w| {
        let keys: Vec<_> = w.log.aggregates.keys().copied().collect();
        keys.into_iter().for_each(|key| w.log.reach.on_close(key, LOG_BYTES_MAX + 1, true));
    });
    assert_eq!(long, [""; 0]);
}

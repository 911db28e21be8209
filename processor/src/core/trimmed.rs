//! Whether records after a stored place may be gone, because nobody read the shard for a retention period.
//!
//! Only how long ago a place was left is judged, never what the stream still shows there: what is older than retention
//! may go while it is read. So the answer errs to the safe side: a cut window is never written, and one that was not
//! whole must not be.

use schemas::lease::{Beginning, Checkpoint, Lease, Tail};
use schemas::mutant::{self, Mutant};
use schemas::time::Millis;

/// The row with cut beginnings wherever records may be gone, given the time before which they are.
#[must_use]
pub fn check(mut row: Lease, horizon: Millis) -> Lease {
    row.tails.iter_mut().for_each(|tail| cut(tail, horizon));
    if row.beginning == Beginning::Whole && is_gone(&row.tails, row.replay_clock, horizon) {
        (row.beginning, row.checkpoint) = (Beginning::Cut, Checkpoint::TrimHorizon);
    }
    row
}

fn cut(tail: &mut Tail, horizon: Millis) {
    tail.tails.iter_mut().for_each(|own| cut(own, horizon));
    if is_gone(&tail.tails, tail.replay_clock, horizon) {
        (tail.beginning, tail.checkpoint) = (Beginning::Cut, Checkpoint::TrimHorizon);
    }
}

/// Whether records after a place may be gone. None lies before the place's own clock or, with tails, before the highest
/// at which its parents ended.
fn is_gone(tails: &[Tail], replay_clock: Millis, horizon: Millis) -> bool {
    let left_at = tails.iter().map(|tail| tail.closed_through).max().unwrap_or(replay_clock);
    left_at < horizon && !mutant::is(Mutant::TrimmedIsWhole)
}

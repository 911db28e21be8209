//! Whether records after a stored place may be gone, because nobody read the shard for a retention period.
//!
//! Only how long ago a place was left is judged, so the answer errs to the safe side: a cut window is never written, and
//! one that was not whole must not be.

use schemas::ids::SequenceNumber;
use schemas::lease::{Beginning, Checkpoint, Lease, Tail};
use schemas::time::Millis;

use super::mutant::{self, Mutant};

/// What is to be done before a row is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing: it may be read from as it stands here.
    Row(Lease),
    /// The shard's oldest record is to be asked for, and [`on_oldest`] says what then.
    AskOldest(Lease),
}

/// Judges a row against the time before which records are gone.
#[must_use]
pub fn check(mut row: Lease, horizon: Millis) -> Checked {
    if mutant::is(Mutant::TrimmedIsWhole) {
        return Checked::Row(row);
    }
    row.tails.iter_mut().for_each(|tail| cut(tail, horizon));
    if row.beginning == Beginning::Cut || left_at(&row.tails, row.replay_clock) >= horizon {
        return Checked::Row(row);
    }
    match row.checkpoint {
        Checkpoint::After(_) => Checked::AskOldest(row),
        _ => Checked::Row(Lease { beginning: Beginning::Cut, ..row }),
    }
}

/// The row, given the number of the oldest record that its shard still has, if it has one.
#[must_use]
pub fn on_oldest(row: Lease, oldest: Option<&SequenceNumber>) -> Lease {
    let kept = match &row.checkpoint {
        Checkpoint::After(sequence) => oldest.is_some_and(|oldest| oldest <= sequence),
        _ => false,
    };
    if kept { row } else { Lease { checkpoint: Checkpoint::TrimHorizon, beginning: Beginning::Cut, ..row } }
}

fn cut(tail: &mut Tail, horizon: Millis) {
    tail.tails.iter_mut().for_each(|own| cut(own, horizon));
    if left_at(&tail.tails, tail.replay_clock) < horizon {
        (tail.beginning, tail.checkpoint) = (Beginning::Cut, Checkpoint::TrimHorizon);
    }
}

/// A clock that no record after the place lies before: the place's own, or the highest at which its parents ended.
fn left_at(tails: &[Tail], replay_clock: Millis) -> Millis {
    tails.iter().map(|tail| tail.closed_through).max().unwrap_or(replay_clock)
}

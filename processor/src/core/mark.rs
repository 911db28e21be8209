//! Places in a shard: from where it would be read again, and where a bid's record lies.

use std::sync::Arc;

use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Checkpoint;
use schemas::time::Millis;

/// From where a reader must begin again, and the clock it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The place.
    pub checkpoint: Checkpoint,
    /// The shard clock before the next record.
    pub clock: Millis,
}

impl Mark {
    /// The mark that is read earlier.
    #[must_use]
    pub fn earlier<'a>(&'a self, other: &'a Mark) -> &'a Mark {
        if self.order() <= other.order() { self } else { other }
    }

    /// The beginning comes first. A reader never stands at the tip or past the end without having read.
    fn order(&self) -> Option<&SequenceNumber> {
        match &self.checkpoint {
            Checkpoint::After(sequence) => Some(sequence),
            Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::ShardEnd => None,
        }
    }
}

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its shard, which for an inherited bid is not the one that closes the auction.
    pub shard_id: ShardId,
    /// Its number.
    pub sequence: SequenceNumber,
}

/// The record under way; its place is made once, and only when a bid of it is kept.
#[derive(Debug)]
pub(super) struct Record<'a> {
    shard_id: &'a ShardId,
    sequence: &'a SequenceNumber,
    place: Option<Arc<Place>>,
}

impl<'a> Record<'a> {
    pub(super) fn new(shard_id: &'a ShardId, sequence: &'a SequenceNumber) -> Self {
        Self { shard_id, sequence, place: None }
    }

    pub(super) fn place(&mut self) -> Arc<Place> {
        let make = || {
            Arc::new(Place {
                shard_id: self.shard_id.clone(),
                sequence: SequenceNumber::clone(self.sequence),
            })
        };
        Arc::clone(self.place.get_or_insert_with(make))
    }
}

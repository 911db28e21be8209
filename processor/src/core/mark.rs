//! Places in a shard: from where it would be read again, and where a bid's record lies.

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

/// The record under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) shard_id: &'a ShardId,
    pub(super) sequence: &'a SequenceNumber,
    /// From 1, another one for each record of a reader.
    pub(super) number: u64,
}

/// The places of kept bids, each once; a bid keeps an index, which costs no shared counter.
#[derive(Debug, Default)]
pub(super) struct Places {
    list: Vec<Place>,
    /// The number of the record whose place is the last one.
    last: u64,
}

impl Places {
    /// The index of a record's place, which is made when a bid of it is kept first.
    #[inline]
    pub(super) fn of(&mut self, record: &Record<'_>) -> u32 {
        if self.last != record.number {
            self.make(record);
        }
        u32::try_from(self.list.len() - 1).expect("a window holds fewer than 2^32 records")
    }

    #[cold]
    fn make(&mut self, record: &Record<'_>) {
        self.last = record.number;
        self.list.push(Place { shard_id: record.shard_id.clone(), sequence: record.sequence.clone() });
    }

    /// Takes other places behind its own; answers by how much their indexes grow.
    pub(super) fn append(&mut self, other: &Places) -> u32 {
        let offset = u32::try_from(self.list.len()).expect("a window holds fewer than 2^32 records");
        self.list.extend_from_slice(&other.list);
        self.last = 0;
        offset
    }

    pub(super) fn get(&self, index: u32) -> &Place {
        &self.list[usize::try_from(index).expect("32 bits fit")]
    }
}

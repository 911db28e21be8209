//! How many bytes of the log a decision can have read, so that a row which says that its log was too long to read is
//! held to the log.

use std::collections::BTreeMap;

use schemas::ids::{SequenceNumber, ShardId, SlotId};
use schemas::item::Replay;
use schemas::lease::Checkpoint;
use schemas::time::Millis;

/// Between two places of a shard that are remembered.
const MARK_BYTES: u64 = 1_048_576;

/// Bytes of the log, by where they lie.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// By shard, some records with the bytes before each, first the oldest that was read.
    marks: BTreeMap<ShardId, Vec<(SequenceNumber, u64)>>,
    /// By auction, the bytes before its window was closed.
    closes: BTreeMap<(SlotId, Millis), Close>,
}

#[derive(Clone, Copy, Debug)]
struct Close {
    bytes: u64,
    /// Whether they were read from the beginning of the first shard on.
    is_whole: bool,
}

impl Reach {
    /// A record was read, behind so many bytes of its shard and of those that it was made from.
    pub(super) fn on_record(&mut self, shard: &ShardId, sequence: &SequenceNumber, before: u64) {
        if let Some(marks) = self.marks.get_mut(shard) {
            if marks.last().is_none_or(|(_, bytes)| before - bytes >= MARK_BYTES) {
                marks.push((sequence.clone(), before));
            }
        } else {
            self.marks.insert(shard.clone(), vec![(sequence.clone(), before)]);
        }
    }

    /// The window of an auction was closed behind so many bytes.
    pub(super) fn on_close(&mut self, key: (SlotId, Millis), bytes: u64, is_whole: bool) {
        self.closes.insert(key, Close { bytes, is_whole });
    }

    /// Most bytes between the place from which an item's log is read and the close of its window; none where the stream
    /// does not hold all of them any more.
    pub(super) fn bytes(
        &self,
        key: &(SlotId, Millis),
        shard: &ShardId,
        replay: Option<&Replay>,
    ) -> Option<u64> {
        let Close { bytes, is_whole } = *self.closes.get(key)?;
        let from =
            replay.filter(|replay| replay.tails.is_empty()).and_then(|replay| match &replay.checkpoint {
                Checkpoint::After(sequence) => Some(sequence),
                _ => None,
            });
        let mark =
            from.and_then(|from| self.marks.get(shard)?.iter().rev().find(|(sequence, _)| sequence <= from));
        match mark {
            Some((_, before)) => Some(bytes.saturating_sub(*before)),
            None => is_whole.then_some(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(checkpoint: Checkpoint) -> Replay {
        Replay { checkpoint, clock: Millis(0), tails: Vec::new() }
    }

    #[test]
    fn bytes_are_counted_from_the_last_place_that_is_remembered_before_the_items_own() {
        let (shard, key) = (ShardId("s".to_owned()), (SlotId::from_bytes([1; 16]), Millis(10)));
        let place = |number: u64| number.to_string().parse::<SequenceNumber>().unwrap();
        let mut reach = Reach::default();
        for (number, before) in [(5, 0), (6, 10), (100, MARK_BYTES), (101, MARK_BYTES + 1)] {
            reach.on_record(&shard, &place(number), before);
        }
        let bytes = |is_whole, from: Option<Checkpoint>| {
            let mut reach = reach.clone();
            reach.on_close(key, MARK_BYTES + 100, is_whole);
            reach.bytes(&key, &shard, from.map(replay).as_ref())
        };
        let after = |number| Some(Checkpoint::After(place(number)));
        // Compared as numbers, not as text.
        assert_eq!(bytes(false, after(101)), Some(100));
        assert_eq!(bytes(false, after(99)), Some(MARK_BYTES + 100));
        assert_eq!(bytes(false, after(4)), None, "the stream does not hold that place any more");
        assert_eq!(bytes(true, after(4)), Some(MARK_BYTES + 100));
        assert_eq!((bytes(false, None), bytes(true, None)), (None, Some(MARK_BYTES + 100)));
        assert_eq!(bytes(false, Some(Checkpoint::TrimHorizon)), None);
        assert_eq!(reach.bytes(&key, &shard, None), None, "a window that was never closed");
    }
}

//! A sample of refused bids and of duplicates for the log: never more than some lines a second, whatever comes in.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use schemas::hash::{HashKey, HashRange};
use schemas::ids::{Region, SequenceNumber, ShardId, SlotId};

use crate::core::lease::Listed;
use crate::core::{Judged, Refused, Sample};

/// Lines per period.
const LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// What whoever writes records of their own gets wrong first.
const STRAY: &str = "the shard does not own the slot; the partition key of a record must be its slot's UUID in lower case, \
                     or lie in the slot's shard by its MD5";

/// Which refused bids are logged.
#[derive(Debug)]
pub(crate) struct Samples {
    started: Instant,
    rate: Mutex<Rate>,
    /// The open shards, as they were listed last.
    owners: Mutex<Vec<(HashRange, ShardId)>>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { started: Instant::now(), rate: Mutex::default(), owners: Mutex::default() }
    }
}

/// How many lines were written in this period, and how many refused bids have none since the last line.
#[derive(Debug, Default)]
struct Rate {
    began: Duration,
    lines: u32,
    not_logged: u64,
}

impl Rate {
    /// So many bids were refused at once. A line about one of them may be written when this answers: with how many
    /// had none before it.
    fn on_refused(&mut self, refused: u64, now: Duration) -> Option<u64> {
        if now.saturating_sub(self.began) >= PERIOD {
            (self.began, self.lines) = (now, 0);
        }
        if self.lines >= LINES {
            self.not_logged += refused;
            return None;
        }
        self.lines += 1;
        Some(std::mem::replace(&mut self.not_logged, refused.saturating_sub(1)))
    }
}

impl Samples {
    /// Takes the shards as the stream lists them.
    pub(crate) fn on_shards(&self, shards: &[Listed]) {
        let open = shards.iter().filter(|shard| shard.is_open);
        let owners = open.map(|shard| (shard.range, shard.shard_id.clone())).collect();
        *self.owners.lock().expect("no holder panics") = owners;
    }

    /// Which open shard owns a slot; none before the shards were listed.
    fn owner(&self, slot: &SlotId) -> Option<ShardId> {
        let hash = HashKey::of_slot(slot);
        let owners = self.owners.lock().expect("no holder panics");
        owners.iter().find(|(range, _)| range.owns(hash)).map(|(_, shard)| shard.clone())
    }

    /// Logs the first refused bid of a record, or its first duplicate, or only counts that it was not logged; the
    /// others are counted.
    pub(crate) fn on_refused(&self, shard_id: &ShardId, sequence: &SequenceNumber, judged: &Judged) {
        let Some((refused, region, sub_sequence, reason)) = first(judged) else { return };
        let line = {
            let mut rate = self.rate.lock().expect("no holder panics");
            rate.on_refused(judged.refused() + judged.duplicates, self.started.elapsed())
        };
        let Some(not_logged) = line else { return };
        let slot =
            judged.sample.filter(|sample| sample.refused == Refused::Stray).and_then(|sample| sample.slot);
        let owner = slot.and_then(|slot| self.owner(&slot)).map(tracing::field::display);
        let slot = slot.map(tracing::field::display);
        tracing::warn!(%shard_id, %sequence, sub_sequence, refused, %region, reason, slot, owner, not_logged, "bid refused");
    }
}

/// The bid that stands for a record: a word for why it counts for nothing, its region and place, and what is wrong with
/// it.
fn first(judged: &Judged) -> Option<(&'static str, Region, u32, &'static str)> {
    let duplicate = || judged.copy.map(|(sub_sequence, region)| ("duplicate", region, sub_sequence, ""));
    let told = |sample: Sample| {
        let reason = if sample.refused == Refused::Stray { STRAY } else { sample.reason };
        (sample.refused.as_str(), sample.region, sample.sub_sequence, reason)
    };
    judged.sample.map(told).or_else(duplicate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_stands_for_a_record_in_which_nothing_was_refused() {
        let region: Region = "eu-west-1".parse().unwrap();
        let copied = Judged { duplicates: 2, copy: Some((7, region)), ..Judged::default() };
        assert_eq!(first(&copied), Some(("duplicate", region, 7, "")));
        let sample = Sample { refused: Refused::Late, region, sub_sequence: 9, slot: None, reason: "" };
        assert_eq!(first(&Judged { sample: Some(sample), ..copied }), Some(("late", region, 9, "")));
        assert_eq!(first(&Judged { counted: 3, ..Judged::default() }), None);
    }

    #[test]
    fn five_lines_a_second_are_written_and_what_has_none_is_counted() {
        let ms = Duration::from_millis;
        let mut rate = Rate::default();
        let first: Vec<_> = (0..8).map(|at| rate.on_refused(1, ms(at))).collect();
        assert_eq!(first, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!(rate.on_refused(4, ms(999)), None);
        assert_eq!(rate.on_refused(3, ms(1_000)), Some(7), "three, and then four");
        assert_eq!(rate.on_refused(1, ms(1_000)), Some(2), "two of the three had no line");
    }
}

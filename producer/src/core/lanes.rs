//! Records that wait to be sent, one lane per predicted shard, so that a slow shard holds up no other.
//!
//! Within a lane the record that is due first goes first; between lanes each is served in turn. Never looks into a
//! record.

use std::collections::BTreeMap;
use std::ops::Bound;

use schemas::ids::ShardId;

use super::pacer::Pacer;
use super::packer::{Item, Record};

/// Whom a record is predicted for; none when the map has a gap there.
type Key = Option<ShardId>;

#[derive(Debug, Default)]
struct Lane {
    /// By when they are due, then by age.
    waiting: BTreeMap<(u64, u64), Record>,
    pacer: Pacer,
}

/// All lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<Key, Lane>,
    /// The lane that was served last.
    served: Option<Key>,
    made: u64,
}

impl Lanes {
    /// Takes a record that may go from `due_ms` on.
    pub fn on_record(&mut self, record: Record, due_ms: u64) {
        self.made += 1;
        let age = self.made;
        self.lane(&record.predicted).waiting.insert((due_ms, age), record);
    }

    /// The pacer of a shard.
    pub fn pacer(&mut self, shard: &Key) -> &mut Pacer {
        &mut self.lane(shard).pacer
    }

    /// Hands due records to `take` until it returns false, lane after lane, beginning after the one served last.
    pub fn poll(&mut self, now_ms: u64, mut take: impl FnMut(Record, &mut Pacer) -> bool) {
        let after = self.served.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = (after.clone(), Bound::Unbounded);
        let first = match after {
            Bound::Excluded(key) => Some((Bound::Unbounded, Bound::Included(key))),
            _ => None,
        };
        for range in [Some(rest), first].into_iter().flatten() {
            for (key, lane) in self.lanes.range_mut(range) {
                while let Some(entry) = lane.waiting.first_entry() {
                    if entry.key().0 > now_ms || !lane.pacer.poll(now_ms) {
                        break;
                    }
                    if !take(entry.remove(), &mut lane.pacer) {
                        self.served = Some(key.clone());
                        return;
                    }
                }
            }
        }
    }

    /// Whether a record of this shard waits.
    #[must_use]
    pub fn holds(&self, shard: &ShardId) -> bool {
        self.lanes.get(&Some(shard.clone())).is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// When the next record may go.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = |lane: &Lane| {
            lane.waiting.first_key_value().map(|((due_ms, _), _)| lane.pacer.free_ms().max(*due_ms))
        };
        self.lanes.values().filter_map(due).min()
    }

    /// Gives up the lanes of shards that do not satisfy `keep`, and their pace with them; answers what waited there.
    pub fn recall(&mut self, keep: impl Fn(&ShardId) -> bool) -> Vec<Item> {
        let gone = |key: &Key| !key.as_ref().is_some_and(&keep);
        let lanes = self.lanes.extract_if(.., |key, _| gone(key));
        lanes.flat_map(|(_, lane)| lane.waiting.into_values()).flat_map(|record| record.items).collect()
    }

    /// Everything that waits, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.lanes.values().flat_map(|lane| lane.waiting.values())
    }

    /// Takes everything out.
    pub fn clear(&mut self) -> Vec<Record> {
        self.lanes.values_mut().flat_map(|lane| std::mem::take(&mut lane.waiting).into_values()).collect()
    }

    fn lane(&mut self, key: &Key) -> &mut Lane {
        if !self.lanes.contains_key(key) {
            self.lanes.insert(key.clone(), Lane::default());
        }
        self.lanes.get_mut(key).expect("inserted above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(shard: &str) -> Record {
        let predicted = Some(ShardId(shard.to_owned()));
        Record { items: Vec::new(), predicted, attempts: 0, sent_ms: None, refusals: None, entry: None }
    }

    fn names(lanes: &mut Lanes, now_ms: u64, most: usize) -> Vec<String> {
        let mut names = Vec::new();
        lanes.poll(now_ms, |record, pacer| {
            pacer.on_sent(300_000, now_ms);
            names.push(record.predicted.unwrap().0);
            names.len() < most
        });
        names
    }

    #[test]
    fn a_throttled_lane_waits_and_the_others_do_not() {
        let mut lanes = Lanes::default();
        for _ in 0..3 {
            lanes.on_record(record("hot"), 0);
            lanes.on_record(record("calm"), 0);
        }
        lanes.pacer(&Some(ShardId("hot".to_owned()))).on_throttled(1_000);
        assert_eq!(names(&mut lanes, 1_000, 10), ["calm", "calm", "calm"]);
        let next_ms = lanes.next_due_ms().unwrap();
        assert!(next_ms > 1_100, "{next_ms}");
        assert_eq!(names(&mut lanes, next_ms - 1, 10), Vec::<String>::new());
        assert_eq!(names(&mut lanes, next_ms, 10), ["hot"], "and the next one waits again");
    }

    #[test]
    fn lanes_are_served_in_turn() {
        let mut lanes = Lanes::default();
        for _ in 0..4 {
            ["a", "b", "c"].into_iter().for_each(|shard| lanes.on_record(record(shard), 0));
        }
        let served: Vec<_> = (0..4).map(|_| names(&mut lanes, 0, 2).concat()).collect();
        assert_eq!(served, ["aa", "bb", "cc", "aa"]);
    }
}

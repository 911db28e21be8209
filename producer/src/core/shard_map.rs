//! Which open shard is predicted to own a slot. A prediction, never a promise: the stream may have been resharded.

use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;

/// Open shards in the order of their ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMap {
    shards: Vec<(HashRange, ShardId)>,
}

impl ShardMap {
    /// A map of open shards, in any order.
    #[must_use]
    pub fn new(mut shards: Vec<(HashRange, ShardId)>) -> Self {
        shards.sort_by_key(|(range, _)| range.start);
        Self { shards }
    }

    /// The place of the shard that owns the key; none when the map has a gap there.
    #[must_use]
    pub fn predict(&self, key: HashKey) -> Option<usize> {
        let after = self.shards.partition_point(|(range, _)| range.start <= key);
        after.checked_sub(1).filter(|place| self.shards[*place].0.owns(key))
    }

    /// The shard at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&ShardId> {
        self.shards.get(place).map(|(_, id)| id)
    }

    /// What a shard owns; none when it is not in the map.
    #[must_use]
    pub fn range(&self, shard: &ShardId) -> Option<HashRange> {
        self.shards.iter().find(|(_, id)| id == shard).map(|(range, _)| *range)
    }

    /// How many shards are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_predicted_for_the_shard_that_owns_it() {
        let range = |start, end| HashRange { start: HashKey(start), end: HashKey(end) };
        let shard = |name: &str| ShardId(name.to_owned());
        let map = ShardMap::new(vec![(range(10, 99), shard("b")), (range(0, 9), shard("a"))]);
        assert_eq!(map.predict(HashKey(9)), Some(0));
        assert_eq!(map.predict(HashKey(10)), Some(1));
        assert_eq!(map.predict(HashKey(99)), Some(1));
        assert_eq!(map.predict(HashKey(100)), None);
        assert_eq!(ShardMap::default().predict(HashKey(1)), None);
        assert_eq!(map.range(&shard("b")), Some(range(10, 99)));
    }
}

//! Requests under way, and of which shards they hold records.

use hashbrown::HashMap;
use schemas::ids::ShardId;

use super::packer::Record;

/// Requests that were sent and not answered yet.
#[derive(Debug, Default)]
pub struct Flight {
    requests: HashMap<u64, Vec<Record>>,
    /// Records by predicted shard, at least one each.
    shards: HashMap<ShardId, usize>,
    made: u64,
}

impl Flight {
    /// Takes the records of a request and returns its id.
    pub fn on_sent(&mut self, records: Vec<Record>) -> u64 {
        for shard in records.iter().filter_map(|record| record.predicted.as_ref()) {
            *self.shards.entry(shard.clone()).or_default() += 1;
        }
        self.made += 1;
        self.requests.insert(self.made, records);
        self.made
    }

    /// Gives the records of a request back, in their order; none when it is not known.
    pub fn on_answered(&mut self, id: u64) -> Vec<Record> {
        let records = self.requests.remove(&id).unwrap_or_default();
        for shard in records.iter().filter_map(|record| record.predicted.as_ref()) {
            if let Some(left) = self.shards.get_mut(shard) {
                *left -= 1;
                if *left == 0 {
                    self.shards.remove(shard);
                }
            }
        }
        records
    }

    /// Whether a record that is predicted for this shard is under way.
    #[must_use]
    pub fn holds(&self, shard: &ShardId) -> bool {
        self.shards.contains_key(shard)
    }

    /// Requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Every record under way, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.requests.values().flatten()
    }

    /// Takes everything out, in no order.
    pub fn clear(&mut self) -> Vec<Record> {
        self.shards.clear();
        self.requests.drain().flat_map(|(_, records)| records).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_held_until_its_last_record_comes_back() {
        let record = |shard: Option<&str>| Record {
            items: Vec::new(),
            predicted: shard.map(|shard| ShardId(shard.to_owned())),
            attempts: 0,
            sent_ms: None,
            refusals: None,
            entry: None,
        };
        let [a, b] = ["a", "b"].map(|shard| ShardId(shard.to_owned()));
        let mut flight = Flight::default();
        let first = flight.on_sent(vec![record(Some("a")), record(Some("a")), record(None)]);
        let second = flight.on_sent(vec![record(Some("a")), record(Some("b"))]);
        assert_eq!((flight.len(), flight.records().count()), (2, 5));
        assert_eq!(flight.on_answered(first).len(), 3);
        assert!(flight.holds(&a) && flight.holds(&b));
        assert_eq!(flight.on_answered(first).len(), 0, "answered once");
        assert_eq!(flight.on_answered(second).len(), 2);
        assert!(!flight.holds(&a) && !flight.holds(&b) && flight.is_empty());
        flight.on_sent(vec![record(Some("a"))]);
        assert_eq!((flight.clear().len(), flight.holds(&a)), (1, false));
    }
}

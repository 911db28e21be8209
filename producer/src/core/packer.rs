//! Packs bids that are predicted for one shard into one record, until it is full or has waited long enough.

use std::time::Duration;

use hashbrown::HashMap;
use schemas::bid::Bid;
use schemas::hash::HashKey;
use schemas::ids::{ShardId, SlotId};
use schemas::record::{Envelope, encode_aggregated, encode_block, encode_plain};

use super::shards::ShardMap;

/// Bids of one record: beyond this a block gets no denser.
const BIDS_MAX: usize = 2_500;
/// Slots whose prediction is remembered.
const SLOTS_MAX: usize = 1 << 20;

/// One record ready to be put.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its bids.
    pub bids: Vec<Bid>,
    /// Its partition key.
    pub partition_key: String,
    /// The hash key it is put under.
    pub hash_key: HashKey,
    /// The shard that is predicted to answer.
    pub predicted: Option<ShardId>,
    /// Its bytes.
    pub data: Vec<u8>,
}

#[derive(Debug, Default)]
struct Open {
    bids: Vec<Bid>,
    since: Duration,
}

/// Bids that wait for company, by predicted shard.
#[derive(Debug)]
pub struct Packer {
    envelope: Envelope,
    linger: Duration,
    map: ShardMap,
    places: HashMap<SlotId, usize>,
    open: Vec<Open>,
}

impl Packer {
    /// A packer over a shard map.
    #[must_use]
    pub fn new(envelope: Envelope, linger: Duration, map: ShardMap) -> Self {
        let open = (0..=map.len()).map(|_| Open::default()).collect();
        Self { envelope, linger, map, places: HashMap::new(), open }
    }

    /// Takes a bid at `now` of a monotonic clock; a record that became full comes out.
    pub fn on_bid(&mut self, bid: Bid, now: Duration) -> Option<Packed> {
        if self.envelope == Envelope::Plain {
            return Some(self.pack(vec![bid]));
        }
        if self.places.len() >= SLOTS_MAX {
            self.places.clear();
        }
        let (map, gap) = (&self.map, self.map.len());
        let place = *self
            .places
            .entry(bid.slot_id)
            .or_insert_with(|| map.predict(HashKey::of_slot(&bid.slot_id)).unwrap_or(gap));
        let open = &mut self.open[place];
        if open.bids.is_empty() {
            open.since = now;
        }
        open.bids.push(bid);
        if open.bids.len() < BIDS_MAX {
            return None;
        }
        let bids = std::mem::take(&mut open.bids);
        Some(self.pack(bids))
    }

    /// Records that waited long enough at `now`, or all of them.
    pub fn poll(&mut self, now: Duration, all: bool) -> Vec<Packed> {
        let linger = self.linger;
        let ripe =
            |open: &&mut Open| !open.bids.is_empty() && (all || now.saturating_sub(open.since) >= linger);
        let ripe: Vec<Vec<Bid>> =
            self.open.iter_mut().filter(ripe).map(|open| std::mem::take(&mut open.bids)).collect();
        ripe.into_iter().map(|bids| self.pack(bids)).collect()
    }

    /// Bids that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.iter().map(|open| open.bids.len()).sum()
    }

    /// Replaces the map; what waits is packed anew under it.
    pub fn set_map(&mut self, map: ShardMap) {
        let waiting: Vec<Open> = std::mem::take(&mut self.open);
        self.open = (0..=map.len()).map(|_| Open::default()).collect();
        self.map = map;
        self.places.clear();
        for old in waiting {
            for bid in old.bids {
                let place = self.map.predict(HashKey::of_slot(&bid.slot_id)).unwrap_or(self.map.len());
                self.open[place].since = old.since;
                self.open[place].bids.push(bid);
            }
        }
    }

    fn pack(&self, bids: Vec<Bid>) -> Packed {
        let slot = bids[0].slot_id;
        let hash_key = HashKey::of_slot(&slot);
        let predicted =
            self.map.predict(hash_key).and_then(|place| self.map.at(place)).map(|(_, id)| id.clone());
        let (data, partition_key) = match self.envelope {
            Envelope::Block => (encode_block(&bids), slot.to_string()),
            Envelope::Aggregated if bids.len() > 1 => (encode_aggregated(&bids), "a".to_owned()),
            Envelope::Aggregated | Envelope::Plain => (encode_plain(&bids[0]), slot.to_string()),
        };
        Packed { bids, partition_key, hash_key, predicted, data }
    }
}

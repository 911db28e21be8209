//! Groups bids that are predicted for one shard into one record, until it is full, has waited long enough, or has no
//! reason to wait: nothing of its shard is under way, and its bids do not come so fast that waiting brings company.
//!
//! Never looks at what became of a record, and never mixes bids of two predicted shards. Bids that fall into a gap of
//! the map travel alone, because a record of one bid always lands with the owner of its slot.

use std::sync::Arc;

use hashbrown::HashMap;
use schemas::bid::Bid;
use schemas::hash::HashKey;
use schemas::ids::{ShardId, SlotId};
use schemas::limits::{BLOCK_BIDS_FREE, RECORD_BYTES_MAX};
use schemas::record::{Envelope, encode_aggregated, encode_block_of, encode_plain};

use super::company::{Arrivals, Company, Left};
use super::isolation::Refusals;
use super::shard_map::ShardMap;

/// Most bytes a bid takes in any envelope: three ids, a partition key as text, a region and the numbers.
pub const BID_BYTES_MAX: usize = 176;
/// Most bids of one record, so that none is larger than every engine accepts.
pub const RECORD_BIDS_MAX: usize = RECORD_BYTES_MAX / BID_BYTES_MAX - 1;
const _: () = assert!(RECORD_BIDS_MAX <= BLOCK_BIDS_FREE, "every block that is sent is read, however dense");
/// Slots whose hash key is remembered; beyond that remembering starts again.
const HASHES_MAX: usize = 1 << 18;

/// A bid on its way.
#[derive(Clone, Debug)]
pub struct Item {
    /// What the answer will carry; chosen by whoever handed the bid in.
    pub ticket: u64,
    /// The bid.
    pub bid: Bid,
    /// Its slot's hash key.
    pub hash: HashKey,
    /// When it was taken, on the clock of elapsed time.
    pub taken_ms: u64,
    /// Whether the stream may hold a copy. Such a bid is never refused.
    pub doubtful: bool,
}

/// Bids that travel together.
#[derive(Clone, Debug)]
pub struct Record {
    /// The bids, at least one.
    pub items: Vec<Item>,
    /// Who is predicted to answer.
    pub predicted: Option<ShardId>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was first sent.
    pub sent_ms: Option<u64>,
    /// How often it was refused, once a request with it was; one that was refused alone goes on alone.
    pub refusals: Option<Refusals>,
    /// Its bytes, once sealed.
    pub entry: Option<Arc<Entry>>,
}

/// A record as it is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The partition key.
    pub partition_key: String,
    /// The hash key the record is put under, when it is not the partition key's own.
    pub explicit_hash_key: Option<HashKey>,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Record {
    /// Encodes the bids, unless that was done.
    pub fn seal(&mut self, envelope: Envelope) -> Arc<Entry> {
        let items = &self.items;
        let entry = self.entry.get_or_insert_with(|| Arc::new(encode(items, envelope)));
        Arc::clone(entry)
    }

    /// The hash key under which the record is put: its first bid's.
    #[must_use]
    pub fn hash(&self) -> HashKey {
        self.items[0].hash
    }
}

fn encode(items: &[Item], envelope: Envelope) -> Entry {
    let first = &items[0].bid;
    let bids = items.iter().map(|item| &item.bid);
    let slot = || first.slot_id.to_string();
    match envelope {
        Envelope::Block => {
            Entry { partition_key: slot(), explicit_hash_key: None, data: encode_block_of(bids) }
        }
        // The key and hash key of an aggregate, and that one bid travels raw, are the KPL's (aggregation-format.md).
        Envelope::Aggregated if bids.len() > 1 => Entry {
            partition_key: "a".to_owned(),
            explicit_hash_key: Some(items[0].hash),
            data: encode_aggregated(&bids.copied().collect::<Vec<_>>()),
        },
        Envelope::Aggregated | Envelope::Plain => {
            Entry { partition_key: slot(), explicit_hash_key: None, data: encode_plain(first) }
        }
    }
}

#[derive(Debug)]
struct Group {
    items: Vec<Item>,
    since_ms: u64,
    company: Company,
    /// What the last record held: the next one is likely to hold as much.
    expected: usize,
}

/// Bids that wait for company, by predicted shard.
#[derive(Debug)]
pub struct Packer {
    bids_max: usize,
    linger_ms: u64,
    map: ShardMap,
    /// One per shard of the map, and a last one for its gaps.
    groups: Vec<Group>,
    arrivals: Arrivals,
    hashes: HashMap<SlotId, HashKey>,
}

impl Packer {
    /// A packer over a shard map. `bids_max` is cut to 1 to [`RECORD_BIDS_MAX`], and is 1 for plain records.
    #[must_use]
    pub fn new(envelope: Envelope, bids_max: usize, linger_ms: u64, map: ShardMap) -> Self {
        let bids_max = if envelope == Envelope::Plain { 1 } else { bids_max.clamp(1, RECORD_BIDS_MAX) };
        let groups = groups(&map, linger_ms);
        Self { bids_max, linger_ms, map, groups, arrivals: Arrivals::new(linger_ms), hashes: HashMap::new() }
    }

    /// The hash key of a slot.
    pub fn hash(&mut self, slot: &SlotId) -> HashKey {
        if self.hashes.len() >= HASHES_MAX {
            self.hashes.clear();
        }
        *self.hashes.entry(*slot).or_insert_with(|| HashKey::of_slot(slot))
    }

    /// Takes a bid; a record that became full comes out.
    pub fn on_item(&mut self, item: Item, now_ms: u64) -> Option<Record> {
        let gap = self.map.len();
        let place = self.map.predict(item.hash).unwrap_or(gap);
        let group = &mut self.groups[place];
        if group.items.is_empty() {
            group.since_ms = now_ms;
            group.company.on_first(now_ms);
            group.items.reserve_exact(group.expected);
        }
        self.arrivals.on_bid(now_ms);
        group.items.push(item);
        let full = place == gap || group.items.len() >= self.bids_max;
        full.then(|| self.take(place, Left::Full, now_ms))
    }

    /// Records that waited long enough or have no reason to wait, or all of them. `idle` says whether nothing of a shard
    /// is on its way.
    pub fn poll(&mut self, now_ms: u64, wait: Wait, idle: impl Fn(&ShardId) -> bool) -> Vec<Record> {
        let ripe = |place: usize| {
            let lingered = (self.lingered_ms(place)? <= now_ms).then_some(Left::Lingered);
            let at_once =
                || wait == Wait::Over || self.silent_ms(place, &idle).is_some_and(|ms| ms <= now_ms);
            lingered.or_else(|| at_once().then_some(Left::AtOnce)).map(|left| (place, left))
        };
        let ripe: Vec<(usize, Left)> = (0..self.groups.len()).filter_map(ripe).collect();
        ripe.into_iter().map(|(place, left)| self.take(place, left, now_ms)).collect()
    }

    /// When the first group has waited long enough; a reply may make one ripe before.
    #[must_use]
    pub fn next_due_ms(&self, idle: impl Fn(&ShardId) -> bool) -> Option<u64> {
        let due = |place: usize| {
            let lingered_ms = self.lingered_ms(place)?;
            Some(self.silent_ms(place, &idle).map_or(lingered_ms, |silent_ms| silent_ms.min(lingered_ms)))
        };
        (0..self.groups.len()).filter_map(due).min()
    }

    /// When the bids of a group have waited for the whole linger; none when there are none.
    fn lingered_ms(&self, place: usize) -> Option<u64> {
        let group = &self.groups[place];
        (!group.items.is_empty()).then(|| group.since_ms.saturating_add(self.linger_ms))
    }

    /// When the bids of a group, behind which nothing is under way, wait no longer for more.
    fn silent_ms(&self, place: usize, idle: impl Fn(&ShardId) -> bool) -> Option<u64> {
        let (group, last_ms) = (&self.groups[place], self.arrivals.last_ms());
        self.map.at(place).is_some_and(idle).then(|| last_ms.saturating_add(group.company.waits_ms()))
    }

    /// Replaces the map; what waits comes out and is to be taken anew.
    pub fn on_map(&mut self, map: ShardMap) -> Vec<Item> {
        let items = self.clear();
        self.groups = groups(&map, self.linger_ms);
        self.map = map;
        items
    }

    /// The map in use.
    #[must_use]
    pub fn map(&self) -> &ShardMap {
        &self.map
    }

    /// When the oldest bid that waits was taken.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.groups.iter().flat_map(|group| &group.items).map(|item| item.taken_ms).min()
    }

    /// Everything that waits, given up by the packer.
    pub fn clear(&mut self) -> Vec<Item> {
        self.groups.iter_mut().flat_map(|group| std::mem::take(&mut group.items)).collect()
    }

    fn take(&mut self, place: usize, left: Left, now_ms: u64) -> Record {
        let group = &mut self.groups[place];
        let items = std::mem::take(&mut group.items);
        group.expected = items.len();
        group.company.on_record(items.len(), left, now_ms, &self.arrivals);
        let predicted = self.map.at(place).cloned();
        Record { items, predicted, attempts: 0, sent_ms: None, refusals: None, entry: None }
    }
}

fn groups(map: &ShardMap, linger_ms: u64) -> Vec<Group> {
    let group = |_| Group { items: Vec::new(), since_ms: 0, company: Company::new(linger_ms), expected: 0 };
    (0..=map.len()).map(group).collect()
}

/// Whether bids may still wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// At most as long as they linger.
    Linger,
    /// No longer: no more bids come.
    Over,
}

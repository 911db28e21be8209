//! Random worlds: a stream's shards and their whole logs.

use std::sync::OnceLock;

use schemas::bid::Bid;
use schemas::geometry::{Geometry, Ranking};
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{AccountId, BidId, Region, SequenceNumber, ShardId, SlotId};
use schemas::item::GeometryItem;
use schemas::money::{BasisPoints, Price};
use schemas::record::{Decoded, Kind, Rejected};
use schemas::time::Millis;

/// Points of the hash space; slot `h` hashes to the `h`-th of as many even ranges.
pub(in crate::core) const POINTS: usize = 64;
pub(in crate::core) const AHEAD: u64 = 5;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(in crate::core) struct Rng(pub(in crate::core) u64);

impl Rng {
    pub(in crate::core) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub(in crate::core) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(in crate::core) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub(in crate::core) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

#[derive(Clone, Debug)]
pub(in crate::core) struct Stored {
    pub(in crate::core) arrival: Millis,
    pub(in crate::core) sequence: SequenceNumber,
    pub(in crate::core) decoded: Decoded,
}

#[derive(Clone, Debug)]
pub(in crate::core) struct Shard {
    pub(in crate::core) id: ShardId,
    pub(in crate::core) range: HashRange,
    pub(in crate::core) parents: Vec<usize>,
    pub(in crate::core) children: Vec<usize>,
    pub(in crate::core) log: Vec<Stored>,
}

impl Shard {
    pub(in crate::core) fn owns(&self, slot: &SlotId) -> bool {
        self.range.owns(HashKey::of_slot(slot))
    }
}

/// Slots by the point to which they hash.
pub(in crate::core) fn slots() -> &'static [SlotId] {
    static SLOTS: OnceLock<Vec<SlotId>> = OnceLock::new();
    SLOTS.get_or_init(|| {
        let mut found: Vec<Option<SlotId>> = vec![None; POINTS];
        for number in 1_u128.. {
            let slot = SlotId::from_bytes(number.to_be_bytes());
            let point = (HashKey::of_slot(&slot).0 >> 122) as usize;
            found[point].get_or_insert(slot);
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        found.into_iter().flatten().collect()
    })
}

pub(in crate::core) fn agreed(seed: u64) -> GeometryItem {
    let ranking = if seed.is_multiple_of(2) { Ranking::Amount } else { Ranking::AmountQuality };
    let geometry = Geometry {
        window_ms: 10,
        grace_ms: 2,
        ahead_max_ms: AHEAD,
        ranking,
        candidates: 1 + (seed % 5) as u8,
        ..Geometry::default()
    };
    GeometryItem { geometry, ttl_after_ms: 1_000, outbox_buckets: 4 }
}

fn range(lo: usize, hi: usize) -> HashRange {
    let width = 1_u128 << 122;
    HashRange { start: HashKey(lo as u128 * width), end: HashKey((hi as u128 * width) + (width - 1)) }
}

/// A world under way.
#[derive(Debug)]
pub(in crate::core) struct World {
    pub(in crate::core) shards: Vec<Shard>,
    ends: Vec<(usize, usize)>,
    pub(in crate::core) live: Vec<usize>,
    pub(in crate::core) now: u64,
    sequence: u64,
    bids: u64,
    sent: Vec<(usize, Bid)>,
    /// Whether many of many regions bid for few slots, and few amounts are many bids'.
    is_crowded: bool,
    /// Of how many regions crowded bids are.
    regions: usize,
}

impl World {
    pub(in crate::core) fn new() -> Self {
        let mut world = Self {
            shards: Vec::new(),
            ends: Vec::new(),
            live: Vec::new(),
            now: 100,
            sequence: 95,
            bids: 0,
            sent: Vec::new(),
            is_crowded: false,
            regions: 80,
        };
        world.add((0, POINTS / 2 - 1), Vec::new());
        world.add((POINTS / 2, POINTS - 1), Vec::new());
        world
    }

    /// All of a world at once.
    pub(in crate::core) fn random(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let steps = 60 + rng.below(200);
        Self::new().run(rng, steps)
    }

    /// A world of auctions with more regions than an item names.
    pub(in crate::core) fn worldwide(seed: u64) -> Self {
        Self { is_crowded: true, regions: 600, ..Self::new() }.run(Rng(seed), 12)
    }

    /// A world of crowded auctions.
    pub(in crate::core) fn crowded(seed: u64) -> Self {
        Self { is_crowded: true, ..Self::new() }.run(Rng(seed), 40)
    }

    fn run(self, mut rng: Rng, steps: usize) -> Self {
        let mut world = self;
        for _ in 0..steps {
            world.step(&mut rng);
        }
        world.settle();
        world
    }

    /// Moves every open shard's clock past all windows.
    pub(in crate::core) fn settle(&mut self) {
        for shard in self.live.clone() {
            self.append(shard, self.now + 200, Vec::new());
        }
    }

    fn add(&mut self, (lo, hi): (usize, usize), parents: Vec<usize>) {
        let at = self.shards.len();
        parents.iter().for_each(|parent| self.shards[*parent].children.push(at));
        self.live.retain(|live| !parents.contains(live));
        let id = ShardId(format!("shardId-{at:012}"));
        self.shards.push(Shard { id, range: range(lo, hi), parents, children: Vec::new(), log: Vec::new() });
        self.ends.push((lo, hi));
        self.live.push(at);
    }

    pub(in crate::core) fn append(&mut self, shard: usize, arrival: u64, items: Vec<Result<Bid, Rejected>>) {
        self.sequence += 1;
        let sequence = self.sequence.to_string().parse().unwrap();
        let decoded = Decoded { kind: if items.is_empty() { Kind::Tick } else { Kind::Block }, items };
        self.shards[shard].log.push(Stored { arrival: Millis(arrival), sequence, decoded });
    }

    fn owner(&self, point: usize) -> usize {
        let owns = |shard: &&usize| (self.ends[**shard].0..=self.ends[**shard].1).contains(&point);
        *self.live.iter().find(owns).expect("live shards cover the space")
    }

    /// One thing happens: a split, a merge, a tick, or a record and what its strays make their sender do.
    pub(in crate::core) fn step(&mut self, rng: &mut Rng) {
        let jump = if rng.percent(10) { 15 } else { 1 };
        self.now += rng.pick(&[0, 0, 0, 1, 1, 2, 5, jump]);
        let arrival = (self.now as i64 + rng.pick(&[0_i64, 0, 0, -2, 2])) as u64;
        match rng.below(100) {
            0..3 => {
                let shard = rng.pick(&self.live);
                let (lo, hi) = self.ends[shard];
                if hi > lo {
                    self.add((lo, lo.midpoint(hi)), vec![shard]);
                    self.add((lo.midpoint(hi) + 1, hi), vec![shard]);
                }
            }
            3..6 if self.live.len() > 1 => {
                self.live.sort_by_key(|shard| self.ends[*shard].0);
                let at = rng.below(self.live.len() - 1);
                let (a, b) = (self.live[at], self.live[at + 1]);
                self.add((self.ends[a].0, self.ends[b].1), vec![a, b]);
            }
            3..12 => self.append(rng.pick(&self.live), arrival, Vec::new()),
            _ => self.record(rng, arrival),
        }
    }

    fn record(&mut self, rng: &mut Rng, arrival: u64) {
        let shard = rng.pick(&self.live);
        let (lo, hi) = self.ends[shard];
        let mut items = Vec::new();
        let (most, width) = if self.is_crowded { (200.max(self.regions), 2) } else { (4, POINTS) };
        for _ in 0..1 + rng.below(most) {
            let own = lo + rng.below((hi - lo + 1).min(width));
            let point = if rng.percent(15) { rng.below(POINTS) } else { own };
            let bid = self.bid(rng, point);
            items.push((point, bid));
        }
        if rng.percent(50) && !self.sent.is_empty() {
            let recent = &self.sent[self.sent.len().saturating_sub(12)..];
            let (point, mut copy) = rng.pick(recent);
            if rng.percent(30) {
                copy.region = region(rng);
                copy.amount = Price::from_units(1 + rng.next() % 100).unwrap();
            }
            if (lo..=hi).contains(&point) || rng.percent(30) {
                items.push((point, copy));
            }
        }
        let mut record: Vec<Result<Bid, Rejected>> = items.iter().map(|(_, bid)| Ok(*bid)).collect();
        if rng.percent(10) {
            let region = rng.percent(50).then(|| region(rng));
            record.push(Err(Rejected { region, reason: "made so" }));
        }
        self.append(shard, arrival, record);
        for (point, bid) in items {
            let owner = self.owner(point);
            if owner != shard {
                self.append(owner, arrival, vec![Ok(bid)]);
            }
        }
    }

    fn bid(&mut self, rng: &mut Rng, point: usize) -> Bid {
        self.bids += 1;
        let ahead = if rng.percent(5) { rng.pick(&[6, 9]) } else { 0 };
        let event_time = (self.now + ahead).saturating_sub(rng.pick(&[0, 0, 1, 2, 4, 8, 20]));
        let id = |number: u64| u128::from(number).to_be_bytes();
        if self.is_crowded {
            return Bid {
                // Some are copies, and many accounts choose the same.
                bid_id: BidId::from_bytes(id(rng.next() % 100)),
                slot_id: slots()[point],
                account_id: AccountId::from_bytes(id(rng.next() % 25)),
                region: format!("of-one-beginning-{}", rng.below(self.regions)).parse().unwrap(),
                amount: Price::from_units(1 + rng.next() % 6).unwrap(),
                latency_ms: (rng.next() % 50) as u32,
                quality: BasisPoints::new(rng.pick(&[0, 3_000, 10_000])).unwrap(),
                event_time: Millis(event_time),
            };
        }
        let bid = Bid {
            bid_id: BidId::from_bytes(id(self.bids)),
            slot_id: slots()[point],
            account_id: AccountId::from_bytes(id(rng.next() % 5)),
            region: region(rng),
            amount: Price::from_units(1 + self.bids * 3 % 101).unwrap(),
            latency_ms: (rng.next() % 50) as u32,
            quality: BasisPoints::new((rng.next() % 10_001) as u16).unwrap(),
            event_time: Millis(event_time),
        };
        self.sent.push((point, bid));
        bid
    }
}

/// Most often one of three; of the others an auction may have more than it finds by itself.
fn region(rng: &mut Rng) -> Region {
    match rng.percent(70) {
        true => rng.pick(&["us-east-1", "eu-central-1", "sa-east-1"]).parse().unwrap(),
        false => format!("region-{}", rng.below(9)).parse().unwrap(),
    }
}

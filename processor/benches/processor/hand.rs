//! The same work as a loop by hand: no tails, no checkpoints, no clock, one window at a time.
//!
//! What an engineer would write who needs only these numbers: tables of the same library, one entry per slot, pair and
//! bid; sums, extremes, bests by region and the first accounts of each slot.

use std::hash::BuildHasher;
use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use schemas::bid::Bid;
use schemas::geometry::Ranking;
use schemas::ids::Region;

use crate::Work;

/// What happens to a bid that was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    Removed,
    Counted,
}

#[derive(Clone, Copy)]
struct Own {
    region: Region,
    bids: u64,
    sum: u128,
    max: u64,
    latency_sum: u64,
    latency_max: u32,
    best: Bid,
}

pub(crate) struct Slot {
    id: [u8; 16],
    bids: u64,
    bidders: u64,
    min: u64,
    leaders: Vec<Bid>,
    regions: Vec<Own>,
}

fn rank(bid: &Bid) -> impl Ord + use<> {
    bid.rank_key(Ranking::Amount)
}

fn take(slot: &mut Slot, bid: &Bid) {
    slot.bids += 1;
    slot.min = slot.min.min(bid.amount.units());
    if slot.leaders.len() < 5 || rank(bid) < rank(&slot.leaders[4]) {
        match slot.leaders.iter().position(|leader| leader.account_id == bid.account_id) {
            Some(at) if rank(&slot.leaders[at]) <= rank(bid) => {}
            found => {
                if let Some(at) = found {
                    slot.leaders.remove(at);
                }
                let at = slot.leaders.partition_point(|leader| rank(leader) < rank(bid));
                slot.leaders.insert(at, *bid);
                slot.leaders.truncate(5);
            }
        }
    }
    let units = bid.amount.units();
    match slot.regions.iter_mut().find(|own| own.region == bid.region) {
        Some(own) => {
            own.bids += 1;
            own.sum += u128::from(units);
            own.max = own.max.max(units);
            own.latency_sum += u64::from(bid.latency_ms);
            own.latency_max = own.latency_max.max(bid.latency_ms);
            if rank(bid) < rank(&own.best) {
                own.best = *bid;
            }
        }
        None => slot.regions.push(Own {
            region: bid.region,
            bids: 1,
            sum: u128::from(units),
            max: units,
            latency_sum: u64::from(bid.latency_ms),
            latency_max: bid.latency_ms,
            best: *bid,
        }),
    }
}

/// The tables of one window.
#[derive(Default)]
pub(crate) struct Tables {
    slots: Vec<Slot>,
    places: HashTable<u32>,
    pairs: HashTable<(u32, u32, [u8; 16])>,
    seen: HashTable<(u32, [u8; 16])>,
}

fn hash(lead: u32, id: &[u8; 16]) -> u64 {
    const HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0);
    HASHER.hash_one((lead, u128::from_ne_bytes(*id)))
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap()
}

impl Tables {
    /// Slots that were bid for.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn on_bid(&mut self, bid: &Bid, copies: Copies) {
        let (id, account) = (*bid.slot_id.as_bytes(), *bid.account_id.as_bytes());
        let slots = &mut self.slots;
        let at = match self.places.find(hash(0, &id), |at| slots[index(*at)].id == id) {
            Some(at) => *at,
            None => {
                let at = u32::try_from(slots.len()).unwrap();
                let (leaders, regions) = (Vec::new(), Vec::new());
                slots.push(Slot { id, bids: 0, bidders: 0, min: u64::MAX, leaders, regions });
                self.places.insert_unique(hash(0, &id), at, |at| hash(0, &slots[index(*at)].id));
                at
            }
        };
        let next = u32::try_from(self.pairs.len()).unwrap();
        let same = |pair: &(u32, u32, [u8; 16])| pair.0 == at && pair.2 == account;
        let pair = match self.pairs.entry(hash(at, &account), same, |pair| hash(pair.0, &pair.2)) {
            Entry::Occupied(found) => found.get().1,
            Entry::Vacant(free) => {
                free.insert((at, next, account));
                slots[index(at)].bidders += 1;
                next
            }
        };
        if copies == Copies::Removed {
            let bid_id = *bid.bid_id.as_bytes();
            let same = |seen: &(u32, [u8; 16])| *seen == (pair, bid_id);
            match self.seen.entry(hash(pair, &bid_id), same, |seen| hash(seen.0, &seen.1)) {
                Entry::Occupied(_) => return,
                Entry::Vacant(free) => drop(free.insert((pair, bid_id))),
            }
        }
        take(&mut slots[index(at)], bid);
    }
}

fn window(bids: &[Bid], copies: Copies) -> Tables {
    let mut tables = Tables::default();
    bids.iter().for_each(|bid| tables.on_bid(bid, copies));
    tables
}

/// One window: nanoseconds per bid.
pub(crate) fn run(bids: &[Bid], copies: Copies) -> f64 {
    let work = Work::begin();
    black_box(window(black_box(bids), copies));
    work.per(bids.len())
}

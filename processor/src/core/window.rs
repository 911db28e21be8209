//! One open window: its auctions, and the tables that find copies exactly.
//!
//! Three tables for the whole window rather than some for each auction: slots, pairs of auction and account, and
//! bids of a pair. Entries are small and lie in place, so a bid costs one access to each. Nothing that leaves a window
//! depends on a table's order.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{AccountId, BidId, Region, SlotId};

use super::auction::Auction;
use super::mark::{Mark, Places, Record};

const HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0);

/// An account in an auction; its id is dense within the window.
#[derive(Clone, Copy, Debug)]
struct Pair {
    auction: u32,
    id: u32,
    account: [u8; 16],
}

/// A bid of a pair. Its place in the table follows from the auction and not from the pair, so that both tables can be
/// asked at once.
#[derive(Clone, Copy, Debug)]
struct Seen {
    auction: u32,
    pair: u32,
    bid: [u8; 16],
}

/// What finds slots, pairs and bids. Memory fresh from the system costs more than all that is done with it, so a
/// window that is closed leaves its tables to the next one.
#[derive(Debug, Default)]
pub(super) struct Tables {
    slots: HashTable<u32>,
    pairs: HashTable<Pair>,
    seen: HashTable<Seen>,
}

/// Tables that were filled to less than one part in so many are not kept: a burst must not hold memory for ever.
const SPARE_PART: usize = 8;

impl Tables {
    fn cleared(mut self) -> Self {
        if self.seen.len() < self.seen.capacity() / SPARE_PART {
            return Self::default();
        }
        self.slots.clear();
        self.pairs.clear();
        self.seen.clear();
        self
    }
}

/// Refused bids of one region in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rejected: u64,
    pub(super) stray: u64,
    pub(super) early: u64,
    pub(super) late: u64,
}

/// An open window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) auctions: Vec<Auction>,
    pub(super) counts: BTreeMap<Region, Counts>,
    /// Before the first record of this shard that put something here.
    pub(super) first: Option<Mark>,
    /// Whether a parent left bids here.
    pub(super) inherited: bool,
    /// All counted bids, when all of them are written.
    pub(super) bids: Vec<Bid>,
    pub(super) places: Places,
    tables: Tables,
}

fn fold(lead: u32, id: &[u8; 16]) -> u64 {
    HASHER.hash_one((lead, u128::from_ne_bytes(*id)))
}

fn slot_hash(slot: &SlotId) -> u64 {
    HASHER.hash_one(u128::from_ne_bytes(*slot.as_bytes()))
}

fn index(place: u32) -> usize {
    usize::try_from(place).expect("32 bits fit")
}

fn place(length: usize) -> u32 {
    u32::try_from(length).expect("a window holds fewer than 2^32 auctions and pairs")
}

impl Window {
    /// An empty window with tables that were used before.
    pub(super) fn with(tables: Tables) -> Self {
        Self { tables, ..Self::default() }
    }

    /// Takes the tables out of a window that takes no more bids, empty and fit to be used again.
    pub(super) fn take_tables(&mut self) -> Tables {
        std::mem::take(&mut self.tables).cleared()
    }

    /// A window of refusals alone.
    pub(super) fn of_counts(counts: BTreeMap<Region, Counts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// The place of a slot's auction.
    #[inline]
    pub(super) fn find(&self, slot: &SlotId) -> Option<u32> {
        self.tables.slots.find(slot_hash(slot), |at| self.auctions[index(*at)].slot_id == *slot).copied()
    }

    /// The place of a slot's auction, which is made when there is none.
    pub(super) fn find_or_make(&mut self, slot: SlotId) -> u32 {
        if let Some(at) = self.find(&slot) {
            return at;
        }
        let at = place(self.auctions.len());
        self.auctions.push(Auction::new(slot));
        let auctions = &self.auctions;
        self.tables.slots.insert_unique(slot_hash(&slot), at, |at| slot_hash(&auctions[index(*at)].slot_id));
        at
    }

    /// Counts a bid in an auction; `false` when it is a copy.
    #[inline]
    pub(super) fn count(
        &mut self,
        auction: u32,
        bid: &Bid,
        record: &Record<'_>,
        sub_sequence: u32,
        geometry: &Geometry,
    ) -> bool {
        let (pair, is_new) = self.pair(auction, bid.account_id);
        let counted = self.is_first(auction, pair, bid.bid_id);
        let auction = &mut self.auctions[index(auction)];
        auction.bidders += u64::from(is_new);
        if counted {
            auction.on_bid(bid, (record, &mut self.places), sub_sequence, geometry);
        } else {
            auction.on_copy(bid.region);
        }
        counted
    }

    #[inline]
    fn pair(&mut self, auction: u32, account: AccountId) -> (u32, bool) {
        let account = *account.as_bytes();
        let id = place(self.tables.pairs.len());
        let hash = |pair: &Pair| fold(pair.auction, &pair.account);
        let same = |pair: &Pair| pair.auction == auction && pair.account == account;
        match self.tables.pairs.entry(fold(auction, &account), same, hash) {
            Entry::Occupied(found) => (found.get().id, false),
            Entry::Vacant(free) => {
                free.insert(Pair { auction, id, account });
                (id, true)
            }
        }
    }

    #[inline]
    fn is_first(&mut self, auction: u32, pair: u32, bid: BidId) -> bool {
        let bid = *bid.as_bytes();
        let hash = |seen: &Seen| fold(seen.auction, &seen.bid);
        let same = |seen: &Seen| seen.pair == pair && seen.bid == bid;
        match self.tables.seen.entry(fold(auction, &bid), same, hash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Seen { auction, pair, bid });
                true
            }
        }
    }

    /// Looks at everything that counting a bid will touch. Many such looks wait for memory together, where counts
    /// would wait one after another.
    #[inline]
    pub(super) fn warm(&self, auction: u32, bid: &Bid) {
        let pair =
            self.tables.pairs.find(fold(auction, bid.account_id.as_bytes()), |pair| pair.auction == auction);
        let seen =
            self.tables.seen.find(fold(auction, bid.bid_id.as_bytes()), |seen| seen.auction == auction);
        let (pair, seen) = (pair.is_some(), seen.is_some());
        let standing = self.auctions[index(auction)].standing(bid.region).is_some();
        std::hint::black_box((pair, seen, standing));
    }

    /// Counted bids.
    pub(super) fn len(&self) -> usize {
        self.tables.seen.len()
    }

    /// Takes the auctions of another window that lie in a range. The two hold different slots.
    pub(super) fn absorb(&mut self, other: Window, range: HashRange) {
        let mut moved: Vec<Option<u32>> = Vec::with_capacity(other.auctions.len());
        let offset = self.places.append(other.places);
        for mut auction in other.auctions {
            if !range.owns(HashKey::of_slot(&auction.slot_id)) {
                moved.push(None);
                continue;
            }
            auction.shift_places(offset);
            let at = self.find_or_make(auction.slot_id);
            self.auctions[index(at)] = auction;
            moved.push(Some(at));
        }
        let mut pairs: Vec<Option<u32>> = vec![None; other.tables.pairs.len()];
        for pair in other.tables.pairs {
            if let Some(auction) = moved[index(pair.auction)] {
                pairs[index(pair.id)] = Some(self.pair(auction, AccountId::from_bytes(pair.account)).0);
            }
        }
        for seen in other.tables.seen {
            if let (Some(auction), Some(pair)) = (moved[index(seen.auction)], pairs[index(seen.pair)]) {
                self.is_first(auction, pair, BidId::from_bytes(seen.bid));
            }
        }
        let own = |bid: &Bid| self.find(&bid.slot_id).is_some();
        let kept: Vec<Bid> = other.bids.into_iter().filter(own).collect();
        self.bids.extend(kept);
    }
}

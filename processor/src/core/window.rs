//! One open window: its auctions, what each region bid in them, and which bids were seen.
//!
//! Everything lies in lists for the whole window, one thing after another, and is found through indexes of small
//! entries. Where a bid has to look follows from the bid alone, so that many bids can look at once. Nothing that
//! leaves a window depends on an order here.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{Region, SlotId};
use schemas::record::Rejected;

use super::auction::{Auction, Offer};
use super::book::BATCH;
use super::index::{Index, Key, Put, Tag, place, wide};
use super::mark::{Mark, Places, Record};
use super::seen::{self, Entry, Seen};
use super::standing::Standings;

/// What finds auctions and bids; a window that is closed leaves it to the next one.
#[derive(Debug, Default)]
pub(super) struct Tables {
    slots: Index<4>,
    seen: Seen,
}

/// Where to look for what a bid belongs to.
#[derive(Clone, Copy, Debug, Default)]
struct Tags {
    slot: Tag,
    seen: seen::Tags,
    /// The region's number, when it has one.
    region: Option<u32>,
}

/// Where a bid belongs, as far as that was there when it was looked for, and where to look for the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    auction: u32,
    standing: Option<u32>,
    seen: seen::Tags,
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
    pub(super) standings: Standings,
    pub(super) counts: BTreeMap<Region, Counts>,
    /// Before the first record of this shard that put something here.
    pub(super) first: Option<Mark>,
    /// Whether a parent left bids here.
    pub(super) inherited: bool,
    /// All counted bids, when all of them are written.
    pub(super) bids: Vec<Bid>,
    pub(super) places: Places,
    /// What hashes are mixed with, drawn when the first auction is made.
    key: Key,
    tables: Tables,
}

impl Window {
    /// An empty window with tables that were used before.
    pub(super) fn with(tables: Tables) -> Self {
        Self { tables, ..Self::default() }
    }

    /// Takes the tables out of a window that takes no more bids, empty and fit to be used again.
    pub(super) fn take_tables(&mut self) -> Tables {
        let Tables { mut slots, seen } = std::mem::take(&mut self.tables);
        let seen = seen.cleared();
        if seen.is_unused() {
            return Tables::default();
        }
        slots.clear();
        Tables { slots, seen }
    }

    /// A window of refusals alone.
    pub(super) fn of_counts(counts: BTreeMap<Region, Counts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Where to look for a bid, as long as this window has auctions.
    #[inline]
    fn tags(&self, bid: &Bid) -> Tags {
        let slot = self.key.begin(bid.slot_id.as_bytes());
        let pair = slot.id(bid.account_id.as_bytes(), self.key);
        let seen = seen::Tags { pair: pair.tag(), bid: pair.id(bid.bid_id.as_bytes(), self.key).tag() };
        let region = self.standings.names.find(&bid.region, self.key);
        Tags { slot: slot.tag(), seen, region }
    }

    /// Where each of some bids belongs, when its slot has an auction here, and fetches what counting it will touch.
    ///
    /// Memory is asked in rounds of few instructions each, so that it answers for all bids at once.
    #[inline]
    pub(super) fn find(&self, bids: &[Result<Bid, Rejected>], spots: &mut [Option<Spot>; BATCH]) {
        if self.auctions.is_empty() {
            return;
        }
        let seen = &self.tables.seen;
        let mut tags = [Tags::default(); BATCH];
        let mut looked = 0;
        for (tags, bid) in tags.iter_mut().zip(bids.iter().flatten()) {
            *tags = self.tags(bid);
        }
        for tags in &tags[..bids.len()] {
            looked ^= seen.touch(tags.seen);
        }
        let mut pairs = [None; BATCH];
        for (((spot, pair), tags), bid) in
            spots.iter_mut().zip(&mut pairs).zip(&tags).zip(bids.iter().flatten())
        {
            *spot = self.spot(bid, tags);
            *pair = seen.guess(tags.seen);
        }
        for (spot, pair) in spots.iter().zip(&pairs).take(bids.len()) {
            looked ^= pair.map_or(0, |pair| seen.touch_pair(pair));
            looked ^= spot.and_then(|spot| spot.standing).map_or(0, |at| self.standings.touch(at));
        }
        // What is looked at is not used; that it is looked at is the use.
        std::hint::black_box(looked);
    }

    #[inline]
    fn spot(&self, bid: &Bid, tags: &Tags) -> Option<Spot> {
        let same = |at: u32| self.auctions[wide(at)].slot_id == bid.slot_id;
        let auction = self.tables.slots.find(tags.slot, same)?;
        let regions = &self.auctions[wide(auction)].regions;
        let find = |region| self.standings.find((auction, regions), region, self.key);
        let standing = tags.region.and_then(find);
        Some(Spot { auction, standing, seen: tags.seen })
    }

    /// Where a bid of a record belongs; its auction is made when there is none.
    #[cold]
    pub(super) fn find_or_make(&mut self, bid: &Bid, record: &Record<'_>) -> Spot {
        if self.auctions.is_empty() {
            self.key = Key::of(record.sequence);
        }
        let tags = self.tags(bid);
        let auction = self.put(Auction::new(bid.slot_id), tags.slot);
        Spot { auction, standing: None, seen: tags.seen }
    }

    /// The place of a slot's auction: the one that stands, or else this one.
    fn put(&mut self, auction: Auction, slot: Tag) -> u32 {
        let auctions = &mut self.auctions;
        match self.tables.slots.find_or_put(slot, |at| auctions[wide(at)].slot_id == auction.slot_id) {
            Put::Found(at) => at,
            Put::New => {
                auctions.push(auction);
                place(auctions.len() - 1)
            }
        }
    }

    /// Counts a bid where it belongs; `false` when it is a copy.
    #[inline]
    pub(super) fn count(&mut self, spot: &Spot, offer: &Offer<'_>) -> bool {
        let at = spot.auction;
        let entry = self.tables.seen.enter(at, offer.bid, spot.seen);
        let auction = &mut self.auctions[wide(at)];
        match entry {
            Entry::Copy => {
                auction.on_copy(offer.bid.region);
                return false;
            }
            Entry::NewBidder => auction.bidders += 1,
            Entry::NewBid => {}
        }
        auction.on_bid(offer, &mut self.places);
        match spot.standing.or_else(|| self.standings.look((at, &auction.regions), offer.bid, self.key)) {
            Some(standing) => self.standings.on_bid(standing, offer, &mut self.places),
            None => self.standings.on_first((at, &mut auction.regions), offer, self.key, &mut self.places),
        }
        true
    }

    /// Counted bids.
    pub(super) fn len(&self) -> usize {
        self.tables.seen.len()
    }

    /// Takes the auctions of another window that lie in a range. The two hold different slots.
    pub(super) fn absorb(&mut self, other: Window, range: HashRange) {
        if self.auctions.is_empty() {
            self.key = other.key;
        }
        let key = self.key;
        let offset = self.places.append(other.places);
        let mut moved: Vec<Option<u32>> = Vec::with_capacity(other.auctions.len());
        for mut auction in other.auctions {
            if !range.owns(HashKey::of_slot(&auction.slot_id)) {
                moved.push(None);
                continue;
            }
            let (slot, next) = (key.begin(auction.slot_id.as_bytes()), place(self.auctions.len()));
            auction.shift_places(offset);
            auction.regions =
                self.standings.take_moved((next, auction.regions), &other.standings, offset, key);
            moved.push(Some(self.put(auction, slot.tag())));
        }
        for (auction, account, bid) in other.tables.seen.iter() {
            let Some(at) = moved[wide(auction)] else { continue };
            let pair = key.begin(self.auctions[wide(at)].slot_id.as_bytes()).id(account.as_bytes(), key);
            let tags = seen::Tags { pair: pair.tag(), bid: pair.id(bid.as_bytes(), key).tag() };
            self.tables.seen.take_moved(at, (account, bid), tags);
        }
        let slots = &self.tables.slots;
        let is_own = |slot: &SlotId| {
            let tag = key.begin(slot.as_bytes()).tag();
            slots.find(tag, |at| self.auctions[wide(at)].slot_id == *slot).is_some()
        };
        self.bids.extend(other.bids.into_iter().filter(|bid| is_own(&bid.slot_id)));
    }
}

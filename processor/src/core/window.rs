//! One open window: its auctions, what each region bid in them, and which bids were seen.
//!
//! Everything lies in lists for the whole window, one thing after another, and is found through indexes of small
//! entries. Where a bid has to look follows from the bid alone, so that many bids can look at once. Nothing that
//! leaves a window depends on an order here.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{Region, SlotId};
use schemas::record::Rejected;

use super::auction::{Auction, Bidder, Kept, Moved, Offer};
use super::index::{Key, Put, Tag, emptied, place, wide};
use super::mark::Mark;
use super::seen::{self, Entry, Seen};
use super::sparse::Sparse;

/// Where a bid belongs, as far as that was there when it was looked for, and where to look for the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    slot: Tag,
    seen: seen::Tags,
    /// The region's number, or 0.
    region: u32,
    /// The auction's place plus one, or 0.
    auction: u32,
    /// Where its pair and its region most likely stand: places plus one, or 0.
    pair: u32,
    standing: u32,
}

impl Spot {
    /// Whether its slot had an auction.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.auction != 0
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
    pub(super) kept: Kept,
    pub(super) counts: BTreeMap<Region, Counts>,
    /// Before the first record of this shard that put something here.
    pub(super) first: Option<Mark>,
    /// Whether a parent left bids here.
    pub(super) inherited: bool,
    /// All counted bids, when all of them are written.
    pub(super) bids: Vec<Bid>,
    /// What hashes are mixed with, drawn when the first auction is made.
    key: Key,
    slots: Sparse,
    seen: Seen,
}

impl Window {
    /// An empty window with the memory of this one, as far as it is worth keeping.
    pub(super) fn emptied(self) -> Self {
        let (auctions, slots) = (emptied(self.auctions), self.slots.emptied());
        Self { auctions, slots, seen: self.seen.emptied(), kept: self.kept.emptied(), ..Self::default() }
    }

    /// A window of refusals alone.
    pub(super) fn of_counts(counts: BTreeMap<Region, Counts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Where to look for a bid, as long as this window has auctions.
    #[inline]
    fn look(&mut self, bid: &Bid) -> Spot {
        let slot = self.key.begin(bid.slot_id.as_bytes());
        let pair = slot.id(bid.account_id.as_bytes(), self.key);
        let seen = seen::Tags { pair: pair.tag(), bid: pair.id(bid.bid_id.as_bytes(), self.key).tag() };
        let region = self.kept.standings.names.find(&bid.region, self.key);
        Spot { slot: slot.tag(), seen, region, ..Spot::default() }
    }

    /// Where each of some bids belongs, when its slot has an auction here, and fetches what counting it will touch.
    ///
    /// Memory is asked in rounds of few instructions each, so that it answers for all bids at once. In a function of
    /// its own, for loops that share one have too few registers.
    #[inline(never)]
    pub(super) fn find(&mut self, bids: &[Result<Bid, Rejected>], spots: &mut [Spot]) {
        if self.auctions.is_empty() {
            return spots.fill(Spot::default());
        }
        for (spot, bid) in spots.iter_mut().zip(bids) {
            let Ok(bid) = bid else { continue };
            *spot = self.look(bid);
        }
        let (seen, mut looked) = (&self.seen, 0);
        for spot in spots.iter() {
            looked ^= seen.touch(spot.seen);
        }
        for (spot, bid) in spots.iter_mut().zip(bids) {
            let Ok(bid) = bid else { continue };
            let same = |at: u32| self.auctions[wide(at)].slot_id == bid.slot_id;
            if let Some(at) = self.slots.find(spot.slot, same) {
                let auction = &self.auctions[wide(at)];
                spot.auction = at + 1;
                spot.standing = auction.regions.guess(spot.region);
            }
        }
        for spot in spots.iter_mut() {
            spot.pair = seen.guess(spot.seen);
        }
        for spot in spots.iter() {
            looked ^= seen.touch_pair(spot.pair) ^ self.kept.standings.touch(spot.standing);
        }
        // What is looked at is not used; that it is looked at is the use.
        std::hint::black_box(looked);
    }

    /// Counts a bid whose slot had no auction when it was looked for; `false` when it is a copy.
    #[cold]
    pub(super) fn count_other(&mut self, offer: &Offer<'_>) -> bool {
        if self.auctions.is_empty() {
            self.key = Key::of(offer.record.sequence);
        }
        let spot = self.look(offer.bid);
        let auction = self.put(offer.bid.slot_id, spot.slot, offer.geometry) + 1;
        self.count(&Spot { auction, ..spot }, offer)
    }

    /// The place of a slot's auction, which is made when there is none.
    fn put(&mut self, slot_id: SlotId, slot: Tag, geometry: &Geometry) -> u32 {
        let auctions = &mut self.auctions;
        match self.slots.find_or_put(slot, |at| auctions[wide(at)].slot_id == slot_id) {
            Put::Found(at) => at,
            Put::New => {
                auctions.push(Auction::new(slot_id));
                self.kept.leaders.grow(geometry);
                place(auctions.len() - 1)
            }
        }
    }

    /// Counts a bid in the auction where it belongs; `false` when it is a copy.
    #[inline]
    pub(super) fn count(&mut self, spot: &Spot, offer: &Offer<'_>) -> bool {
        let at = spot.auction.wrapping_sub(1);
        let auction = &mut self.auctions[wide(at)];
        let (entry, pair) = self.seen.enter(at, offer.bid, spot.seen, spot.pair);
        if entry == Entry::Copy {
            self.kept.copies.add(at, offer.bid.region, 1);
            return false;
        }
        let is_new = entry == Entry::NewBidder;
        auction.bidders += u32::from(is_new);
        auction.on_bid(offer, Bidder { pair, is_new }, at, &mut self.kept);
        let Kept { standings, places, .. } = &mut self.kept;
        if !standings.on_guessed((spot.standing, spot.region), offer, places) {
            standings.on_other((at, &mut auction.regions), &offer.apart(), self.key, places);
        }
        true
    }

    /// Counted bids.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Takes the auctions of another window that lie in a range. The two hold different slots.
    pub(super) fn absorb(&mut self, other: Window, range: HashRange, geometry: &Geometry) {
        if self.auctions.is_empty() {
            self.key = other.key;
        }
        let key = self.key;
        let offset = self.kept.places.append(&other.kept.places);
        let take = |auction: &Auction| {
            let slot = auction.slot_id;
            let is_owned = range.owns(HashKey::of_slot(&slot));
            is_owned.then(|| self.put(slot, key.begin(slot.as_bytes()).tag(), geometry))
        };
        let moved: Vec<Option<u32>> = other.auctions.iter().map(take).collect();
        let own = &self.auctions;
        let pairs = self.seen.take_moved(&other.seen, &moved, |at, account, bid| {
            let pair = key.begin(own[wide(at)].slot_id.as_bytes()).id(account, key);
            seen::Tags { pair: pair.tag(), bid: pair.id(bid, key).tag() }
        });
        for ((from, auction), to) in (0..).zip(other.auctions).zip(moved) {
            let Some(to) = to else { continue };
            let (own, regions) = (&mut self.auctions[wide(to)], auction.regions);
            own.regions = self.kept.standings.take_moved((to, regions), &other.kept.standings, offset, key);
            let moved = Moved { from, to, pairs: &pairs, offset };
            own.take_moved(auction, (&other.kept, &mut self.kept), &moved);
        }
        let slots = &self.slots;
        let is_own = |slot: &SlotId| {
            let tag = key.begin(slot.as_bytes()).tag();
            slots.find(tag, |at| self.auctions[wide(at)].slot_id == *slot).is_some()
        };
        self.bids.extend(other.bids.into_iter().filter(|bid| is_own(&bid.slot_id)));
    }
}

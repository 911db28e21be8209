//! What each region bid in each auction of a window: sums, extremes and the best bid.
//!
//! Regions are numbered by window. An auction says itself where its regions stand, by the last bits of their numbers;
//! one whose place another has taken is found through an index.

use schemas::bid::Bid;
use schemas::ids::Region;
use schemas::item::RegionStats;
use schemas::money::{Money, Price};

use super::auction::{Offer, Placed};
use super::index::{Index, Key, Put, emptied, place, wide};
use super::mark::Places;

/// Regions of an auction that it finds by itself: as many as leave what every bid touches of it in one cache line.
const FIRST: usize = 8;
/// Regions of a window that are found without a search, as long as no two of them share a place.
const NEAR: usize = 64;
/// Digits of the golden ratio: odd, and no pattern in their bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The regions of a window, numbered from 1 by first appearance.
#[derive(Debug)]
pub(super) struct Names {
    list: Vec<Region>,
    index: Index<2>,
    /// What was found last, by some bits of the code.
    near: [Near; NEAR],
}

/// A region in words and its number.
#[derive(Clone, Copy, Debug, Default)]
struct Near {
    words: [u64; 3],
    number: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self { list: Vec::new(), index: Index::default(), near: [Near::default(); NEAR] }
    }
}

impl Names {
    /// A region's number; 0 when it has none.
    #[inline]
    pub(super) fn find(&mut self, region: &Region, key: Key) -> u32 {
        let [first, second, third] = region.words();
        let mixed = (first ^ second.rotate_left(21) ^ third.rotate_left(43)).wrapping_mul(SPREAD);
        let near = usize::try_from(mixed >> (u64::BITS - NEAR.trailing_zeros())).expect("few bits");
        let Near { words: [one, two, three], number } = self.near[near];
        // What was never filled is no region: none has an empty code.
        if (one ^ first) | (two ^ second) | (three ^ third) == 0 {
            return number;
        }
        let number = self.search(region, key);
        if number != 0 {
            self.near[near] = Near { words: [first, second, third], number };
        }
        number
    }

    #[cold]
    fn search(&self, region: &Region, key: Key) -> u32 {
        let same = |at: u32| self.list[wide(at)] == *region;
        self.index.find(key.region(region).tag(), same).map_or(0, |at| at + 1)
    }

    /// A region's number, a new one when it has none.
    pub(super) fn find_or_put(&mut self, region: &Region, key: Key) -> u32 {
        let list = &mut self.list;
        if let Put::Found(at) =
            self.index.find_or_put(key.region(region).tag(), |at| list[wide(at)] == *region)
        {
            return at + 1;
        }
        list.push(*region);
        place(list.len())
    }

    fn get(&self, number: u32) -> Region {
        self.list[wide(number) - 1]
    }
}

/// One region in one auction: what every bid touches, in one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Standing {
    amount_sum: u128,
    /// A lower score is not the best.
    bar: u64,
    amount_min: Price,
    amount_max: Price,
    latency_ms_sum: u64,
    bids: u32,
    latency_ms_max: u32,
    /// The region's number.
    region: u32,
    /// The auction's standing before this one, plus one.
    before: u32,
}

/// A standing that its auction does not find by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Further {
    auction: u32,
    region: u32,
    at: u32,
}

/// All standings of a window.
#[derive(Debug, Default)]
pub(super) struct Standings {
    list: Vec<Standing>,
    /// The best bid of each.
    bests: Vec<Placed>,
    further: Vec<Further>,
    index: Index<2>,
    pub(super) names: Names,
}

/// Where the standings of one auction are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regions {
    /// Places plus one, by the last bits of the regions' numbers; 0 where there is none.
    places: [u32; FIRST],
    /// The last standing's place plus one; from it the others are found.
    last: u32,
}

impl Regions {
    /// Where a region most likely stands: its place plus one, or 0.
    #[inline]
    pub(super) fn guess(&self, region: u32) -> u32 {
        self.places[wide(region) % FIRST]
    }
}

impl Standings {
    /// Takes a bid of a region that stands where it was guessed; `false` when it does not.
    #[inline]
    pub(super) fn on_guessed(
        &mut self,
        (guess, region): (u32, u32),
        offer: &Offer<'_>,
        places: &mut Places,
    ) -> bool {
        let at = wide(guess).wrapping_sub(1);
        let is_guessed = self.list.get(at).is_some_and(|standing| standing.region == region);
        if is_guessed {
            self.on_bid(at, offer, places);
        }
        is_guessed
    }

    #[inline]
    fn on_bid(&mut self, at: usize, offer: &Offer<'_>, places: &mut Places) {
        let bid = offer.bid;
        let standing = &mut self.list[at];
        standing.bids += 1;
        standing.amount_sum += u128::from(bid.amount.units());
        standing.amount_min = standing.amount_min.min(bid.amount);
        standing.amount_max = standing.amount_max.max(bid.amount);
        standing.latency_ms_sum += u64::from(bid.latency_ms);
        standing.latency_ms_max = standing.latency_ms_max.max(bid.latency_ms);
        if offer.low >= standing.bar {
            self.on_best(at, &offer.apart(), places);
        }
    }

    /// Takes a bid that may be a standing's best.
    #[inline(never)]
    fn on_best(&mut self, at: usize, offer: &Offer<'_>, places: &mut Places) {
        let best = &mut self.bests[at];
        if offer.rank() < best.rank(offer.geometry) {
            self.list[at].bar = offer.low;
            offer.replace(best, places);
        }
    }

    /// Takes a bid of a region that may have no standing in its auction.
    #[cold]
    pub(super) fn on_other(
        &mut self,
        (auction, regions): (u32, &mut Regions),
        offer: &Offer<'_>,
        key: Key,
        places: &mut Places,
    ) {
        let bid = offer.bid;
        let region = self.names.find_or_put(&bid.region, key);
        if let Some(at) = self.find((auction, regions), region, key) {
            return self.on_bid(wide(at), offer, places);
        }
        let standing = Standing {
            amount_sum: u128::from(bid.amount.units()),
            bar: offer.low,
            amount_min: bid.amount,
            amount_max: bid.amount,
            latency_ms_sum: u64::from(bid.latency_ms),
            bids: 1,
            latency_ms_max: bid.latency_ms,
            region,
            before: regions.last,
        };
        self.put(auction, regions, standing, offer.placed(places), key);
    }

    fn put(&mut self, auction: u32, regions: &mut Regions, standing: Standing, best: Placed, key: Key) {
        let (region, at) = (standing.region, place(self.list.len()));
        self.list.push(standing);
        self.bests.push(best);
        regions.last = place(self.list.len());
        match &mut regions.places[wide(region) % FIRST] {
            free @ 0 => *free = regions.last,
            _ => {
                self.index.find_or_put(key.pair(auction, region).tag(), |_| false);
                self.further.push(Further { auction, region, at });
            }
        }
    }

    /// The place of a region's standing in an auction.
    fn find(&self, (auction, regions): (u32, &Regions), region: u32, key: Key) -> Option<u32> {
        let guess = regions.guess(region).checked_sub(1)?;
        if self.list[wide(guess)].region == region {
            return Some(guess);
        }
        let same =
            |at: u32| (self.further[wide(at)].auction, self.further[wide(at)].region) == (auction, region);
        let at = self.index.find(key.pair(auction, region).tag(), same)?;
        Some(self.further[wide(at)].at)
    }

    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(self) -> Self {
        Self {
            list: emptied(self.list),
            bests: emptied(self.bests),
            further: emptied(self.further),
            index: self.index.emptied(),
            names: Names::default(),
        }
    }

    /// Begins to fetch a standing that was guessed.
    #[inline]
    pub(super) fn touch(&self, guess: u32) -> u32 {
        self.list.get(wide(guess).wrapping_sub(1)).map_or(0, |standing| standing.region)
    }

    fn of(&self, regions: Regions) -> impl Iterator<Item = (&Standing, &Placed)> {
        let at = |place: u32| wide(place).checked_sub(1);
        let places = std::iter::successors(at(regions.last), move |place| at(self.list[*place].before));
        places.map(|place| (&self.list[place], &self.bests[place]))
    }

    /// What each region of an auction leaves.
    pub(super) fn close(
        &self,
        regions: Regions,
        places: &Places,
    ) -> impl Iterator<Item = (Region, RegionStats)> {
        self.of(regions).map(|(standing, best)| {
            let stats = RegionStats {
                bids: u64::from(standing.bids),
                amount_sum: Money(signed(standing.amount_sum)),
                amount_max: standing.amount_max,
                latency_ms_sum: standing.latency_ms_sum,
                latency_ms_max: standing.latency_ms_max,
                best: best.candidate(places),
            };
            (self.names.get(standing.region), stats)
        })
    }

    /// The lowest amount of an auction.
    pub(super) fn amount_min(&self, regions: Regions) -> Option<Price> {
        self.of(regions).map(|(standing, _)| standing.amount_min).min()
    }

    /// Each region's best bid in an auction.
    pub(super) fn bests(&self, regions: Regions) -> impl Iterator<Item = Bid> {
        self.of(regions).map(|(_, best)| best.bid)
    }

    /// Takes the standings of another window's auction, whose places are `offset` further behind now.
    pub(super) fn take_moved(
        &mut self,
        (auction, from): (u32, Regions),
        other: &Standings,
        offset: u32,
        key: Key,
    ) -> Regions {
        let mut regions = Regions::default();
        for (standing, best) in other.of(from) {
            let region = self.names.find_or_put(&other.names.get(standing.region), key);
            let moved = Standing { region, before: regions.last, ..standing.clone() };
            self.put(auction, &mut regions, moved, best.shifted(offset), key);
        }
        regions
    }
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).expect("a sum of 64-bit prices that fit memory is below 2^127")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_numbers_its_regions_anew() {
        let (mut standings, key) = (Standings::default(), Key::default());
        let region = "eu-central-1".parse().unwrap();
        assert_eq!(standings.names.find(&region, key), 0);
        assert_eq!(standings.names.find_or_put(&region, key), 1);
        assert_eq!(standings.names.find(&region, key), 1);
        // Another window has another key, under which what is numbered now would not be found.
        assert_eq!(standings.emptied().names.find(&region, key), 0);
    }
}

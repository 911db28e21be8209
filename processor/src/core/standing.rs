//! What each region bid in each auction of a window: sums, extremes and the best bid.
//!
//! Regions are numbered by window. Few bid for one slot, so an auction says itself where its first ones stand; those
//! after them are found through an index.

use schemas::bid::Bid;
use schemas::ids::Region;
use schemas::item::RegionStats;
use schemas::money::{Money, Price};

use super::auction::{Offer, Placed};
use super::index::{Index, Key, Put, place, wide};
use super::mark::Places;

/// Regions of an auction that it finds by itself.
const FIRST: usize = 4;

/// The regions of a window, numbered from 1 by first appearance.
#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<Region>,
    index: Index<4>,
}

impl Names {
    /// A region's number; none has 0.
    #[inline]
    pub(super) fn find(&self, region: &Region, key: Key) -> Option<u32> {
        self.index.find(key.region(region).tag(), |at| self.list[wide(at)] == *region).map(|at| at + 1)
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
    index: Index<4>,
    pub(super) names: Names,
}

/// Where the standings of one auction are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regions {
    /// Numbers of the first regions.
    numbers: [u32; FIRST],
    places: [u32; FIRST],
    /// The last standing's place plus one; from it the others are found.
    last: u32,
}

impl Standings {
    /// Takes a bid of a region that has a standing in its auction.
    #[inline]
    pub(super) fn on_bid(&mut self, at: u32, offer: &Offer<'_>, places: &mut Places) {
        let bid = offer.bid;
        let standing = &mut self.list[wide(at)];
        standing.bids += 1;
        standing.amount_sum += u128::from(bid.amount.units());
        standing.amount_min = standing.amount_min.min(bid.amount);
        standing.amount_max = standing.amount_max.max(bid.amount);
        standing.latency_ms_sum += u64::from(bid.latency_ms);
        standing.latency_ms_max = standing.latency_ms_max.max(bid.latency_ms);
        if offer.low >= standing.bar {
            let best = &mut self.bests[wide(at)];
            if offer.rank() < best.rank(offer.geometry) {
                (standing.bar, *best) = (offer.low, offer.placed(places));
            }
        }
    }

    /// Takes the first bid of a region in an auction.
    #[cold]
    pub(super) fn on_first(
        &mut self,
        (auction, regions): (u32, &mut Regions),
        offer: &Offer<'_>,
        key: Key,
        places: &mut Places,
    ) {
        let bid = offer.bid;
        let standing = Standing {
            amount_sum: u128::from(bid.amount.units()),
            bar: offer.low,
            amount_min: bid.amount,
            amount_max: bid.amount,
            latency_ms_sum: u64::from(bid.latency_ms),
            bids: 1,
            latency_ms_max: bid.latency_ms,
            region: self.names.find_or_put(&bid.region, key),
            before: regions.last,
        };
        self.put(auction, regions, standing, offer.placed(places), key);
    }

    fn put(&mut self, auction: u32, regions: &mut Regions, standing: Standing, best: Placed, key: Key) {
        let (region, at) = (standing.region, place(self.list.len()));
        self.list.push(standing);
        self.bests.push(best);
        regions.last = place(self.list.len());
        match regions.numbers.iter().position(|number| *number == 0) {
            Some(free) => (regions.numbers[free], regions.places[free]) = (region, at),
            None => {
                self.index.find_or_put(key.pair(auction, region).tag(), |_| false);
                self.further.push(Further { auction, region, at });
            }
        }
    }

    /// The place of a region's standing in an auction.
    #[inline]
    pub(super) fn find(&self, (auction, regions): (u32, &Regions), region: u32, key: Key) -> Option<u32> {
        let numbered = regions.numbers.iter().zip(regions.places);
        // Without a branch for each: which one it is nobody can foresee.
        let first = numbered.fold(0, |found, (number, at)| if *number == region { at + 1 } else { found });
        match wide(first).checked_sub(1) {
            Some(_) => Some(first - 1),
            None if self.further.is_empty() => None,
            None => self.find_further(auction, region, key),
        }
    }

    /// The place of a bid's standing, which may have come up since it was looked for.
    #[cold]
    pub(super) fn look(&self, auction: (u32, &Regions), bid: &Bid, key: Key) -> Option<u32> {
        self.find(auction, self.names.find(&bid.region, key)?, key)
    }

    fn find_further(&self, auction: u32, region: u32, key: Key) -> Option<u32> {
        let same =
            |at: u32| (self.further[wide(at)].auction, self.further[wide(at)].region) == (auction, region);
        let at = self.index.find(key.pair(auction, region).tag(), same)?;
        Some(self.further[wide(at)].at)
    }

    /// Begins to fetch a standing.
    #[inline]
    pub(super) fn touch(&self, at: u32) -> u32 {
        self.list[wide(at)].region
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

//! What each region bid in each auction of a window: sums, extremes and the best bid.

use schemas::bid::Bid;
use schemas::ids::Region;
use schemas::item::RegionStats;
use schemas::money::{Money, Price};

use super::auction::{Offer, Placed};
use super::index::{Index, Put, Tag, place, wide};
use super::mark::Places;

/// One region in one auction: what every bid touches.
#[derive(Clone, Debug)]
struct Standing {
    amount_sum: u128,
    /// The score of the best bid.
    best_score: u128,
    bids: u64,
    amount_max: Price,
    latency_ms_sum: u64,
    latency_ms_max: u32,
    auction: u32,
    region: Region,
    /// The auction's standing before this one, plus one.
    before: u32,
}

/// All standings of a window.
#[derive(Debug, Default)]
pub(super) struct Standings {
    list: Vec<Standing>,
    /// The best bid of each.
    bests: Vec<Placed>,
    index: Index<4>,
}

/// The standings of one auction: the last one's place plus one, from which the others are found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regions(u32);

impl Standings {
    /// Takes a bid of an auction. `at` is the place of its standing, when that was found before.
    #[inline]
    pub(super) fn on_bid(
        &mut self,
        (auction, regions): (u32, &mut Regions),
        offer: &Offer<'_>,
        (at, tag): (Option<u32>, Tag),
        places: &mut Places,
    ) {
        let bid = offer.bid;
        let same = |at: u32| self.list[wide(at)].is(auction, &bid.region);
        let put = at.map_or_else(|| self.index.find_or_put(tag, same), Put::Found);
        let Put::Found(at) = put else {
            self.list.push(Standing::new(auction, offer, regions.0));
            self.bests.push(offer.placed(places));
            *regions = Regions(place(self.list.len()));
            return;
        };
        let standing = &mut self.list[wide(at)];
        standing.bids += 1;
        standing.amount_sum += u128::from(bid.amount.units());
        standing.amount_max = standing.amount_max.max(bid.amount);
        standing.latency_ms_sum += u64::from(bid.latency_ms);
        standing.latency_ms_max = standing.latency_ms_max.max(bid.latency_ms);
        if offer.score >= standing.best_score {
            let best = &mut self.bests[wide(at)];
            if offer.rank() < best.rank(offer.geometry) {
                (standing.best_score, *best) = (offer.score, offer.placed(places));
            }
        }
    }

    /// The place of a region's standing in an auction.
    #[inline]
    pub(super) fn find(&self, auction: u32, region: &Region, tag: Tag) -> Option<u32> {
        self.index.find(tag, |at| self.list[wide(at)].is(auction, region))
    }

    fn of(&self, regions: Regions) -> impl Iterator<Item = (&Standing, &Placed)> {
        let at = |place: u32| wide(place).checked_sub(1);
        let places = std::iter::successors(at(regions.0), move |place| at(self.list[*place].before));
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
                bids: standing.bids,
                amount_sum: Money(signed(standing.amount_sum)),
                amount_max: standing.amount_max,
                latency_ms_sum: standing.latency_ms_sum,
                latency_ms_max: standing.latency_ms_max,
                best: best.candidate(places),
            };
            (standing.region, stats)
        })
    }

    /// Each region's best bid in an auction.
    pub(super) fn bests(&self, regions: Regions) -> impl Iterator<Item = Bid> {
        self.of(regions).map(|(_, best)| best.bid)
    }

    /// Takes the standings of another window's auction, whose places are `offset` further behind now. `tag` says where
    /// a region of it is looked for.
    pub(super) fn take_moved(
        &mut self,
        (auction, from): (u32, Regions),
        other: &Standings,
        offset: u32,
        tag: impl Fn(&Region) -> Tag,
    ) -> Regions {
        let mut regions = Regions::default();
        for (standing, best) in other.of(from) {
            self.index.find_or_put(tag(&standing.region), |_| false);
            self.list.push(Standing { auction, before: regions.0, ..standing.clone() });
            self.bests.push(best.shifted(offset));
            regions = Regions(place(self.list.len()));
        }
        regions
    }
}

impl Standing {
    #[inline]
    fn is(&self, auction: u32, region: &Region) -> bool {
        self.auction == auction && self.region == *region
    }

    fn new(auction: u32, offer: &Offer<'_>, before: u32) -> Self {
        let bid = offer.bid;
        Self {
            amount_sum: u128::from(bid.amount.units()),
            best_score: offer.score,
            bids: 1,
            amount_max: bid.amount,
            latency_ms_sum: u64::from(bid.latency_ms),
            latency_ms_max: bid.latency_ms,
            auction,
            region: bid.region,
            before,
        }
    }
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).expect("a sum of 64-bit prices that fit memory is below 2^127")
}

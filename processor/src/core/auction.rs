//! One slot in one window while it is open: its counts, and the best bids of distinct accounts.
//!
//! Who bid before is not kept here but beside all auctions of the window, and so is what each region bid. Of the bids
//! only those are kept that can still matter: the best of each of the first accounts, one more than become
//! candidates. An account that falls off the list has a better one before it for every place, and comes back only
//! with a better bid.

use hashbrown::HashMap;
use schemas::bid::{Bid, RankKey, score};
use schemas::geometry::Geometry;
use schemas::ids::{Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, RegionStats, State};
use schemas::money::Money;
use schemas::time::Millis;

use super::index::{emptied, place, wide};
use super::mark::{Places, Record};
use super::standing::{Regions, Standings};

/// A bid on its way into its auction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) bid: &'a Bid,
    /// The score, or the highest number when it is above that: a lower one is a lower score.
    pub(super) low: u64,
    pub(super) geometry: &'a Geometry,
    pub(super) record: &'a Record<'a>,
    sub_sequence: u32,
}

impl<'a> Offer<'a> {
    #[inline]
    pub(super) fn new(
        bid: &'a Bid,
        (record, sub_sequence): (&'a Record<'a>, u32),
        geometry: &'a Geometry,
    ) -> Self {
        let score = score(geometry.ranking, bid.amount, bid.quality);
        let low = u64::try_from(score).unwrap_or(u64::MAX);
        Self { bid, low, geometry, record, sub_sequence }
    }

    /// A copy for a function that is called now and then, so that the loop over bids keeps all of it in registers.
    #[inline]
    pub(super) fn apart(&self) -> Self {
        Self { ..*self }
    }

    /// The bid as it is kept.
    pub(super) fn placed(&self, places: &mut Places) -> Placed {
        Placed { bid: *self.bid, place: places.of(self.record), sub_sequence: self.sub_sequence }
    }

    /// Keeps the bid in the place of another.
    #[inline]
    pub(super) fn replace(&self, kept: &mut Placed, places: &mut Places) {
        kept.bid = *self.bid;
        (kept.place, kept.sub_sequence) = (places.of(self.record), self.sub_sequence);
    }

    pub(super) fn rank(&self) -> RankKey {
        self.bid.rank_key(self.geometry.ranking)
    }
}

/// A bid that is kept, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) bid: Bid,
    place: u32,
    sub_sequence: u32,
}

impl Placed {
    pub(super) fn candidate(&self, places: &Places) -> Candidate {
        let (bid, place) = (self.bid, places.get(self.place));
        Candidate {
            bid_id: bid.bid_id,
            account_id: bid.account_id,
            region: bid.region,
            amount: bid.amount,
            quality: bid.quality,
            event_time: bid.event_time,
            shard_id: place.shard_id.clone(),
            sequence: place.sequence.clone(),
            sub_sequence: self.sub_sequence,
        }
    }

    pub(super) fn rank(&self, geometry: &Geometry) -> RankKey {
        self.bid.rank_key(geometry.ranking)
    }

    /// With its place so much further behind.
    pub(super) fn shifted(&self, offset: u32) -> Self {
        Self { place: self.place + offset, ..self.clone() }
    }
}

/// One of the first accounts of an auction, by its best bid.
#[derive(Clone, Copy, Debug)]
struct Leader {
    /// The score, or the highest number when it is above that.
    low: u64,
    /// The account in the auction, by the number that it has in what was seen.
    pair: u32,
    /// Where that bid is kept.
    kept: u32,
}

/// The leaders of all auctions of a window: as many places for each auction, filled from the front. When all of an
/// auction's are filled, the worst stands last.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    list: Vec<Leader>,
    /// Places of an auction: one more than become candidates.
    length: usize,
}

impl Leaders {
    /// Places for the leaders of another auction.
    pub(super) fn grow(&mut self, geometry: &Geometry) {
        self.length = usize::from(geometry.candidates) + 1;
        self.list.resize(self.list.len() + self.length, Leader { low: 0, pair: u32::MAX, kept: 0 });
    }

    /// The places of an auction.
    #[inline]
    fn of(&self, auction: u32) -> &[Leader] {
        &self.list[wide(auction) * self.length..][..self.length]
    }

    /// The places of an auction.
    #[inline]
    fn of_mut(&mut self, auction: u32) -> &mut [Leader] {
        &mut self.list[wide(auction) * self.length..][..self.length]
    }
}

/// Who made a bid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bidder {
    /// The account in the auction, by the number that it has in what was seen.
    pub(super) pair: u32,
    /// Whether it is the account's first.
    pub(super) is_new: bool,
}

/// An auction on its way from another window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved<'a> {
    /// Its places there and here.
    pub(super) from: u32,
    pub(super) to: u32,
    /// The new number of each pair.
    pub(super) pairs: &'a [u32],
    /// By how much the places of records are further behind.
    pub(super) offset: u32,
}

/// Copies that were not counted, by their auction's place and the region they came from.
#[derive(Debug, Default)]
pub(super) struct Copies(HashMap<u32, Vec<(Region, u64)>, foldhash::fast::FixedState>);

impl Copies {
    pub(super) fn add(&mut self, auction: u32, region: Region, copies: u64) {
        let regions = self.0.entry(auction).or_default();
        match regions.iter_mut().find(|(from, _)| *from == region) {
            Some((_, all)) => *all += copies,
            None => regions.push((region, copies)),
        }
    }

    /// Those of an auction.
    pub(super) fn of(&self, auction: u32) -> &[(Region, u64)] {
        self.0.get(&auction).map_or(&[], Vec::as_slice)
    }
}

/// What a window keeps of the bids of its auctions.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) copies: Copies,
    pub(super) leaders: Leaders,
    /// The bids of leaders, in no order.
    pub(super) leading: Vec<Placed>,
    pub(super) standings: Standings,
    pub(super) places: Places,
}

impl Kept {
    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(self) -> Self {
        Self {
            copies: Copies::default(),
            leaders: Leaders { list: emptied(self.leaders.list), length: 0 },
            leading: emptied(self.leading),
            standings: self.standings.emptied(),
            places: Places::default(),
        }
    }
}

/// An open auction. What every bid touches comes first, in one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Auction {
    pub(super) slot_id: SlotId,
    pub(super) regions: Regions,
    /// Distinct accounts.
    pub(super) bidders: u32,
    /// A lower score cannot become a leader.
    bar: u64,
}

impl Auction {
    pub(super) fn new(slot_id: SlotId) -> Self {
        Self { slot_id, regions: Regions::default(), bidders: 0, bar: 0 }
    }

    /// Takes a bid that was not seen before; its auction has this place.
    #[inline]
    pub(super) fn on_bid(&mut self, offer: &Offer<'_>, bidder: Bidder, at: u32, kept: &mut Kept) {
        if offer.low >= self.bar {
            self.lead(&offer.apart(), bidder, at, kept);
        }
    }

    /// Puts a bid among the leaders when it belongs there: in place of its account's own, or of the worst.
    ///
    /// Which leader is the account's and which is the worst is as good as random, so no branch depends on it.
    #[inline(never)]
    fn lead(&mut self, offer: &Offer<'_>, Bidder { pair, is_new }: Bidder, auction: u32, kept: &mut Kept) {
        let Kept { leaders, leading, places, .. } = kept;
        let row = leaders.of_mut(auction);
        let (last, bidders) = (row.len() - 1, wide(self.bidders));
        let at = if is_new && bidders <= row.len() {
            row[bidders - 1].kept = place(leading.len());
            leading.push(offer.placed(places));
            bidders - 1
        } else {
            // Who bid before and is not among them has no free place: as long as there is one, all bidders are.
            let own = |own, (at, leader): (usize, &Leader)| if leader.pair == pair { at } else { own };
            let at = row.iter().enumerate().fold(last, own);
            let leader = row[at];
            if !is_before(offer, &leader, leading) {
                return;
            }
            offer.replace(&mut leading[wide(leader.kept)], places);
            at
        };
        (row[at].low, row[at].pair) = (offer.low, pair);
        if bidders > last {
            row.swap(worst(row, leading, offer.geometry), last);
            self.bar = row[last].low;
        }
    }

    /// Its leaders, best first.
    fn leading<'a>(&self, at: u32, kept: &'a Kept, geometry: &Geometry) -> Vec<&'a Placed> {
        let filled = kept.leaders.of(at).iter().take(wide(self.bidders));
        let mut leading: Vec<&Placed> = filled.map(|leader| &kept.leading[wide(leader.kept)]).collect();
        leading.sort_unstable_by_key(|placed| placed.rank(geometry));
        leading
    }

    /// The item that this auction leaves; it counted at least one bid.
    pub(super) fn close(
        &self,
        at: u32,
        start: Millis,
        shard_id: &ShardId,
        geometry: &Geometry,
        kept: &Kept,
    ) -> Aggregate {
        let candidates = usize::from(geometry.candidates);
        let leading = self.leading(at, kept, geometry);
        let next = leading.get(candidates).map(|placed| placed.bid);
        let Kept { standings, places, .. } = kept;
        let regions: std::collections::BTreeMap<Region, RegionStats> =
            standings.close(self.regions, places).collect();
        let (lowest, highest) =
            (standings.amount_min(self.regions), regions.values().map(|stats| stats.amount_max).max());
        let counted = "an auction that is closed counted a bid";
        Aggregate {
            slot_id: self.slot_id,
            window_start: start,
            window_end: geometry.window_end(start),
            bids: regions.values().map(|stats| stats.bids).sum(),
            bidders: u64::from(self.bidders),
            amount_sum: Money(regions.values().map(|stats| stats.amount_sum.0).sum()),
            amount_min: lowest.expect(counted),
            amount_max: highest.expect(counted),
            duplicates: kept.copies.of(at).iter().map(|(_, copies)| copies).sum(),
            regions,
            candidates: leading.iter().take(candidates).map(|placed| placed.candidate(places)).collect(),
            next_amount: next.map(|bid| bid.amount),
            next_score: next.map(|bid| score(geometry.ranking, bid.amount, bid.quality)),
            shard_id: shard_id.clone(),
            replay: None,
            state: State::Pending,
            decision: None,
            held_error: None,
            ttl: None,
        }
    }

    /// Takes over from the auction of another window that had the bids of the same slot; pairs have new numbers.
    pub(super) fn take_moved(&mut self, other: Auction, (from, to): (&Kept, &mut Kept), moved: &Moved<'_>) {
        for (own, old) in
            to.leaders.of_mut(moved.to).iter_mut().zip(from.leaders.of(moved.from)).take(wide(other.bidders))
        {
            to.leading.push(from.leading[wide(old.kept)].shifted(moved.offset));
            let (pair, kept) = (moved.pairs[wide(old.pair)], place(to.leading.len() - 1));
            *own = Leader { pair, kept, ..*old };
        }
        for (region, copies) in from.copies.of(moved.from) {
            to.copies.add(moved.to, *region, *copies);
        }
        (self.bidders, self.bar) = (other.bidders, other.bar);
    }
}

/// The place of the worst leader.
#[inline]
fn worst(row: &[Leader], leading: &[Placed], geometry: &Geometry) -> usize {
    let worse = |(low, worst, ties), (at, leader): (usize, &Leader)| {
        let (is_worse, is_tie) = (leader.low < low, leader.low == low);
        if is_worse { (leader.low, at, false) } else { (low, worst, ties | is_tie) }
    };
    let (_, worst, ties) = row.iter().enumerate().skip(1).fold((row[0].low, 0, false), worse);
    if ties { worst_of_ties(row, leading, geometry) } else { worst }
}

/// Ties are rare, and only they look at the rest of the bids.
#[cold]
fn worst_of_ties(row: &[Leader], leading: &[Placed], geometry: &Geometry) -> usize {
    let rank = |at: &usize| leading[wide(row[*at].kept)].rank(geometry);
    (0..row.len()).max_by_key(rank).unwrap_or_default()
}

/// Whether a bid ranks before a leader's.
#[inline]
fn is_before(offer: &Offer<'_>, leader: &Leader, leading: &[Placed]) -> bool {
    offer.low > leader.low || offer.low == leader.low && ties_before(offer, &leading[wide(leader.kept)])
}

/// Ties are rare, and only they look at the rest of the bids.
#[cold]
fn ties_before(offer: &Offer<'_>, other: &Placed) -> bool {
    offer.rank() < other.rank(offer.geometry)
}

//! A bid: one offer of an account for a slot.

use crate::geometry::Ranking;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::{BasisPoints, Price};
use crate::mutant::{self, Mutant};
use crate::time::Millis;

/// One offer of an account for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    /// Chosen by the bidder; the same id from the same account in one auction is a duplicate.
    pub bid_id: BidId,
    /// What is bid for.
    pub slot_id: SlotId,
    /// Who bids.
    pub account_id: AccountId,
    /// Where the edge stands that took the bid.
    pub region: Region,
    /// What is offered.
    pub amount: Price,
    /// What the edge measured, in ms.
    pub latency_ms: u32,
    /// Quality as a share of one.
    pub quality: BasisPoints,
    /// When the bid was made; it decides the window.
    pub event_time: Millis,
}

/// The order of candidates: rank, then amount (higher first), event time (earlier first), bid id and account (lower
/// first). The *smallest* value is the best bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RankKey(std::cmp::Reverse<u128>, std::cmp::Reverse<u64>, Millis, BidId, AccountId);

/// A bid's score under a ranking, in 128 bits, so that no product is cut.
#[must_use]
pub fn score(ranking: Ranking, amount: Price, quality: BasisPoints) -> u128 {
    match ranking {
        Ranking::Amount => u128::from(amount.units()),
        Ranking::AmountQuality => u128::from(amount.units()) * u128::from(quality.get()),
    }
}

impl RankKey {
    /// From what decides the order.
    #[must_use]
    pub fn new(
        ranking: Ranking,
        (amount, quality): (Price, BasisPoints),
        event_time: Millis,
        (bid_id, account_id): (BidId, AccountId),
    ) -> Self {
        let reversed = mutant::is(Mutant::TieReversed);
        let event_time = if reversed { Millis(u64::MAX - event_time.0) } else { event_time };
        let score = score(ranking, amount, quality);
        Self(std::cmp::Reverse(score), std::cmp::Reverse(amount.units()), event_time, bid_id, account_id)
    }
}

impl Bid {
    /// Where this bid stands among the candidates of its auction.
    #[must_use]
    pub fn rank_key(&self, ranking: Ranking) -> RankKey {
        let ids = (self.bid_id, self.account_id);
        RankKey::new(ranking, (self.amount, self.quality), self.event_time, ids)
    }
}

//! Who should have won, and at what price: the audit's own reading of the rule.
//!
//! Offers in order: the candidates of the item, then those that only the log holds; one below the floor, unknown,
//! suspended, or unable to pay yields to the next. First price is the winner's own amount; second price the next eligible
//! amount, or the floor when everyone was looked at, never above the winner's own. What the accounts behind the winner
//! held stands in the evidence, up to the one that set the price, so one price is right. Where offers are left that
//! nobody looked at, nothing is sold that depends on them. Only rows of earlier releases end at the winner: their second
//! price is one of several when the accounts' history leaves it open; and the amount that follows the last candidate
//! could set it.

use std::collections::BTreeSet;

use schemas::geometry::Pricing;
use schemas::item::Candidate;
use schemas::money::{Money, Price};

/// The reason where offers are left that could not be looked at.
pub const EXHAUSTED: &str = "candidates_exhausted";

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may win.
    Eligible,
    /// It bid less than the floor.
    BelowFloor,
    /// Its account does not exist.
    UnknownAccount,
    /// Its account was suspended.
    Suspended,
    /// Its account could not pay.
    InsufficientFunds,
}

impl Fate {
    /// The word in `ad_bids.passed_over`, none for one that was not passed over.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Eligible => None,
            Self::BelowFloor => Some("below_floor"),
            Self::UnknownAccount => Some("unknown_account"),
            Self::Suspended => Some("suspended"),
            Self::InsufficientFunds => Some("insufficient_funds"),
        }
    }
}

/// Whether an account could have paid an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By its evidence, or at every point of its history.
    Always,
    /// At some points of its history, and no evidence says which one it was.
    Sometimes,
    /// Not by its evidence, or at no point; or there is no such account, or the amount is below the floor.
    Never,
}

/// What should have been decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Sold.
    Sale {
        /// The winner's place among the candidates, from 0.
        place: usize,
        /// What it may have had to pay: one amount, unless it is left open who could have paid.
        prices: BTreeSet<Money>,
    },
    /// Not sold.
    NoSale {
        /// The word in `settlements.no_sale_reason`.
        reason: &'static str,
    },
}

/// What prices depend on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Everyone who was looked at or may have been, best first.
    pub candidates: &'a [&'a Candidate],
    /// Whether nobody else can be worth anything.
    pub is_whole: bool,
    /// One for each candidate.
    pub reach: &'a [Reach],
    /// The slot's floor.
    pub floor: Money,
    /// The amount of the account that follows the last candidate, where it could set a price.
    pub next_amount: Option<Price>,
    /// First or second price.
    pub pricing: Pricing,
}

impl Case<'_> {
    /// What the candidate at a place would have to pay; nothing when that depends on offers nobody looked at.
    #[must_use]
    pub fn prices(&self, place: usize) -> BTreeSet<Money> {
        let own = Money::from(self.candidates[place].amount);
        if self.pricing == Pricing::First {
            return BTreeSet::from([own]);
        }
        let mut prices = BTreeSet::new();
        for (candidate, reach) in self.candidates.iter().zip(self.reach).skip(place + 1) {
            let amount = Money::from(candidate.amount).min(own);
            match reach {
                Reach::Never => {}
                Reach::Sometimes => drop(prices.insert(amount)),
                Reach::Always => {
                    prices.insert(amount);
                    return prices;
                }
            }
        }
        if !self.is_whole {
            return BTreeSet::new();
        }
        let follower = self.next_amount.map(Money::from).filter(|amount| *amount >= self.floor);
        // A floor of nothing still sells for the least there is: a price is above zero.
        prices.insert(follower.unwrap_or(self.floor.max(Money(1))).min(own));
        prices
    }

    /// Everyone who was looked at, from the first on; all when nothing was sold. Under second price this goes on behind
    /// the winner, to the first who may set the price.
    #[must_use]
    pub fn considered(&self, choice: &Choice, fates: &[Fate]) -> usize {
        let Choice::Sale { place, .. } = choice else { return fates.len() };
        let sets = fates.iter().skip(place + 1).position(|fate| *fate == Fate::Eligible);
        match self.pricing {
            Pricing::First => place + 1,
            Pricing::Second => sets.map_or(fates.len(), |behind| place + 1 + behind + 1),
        }
    }

    /// Decides, given what became of each candidate.
    #[must_use]
    pub fn choose(&self, fates: &[Fate]) -> Choice {
        match fates.iter().position(|fate| *fate == Fate::Eligible) {
            Some(place) => match self.prices(place) {
                prices if prices.is_empty() => Choice::NoSale { reason: EXHAUSTED },
                prices => Choice::Sale { place, prices },
            },
            None if !self.is_whole => Choice::NoSale { reason: EXHAUSTED },
            None if fates.iter().all(|fate| *fate == Fate::BelowFloor) => {
                Choice::NoSale { reason: "below_floor" }
            }
            None => Choice::NoSale { reason: "no_eligible_candidate" },
        }
    }
}

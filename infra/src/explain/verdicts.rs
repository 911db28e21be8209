//! What became of each candidate, and what made the price, by what the decision left.

use schemas::geometry::Pricing;
use schemas::ids::{AccountId, BidId};
use schemas::item::Aggregate;
use schemas::money::Money;

use super::Standing;
use crate::audit::rows::{Evidence, Settlement};

/// What is known of an auction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) item: Option<&'a Aggregate>,
    pub(super) row: Option<&'a Settlement>,
    /// In rank order.
    pub(super) evidence: &'a [Evidence],
    pub(super) pricing: Pricing,
}

/// A candidate of the item, or what the decision kept of one when the item is gone.
struct Candidate {
    rank: i64,
    account: AccountId,
    bid: BidId,
    region: String,
    amount: Money,
}

impl Case<'_> {
    /// Every candidate with its verdict, and behind them every account that was looked at in the log and is known.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let candidates = self.candidates();
        let winner = candidates.iter().position(|one| self.has_won(one.account, one.bid));
        let standing = |(place, one): (usize, &Candidate)| Standing {
            rank: usize::try_from(one.rank).unwrap_or_default(),
            account_id: one.account.to_string(),
            bid_id: one.bid.to_string(),
            region: one.region.clone(),
            amount: one.amount.to_string(),
            verdict: self.verdict(one.account, one.bid, winner.is_some_and(|winner| winner < place)),
        };
        candidates.iter().enumerate().map(standing).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let Some(item) = self.item else {
            let kept = |one: &Evidence| Candidate {
                rank: one.rank,
                account: one.account_id,
                bid: one.bid_id,
                region: one.region.clone(),
                amount: one.amount,
            };
            return self.evidence.iter().map(kept).collect();
        };
        let stands = |(rank, one): (i64, &schemas::item::Candidate)| Candidate {
            rank,
            account: one.account_id,
            bid: one.bid_id,
            region: one.region.to_string(),
            amount: one.amount.into(),
        };
        let named = item.candidates.len();
        let is_behind = |one: &&Evidence| usize::try_from(one.rank).is_ok_and(|rank| rank >= named);
        let behind = self.evidence.iter().filter(is_behind).map(|one| Candidate {
            rank: one.rank,
            account: one.account_id,
            bid: one.bid_id,
            region: one.region.clone(),
            amount: one.amount,
        });
        (0..).zip(&item.candidates).map(stands).chain(behind).collect()
    }

    /// Two accounts may give their bids one id.
    fn has_won(&self, account: AccountId, bid: BidId) -> bool {
        self.row.is_some_and(|row| row.winner_account == Some(account) && row.winning_bid == Some(bid))
    }

    /// The candidate behind the winner that set the price: the last that was looked at, unless it was skipped too.
    fn price_setter(&self) -> Option<&Evidence> {
        let winner = self.evidence.iter().position(|one| self.has_won(one.account_id, one.bid_id))?;
        let last = self.evidence[winner + 1..].last()?;
        (self.pricing == Pricing::Second && last.passed_over.is_none()).then_some(last)
    }

    /// Why a candidate won or did not. Everyone who was considered has evidence: all up to the winner, or to the one that
    /// set a second price, or all.
    pub(super) fn verdict(&self, account: AccountId, bid: BidId, is_behind: bool) -> String {
        let Some(row) = self.row else { return "awaits the decision".to_owned() };
        if self.has_won(account, bid) {
            return "won".to_owned();
        }
        let seen = self.evidence.iter().find(|one| one.bid_id == bid && one.account_id == account);
        let why = seen.and_then(|one| Some((one, one.passed_over.as_deref()?)));
        match why.map(|(seen, reason)| passed_over(row, seen, reason)) {
            Some(why) if is_behind => format!("ranked below the winner, and skipped for the price: {why}"),
            Some(why) => format!("passed over: {why}"),
            None if seen.is_some_and(|seen| self.price_setter() == Some(seen)) => {
                "ranked below the winner, and set the price".to_owned()
            }
            None if is_behind => "ranked below the winner".to_owned(),
            None if row.no_sale_reason.as_deref() == Some("candidates_exhausted") => {
                "could have paid, and who stands behind it is beyond what is looked at".to_owned()
            }
            None if row.no_sale_reason.as_deref() == Some("unknown_slot") => {
                "not sold: unknown_slot".to_owned()
            }
            None => "why not is not in the ledger; `exchange audit` tells what else is missing".to_owned(),
        }
    }

    /// What made a second price: an amount behind the winner, the floor, or the winner's own amount, which it never exceeds;
    /// for a decision of an earlier release also what follows the last candidate.
    pub(super) fn price_set_by(&self) -> Option<String> {
        let own = self.row?.winning_amount.filter(|_| self.pricing == Pricing::Second)?;
        let capped = |amount: Money, by: String| {
            if amount > own { format!("the winner's own amount, because {by} offered more") } else { by }
        };
        if let Some(setter) = self.price_setter() {
            return Some(capped(setter.amount, setter.account_id.to_string()));
        }
        if self.row?.log_accounts.is_some() {
            return Some("the floor, because nobody behind the winner could be held to an offer".to_owned());
        }
        // Whether all candidates were looked at is known only while the item says how many there are.
        let item = self.item.filter(|item| item.candidates.len() == self.evidence.len())?;
        let floor = self.row?.floor_price?;
        let follower = item.next_amount.map(Money::from).filter(|amount| *amount >= floor);
        Some(match follower {
            Some(amount) => capped(amount, "the account that follows the last candidate".to_owned()),
            None => "the floor".to_owned(),
        })
    }
}

/// A reason, with what was seen.
fn passed_over(row: &Settlement, seen: &Evidence, reason: &str) -> String {
    match (reason, row.floor_price) {
        ("below_floor", Some(floor)) => return format!("below_floor, which was {floor}"),
        ("below_floor", None) => return reason.to_owned(),
        _ => {}
    }
    match (seen.balance_seen, seen.limit_seen, seen.version_seen) {
        (Some(balance), Some(limit), Some(version)) => {
            format!("{reason}, with balance {balance} and credit limit {limit} at version {version}")
        }
        _ => reason.to_owned(),
    }
}

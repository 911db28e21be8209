//! The settlement's key and the words of its row.

use uuid::Uuid;

use crate::ids::{SettlementId, SlotId};
use crate::time::Millis;

/// `UUIDv5(slot, window start)`: the slot is the namespace, the start's RFC 3339 text the name.
///
/// Anyone who knows the auction can compute the key, so a second decision meets the first.
#[must_use]
pub fn settlement_id(slot: &SlotId, window_start: Millis) -> SettlementId {
    SettlementId(Uuid::new_v5(&slot.0, window_start.to_string().as_bytes()))
}

/// The key of something that belongs to a settlement: an entry of the ledger or a piece of evidence.
#[must_use]
pub fn derived_id(settlement: &SettlementId, part: &str) -> Uuid {
    Uuid::new_v5(&settlement.0, part.as_bytes())
}

/// Whether an account may bid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// It may; so may one whose row says nothing.
    #[default]
    Active,
    /// It may not: its bids win nothing and set no price.
    Suspended,
}

impl AccountStatus {
    /// The word in `enterprise_accounts.status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl std::str::FromStr for AccountStatus {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Active, Self::Suspended].into_iter().find(|one| one.as_str() == text).ok_or(())
    }
}

/// Why an auction was not sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoSale {
    /// `ad_slots` does not know the slot.
    UnknownSlot,
    /// Every candidate bid less than the floor.
    BelowFloor,
    /// Candidates were passed over for several reasons, or none had an account that could pay.
    NoEligibleCandidate,
    /// Nobody among those that could be looked at may win, or sets the price; and others stand behind them that are
    /// beyond what is looked at.
    CandidatesExhausted,
}

impl NoSale {
    /// The word in `settlements.no_sale_reason` and `no_sale_reason` of the item.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSlot => "unknown_slot",
            Self::BelowFloor => "below_floor",
            Self::NoEligibleCandidate => "no_eligible_candidate",
            Self::CandidatesExhausted => "candidates_exhausted",
        }
    }
}

/// Why a candidate was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassedOver {
    /// It bid less than the slot's floor.
    BelowFloor,
    /// `enterprise_accounts` does not know its account.
    UnknownAccount,
    /// Its account is suspended.
    Suspended,
    /// Balance and credit limit together do not reach.
    InsufficientFunds,
}

impl PassedOver {
    /// The word in `ad_bids.passed_over`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BelowFloor => "below_floor",
            Self::UnknownAccount => "unknown_account",
            Self::Suspended => "suspended",
            Self::InsufficientFunds => "insufficient_funds",
        }
    }
}

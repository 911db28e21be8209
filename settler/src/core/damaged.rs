//! Rows of the ledger that hold what no stage writes, and which auctions they touch.
//!
//! An auction is refused when its decision, its slot or an account that its decision looks at cannot be read; every other
//! one is decided as if such rows were not there.

use std::collections::BTreeMap;

use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::money::Money;
use schemas::settlement::AccountStatus;
use uuid::Uuid;

use super::choose::{Account, Choice};
use super::rows::Auction;

/// What is wrong with each row that was read and cannot be understood, by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    /// Decisions.
    pub settlements: BTreeMap<SettlementId, String>,
    /// Slots.
    pub slots: BTreeMap<SlotId, String>,
    /// Accounts.
    pub accounts: BTreeMap<AccountId, String>,
    /// Entries of the ledger.
    pub entries: BTreeMap<Uuid, String>,
}

impl Damaged {
    /// Adds to the accounts that can be read one for each that cannot: it can pay nothing, so the choice goes on behind
    /// it, and its evidence shows that it was looked at.
    #[must_use]
    pub fn with_stand_ins(&self, readable: &BTreeMap<AccountId, Account>) -> BTreeMap<AccountId, Account> {
        let (balance, credit_limit, status) = (Money(0), Money(0), AccountStatus::Active);
        let nothing = Account { balance, credit_limit, version: 0, status };
        let mut all = readable.clone();
        all.extend(self.accounts.keys().map(|id| (*id, nothing)));
        all
    }

    /// The damage that a choice among these accounts depends on.
    #[must_use]
    pub fn met_by(&self, auction: &Auction, choice: &Choice) -> Option<&str> {
        let mut looked_at = choice.evidence.iter().map(|seen| auction.bid(seen.rank).account_id);
        looked_at.find_map(|account| self.accounts.get(&account)).map(String::as_str)
    }
}

//! What other programs call accounts and slots: an OpenRTB seat is an account's name, a tag or an impression a slot's.
//!
//! Owns the lookup alone. Where the names come from, and when they are read again, is their reader's matter.

use std::collections::BTreeMap;

use crate::ids::{AccountId, SlotId};

/// Names of accounts and of slots, each with what it stands for. A name is compared byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    accounts: BTreeMap<String, AccountId>,
    slots: BTreeMap<String, SlotId>,
}

impl Names {
    /// The names of seats, and the names of tags and impressions.
    #[must_use]
    pub fn new(accounts: BTreeMap<String, AccountId>, slots: BTreeMap<String, SlotId>) -> Self {
        Self { accounts, slots }
    }

    /// The account that a seat's name stands for.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<AccountId> {
        self.accounts.get(name).copied()
    }

    /// The slot that the name of a tag or an impression stands for.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<SlotId> {
        self.slots.get(name).copied()
    }

    /// All names of accounts, ascending.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (&str, AccountId)> {
        self.accounts.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// All names of slots, ascending.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (&str, SlotId)> {
        self.slots.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Whether there is no name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_an_account_or_a_slot_and_for_nothing_like_it() {
        let (account, slot) = (AccountId::from_bytes([1; 16]), SlotId::from_bytes([2; 16]));
        let names = Names::new(
            BTreeMap::from([("acme".to_owned(), account)]),
            BTreeMap::from([("home-top".to_owned(), slot)]),
        );
        assert_eq!((names.account("acme"), names.slot("home-top")), (Some(account), Some(slot)));
        for other in ["", "ACME", "acme ", "home-top"] {
            assert_eq!(names.account(other), None, "{other}");
        }
        assert_eq!(names.slot("acme"), None, "seats and slots are named apart");
        assert_eq!(names.accounts().collect::<Vec<_>>(), [("acme", account)]);
        assert_eq!(names.slots().collect::<Vec<_>>(), [("home-top", slot)]);
        assert!(!names.is_empty() && Names::default().is_empty());
    }
}

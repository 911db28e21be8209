//! The agreed accounts, as they are published for producers: sorted, sixteen bytes each.

use std::collections::BTreeSet;

use hashbrown::HashSet;

use crate::attr::AttrError;
use crate::ids::AccountId;

/// Most accounts of a roster: 16 MB to read and some 40 MB in a producer's memory. Beyond it a roster is unbounded and
/// refuses nobody.
pub const ROSTER_ACCOUNTS_MAX: usize = 1_000_000;

/// Who may bid, for a producer that asks for every bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    version: u64,
    accounts: HashSet<AccountId>,
}

impl Roster {
    /// The bytes of a roster of these accounts.
    #[must_use]
    pub fn encode(accounts: &BTreeSet<AccountId>) -> Vec<u8> {
        accounts.iter().flat_map(AccountId::as_bytes).copied().collect()
    }

    /// The roster from the bytes of its edition.
    ///
    /// # Errors
    /// When they are no whole ids, or more than [`ROSTER_ACCOUNTS_MAX`].
    pub fn decode(version: u64, bytes: &[u8]) -> Result<Self, AttrError> {
        let wrong = |wanted| AttrError { name: "bytes".to_owned(), wanted };
        let (ids, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(wrong("whole account ids of sixteen bytes"));
        }
        if ids.len() > ROSTER_ACCOUNTS_MAX {
            return Err(wrong("at most a million accounts"));
        }
        Ok(Self { version, accounts: ids.iter().map(|id| AccountId::from_bytes(*id)).collect() })
    }

    /// The version of its edition.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many accounts it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether this account may bid.
    #[inline]
    #[must_use]
    pub fn has(&self, account: &AccountId) -> bool {
        self.accounts.contains(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_has_the_accounts_it_was_made_of_and_no_other() {
        let account = |number: u128| AccountId::from_bytes(number.to_be_bytes());
        let accounts = (0..1_000).map(|number| account(number * 3)).collect();
        let bytes = Roster::encode(&accounts);
        assert_eq!(bytes.len(), 16_000);
        let roster = Roster::decode(4, &bytes).unwrap();
        assert_eq!((roster.version(), roster.len()), (4, 1_000));
        assert!((0..3_000).all(|number| roster.has(&account(number)) == (number % 3 == 0)));
        assert!(Roster::decode(1, &[]).unwrap().is_empty());
        assert!(Roster::decode(1, &bytes[1..]).is_err());
    }
}

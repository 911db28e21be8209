//! What is known of the bids behind the candidates of an item, which only the log holds.

use std::sync::Arc;

use schemas::item::{Aggregate, Candidate};
use schemas::limits::{LOG_ACCOUNTS_MAX, LOG_BIDS_MAX};

/// What is known of the accounts that bid and are not among the candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// There are none.
    Nobody,
    /// The log holds them and was not read.
    Unread,
    /// The best bid of each, in rank order, and what reading them took.
    Read(Arc<[Candidate]>, Cost),
    /// They are beyond what is read; the cost where that was found by reading.
    OutOfReach(Option<Cost>),
}

/// What reading the log took. Auctions of one window of a shard are read together, and each states all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// GetRecords calls.
    pub reads: u64,
    /// Bytes of records.
    pub bytes: u64,
}

impl Behind {
    /// What an item alone says: it names all accounts, or the log is to be read where its candidates do not suffice, or
    /// nobody reads so much. An item of a release that did not say where its log begins is decided by what it holds.
    #[must_use]
    pub fn of(item: &Aggregate) -> Self {
        if item.names_all() {
            Self::Nobody
        } else if item.replay.is_none() || item.bidders > LOG_ACCOUNTS_MAX || item.bids > LOG_BIDS_MAX {
            Self::OutOfReach(None)
        } else {
            Self::Unread
        }
    }

    /// The bids that are known.
    #[must_use]
    pub fn bids(&self) -> &[Candidate] {
        match self {
            Self::Read(bids, _) => bids,
            _ => &[],
        }
    }

    /// What reading the log took, where it was read.
    #[must_use]
    pub fn cost(&self) -> Option<Cost> {
        match self {
            Self::Read(_, cost) => Some(*cost),
            Self::OutOfReach(cost) => *cost,
            Self::Nobody | Self::Unread => None,
        }
    }
}

//! Faults by chance, from a seed: what a service far away does now and then, on purpose.
//!
//! Owns the dice and the counts of what fell. A connection has dice of its own, so what it suffers
//! depends on the seed and on its own requests alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How often which fault is injected, in thousandths; 0 never, 1,000 always. The default injects nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injection {
    /// What the dice are thrown from, together with a connection's number; taken when it connects.
    pub seed: u64,
    /// COMMITs of changes that are rolled back and answered 40001 (OC000).
    pub conflict_per_mille: u32,
    /// COMMITs of changes that are rolled back and answered 40001 (OC001), as after a change of the schema.
    pub schema_conflict_per_mille: u32,
    /// COMMITs of changes that are done, after which the connection is dropped without an answer.
    pub lost_reply_per_mille: u32,
    /// Requests that are dropped, with their connection, before anything of them is done.
    pub lost_request_per_mille: u32,
    /// COMMITs of changes that are answered XX000; one half of them is done, the other is not.
    pub unavailable_per_mille: u32,
}

/// How many faults were injected so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injected {
    /// Conflicts, those of the schema among them.
    pub conflicts: u64,
    /// Lost replies.
    pub lost_replies: u64,
    /// Lost requests.
    pub lost_requests: u64,
    /// Answers of XX000.
    pub unavailable: u64,
}

/// What is to become of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Conflict,
    SchemaConflict,
    LostReply,
    UnavailableDone,
    UnavailableUndone,
}

/// The rates in force and the counts, shared by all connections.
#[derive(Debug, Default)]
pub(super) struct Shared {
    rates: RwLock<Injection>,
    conflicts: AtomicU64,
    lost_replies: AtomicU64,
    lost_requests: AtomicU64,
    unavailable: AtomicU64,
}

impl Shared {
    pub(super) fn set(&self, rates: Injection) {
        // Nothing can panic while it is held; a poisoned lock still holds whole rates.
        *self.rates.write().unwrap_or_else(std::sync::PoisonError::into_inner) = rates;
    }

    fn rates(&self) -> Injection {
        *self.rates.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Injected {
        Injected {
            conflicts: self.conflicts.load(Ordering::Relaxed),
            lost_replies: self.lost_replies.load(Ordering::Relaxed),
            lost_requests: self.lost_requests.load(Ordering::Relaxed),
            unavailable: self.unavailable.load(Ordering::Relaxed),
        }
    }
}

/// One connection's dice.
#[derive(Debug)]
pub(super) struct Dice {
    shared: Arc<Shared>,
    random: StdRng,
}

impl Dice {
    pub(super) fn new(shared: Arc<Shared>, connection: u64) -> Self {
        // Two seeds in a row must not give connections that mirror each other.
        let seed = shared.rates().seed.rotate_left(32) ^ connection;
        Self { shared, random: StdRng::seed_from_u64(seed) }
    }

    /// Whether this request is lost.
    pub(super) fn loses_request(&mut self) -> bool {
        let lost = self.falls(self.shared.rates().lost_request_per_mille);
        if lost {
            self.shared.lost_requests.fetch_add(1, Ordering::Relaxed);
        }
        lost
    }

    /// What becomes of a COMMIT that has something to commit.
    pub(super) fn fate(&mut self) -> Fate {
        let rates = self.shared.rates();
        let (fate, count) = if self.falls(rates.conflict_per_mille) {
            (Fate::Conflict, &self.shared.conflicts)
        } else if self.falls(rates.schema_conflict_per_mille) {
            (Fate::SchemaConflict, &self.shared.conflicts)
        } else if self.falls(rates.lost_reply_per_mille) {
            (Fate::LostReply, &self.shared.lost_replies)
        } else if self.falls(rates.unavailable_per_mille) {
            let done = self.random.random_ratio(1, 2);
            (if done { Fate::UnavailableDone } else { Fate::UnavailableUndone }, &self.shared.unavailable)
        } else {
            return Fate::Done;
        };
        count.fetch_add(1, Ordering::Relaxed);
        fate
    }

    /// An id in the form of DSQL's: 26 letters and digits.
    pub(super) fn job_id(&mut self) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        (0..26).map(|_| char::from(LETTERS[self.random.random_range(0..LETTERS.len())])).collect()
    }

    fn falls(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.random_ratio(per_mille.min(1_000), 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_history_and_counts_it() {
        let history = |seed| {
            let shared = Arc::new(Shared::default());
            shared.set(Injection {
                seed,
                conflict_per_mille: 300,
                unavailable_per_mille: 200,
                ..Injection::default()
            });
            let mut dice = Dice::new(Arc::clone(&shared), 1);
            let fates: Vec<Fate> = (0..200).map(|_| dice.fate()).collect();
            (fates, shared.counts())
        };
        let (fates, counts) = history(7);
        assert_eq!((fates.clone(), counts), history(7));
        assert_ne!(fates, history(8).0);
        let conflicts = fates.iter().filter(|fate| **fate == Fate::Conflict).count();
        assert_eq!(u64::try_from(conflicts).expect("at most 200"), counts.conflicts);
        assert!(counts.conflicts > 0 && counts.unavailable > 0 && counts.lost_replies == 0);
    }
}

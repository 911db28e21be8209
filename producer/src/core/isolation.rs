//! Finds the record for which the service refuses a whole request: the request is halved until that record travels
//! alone.
//!
//! A refused request does not say which entry is meant, nor whether it speaks of an entry at all. So a record is refused
//! only after it was refused alone, several times, while the stream stored others; whatever else is refused waits and is
//! tried again. The number of extra requests is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::packer::Record;

/// So often a record is refused alone before its bids are: one odd answer proves nothing.
const REFUSALS_MAX: u32 = 3;
/// Halvings within [`HALVINGS_WITHIN_MS`] while nothing is stored. One bad record among 500 takes nine; where every
/// request is refused, halving finds nothing, and requests are tried again whole.
const HALVINGS_MAX: u32 = 64;
const HALVINGS_WITHIN_MS: u64 = 10_000;
/// Requests of halves under way at once, so that they leave room for all others.
const UNDER_WAY_MAX: usize = 8;

/// How often the service refused a record that travelled alone, since a request with it was first refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    times: u32,
    /// Records that the stream had stored by then.
    stored_before: u64,
}

impl Refusals {
    /// A request is refused for the first time, and the stream has stored so many records since the start.
    #[must_use]
    pub fn in_company(stored: u64) -> Self {
        Self { times: 0, stored_before: stored }
    }

    /// The record was refused alone once more.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { times: self.times.saturating_add(1), ..self }
    }

    /// Refusals of the record alone.
    #[must_use]
    pub fn times(self) -> u32 {
        self.times
    }

    /// Whether it is the record that is refused, and not everything; not known yet while it is none of both.
    #[must_use]
    pub fn verdict(self, stored: u64) -> Option<Cause> {
        let cause = if stored > self.stored_before { Cause::Record } else { Cause::Stream };
        (self.times >= REFUSALS_MAX).then_some(cause)
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The record: the stream stored others meanwhile.
    Record,
    /// Perhaps everything: nothing was stored meanwhile.
    Stream,
}

/// Requests that are smaller than they need be, so that one bad record holds up no other.
#[derive(Debug, Default)]
pub struct Isolation {
    /// By when they are due, then the newest first: a half leads to its bad record before the other is begun.
    waiting: BTreeMap<(u64, std::cmp::Reverse<u64>), Vec<Record>>,
    under_way: BTreeSet<u64>,
    made: u64,
    halvings: u32,
    halved_since_ms: u64,
    stored: u64,
}

impl Isolation {
    /// Takes the records of a refused request apart, which are due at once; gives them back when they are to be tried
    /// again as they are. `stored` counts the records that the stream stored since the start.
    ///
    /// # Errors
    /// The records, when too many requests were halved in vain.
    pub fn halve(&mut self, mut records: Vec<Record>, now_ms: u64, stored: u64) -> Result<(), Vec<Record>> {
        let is_over = now_ms.saturating_sub(self.halved_since_ms) >= HALVINGS_WITHIN_MS;
        if is_over || stored > self.stored {
            (self.halvings, self.halved_since_ms, self.stored) = (0, now_ms, stored);
        }
        if self.halvings >= HALVINGS_MAX {
            return Err(records);
        }
        self.halvings += 1;
        let rest = records.split_off(records.len() / 2);
        self.add(rest, now_ms);
        self.add(records, now_ms);
        Ok(())
    }

    /// Takes records that travel together and with no others, from `due_ms` on.
    pub fn add(&mut self, records: Vec<Record>, due_ms: u64) {
        self.made += 1;
        self.waiting.insert((due_ms, std::cmp::Reverse(self.made)), records);
    }

    /// The next records that are due.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<Record>> {
        let entry = self.waiting.first_entry()?;
        (self.under_way.len() < UNDER_WAY_MAX && entry.key().0 <= now_ms).then(|| entry.remove())
    }

    /// The request of what was polled is under way.
    pub fn on_sent(&mut self, id: u64) {
        self.under_way.insert(id);
    }

    /// A request was answered.
    pub fn on_answered(&mut self, id: u64) {
        self.under_way.remove(&id);
    }

    /// When the next records are due; none while too many are under way.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let (due_ms, _) = self.waiting.first_key_value()?.0;
        (self.under_way.len() < UNDER_WAY_MAX).then_some(*due_ms)
    }

    /// Everything that waits, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.waiting.values().flatten()
    }

    /// Takes everything out, in no order.
    pub fn clear(&mut self) -> Vec<Record> {
        self.under_way.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

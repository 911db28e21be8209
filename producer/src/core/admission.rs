//! Which bids are taken, by what the producer knows of the pipeline: how far ahead a bid may be dated, and who may bid.
//!
//! A bid that is dated too far ahead would be counted as early by the processor and be in no auction, so it is refused
//! here, or kept until it is due. Never judges a bid's worth, and nothing at all without a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::ids::AccountId;
use schemas::item::Roster;
use schemas::time::Millis;

/// A bid that was kept is sent this long after the moment from which it is not early: the clock of its shard is the
/// arrival of the record before it, and is known here to some hundredths of a second.
const DUE_AFTER_MS: u64 = 100;

/// Why a bid is refused before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// It is dated further ahead than the pipeline allows.
    #[error(
        "is {ahead_ms} ms ahead of the stream's clock and at most {ahead_max_ms} ms are allowed, so it would count in no auction; correct the clock that dates it, or send it when it is due"
    )]
    Ahead {
        /// How far ahead of the stream's clock.
        ahead_ms: u64,
        /// How far it may be.
        ahead_max_ms: u64,
    },
    /// It would be kept until it is due, and as many as fit are kept already.
    #[error(
        "is {ahead_ms} ms ahead of the stream's clock, and the buffer is full of bids that are not due yet; send it when it is due"
    )]
    Full {
        /// How far ahead of the stream's clock.
        ahead_ms: u64,
    },
    /// Its account is not agreed.
    #[error(
        "{account_id} is not among the agreed accounts (roster version {version}); provision it with `exchange provision --accounts`, then send it again"
    )]
    Account {
        /// The account.
        account_id: AccountId,
        /// The roster that does not have it.
        version: u64,
    },
}

impl AdmissionError {
    /// The field to blame.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Ahead { .. } | Self::Full { .. } => "timestamp",
            Self::Account { .. } => "account_id",
        }
    }

    /// How far ahead of the stream's clock the bid is dated, in ms; 0 when that is not what it is refused for.
    #[must_use]
    pub fn ahead_ms(&self) -> u64 {
        match self {
            Self::Ahead { ahead_ms, .. } | Self::Full { ahead_ms } => *ahead_ms,
            Self::Account { .. } => 0,
        }
    }
}

/// What to do with a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// It is kept, and comes out of [`Admission::poll_due`].
    Kept,
    /// Refuse it.
    Refuse(AdmissionError),
}

/// What is known of the pipeline, and the bids that are not due yet.
#[derive(Debug, Default)]
pub struct Admission {
    geometry: Option<Geometry>,
    hold_ahead_ms: u64,
    kept_max: usize,
    roster: Option<Arc<Roster>>,
    /// By when they are due, then in the order of taking.
    kept: BTreeMap<(Millis, u64), (u64, Bid)>,
    number: u64,
}

impl Admission {
    /// Without a geometry no bid is too far ahead. One that is at most `hold_ahead_ms` too far ahead is kept, as long as
    /// fewer than `kept_max` are.
    #[must_use]
    pub fn new(geometry: Option<Geometry>, hold_ahead_ms: u64, kept_max: usize) -> Self {
        Self { geometry, hold_ahead_ms, kept_max, ..Self::default() }
    }

    /// From now on accounts that this roster does not have are refused; without one, none.
    pub fn on_roster(&mut self, roster: Option<Arc<Roster>>) {
        self.roster = roster;
    }

    /// Takes a bid; `now` is the stream's clock as far as it is known. `ticket` comes back with a bid that is kept.
    pub fn on_bid(&mut self, ticket: u64, bid: &Bid, now: Millis) -> Verdict {
        if let Some(roster) = &self.roster
            && !roster.has(&bid.account_id)
        {
            let (account_id, version) = (bid.account_id, roster.version());
            return Verdict::Refuse(AdmissionError::Account { account_id, version });
        }
        match self.geometry {
            Some(geometry) if geometry.early(bid.event_time, now) => {
                self.on_early(ticket, bid, now, geometry)
            }
            _ => Verdict::Send,
        }
    }

    fn on_early(&mut self, ticket: u64, bid: &Bid, now: Millis, geometry: Geometry) -> Verdict {
        let (ahead_ms, ahead_max_ms) = (bid.event_time.since(now), geometry.ahead_max_ms);
        if ahead_ms > ahead_max_ms.saturating_add(self.hold_ahead_ms) {
            return Verdict::Refuse(AdmissionError::Ahead { ahead_ms, ahead_max_ms });
        }
        if self.kept.len() >= self.kept_max {
            return Verdict::Refuse(AdmissionError::Full { ahead_ms });
        }
        let due = Millis(bid.event_time.0.saturating_sub(ahead_max_ms)).plus(DUE_AFTER_MS);
        self.number += 1;
        self.kept.insert((due, self.number), (ticket, *bid));
        Verdict::Kept
    }

    /// The next bid that is due, with its ticket; call again until there is none.
    pub fn poll_due(&mut self, now: Millis) -> Option<(u64, Bid)> {
        let first = self.kept.first_entry()?;
        let (due, _) = first.key();
        (*due <= now).then(|| first.remove())
    }

    /// When the next bid is due, by the stream's clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.kept.first_key_value().map(|((due, _), _)| *due)
    }

    /// Bids that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Gives back all that is kept, due or not.
    pub fn clear(&mut self) -> Vec<(u64, Bid)> {
        std::mem::take(&mut self.kept).into_values().collect()
    }
}

#[cfg(test)]
mod tests;

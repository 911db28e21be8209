//! What goes to the stream and what comes back: requests, the service's word on each entry, and the answer to each bid.

use std::sync::Arc;

use runtime::failure::Failure;
use schemas::bid::Bid;
use schemas::ids::{SequenceNumber, ShardId};

use super::admission::AdmissionError;
use super::packer::{Entry, Item};

/// Where the stream keeps a bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shard.
    pub shard_id: ShardId,
    /// The record in it.
    pub sequence: SequenceNumber,
}

/// What became of a bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream has it.
    Accepted(Arc<Place>),
    /// Refused: it cannot make its window any more, and the stream does not have it.
    Expired,
    /// Refused before it was sent.
    Refused(AdmissionError),
    /// The stream refuses the record of this bid and takes others; it does not have it.
    RecordRefused(Arc<Failure>),
    /// Time ran out, and the stream does not have it.
    Undelivered,
    /// There is no such stream.
    StreamRefuses(Arc<Failure>),
    /// Time ran out, and the stream may have it.
    Unknown,
}

/// The one answer to a bid.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the bid was handed in with.
    pub ticket: u64,
    /// The bid.
    pub bid: Bid,
    /// What became of it.
    pub outcome: Outcome,
}

/// The service's word on one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is stored.
    Stored(Arc<Place>),
    /// Refused for its rate alone: it is not stored.
    Throttled,
    /// Nothing says whether it is stored.
    Unknown,
}

/// Entries to put in one call; replies come in the same order.
#[derive(Clone, Debug)]
pub struct Request {
    /// To be given back with the reply.
    pub id: u64,
    /// At most 500.
    pub entries: Vec<Arc<Entry>>,
}

/// The answer to a bid that the stream has.
#[must_use]
pub fn accept(item: &Item, place: &Arc<Place>) -> Answer {
    answer(item, Outcome::Accepted(Arc::clone(place)))
}

/// The answer to a bid that is tried no longer.
#[must_use]
pub fn give_up(item: &Item) -> Answer {
    let outcome = if item.doubtful { Outcome::Unknown } else { Outcome::Undelivered };
    answer(item, outcome)
}

/// The answer to a bid.
pub(super) fn answer(item: &Item, outcome: Outcome) -> Answer {
    Answer { ticket: item.ticket, bid: item.bid, outcome }
}

//! What becomes of records: which are due, what each reply means, and when trying ends.
//!
//! Three things hold. A reply that never came makes every bid of the record doubtful, and a doubtful bid is never
//! refused, because the stream may hold it. A record is accepted only from the shard that was predicted, or as far as
//! the answering shard is known to own its bids. Every bid that goes in comes out exactly once, answered or to be
//! packed anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use runtime::backoff::Backoff;
use runtime::failure::Failure;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::limits::PUT_RECORDS_ENTRIES_MAX;
use schemas::record::Envelope;
use schemas::time::Millis;

use super::packer::{Entry, Item, Record};

/// Bytes of one request: below the 5 MiB that some engines still enforce (Kinesis developer guide, quotas).
const REQUEST_BYTES_MAX: usize = 4 * 1_048_576;
/// Requests under way at once; more would only wait in the service.
pub const REQUESTS_MAX: usize = 32;
/// Waits between attempts: short against a window's grace, capped well below the time a bid is tried.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// Both clocks, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since the start; only this one decides about waiting.
    pub elapsed_ms: u64,
    /// The wall clock; only this one decides about windows.
    pub wall: Millis,
}

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
    /// Time ran out, and the stream does not have it.
    Undelivered,
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

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records stored.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Entries sent again.
    pub retries: u64,
    /// Entries refused for their rate.
    pub throttled: u64,
    /// Bids sent again because a shard answered that was not predicted.
    pub resends: u64,
}

/// A record that a shard answered for which it was not predicted.
#[derive(Debug)]
pub struct Elsewhere {
    /// The record.
    pub record: Record,
    /// Where it lies.
    pub place: Arc<Place>,
}

/// Records between packing and their answer.
#[derive(Debug)]
pub struct Delivery {
    envelope: Envelope,
    geometry: Option<Geometry>,
    /// By when they are due, then by age.
    queue: BTreeMap<(u64, u64), Record>,
    flight: HashMap<u64, Vec<Record>>,
    next_id: u64,
    counts: Counts,
}

impl Delivery {
    /// Nothing to deliver yet. Without a geometry no bid expires.
    #[must_use]
    pub fn new(envelope: Envelope, geometry: Option<Geometry>) -> Self {
        let (queue, flight) = (BTreeMap::new(), HashMap::new());
        Self { envelope, geometry, queue, flight, next_id: 0, counts: Counts::default() }
    }

    /// Takes a record that is due at once.
    pub fn on_record(&mut self, record: Record, now: Moment) {
        self.enqueue(record, now.elapsed_ms);
    }

    /// The next request, when one is due and not too many are under way. Bids for which it is too late are answered.
    pub fn poll_request(&mut self, now: Moment, answers: &mut Vec<Answer>) -> Option<Request> {
        if self.flight.len() >= REQUESTS_MAX {
            return None;
        }
        let (mut records, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        while entries.len() < PUT_RECORDS_ENTRIES_MAX && bytes < REQUEST_BYTES_MAX {
            let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= now.elapsed_ms) else {
                break;
            };
            let mut record = first.remove();
            self.dismiss(&mut record, now, answers);
            if record.items.is_empty() {
                continue;
            }
            let entry = record.seal(self.envelope);
            bytes += entry.data.len() + entry.partition_key.len();
            self.counts.retries += u64::from(record.attempts > 0);
            entries.push(entry);
            records.push(record);
        }
        if records.is_empty() {
            return None;
        }
        self.next_id += 1;
        self.flight.insert(self.next_id, records);
        Some(Request { id: self.next_id, entries })
    }

    /// Takes the replies to a request. What was answered by an unexpected shard comes out.
    pub fn on_replies(
        &mut self,
        id: u64,
        replies: Result<Vec<Reply>, Failure>,
        now: Moment,
        unit: &mut dyn FnMut() -> f64,
        answers: &mut Vec<Answer>,
    ) -> Vec<Elsewhere> {
        let records = self.flight.remove(&id).unwrap_or_default();
        let replies = match replies {
            Ok(replies) if replies.len() == records.len() => replies,
            // Never made, or refused whole: nothing is stored, and only waiting differs.
            Err(Failure::Refused { .. }) => {
                let items = records.into_iter().flat_map(|record| record.items);
                answers.extend(items.map(|item| give_up(&item)));
                return Vec::new();
            }
            Err(Failure::Unreachable { .. }) => {
                records.into_iter().for_each(|record| self.again(record, now, unit()));
                return Vec::new();
            }
            Err(Failure::Throttled { .. }) => vec![Reply::Throttled; records.len()],
            Ok(_) | Err(Failure::Unknown { .. }) => vec![Reply::Unknown; records.len()],
        };
        let mut elsewhere = Vec::new();
        for (mut record, reply) in records.into_iter().zip(replies) {
            match reply {
                Reply::Stored(place) => {
                    self.counts.records += 1;
                    let bytes = record.entry.as_ref().map_or(0, |entry| entry.data.len());
                    self.counts.bytes += u64::try_from(bytes).unwrap_or(0);
                    if record.predicted.as_ref() == Some(&place.shard_id) || record.items.len() == 1 {
                        answers.extend(record.items.iter().map(|item| accept(item, &place)));
                    } else {
                        elsewhere.push(Elsewhere { record, place });
                    }
                }
                Reply::Throttled => {
                    self.counts.throttled += 1;
                    self.again(record, now, unit());
                }
                Reply::Unknown => {
                    record.items.iter_mut().for_each(|item| item.doubtful = true);
                    self.again(record, now, unit());
                }
            }
        }
        elsewhere
    }

    /// Takes back the bids of waiting records that do not satisfy `keep`, to be packed anew.
    pub fn recall(&mut self, keep: impl Fn(&Record) -> bool) -> Vec<Item> {
        self.queue.extract_if(.., |_, record| !keep(record)).flat_map(|(_, record)| record.items).collect()
    }

    /// When the next record is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts bids that are sent again because a shard answered that was not predicted.
    pub fn on_resent(&mut self, bids: usize) {
        self.counts.resends += u64::try_from(bids).unwrap_or(0);
    }

    /// Ends everything now; what is under way is unknown.
    pub fn abandon(&mut self, answers: &mut Vec<Answer>) {
        for mut record in self.flight.drain().flat_map(|(_, records)| records) {
            record.items.iter_mut().for_each(|item| item.doubtful = true);
            answers.extend(record.items.iter().map(give_up));
        }
        let queue = std::mem::take(&mut self.queue);
        answers.extend(queue.values().flat_map(|record| &record.items).map(give_up));
    }

    fn again(&mut self, mut record: Record, now: Moment, unit: f64) {
        let delay = BACKOFF.delay(record.attempts, unit);
        record.attempts = record.attempts.saturating_add(1);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.enqueue(record, now.elapsed_ms.saturating_add(delay_ms));
    }

    fn enqueue(&mut self, record: Record, due_ms: u64) {
        self.next_id += 1;
        self.queue.insert((due_ms, self.next_id), record);
    }

    /// Takes out and answers the bids for which it is too late; what remains is encoded anew.
    fn dismiss(&self, record: &mut Record, now: Moment, answers: &mut Vec<Answer>) {
        let before = record.items.len();
        let late = |item: &mut Item| item.deadline_ms <= now.elapsed_ms || self.expired(item, now);
        for item in record.items.extract_if(.., late) {
            let expired = self.expired(&item, now);
            answers.push(if expired { answer(&item, Outcome::Expired) } else { give_up(&item) });
        }
        if record.items.len() < before {
            record.entry = None;
        }
    }

    fn expired(&self, item: &Item, now: Moment) -> bool {
        let passed =
            |geometry: Geometry| geometry.passed(geometry.window_start(item.bid.event_time), now.wall);
        !item.doubtful && self.geometry.is_some_and(passed)
    }
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

fn answer(item: &Item, outcome: Outcome) -> Answer {
    Answer { ticket: item.ticket, bid: item.bid, outcome }
}

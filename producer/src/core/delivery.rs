//! What becomes of records: which are due, what each reply means, and when trying ends.
//!
//! Three things hold. A reply that never came makes every bid of the record doubtful, and a doubtful bid is never
//! refused, because the stream may hold it. A record is accepted only from the shard that was predicted, or as far as
//! the answering shard is known to own its bids, also when it holds one alone: a stream that keeps no keys puts it anywhere. Every bid that goes in comes out exactly once, answered or to be
//! packed anew.

use std::sync::Arc;
use std::time::Duration;

use runtime::backoff::Backoff;
use runtime::failure::Failure;
use schemas::geometry::Geometry;
use schemas::hash::HashKey;
use schemas::ids::ShardId;
use schemas::limits::PUT_RECORDS_ENTRIES_MAX;
use schemas::mutant::{self, Mutant};
use schemas::record::Envelope;
use schemas::time::Millis;

use super::answer::answer;
pub use super::answer::{Answer, Outcome, Place, Reply, Request, accept, give_up};
use super::events::{Counts, Events, Stored};
use super::flight::Flight;
use super::isolation::{Cause, Isolation, Refusals};
use super::lanes::Lanes;
use super::pacer::{self, Pacer};
use super::packer::{Entry, Item, Record};

/// Bytes of one request: below the 5 MiB that some engines still enforce (Kinesis developer guide, quotas).
const REQUEST_BYTES_MAX: usize = 4 * 1_048_576;
/// Requests under way at once; more would only wait in the service.
pub const REQUESTS_MAX: usize = 32;
/// Waits between attempts: short against a window's grace, capped well below the time a bid is tried.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };
/// A throttled record waits at most as long as after this many attempts: its shard's pace does the rest.
const THROTTLED_ATTEMPTS_MAX: u32 = 3;

/// Both clocks, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since the start; only this one decides about waiting.
    pub elapsed_ms: u64,
    /// The wall clock; only this one decides about windows.
    pub wall: Millis,
}

/// A record that a shard answered for which it was not predicted.
#[derive(Debug)]
pub struct Elsewhere {
    /// The record, less the bids that were given up since.
    pub record: Record,
    /// The hash key it was put under: that of its first bid then, which may be given up by now.
    pub hash: HashKey,
    /// Where it lies.
    pub place: Arc<Place>,
}

/// A request that is being made.
#[derive(Debug, Default)]
struct Going {
    records: Vec<Record>,
    entries: Vec<Arc<Entry>>,
    bytes: usize,
}

/// Records between packing and their answer.
#[derive(Debug)]
pub struct Delivery {
    envelope: Envelope,
    geometry: Option<Geometry>,
    deliver_ms: u64,
    lanes: Lanes,
    flight: Flight,
    isolation: Isolation,
    counts: Counts,
    events: Events,
}

impl Delivery {
    /// Nothing to deliver yet. Without a geometry no bid expires.
    #[must_use]
    pub fn new(envelope: Envelope, geometry: Option<Geometry>, deliver_ms: u64) -> Self {
        let (lanes, flight, isolation) = (Lanes::default(), Flight::default(), Isolation::default());
        let (counts, events) = (Counts::default(), Events::default());
        Self { envelope, geometry, deliver_ms, lanes, flight, isolation, counts, events }
    }

    /// Takes a record that is due at once.
    pub fn on_record(&mut self, record: Record, now: Moment) {
        self.lanes.on_record(record, now.elapsed_ms);
    }

    /// The next request, when one is due and not too many are under way. Bids for which it is too late are answered.
    pub fn poll_request(&mut self, now: Moment, answers: &mut Vec<Answer>) -> Option<Request> {
        if self.flight.len() >= REQUESTS_MAX {
            return None;
        }
        let mut going = Going::default();
        let mut lanes = std::mem::take(&mut self.lanes);
        while going.entries.is_empty()
            && let Some(apart) = self.isolation.poll(now.elapsed_ms)
        {
            for record in apart {
                let predicted = record.predicted.clone();
                self.send(record, lanes.pacer(&predicted), now, (&mut going, answers));
            }
        }
        let is_apart = !going.entries.is_empty();
        if !is_apart {
            lanes.poll(now.elapsed_ms, |record, pacer| {
                self.send(record, pacer, now, (&mut going, answers));
                going.entries.len() < PUT_RECORDS_ENTRIES_MAX && going.bytes < REQUEST_BYTES_MAX
            });
        }
        self.lanes = lanes;
        let Going { records, entries, .. } = going;
        if records.is_empty() {
            return None;
        }
        let id = self.flight.on_sent(records);
        if is_apart {
            self.isolation.on_sent(id);
        }
        Some(Request { id, entries })
    }

    /// Makes a record part of the request that is made, less the bids for which it is too late.
    fn send(
        &mut self,
        mut record: Record,
        pacer: &mut Pacer,
        now: Moment,
        (going, answers): (&mut Going, &mut Vec<Answer>),
    ) {
        self.dismiss(&mut record, now, answers);
        if record.items.is_empty() {
            return;
        }
        let entry = record.seal(self.envelope);
        let entry_bytes = entry.data.len() + entry.partition_key.len();
        pacer.on_sent(pacer::cost(entry_bytes), now.elapsed_ms);
        going.bytes += entry_bytes;
        record.sent_ms.get_or_insert(now.elapsed_ms);
        if record.attempts > 0 {
            self.counts.retries += 1;
            self.events.retried.push(record.predicted.clone());
        }
        going.entries.push(entry);
        going.records.push(record);
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
        let records = self.flight.on_answered(id);
        self.isolation.on_answered(id);
        let mut elsewhere = Vec::new();
        let replies = match replies {
            Ok(replies) if replies.len() == records.len() => replies,
            // Nothing is stored, and there is nothing to store it in.
            Err(failure) if is_final(&failure) => {
                let (items, why) = (records.iter().flat_map(|record| &record.items), Arc::new(failure));
                let refused = |item| answer(item, Outcome::StreamRefuses(Arc::clone(&why)));
                answers.extend(items.map(|item| if item.doubtful { give_up(item) } else { refused(item) }));
                return elsewhere;
            }
            Err(failure) if failure.may_be_of_one_part() => {
                self.on_refused(records, failure, now, unit, answers);
                return elsewhere;
            }
            // Never made, or refused whole, which may pass while the bids have time: nothing is stored, and no shard said
            // so.
            Err(failure) if failure.is_nothing_done() => {
                records.into_iter().for_each(|record| self.again(record, now, unit(), u32::MAX));
                return elsewhere;
            }
            Ok(_) | Err(_) => vec![Reply::Unknown; records.len()],
        };
        for (mut record, reply) in records.into_iter().zip(replies) {
            match reply {
                Reply::Stored(place) => elsewhere.extend(self.on_stored(record, place, now, answers)),
                Reply::Throttled => {
                    self.counts.throttled += 1;
                    self.events.throttled.push(record.predicted.clone());
                    self.lanes.pacer(&record.predicted).on_throttled(now.elapsed_ms);
                    self.again(record, now, unit(), THROTTLED_ATTEMPTS_MAX);
                }
                Reply::Unknown => {
                    let doubtful = !mutant::is(Mutant::LostReplyIsNo);
                    record.items.iter_mut().for_each(|item| item.doubtful |= doubtful);
                    self.again(record, now, unit(), u32::MAX);
                }
            }
        }
        elsewhere
    }

    /// The service refused a request, perhaps for one of its records: they travel apart until that one is found.
    fn on_refused(
        &mut self,
        mut records: Vec<Record>,
        failure: Failure,
        now: Moment,
        unit: &mut dyn FnMut() -> f64,
        answers: &mut Vec<Answer>,
    ) {
        let stored = self.counts.records;
        if records.len() > 1 {
            for record in &mut records {
                record.attempts = record.attempts.saturating_add(1);
                record.refusals.get_or_insert(Refusals::in_company(stored));
            }
            if let Err(records) = self.isolation.halve(records, now.elapsed_ms, stored) {
                records.into_iter().for_each(|record| self.again(record, now, unit(), u32::MAX));
            }
            return;
        }
        let why = Arc::new(failure);
        for mut record in records {
            let refusals = record.refusals.unwrap_or(Refusals::in_company(stored)).alone();
            record.refusals = Some(refusals);
            match refusals.verdict(stored) {
                Some(Cause::Record) => {
                    answers.extend(record.items.iter().map(|item| match item.doubtful {
                        true => give_up(item),
                        false => answer(item, Outcome::RecordRefused(Arc::clone(&why))),
                    }));
                }
                Some(Cause::Stream) => {
                    record.refusals = None;
                    self.again(record, now, unit(), u32::MAX);
                }
                None => self.again(record, now, unit(), refusals.times()),
            }
        }
    }

    /// Accepts a record that lies where it was predicted; returns any other.
    fn on_stored(
        &mut self,
        record: Record,
        place: Arc<Place>,
        now: Moment,
        answers: &mut Vec<Answer>,
    ) -> Option<Elsewhere> {
        let bytes = record.entry.as_ref().map_or(0, |entry| entry.data.len());
        self.counts.records += 1;
        self.counts.bytes += u64::try_from(bytes).unwrap_or(0);
        self.lanes.pacer(&record.predicted).on_stored(now.elapsed_ms);
        let oldest_ms = record.items.iter().map(|item| item.taken_ms).min().unwrap_or(now.elapsed_ms);
        let sent_ms = record.sent_ms.unwrap_or(now.elapsed_ms);
        self.events.stored.push(Stored {
            shard_id: place.shard_id.clone(),
            bids: record.items.len(),
            bytes,
            buffered_ms: sent_ms.saturating_sub(oldest_ms),
            waited_ms: now.elapsed_ms.saturating_sub(oldest_ms),
        });
        let expected =
            record.predicted.as_ref() == Some(&place.shard_id) || mutant::is(Mutant::AcceptedAnywhere);
        if expected {
            answers.extend(record.items.iter().map(|item| accept(item, &place)));
            return None;
        }
        let hash = record.hash();
        Some(Elsewhere { record, hash, place })
    }

    /// Takes back the bids that wait for shards that do not satisfy `keep`, to be packed anew.
    pub fn recall(&mut self, keep: impl Fn(&ShardId) -> bool) -> Vec<Item> {
        self.lanes.recall(keep)
    }

    /// When the next record is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        [self.lanes.next_due_ms(), self.isolation.next_due_ms()].into_iter().flatten().min()
    }

    /// Whether nothing that is predicted for this shard is under way or waits to be sent, but what travels apart.
    #[must_use]
    pub fn is_idle(&self, shard: &ShardId) -> bool {
        !self.flight.holds(shard) && !self.lanes.holds(shard)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// When the oldest bid was taken.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        let records = self.lanes.records().chain(self.flight.records()).chain(self.isolation.records());
        records.flat_map(|record| &record.items).map(|item| item.taken_ms).min()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What happened since the last look.
    pub fn poll_events(&mut self) -> Events {
        std::mem::take(&mut self.events)
    }

    /// Counts bids that are sent again because a shard answered that was not predicted.
    pub fn on_resent(&mut self, bids: usize) {
        self.counts.resends += u64::try_from(bids).unwrap_or(0);
    }

    /// Ends everything now; what is under way is unknown.
    pub fn abandon(&mut self, answers: &mut Vec<Answer>) {
        for mut record in self.flight.clear() {
            record.items.iter_mut().for_each(|item| item.doubtful = true);
            answers.extend(record.items.iter().map(give_up));
        }
        let waiting = [self.lanes.clear(), self.isolation.clear()].concat();
        answers.extend(waiting.iter().flat_map(|record| &record.items).map(give_up));
    }

    /// Queues a record to be sent again after full jitter, bounded as after at most `attempts_max` attempts.
    fn again(&mut self, mut record: Record, now: Moment, unit: f64, attempts_max: u32) {
        let delay = BACKOFF.delay(record.attempts.min(attempts_max), unit);
        record.attempts = record.attempts.saturating_add(1);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let due_ms = now.elapsed_ms.saturating_add(delay_ms);
        if record.refusals.is_some_and(|refusals| refusals.times() > 0) {
            self.isolation.add(vec![record], due_ms);
        } else {
            self.lanes.on_record(record, due_ms);
        }
    }

    /// Takes out and answers the bids for which it is too late; what remains is encoded anew.
    fn dismiss(&self, record: &mut Record, now: Moment, answers: &mut Vec<Answer>) {
        let before = record.items.len();
        let over = |item: &Item| item.taken_ms.saturating_add(self.deliver_ms) <= now.elapsed_ms;
        let late = |item: &mut Item| over(item) || self.expired(item, now);
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
        let doubtful = item.doubtful && !mutant::is(Mutant::DoubtfulExpires);
        !doubtful && self.geometry.is_some_and(passed)
    }
}

/// Whether a request that failed so is of no use to send again, however much time its bids have.
#[must_use]
pub fn is_final(failure: &Failure) -> bool {
    let is_unauthorized = matches!(failure, Failure::Unauthorized { .. });
    matches!(failure, Failure::Missing { .. })
        || (is_unauthorized && mutant::is(Mutant::AuthorizationIsFinal))
}

//! Reads one shard page by page, ahead of who takes the pages, within the rates that a shard allows.
//!
//! Expired iterators, throttles, faults and empty pages are normal life: each is counted and tried again, for ever, for
//! a reader has nothing better to do. Memory is bounded for all readers of a process together: a page is asked for
//! only when the largest one that may come has room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use runtime::shard_end::ShardEnd;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Checkpoint;
use schemas::limits::{GET_RECORDS_MAX, SHARD_READ_BYTES_PER_S};
use schemas::time::Millis;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::core::holding::Raw;
use crate::core::trimmed::Read;
use crate::metrics::{Metrics, add};
use crate::stream::Stream;

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(3) };
/// Pages that wait for who takes them: one is taken while the next is read.
const PAGES_AHEAD: usize = 1;
/// A permit stands for so many bytes.
pub const PERMIT_BYTES: usize = 1_024;
/// The largest page (Kinesis API reference, GetRecords: 10 MiB).
const PAGE_PERMITS: u32 = 10 * 1_024;
/// Attempts after which a failure lasts: it is logged, and where it is a refusal the shard is not read.
const REFUSED_AT: u32 = 3;
/// The code of a failure to read what the stream answered.
const UNREADABLE: &str = "unreadable record";
/// A failure that lasts is logged again after this long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What follows a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More, now or later.
    More,
    /// Nothing yet.
    Tip,
    /// Nothing, ever: the shard is closed, and these are its children.
    End(Vec<ShardId>),
    /// The stream does not have the shard any more.
    Gone,
}

/// One page of a shard.
#[derive(Debug)]
pub struct Page {
    /// Its records.
    pub records: Vec<Raw>,
    /// What follows.
    pub next: Next,
    /// How it was read.
    pub read: Read,
    /// Its part of the memory for pages, given back with the page.
    pub(crate) _memory: Option<OwnedSemaphorePermit>,
}

/// What every reader of a process shares.
#[derive(Clone, Debug)]
pub struct Source {
    /// The client.
    pub client: Client,
    /// The stream.
    pub stream: Stream,
    /// Between two calls.
    pub poll: Duration,
    /// The consumer of enhanced fan-out, when it is used.
    pub consumer_arn: Option<String>,
    /// Memory for pages, in permits.
    pub memory: Arc<Semaphore>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Pages of a shard as they come; reading stops when this is dropped.
#[derive(Debug)]
pub struct Pages {
    pages: mpsc::Receiver<Page>,
    task: AbortHandle,
}

impl Pages {
    /// The next page; none after the last.
    pub async fn next(&mut self) -> Option<Page> {
        self.pages.recv().await
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Source {
    /// Reads a shard from a place on.
    #[must_use]
    pub fn read(&self, shard_id: ShardId, from: Checkpoint) -> Pages {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let reader = Reader {
            source: self.clone(),
            shard_id,
            from,
            end: ShardEnd::default(),
            attempt: 0,
            logged: None,
            doubted: None,
        };
        let task = if self.consumer_arn.is_some() {
            tokio::spawn(crate::fan_out::run(reader, sender))
        } else {
            tokio::spawn(reader.run(sender))
        };
        Pages { pages, task: task.abort_handle() }
    }
}

/// A place in one shard.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) source: Source,
    pub(crate) shard_id: ShardId,
    pub(crate) from: Checkpoint,
    end: ShardEnd,
    attempt: u32,
    logged: Option<Instant>,
    /// Since when replies do not agree about the time, or when that was last said.
    doubted: Option<Instant>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.source.metrics.set_refused(&self.shard_id, false);
    }
}

impl Reader {
    async fn run(mut self, pages: mpsc::Sender<Page>) {
        let mut iterator = None;
        loop {
            let Some(memory) = self.reserve(PAGE_PERMITS).await else { return };
            let began = Instant::now();
            let (page, stuck) = match self.call(&mut iterator).await {
                Ok(answer) => {
                    let behind_ms = answer.millis_behind_latest().unwrap_or_default();
                    let read = self.read(began, behind_ms).await;
                    self.page(answer, read, memory).await
                }
                Err(failure) if self.is_gone(&failure).await => (self.last(Next::Gone), None),
                Err(failure) => {
                    self.pause(&failure).await;
                    continue;
                }
            };
            if stuck.is_none() {
                self.went_well();
            }
            let bytes: usize = page.records.iter().map(|raw| raw.data.len()).sum();
            let last = matches!(page.next, Next::End(_) | Next::Gone);
            if pages.send(page).await.is_err() || last {
                return;
            }
            if let Some(failure) = stuck {
                // What follows the last record that was read is asked for again.
                iterator = None;
                self.pause(&failure).await;
                continue;
            }
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let share = Duration::from_secs(1).saturating_mul(bytes) / SHARD_READ_BYTES_PER_S;
            tokio::time::sleep(self.source.poll.max(share).saturating_sub(began.elapsed())).await;
        }
    }

    pub(crate) async fn reserve(&self, permits: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.source.memory).acquire_many_owned(permits).await.ok()
    }

    async fn call(&self, iterator: &mut Option<String>) -> Result<GetRecordsOutput, Failure> {
        let at = match iterator.take() {
            Some(at) => at,
            None => self.begin().await?,
        };
        let call = self.source.client.get_records().shard_iterator(&at).limit(GET_RECORDS_MAX);
        match call.send().await.map_err(|error| classify(&error)) {
            Ok(answer) => {
                *iterator = answer.next_shard_iterator().map(str::to_owned);
                Ok(answer)
            }
            Err(failure) => {
                // Who refuses the credentials has not looked at the iterator.
                if failure.is_transient() || matches!(failure, Failure::Unauthorized { .. }) {
                    *iterator = Some(at);
                }
                Err(failure)
            }
        }
    }

    async fn begin(&self) -> Result<String, Failure> {
        let request = self.source.client.get_shard_iterator().stream_name(&self.source.stream.name);
        let request = request.shard_id(&self.shard_id.0);
        let request = match &self.from {
            Checkpoint::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
            _ => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        let answer = request.send().await.map_err(|error| classify(&error))?;
        answer
            .shard_iterator
            .ok_or_else(|| Failure::Unknown { message: "no iterator in the answer".to_owned() })
    }

    /// How a page that was asked for then was read; waits until it is known how long the stream keeps records and what
    /// time it is there.
    pub(crate) async fn read(&mut self, asked: Instant, behind_ms: i64) -> Read {
        loop {
            let stream = &self.source.stream;
            let (kept, now) = (stream.kept().await, stream.now().await);
            if now.is_err() && stream.clock.is_in_doubt() {
                // No call failed: replies do not agree about the time, and soon will.
                self.wait_for_clock().await;
                continue;
            }
            let message = match (kept, now) {
                (Some(kept), Ok(now)) => {
                    let behind_ms = u64::try_from(behind_ms).unwrap_or_default();
                    let waited = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.doubted = None;
                    let asked = Millis(now.earliest.0.saturating_sub(waited));
                    return Read::new(&kept, asked, now.latest, behind_ms);
                }
                (None, _) => format!("stream {} does not say how long it keeps records", stream.name),
                (_, Err(failure)) => failure.to_string(),
            };
            self.pause(&Failure::Unknown { message }).await;
        }
    }

    /// Waits while the replies of the stream contradict each other about the time.
    async fn wait_for_clock(&mut self) {
        if self.doubted.get_or_insert_with(Instant::now).elapsed() >= LOG_EVERY {
            self.doubted = Some(Instant::now());
            let (shard_id, stream) = (&self.shard_id, &self.source.stream.name);
            tracing::warn!(%shard_id, stream, "replies of the stream do not agree about the time, reading waits: see that every server before it has the right time");
        }
        tokio::time::sleep(self.source.poll).await;
    }

    /// A page, and why it ends before the answer does, if so.
    async fn page(
        &mut self,
        answer: GetRecordsOutput,
        read: Read,
        mut memory: OwnedSemaphorePermit,
    ) -> (Page, Option<Failure>) {
        let mut not_ended = None;
        let next = if answer.next_shard_iterator().is_none() {
            let children = answer.child_shards().iter().map(|child| ShardId(child.shard_id().to_owned()));
            let children: Vec<ShardId> = children.collect();
            not_ended = self.confirm_end(&children).await.err();
            Next::End(children)
        } else if read.behind_ms == 0 && answer.records().is_empty() {
            Next::Tip
        } else {
            Next::More
        };
        let (records, stuck) = self.unpack(answer.records);
        let stuck = stuck.or(not_ended);
        let next = if stuck.is_some() { Next::More } else { next };
        let bytes: usize = records.iter().map(|raw| raw.data.len()).sum();
        let memory = memory.split((bytes / PERMIT_BYTES + 1).min(memory.num_permits()));
        (Page { records, next, read, _memory: memory }, stuck)
    }

    /// Whether the shard has ended, as an answer without anything to read on from says.
    pub(crate) async fn confirm_end(&mut self, children: &[ShardId]) -> Result<(), Failure> {
        let Source { client, stream, .. } = &self.source;
        self.end.on_end(client, &stream.name, (&self.shard_id, children.len())).await
    }

    pub(crate) fn last(&self, next: Next) -> Page {
        Page { records: Vec::new(), next, read: Read::default(), _memory: None }
    }

    /// Records as the core takes them, up to the first without a number that can be read, and what is wrong with that
    /// one. It could be neither checkpointed nor named, and may hold bids: nothing passes it, and it is asked for again.
    pub(crate) fn unpack(&mut self, records: Vec<Record>) -> (Vec<Raw>, Option<Failure>) {
        let mut raws = Vec::with_capacity(records.len());
        for record in records {
            let arrival = record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok());
            let arrival = arrival.and_then(|ms| u64::try_from(ms).ok()).map(Millis);
            let wrong = match (record.sequence_number.parse::<SequenceNumber>(), arrival) {
                (Ok(sequence), Some(arrival)) => {
                    self.from = Checkpoint::After(sequence.clone());
                    raws.push(Raw { arrival, sequence, data: record.data.into_inner() });
                    continue;
                }
                (Err(error), _) => {
                    format!("the number {:?}, which cannot be read: {error}", record.sequence_number)
                }
                (Ok(_), None) => "no time of arrival".to_owned(),
            };
            add(&self.source.metrics.unnumbered, 1);
            let after = self.from.as_text();
            let message =
                format!("the record after {after} has {wrong}; nothing of the shard is read past it");
            return (raws, Some(Failure::Refused { code: UNREADABLE.to_owned(), message }));
        }
        (raws, None)
    }

    /// Waits before the next attempt; an expired iterator needs no wait.
    pub(crate) async fn pause(&mut self, failure: &Failure) {
        let shard_id = &self.shard_id;
        if failure.code() == "ExpiredIteratorException" {
            add(&self.source.metrics.expired_iterators, 1);
            tracing::debug!(%shard_id, "iterator expired, a new one is asked for");
            return;
        }
        if !failure.is_transient() {
            self.source.stream.doubt();
            if self.attempt >= REFUSED_AT {
                self.source.metrics.set_refused(shard_id, true);
            }
        }
        match failure {
            Failure::Throttled { .. } => add(&self.source.metrics.read_throttles, 1),
            _ => add(&self.source.metrics.read_faults, 1),
        }
        if self.attempt >= REFUSED_AT && self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            if failure.is_transient() {
                tracing::warn!(%shard_id, %failure, attempt = self.attempt, "shard cannot be read, tried again");
            } else {
                tracing::error!(%shard_id, %failure, attempt = self.attempt, "reading is refused, tried again");
            }
        }
        tokio::time::sleep(BACKOFF.delay(self.attempt, runtime::chance::unit())).await;
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Whether the stream dropped the shard. Where the stream itself is gone, nothing is known of the shard.
    pub(crate) async fn is_gone(&self, failure: &Failure) -> bool {
        failure.code() == "ResourceNotFoundException" && self.source.stream.dropped(&self.shard_id).await
    }

    pub(crate) fn went_well(&mut self) {
        self.end.on_more();
        if self.attempt >= REFUSED_AT {
            self.source.metrics.set_refused(&self.shard_id, false);
        }
        self.attempt = 0;
    }
}

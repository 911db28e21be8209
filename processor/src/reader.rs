//! Reads one shard page by page: expired iterators, throttles and faults are normal life.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use schemas::hash::HashRange;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Checkpoint;
use schemas::limits::GET_RECORDS_MAX;
use schemas::time::Millis;

use crate::error::Error;

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(3) };

/// One page of a shard.
#[derive(Debug, Default)]
pub struct Page {
    /// Its records: arrival, number, payload.
    pub records: Vec<(Millis, SequenceNumber, Blob)>,
    /// Whether nothing newer was there.
    pub at_tip: bool,
    /// Whether the shard was closed and this was its last page.
    pub ended: bool,
    /// How far the page's end is behind the tip, in ms.
    pub behind_ms: i64,
}

/// A place in one shard.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    stream: String,
    shard_id: ShardId,
    from: Checkpoint,
    iterator: Option<String>,
    attempt: u32,
}

impl Reader {
    /// A reader that begins at the checkpoint.
    #[must_use]
    pub fn new(client: Client, stream: String, shard_id: ShardId, from: Checkpoint) -> Self {
        Self { client, stream, shard_id, from, iterator: None, attempt: 0 }
    }

    /// The next page, or none when the service wants a pause: then the pause was made.
    ///
    /// # Errors
    /// When the service refuses for good.
    pub async fn read(&mut self) -> Result<Option<Page>, Error> {
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => match self.begin().await {
                Ok(iterator) => iterator,
                Err(failure) => return self.pause(failure).await,
            },
        };
        let sent = self.client.get_records().shard_iterator(&iterator).limit(GET_RECORDS_MAX).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                let failure = classify(&error);
                if failure.code() == "ExpiredIteratorException" {
                    return Ok(None);
                }
                if failure.is_transient() {
                    self.iterator = Some(iterator);
                }
                return self.pause(failure).await;
            }
        };
        self.attempt = 0;
        self.iterator = answer.next_shard_iterator().map(str::to_owned);
        let behind_ms = answer.millis_behind_latest().unwrap_or_default();
        let mut page =
            Page { at_tip: behind_ms == 0, ended: self.iterator.is_none(), behind_ms, records: Vec::new() };
        for record in answer.records {
            if let Some(read) = unpack(record) {
                self.from = Checkpoint::After(read.1.clone());
                page.records.push(read);
            }
        }
        Ok(Some(page))
    }

    async fn begin(&self) -> Result<String, Failure> {
        let request = self.client.get_shard_iterator().stream_name(&self.stream).shard_id(&self.shard_id.0);
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

    async fn pause(&mut self, failure: Failure) -> Result<Option<Page>, Error> {
        if !failure.is_transient() {
            return Err(Error::Call {
                what: format!("shard {} of stream {}", self.shard_id, self.stream),
                failure,
            });
        }
        tracing::debug!(shard_id = %self.shard_id, %failure, "read tried again");
        tokio::time::sleep(BACKOFF.delay(self.attempt, runtime::chance::unit())).await;
        self.attempt = self.attempt.saturating_add(1);
        Ok(None)
    }
}

fn unpack(record: Record) -> Option<(Millis, SequenceNumber, Blob)> {
    let arrival = record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok());
    let arrival = arrival.and_then(|ms| u64::try_from(ms).ok()).map(Millis)?;
    Some((arrival, record.sequence_number.parse().ok()?, record.data))
}

/// A shard as the stream lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub shard_id: ShardId,
    /// What it owns.
    pub range: HashRange,
    /// Its parents that the stream still lists.
    pub parents: Vec<ShardId>,
}

/// Lists all shards of a stream.
///
/// # Errors
/// When the service refuses or cannot be reached.
pub async fn list(client: &Client, stream: &str) -> Result<Vec<Listed>, Failure> {
    let (mut listed, mut token) = (Vec::new(), None::<String>);
    loop {
        let request = match token.take() {
            Some(token) => client.list_shards().next_token(token),
            None => client.list_shards().stream_name(stream),
        };
        let answer = request.send().await.map_err(|error| classify(&error))?;
        for shard in answer.shards() {
            let Some(keys) = shard.hash_key_range() else { continue };
            let (Ok(start), Ok(end)) = (keys.starting_hash_key().parse(), keys.ending_hash_key().parse())
            else {
                continue;
            };
            let parents = shard.parent_shard_id().into_iter().chain(shard.adjacent_parent_shard_id());
            listed.push(Listed {
                shard_id: ShardId(shard.shard_id().to_owned()),
                range: HashRange { start, end },
                parents: parents.map(|id| ShardId(id.to_owned())).collect(),
            });
        }
        token = answer.next_token().map(str::to_owned);
        if token.is_none() {
            let known: Vec<ShardId> = listed.iter().map(|shard: &Listed| shard.shard_id.clone()).collect();
            listed.iter_mut().for_each(|shard| shard.parents.retain(|parent| known.contains(parent)));
            return Ok(listed);
        }
    }
}

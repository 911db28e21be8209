//! The stream as a whole: its shards, its age, whether it is still the same one, and ticks.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::StreamStatus;
use runtime::distribution::{ServiceManaged, keys_kept};
use runtime::failure::{Failure, classify};
use runtime::service_clock::ServiceClock;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;
use schemas::record::tick;
use schemas::time::{Millis, Span};

use crate::core::lease::Listed;
use crate::core::trimmed::Kept;

/// How long an answer about age, retention and the keeping of keys is good for: they change by hand only, and what is put
/// without regard to keys is accepted by no producer. DescribeStreamSummary allows an account 20 calls a second.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// How long it is good for once reading was refused: it may be another stream by now.
const DOUBTED_FOR: Duration = Duration::from_secs(1);

/// A stream; clones share what is known of it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The client.
    pub client: Client,
    /// Its name.
    pub name: String,
    /// The clock of its service.
    pub clock: ServiceClock,
    kept: Arc<Mutex<Option<(Kept, Instant)>>>,
    /// When the stream was made that was met first.
    met: Arc<OnceLock<Millis>>,
    /// That it ignores keys, as it was last known.
    managed: Arc<Mutex<Option<ServiceManaged>>>,
}

impl Stream {
    /// A stream of which nothing is known yet.
    #[must_use]
    pub fn new(client: Client, name: String, clock: ServiceClock) -> Self {
        Self { client, name, clock, kept: Arc::default(), met: Arc::default(), managed: Arc::default() }
    }

    /// The service's time, which is asked for when no reply has told it yet.
    ///
    /// # Errors
    /// When the service refuses or cannot be reached, or its replies have no `Date` or do not agree about it: nothing can
    /// be known then of what retention took away.
    pub async fn now(&self) -> Result<Span, Failure> {
        if let Some(span) = self.clock.span().filter(|_| !self.clock.is_in_doubt()) {
            return Ok(span);
        }
        let ask = self.client.list_shards().stream_name(&self.name).max_results(1);
        ask.send().await.map_err(|error| classify(&error))?;
        if self.clock.is_in_doubt() {
            let message =
                "the Date of its replies jumped; it is believed once replies agree for 3 s".to_owned();
            return Err(Failure::Unknown { message });
        }
        let message = "its replies have no Date, so nothing tells what retention took away".to_owned();
        self.clock.span().ok_or(Failure::Unknown { message })
    }

    /// All shards.
    ///
    /// # Errors
    /// When the service refuses or cannot be reached.
    pub async fn shards(&self) -> Result<Vec<Listed>, Failure> {
        let (mut listed, mut token) = (Vec::new(), None::<String>);
        loop {
            let request = match token.take() {
                Some(token) => self.client.list_shards().next_token(token),
                None => self.client.list_shards().stream_name(&self.name),
            };
            let answer = request.send().await.map_err(|error| classify(&error))?;
            for shard in answer.shards() {
                let keys = shard.hash_key_range();
                let ends =
                    keys.map(|keys| (keys.starting_hash_key().parse(), keys.ending_hash_key().parse()));
                // A list without it would be taken for one of a stream that dropped it, and its lease would go.
                let Some((Ok(start), Ok(end))) = ends else {
                    let message = format!("shard {} is listed without a hash key range", shard.shard_id());
                    return Err(Failure::Unknown { message });
                };
                let numbers = shard.sequence_number_range();
                let parents = shard.parent_shard_id().into_iter().chain(shard.adjacent_parent_shard_id());
                listed.push(Listed {
                    shard_id: ShardId(shard.shard_id().to_owned()),
                    range: HashRange { start, end },
                    parents: parents.map(|id| ShardId(id.to_owned())).collect(),
                    is_open: numbers.is_none_or(|numbers| numbers.ending_sequence_number().is_none()),
                });
            }
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// Age and retention, as they were last known; none when the service never said.
    pub async fn kept(&self) -> Option<Kept> {
        let known = {
            let mut known = self.kept.lock().expect("no holder panics");
            if let Some((kept, until)) = &mut *known {
                if Instant::now() < *until {
                    return Some(*kept);
                }
                // One caller asks again; the others go on with what is known.
                *until = Instant::now() + KEPT_FOR;
            }
            *known
        };
        self.describe().await.map(|(kept, _)| kept).or(known.map(|(kept, _)| kept))
    }

    /// Reading was refused: what is known of the stream is soon asked for again.
    pub fn doubt(&self) {
        if let Some((_, until)) = &mut *self.kept.lock().expect("no holder panics") {
            *until = (*until).min(Instant::now() + DOUBTED_FOR);
        }
    }

    /// When the stream was made that was met first; none before it was described.
    #[must_use]
    pub fn met(&self) -> Option<Millis> {
        self.met.get().copied()
    }

    /// That the stream ignores the keys of records, as it was last described.
    #[must_use]
    pub fn managed(&self) -> Option<ServiceManaged> {
        self.managed.lock().expect("no holder panics").clone()
    }

    /// Whether the stream surely stands and no longer has a shard: it is the one that was met, it is not being deleted,
    /// and it lists others.
    pub async fn dropped(&self, shard_id: &ShardId) -> bool {
        let Some((kept, status)) = self.describe().await else { return false };
        let stands = matches!(status, StreamStatus::Active | StreamStatus::Updating);
        if !stands || Some(kept.created) != self.met() {
            return false;
        }
        let listed = self.shards().await.unwrap_or_default();
        !listed.is_empty() && listed.iter().all(|shard| shard.shard_id != *shard_id)
    }

    async fn describe(&self) -> Option<(Kept, StreamStatus)> {
        let answer = self.client.describe_stream_summary().stream_name(&self.name).send().await.ok()?;
        let summary = answer.stream_description_summary?;
        let kept = Kept {
            created: Millis(u64::try_from(summary.stream_creation_timestamp.to_millis().ok()?).ok()?),
            retention_ms: u64::try_from(summary.retention_period_hours).ok()? * 3_600_000,
        };
        // Members that are missing are read as zero, and no stream has these.
        if kept.created == Millis(0) || kept.retention_ms == 0 {
            return None;
        }
        *self.managed.lock().expect("no holder panics") = keys_kept(&summary).err();
        let _ = self.met.set(kept.created);
        *self.kept.lock().expect("no holder panics") = Some((kept, Instant::now() + KEPT_FOR));
        Some((kept, summary.stream_status))
    }

    /// Puts a tick into the shard that owns a key.
    ///
    /// # Errors
    /// When no answer came or the service said no; nobody needs to care.
    pub async fn tick(&self, hash_key: HashKey) -> Result<(), Failure> {
        let put = self.client.put_record().stream_name(&self.name).partition_key("a");
        let put = put.explicit_hash_key(hash_key.to_string()).data(Blob::new(tick()));
        put.send().await.map(|_| ()).map_err(|error| classify(&error))
    }
}

//! Puts records and reads the result of every entry. Nothing is assumed: an outcome that never came is sent again, and
//! a record answered by another shard than the predicted one is sent again to those who own its bids.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardFilter, ShardFilterType};
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use schemas::hash::HashRange;
use schemas::ids::ShardId;

use crate::core::packer::Packed;
use crate::core::shards::ShardMap;
use crate::metrics::Metrics;

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// Where records are put.
#[derive(Clone, Debug)]
pub struct Putter {
    /// The client.
    pub client: Client,
    /// The stream.
    pub stream: String,
    /// How long a record is tried.
    pub deliver: Duration,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// What became of a record.
#[derive(Debug)]
pub enum Delivered {
    /// It lies in the shard that was predicted.
    Accepted,
    /// It lies in another shard: the map is old, and its bids are to be packed anew.
    Elsewhere(Packed),
    /// Time ran out.
    Unknown(u64),
}

impl Putter {
    /// The open shards.
    ///
    /// # Errors
    /// When the stream cannot be listed.
    pub async fn map(&self) -> Result<ShardMap, Failure> {
        let (mut shards, mut token) = (Vec::new(), None::<String>);
        loop {
            let request = match token.take() {
                Some(token) => self.client.list_shards().next_token(token),
                None => {
                    let filter = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build();
                    let filter = filter.map_err(|error| Failure::Unknown { message: error.to_string() })?;
                    self.client.list_shards().stream_name(&self.stream).shard_filter(filter)
                }
            };
            let answer = request.send().await.map_err(|error| classify(&error))?;
            for shard in answer.shards() {
                let Some(keys) = shard.hash_key_range() else { continue };
                if let (Ok(start), Ok(end)) =
                    (keys.starting_hash_key().parse(), keys.ending_hash_key().parse())
                {
                    shards.push((HashRange { start, end }, ShardId(shard.shard_id().to_owned())));
                }
            }
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(ShardMap::new(shards));
            }
        }
    }

    /// Puts one record until Kinesis has it or time runs out.
    pub async fn put(self, packed: Packed) -> Delivered {
        let deadline = Instant::now() + self.deliver;
        let bids = u64::try_from(packed.bids.len()).unwrap_or(u64::MAX);
        let entry = PutRecordsRequestEntry::builder()
            .partition_key(&packed.partition_key)
            .explicit_hash_key(packed.hash_key.to_string())
            .data(Blob::new(packed.data.clone()))
            .build()
            .expect("an entry with key and data");
        let mut attempt = 0;
        loop {
            match self.attempt(&entry).await {
                Ok(shard) => {
                    self.metrics.records.fetch_add(1, Ordering::Relaxed);
                    let bytes = u64::try_from(packed.data.len()).unwrap_or(0);
                    self.metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
                    if packed.predicted.as_ref() == Some(&shard) {
                        self.metrics.accepted.fetch_add(bids, Ordering::Relaxed);
                        return Delivered::Accepted;
                    }
                    return Delivered::Elsewhere(packed);
                }
                Err(failure) => {
                    if matches!(failure, Failure::Throttled { .. }) {
                        self.metrics.throttled.fetch_add(1, Ordering::Relaxed);
                    }
                    if Instant::now() >= deadline || !failure.is_transient() {
                        tracing::error!(%failure, bids, "record not delivered");
                        self.metrics.unknown.fetch_add(bids, Ordering::Relaxed);
                        return Delivered::Unknown(bids);
                    }
                    tracing::debug!(%failure, attempt, "record sent again");
                }
            }
            self.metrics.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, entry: &PutRecordsRequestEntry) -> Result<ShardId, Failure> {
        let sent = self.client.put_records().stream_name(&self.stream).records(entry.clone()).send().await;
        let answer = sent.map_err(|error| classify(&error))?;
        let Some(result) = answer.records().first() else {
            return Err(Failure::Unknown { message: "an answer without results".to_owned() });
        };
        match (result.shard_id(), result.error_code()) {
            (Some(shard), None) => Ok(ShardId(shard.to_owned())),
            (_, Some("ProvisionedThroughputExceededException")) => {
                Err(Failure::Throttled { code: "ProvisionedThroughputExceededException".to_owned() })
            }
            (_, code) => {
                Err(Failure::Unknown { message: code.unwrap_or("neither shard nor code").to_owned() })
            }
        }
    }
}

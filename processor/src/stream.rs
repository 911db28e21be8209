//! The stream as a whole: its shards, its age, and ticks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use runtime::failure::{Failure, classify};
use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;
use schemas::record::tick;
use schemas::time::Millis;

use crate::core::lease::{Age, Listed};
use crate::core::trimmed::Kept;

/// How long an answer about age and retention is good for: retention changes by hand only.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A stream; clones share what is known of it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The client.
    pub client: Client,
    /// Its name.
    pub name: String,
    kept: Arc<Mutex<Option<(Kept, Instant)>>>,
}

impl Stream {
    /// A stream of which nothing is known yet.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name, kept: Arc::default() }
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
                let Some((Ok(start), Ok(end))) = ends else {
                    tracing::error!(
                        shard_id = shard.shard_id(),
                        "shard without a hash key range left unread"
                    );
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
                return Ok(listed);
            }
        }
    }

    /// Age and retention, as they were last known; none when the service never said.
    pub async fn kept(&self) -> Option<Kept> {
        let known = {
            let mut known = self.kept.lock().expect("no holder panics");
            if let Some((kept, at)) = &mut *known {
                if at.elapsed() < KEPT_FOR {
                    return Some(*kept);
                }
                // One caller asks again; the others go on with what is known.
                *at = Instant::now();
            }
            *known
        };
        self.describe().await.or(known.map(|(kept, _)| kept))
    }

    async fn describe(&self) -> Option<Kept> {
        let answer = self.client.describe_stream_summary().stream_name(&self.name).send().await.ok()?;
        let summary = answer.stream_description_summary?;
        let kept = Kept {
            created: Millis(u64::try_from(summary.stream_creation_timestamp.to_millis().ok()?).ok()?),
            retention_ms: u64::try_from(summary.retention_period_hours).ok()? * 3_600_000,
        };
        *self.kept.lock().expect("no holder panics") = Some((kept, Instant::now()));
        Some(kept)
    }

    /// Whether nothing was trimmed yet. Unknown counts as old: a cut window is never written.
    pub async fn age(&self) -> Age {
        self.kept().await.map_or(Age::Old, |kept| kept.age(runtime::clock::now()))
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

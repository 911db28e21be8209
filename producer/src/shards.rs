//! Lists the open shards of the stream.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType};
use runtime::distribution::{self, KeysError};
use runtime::failure::{Failure, classify};
use runtime::told::Told;
use schemas::hash::HashRange;
use schemas::ids::ShardId;

use crate::core::delivery::BACKOFF;
use crate::core::shard_map::ShardMap;

/// How often listing is tried when the service is slow or says nothing clear.
const ATTEMPTS_MAX: u32 = 6;

/// What is asked of the stream beside its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: an account may call DescribeStreamSummary 20 times a second, all its programs together, and a change of
    /// shards makes every producer list them at once.
    Shards,
    /// Whether it keeps keys.
    Keys,
}

/// The open shards. A service that answers unclearly is asked again; one that cannot be reached is not.
///
/// # Errors
/// When the stream does not exist, may not be listed, or cannot be reached, and when it is asked and ignores keys.
pub async fn list(client: &Client, stream: &str, ask: Ask) -> Result<ShardMap, KeysError> {
    let told = Told::default();
    for attempt in 0.. {
        match list_once(client, stream, ask).await {
            Err(KeysError::Call(failure @ (Failure::Throttled { .. } | Failure::Unknown { .. })))
                if attempt < ATTEMPTS_MAX =>
            {
                if told.may_tell() {
                    tracing::warn!(%failure, stream, "shards cannot be listed, tried again; check that Kinesis answers");
                } else {
                    tracing::debug!(%failure, stream, attempt, "shards cannot be listed, tried again");
                }
                tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
            }
            answer => return answer,
        }
    }
    unreachable!("the last attempt returns")
}

async fn list_once(client: &Client, stream: &str, ask: Ask) -> Result<ShardMap, KeysError> {
    if ask == Ask::Keys {
        distribution::check(client, stream).await?;
    }
    let (mut shards, mut token) = (Vec::new(), None::<String>);
    loop {
        let request = match token.take() {
            Some(token) => client.list_shards().next_token(token),
            None => {
                let filter = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build();
                client.list_shards().stream_name(stream).shard_filter(filter.expect("a filter with its type"))
            }
        };
        let answer = request.send().await.map_err(|error| classify(&error))?;
        for shard in answer.shards() {
            let keys = shard.hash_key_range();
            let ends = keys.map(|keys| (keys.starting_hash_key().parse(), keys.ending_hash_key().parse()));
            // A map without it would predict its bids for no shard.
            let Some((Ok(start), Ok(end))) = ends else {
                let message = format!("shard {} is listed without a hash key range", shard.shard_id());
                return Err(KeysError::Call(Failure::Unknown { message }));
            };
            shards.push((HashRange { start, end }, ShardId(shard.shard_id().to_owned())));
        }
        token = answer.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(ShardMap::new(shards));
        }
    }
}

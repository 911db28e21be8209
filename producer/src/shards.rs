//! Lists the open shards of the stream.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType};
use runtime::failure::{Failure, classify};
use runtime::told::Told;
use schemas::hash::HashRange;
use schemas::ids::ShardId;

use crate::core::delivery::BACKOFF;
use crate::core::shard_map::ShardMap;

/// How often listing is tried when the service is slow or says nothing clear.
const ATTEMPTS_MAX: u32 = 6;

/// The open shards. A service that answers unclearly is asked again; one that cannot be reached is not.
///
/// # Errors
/// When the stream does not exist, may not be listed, or cannot be reached.
pub async fn list(client: &Client, stream: &str) -> Result<ShardMap, Failure> {
    let told = Told::default();
    for attempt in 0.. {
        match list_once(client, stream).await {
            Err(failure @ (Failure::Throttled { .. } | Failure::Unknown { .. }))
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

async fn list_once(client: &Client, stream: &str) -> Result<ShardMap, Failure> {
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
            let Some(keys) = shard.hash_key_range() else { continue };
            if let (Ok(start), Ok(end)) = (keys.starting_hash_key().parse(), keys.ending_hash_key().parse()) {
                shards.push((HashRange { start, end }, ShardId(shard.shard_id().to_owned())));
            }
        }
        token = answer.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(ShardMap::new(shards));
        }
    }
}

//! Whether a shard that seems to have ended is closed: one odd answer must not end the reading of an open one.
//!
//! At the end of a shard GetRecords has no `NextShardIterator` and names the children in `ChildShards`; a subscription
//! has no `ContinuationSequenceNumber` (Kinesis API reference, GetRecords and SubscribeToShardEvent). An answer without
//! either is the end only where the list of shards says that the shard takes no more records.

use aws_sdk_kinesis::Client;
use schemas::ids::ShardId;

use crate::failure::{Failure, classify};

/// Confirms an end that names so many children.
///
/// # Errors
/// When it names none and the stream lists the shard as open, which is [`Failure::Unknown`]: read on from the last
/// record. Also when the stream does not list its shards.
pub async fn confirm(
    client: &Client,
    stream: &str,
    shard_id: &ShardId,
    children: usize,
) -> Result<(), Failure> {
    if children == 0 && is_open(client, stream, shard_id).await? {
        let message = format!(
            "an answer says that {shard_id} has ended and names no children, but stream {stream} lists it as open"
        );
        return Err(Failure::Unknown { message });
    }
    Ok(())
}

/// Whether the stream lists the shard as one that takes records.
async fn is_open(client: &Client, stream: &str, shard_id: &ShardId) -> Result<bool, Failure> {
    let mut next: Option<String> = None;
    loop {
        let call = client.list_shards();
        let call = match next.take() {
            Some(token) => call.next_token(token),
            None => call.stream_name(stream),
        };
        let page = call.send().await.map_err(|error| classify(&error))?;
        if let Some(shard) = page.shards().iter().find(|shard| shard.shard_id() == shard_id.0) {
            let numbers = shard.sequence_number_range();
            return Ok(numbers.is_none_or(|numbers| numbers.ending_sequence_number().is_none()));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(false);
        }
    }
}

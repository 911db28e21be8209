//! Puts one request and reads the result of every entry. Judges nothing: what a reply means is the core's.

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use runtime::failure::{Failure, classify};
use runtime::outage::{Verdict, Watched};
use schemas::ids::ShardId;

use crate::core::delivery::{Place, Reply, Request};
use crate::core::packer::Entry;

/// The error code of an entry that was refused for its rate (Kinesis API reference, PutRecordsResultEntry).
const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Sends the request once and returns its id with one reply per entry, or why there are none.
pub async fn put(client: Client, stream: String, request: Request) -> (u64, Result<Vec<Reply>, Failure>) {
    let sent = client.put_records().stream_name(stream).set_records(Some(entries(&request))).send().await;
    let replies = sent
        .map(|answer| answer.records().iter().map(reply_of).collect())
        .map_err(|error| classify(&error))
        .inspect_err(|failure| tracing::debug!(%failure, entries = request.entries.len(), "request failed"));
    (request.id, replies)
}

/// Why a request came to nothing; none when the stream took some of it, or refused it for its rate alone.
pub(crate) fn trouble(replies: &Result<Vec<Reply>, Failure>) -> Option<Failure> {
    match replies {
        Err(failure) => Some(failure.clone()),
        Ok(replies) if replies.iter().all(|reply| *reply == Reply::Unknown) => {
            Some(Failure::Unknown { message: "no record was stored".to_owned() })
        }
        Ok(_) => None,
    }
}

/// Tells the outage what a request came to. Returns the failure after which no more bids are taken.
pub(crate) fn given_up(trouble: Option<Failure>, sending: &Watched) -> Option<Failure> {
    let Some(failure) = trouble else {
        sending.on_success();
        return None;
    };
    (sending.on_failure(&failure) == Verdict::GiveUp).then_some(failure)
}

/// The request as the client sends it.
#[must_use]
pub fn entries(request: &Request) -> Vec<PutRecordsRequestEntry> {
    request.entries.iter().map(|entry| entry_of(entry)).collect()
}

fn entry_of(entry: &Entry) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder()
        .partition_key(&entry.partition_key)
        .set_explicit_hash_key(entry.explicit_hash_key.map(|key| key.to_string()))
        .data(Blob::new(entry.data.clone()))
        .build()
        .expect("an entry with key and data")
}

fn reply_of(result: &PutRecordsResultEntry) -> Reply {
    let sequence = result.sequence_number().and_then(|text| text.parse().ok());
    match (result.error_code(), result.shard_id(), sequence) {
        (None, Some(shard), Some(sequence)) => {
            Reply::Stored(Arc::new(Place { shard_id: ShardId(shard.to_owned()), sequence }))
        }
        (Some(THROTTLED), ..) => Reply::Throttled,
        // `InternalFailure` does not promise that nothing was stored.
        _ => Reply::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_which_nothing_was_stored_is_trouble_and_one_too_fast_is_none() {
        let (throttled, unknown) = (Reply::Throttled, Reply::Unknown);
        assert_eq!(trouble(&Ok(vec![throttled, unknown.clone()])), None);
        assert!(matches!(trouble(&Ok(vec![unknown; 2])), Some(Failure::Unknown { .. })));
        let refused = Failure::Refused { code: "no".to_owned(), message: String::new() };
        assert_eq!(trouble(&Err(refused.clone())), Some(refused));
    }
}

//! Places in a shard, asked of the stream while its readers use up its calls.

use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use runtime::failure::{Failure, classify};
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Checkpoint;

use crate::stream::Stream;

/// How often a shard that has no calls left is asked again: for five seconds, and it gives five calls in each.
const CALLS: u32 = 20;
const CALLS_PAUSE: Duration = Duration::from_millis(250);

/// Makes a call again while the shard's readers use up its calls.
async fn patient<T, Answer: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> Answer,
) -> Result<T, Failure> {
    for _ in 0..CALLS {
        match call().await {
            Err(Failure::Throttled { .. }) => tokio::time::sleep(CALLS_PAUSE).await,
            answer => return answer,
        }
    }
    call().await
}

/// Where a shard is read from.
pub(super) async fn iterator(stream: &Stream, shard: &ShardId, from: &Checkpoint) -> Result<String, Failure> {
    match from {
        Checkpoint::After(sequence) => {
            iterator_of(stream, shard, (ShardIteratorType::AfterSequenceNumber, Some(sequence))).await
        }
        _ => iterator_of(stream, shard, (ShardIteratorType::TrimHorizon, None)).await,
    }
}

async fn iterator_of(
    stream: &Stream,
    shard: &ShardId,
    (kind, sequence): (ShardIteratorType, Option<&SequenceNumber>),
) -> Result<String, Failure> {
    let request = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(&shard.0);
    let request = request.shard_iterator_type(kind);
    let request = request.set_starting_sequence_number(sequence.map(|number| number.as_str().to_owned()));
    let send = async || request.clone().send().await.map_err(|error| classify(&error));
    let none = || Failure::Unknown { message: "no iterator in the answer".to_owned() };
    patient(send).await?.shard_iterator.ok_or_else(none)
}

/// Whether a stream refused to read a shard of its own from a number because it never gave that number there (Kinesis
/// API reference, `GetShardIterator`).
pub(super) fn is_not_given(failure: &Failure) -> bool {
    failure.code() == "InvalidArgumentException"
}

pub(super) async fn page(stream: &Stream, iterator: &str) -> Result<GetRecordsOutput, Failure> {
    let request = stream.client.get_records().shard_iterator(iterator).limit(1);
    patient(async || request.clone().send().await.map_err(|error| classify(&error))).await
}

/// The first record after a place.
pub(super) async fn first_record(
    stream: &Stream,
    shard: &ShardId,
    from: &Checkpoint,
) -> Result<Option<Record>, Failure> {
    first_from(stream, iterator(stream, shard, from).await?).await
}

/// Whether the shard holds the record of this number.
pub(super) async fn holds(
    stream: &Stream,
    shard: &ShardId,
    sequence: &SequenceNumber,
) -> Result<bool, Failure> {
    let at = match iterator_of(stream, shard, (ShardIteratorType::AtSequenceNumber, Some(sequence))).await {
        Err(failure) if is_not_given(&failure) => return Ok(false),
        at => at?,
    };
    let first = first_from(stream, at).await?;
    Ok(first.is_some_and(|record| record.sequence_number == sequence.as_str()))
}

/// The first record; empty pages may come before it.
async fn first_from(stream: &Stream, iterator: String) -> Result<Option<Record>, Failure> {
    let mut next = Some(iterator);
    while let Some(at) = next {
        let answer = page(stream, &at).await?;
        if let Some(first) = answer.records.into_iter().next() {
            return Ok(Some(first));
        }
        next = answer.next_shard_iterator.filter(|_| answer.millis_behind_latest != Some(0));
    }
    Ok(None)
}

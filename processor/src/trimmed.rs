//! Whether the records after a stored checkpoint may be gone, because nobody read the shard for a retention period.

use aws_sdk_kinesis::types::ShardIteratorType;
use schemas::ids::SequenceNumber;
use schemas::lease::{Beginning, Checkpoint, Lease, Tail};
use schemas::time::Millis;

use crate::stream::Stream;

/// The row with cut beginnings where the log may have been trimmed. Unknown counts as trimmed: a cut window is never
/// written, and one that was not whole must not be.
pub(crate) async fn checked(stream: &Stream, mut row: Lease) -> Lease {
    let Some(facts) = stream.facts().await else { return row };
    let horizon = Millis(runtime::clock::now().0.saturating_sub(facts.retention_ms));
    row.tails.iter_mut().for_each(|tail| cut(tail, horizon));
    let Checkpoint::After(sequence) = &row.checkpoint else { return row };
    if row.replay_clock >= horizon || row.beginning == Beginning::Cut {
        return row;
    }
    if oldest(stream, &row).await.is_some_and(|oldest| oldest <= *sequence) {
        return row;
    }
    tracing::warn!(shard_id = %row.shard_id, checkpoint = sequence.as_str(), replay_clock = %row.replay_clock,
        "the checkpoint is older than what the stream keeps; windows at its edge are cut");
    Lease { checkpoint: Checkpoint::TrimHorizon, beginning: Beginning::Cut, ..row }
}

fn cut(tail: &mut Tail, horizon: Millis) {
    tail.tails.iter_mut().for_each(|own| cut(own, horizon));
    // A tail at a shard's beginning has no clock to compare.
    if matches!(tail.checkpoint, Checkpoint::After(_)) && tail.replay_clock < horizon {
        (tail.beginning, tail.checkpoint) = (Beginning::Cut, Checkpoint::TrimHorizon);
    }
}

/// The number of the oldest record that the shard still has.
async fn oldest(stream: &Stream, row: &Lease) -> Option<SequenceNumber> {
    let request = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(&row.shard_id.0);
    let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.ok()?;
    let call = stream.client.get_records().set_shard_iterator(answer.shard_iterator).limit(1);
    let page = call.send().await.ok()?;
    page.records.first()?.sequence_number.parse().ok()
}

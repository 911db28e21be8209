//! Whether the records after a stored checkpoint may be gone, because nobody read the shard for a retention period.

use aws_sdk_kinesis::types::ShardIteratorType;
use schemas::ids::SequenceNumber;
use schemas::lease::Lease;
use schemas::time::Millis;

use crate::core::lease::Age;
use crate::core::trimmed::{Checked, check, on_oldest};
use crate::stream::Stream;

/// The row with cut beginnings where the log may have been trimmed.
pub(crate) async fn checked(stream: &Stream, row: Lease) -> Lease {
    if stream.age().await == Age::Young {
        return row;
    }
    let Some(facts) = stream.facts().await else { return row };
    let horizon = Millis(runtime::clock::now().0.saturating_sub(facts.retention_ms));
    match check(row, horizon) {
        Checked::Row(row) => row,
        Checked::AskOldest(row) => {
            let oldest = oldest(stream, &row).await;
            let checked = on_oldest(row.clone(), oldest.as_ref());
            if checked != row {
                tracing::warn!(shard_id = %row.shard_id, checkpoint = row.checkpoint.as_text(), replay_clock = %row.replay_clock,
                    "the checkpoint is older than what the stream keeps; windows at its edge are cut");
            }
            checked
        }
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

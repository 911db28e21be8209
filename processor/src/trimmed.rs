//! Whether the records after a stored checkpoint may be gone, because nobody read the shard for a retention period.

use schemas::lease::Lease;
use schemas::time::Millis;

use crate::core::lease::Age;
use crate::core::trimmed::check;
use crate::stream::Stream;

/// The row with cut beginnings where the log may have been trimmed.
pub(crate) async fn checked(stream: &Stream, row: Lease) -> Lease {
    if stream.age().await == Age::Young {
        return row;
    }
    let Some(facts) = stream.facts().await else { return row };
    let horizon = Millis(runtime::clock::now().0.saturating_sub(facts.retention_ms));
    let checked = check(row.clone(), horizon);
    if checked != row {
        tracing::warn!(shard_id = %row.shard_id, checkpoint = row.checkpoint.as_text(), replay_clock = %row.replay_clock,
            "the checkpoint is older than what the stream keeps; windows at its edge are cut");
    }
    checked
}

//! What is said of a lease row whose place our processor did not write, once for each take.

use schemas::lease::{Beginning, Lease};

use super::Shared;
use crate::core::doubt::Doubt;
use crate::metrics::add;

/// Says that a row was taken whose place, or a parent's, is not believed.
pub(super) fn tell(shared: &Shared, doubt: &Doubt, row: &Lease) {
    let Doubt { shard_id, found, beginning, .. } = doubt;
    let (checkpoint, closed_through) = (found.as_text(), row.closed_through);
    add(&shared.metrics.leases_doubted, 1);
    let next = format!("change a place with `processor leases rewind {shard_id} --to PLACE`, which seals it");
    match beginning {
        Beginning::Whole => {
            tracing::warn!(%shard_id, checkpoint, disagrees = %doubt, %closed_through, next,
                "lease row that another tool wrote: its shard is read from its beginning and no window is cut; windows over by closed_through are not written again");
        }
        Beginning::Cut => {
            tracing::warn!(%shard_id, checkpoint, disagrees = %doubt, %closed_through, next,
                "lease row that another tool wrote: windows that may have begun before its place are counted and not written, and neither are windows over by closed_through");
        }
    }
}

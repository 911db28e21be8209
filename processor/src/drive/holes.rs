//! What of the stream nobody reads, and when that is said: when it changes, and again while it lasts.

use std::time::Duration;

use schemas::hash::HashRange;
use schemas::ids::ShardId;

use crate::leases::Unreadable;

/// What lasts is said again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes {
    /// Shards that have a lease of which nothing was heard for long.
    pub(super) unread: Vec<ShardId>,
    /// Parts of the hash space without a lease.
    pub(super) gaps: Vec<HashRange>,
    /// Rows that are no leases.
    pub(super) unreadable: Vec<Unreadable>,
}

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: Option<(Holes, Duration)>,
}

impl Told {
    /// Says what a look found at `now` of a monotonic clock.
    pub(super) fn on_look(&mut self, found: Holes, now: Duration) {
        if self.is_due(found.clone(), now) {
            say(&found);
        }
    }

    /// Whether it is to be said now.
    fn is_due(&mut self, found: Holes, now: Duration) -> bool {
        if found == Holes::default() {
            if self.last.take().is_some() {
                tracing::info!("all of the hash space is read again");
            }
            return false;
        }
        let is_due = match &self.last {
            Some((last, at)) => *last != found || now.saturating_sub(*at) >= AGAIN_AFTER,
            None => true,
        };
        if is_due {
            self.last = Some((found, now));
        }
        is_due
    }
}

fn say(found: &Holes) {
    for shard_id in &found.unread {
        tracing::error!(%shard_id, "nobody reads this shard");
    }
    for range in &found.gaps {
        tracing::error!(start = %range.start, end = %range.end, "no lease covers this part of the hash space");
    }
    for Unreadable { shard_id, reason } in &found.unreadable {
        tracing::error!(%shard_id, reason, "row of the lease table cannot be read, and nobody reads its shard: put the attribute right, or delete the row and its shard is read from its beginning or from what its parents left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_told_when_it_is_found_when_it_changes_and_once_a_minute() {
        let hole = |shard: &str| Holes { unread: vec![ShardId(shard.into())], ..Holes::default() };
        let mut told = Told::default();
        let mut due = |found: Holes, seconds| told.is_due(found, Duration::from_secs(seconds));
        assert!(!due(Holes::default(), 0));
        assert!(due(hole("a"), 1));
        assert!(!due(hole("a"), 2));
        assert!(due(hole("b"), 3), "another one");
        assert!(!due(hole("b"), 62));
        assert!(due(hole("b"), 63), "a minute later");
        assert!(!due(Holes::default(), 64));
        assert!(due(hole("b"), 65), "it was gone in between");
    }
}

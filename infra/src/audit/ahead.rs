//! Shards whose clock ran ahead of what arrived later: the clock is the highest arrival, so one arrival from the future
//! makes late what comes in time until the stream's clock has come up. By the rules that is right; it is told.

use schemas::bid::Bid;
use schemas::ids::ShardId;
use schemas::item::GeometryItem;
use schemas::time::Millis;
use serde::Serialize;

use super::log::{passed, window_of};
use super::recompute::Refused;

/// Arrivals may go back by less than this without being told: servers of one service differ as much.
const TOLD_FROM_MS: u64 = 1_000;

/// A shard whose clock ran ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockAhead {
    /// The shard.
    pub shard_id: ShardId,
    /// The most that its clock was ahead of an arrival, in ms.
    pub ahead_ms: u64,
    /// The first arrival that it was ahead of so far that it is told.
    pub since: Millis,
    /// Bids that were late by the shard's clock and came in time by their own arrival.
    pub late: u64,
}

/// One shard while it is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    most_ms: u64,
    since: Option<Millis>,
    late: u64,
}

impl Ahead {
    /// A record that arrived then moved the clock to `clock`, or did not move it.
    pub(super) fn on_arrival(&mut self, clock: Millis, arrival: Millis) {
        let ahead_ms = clock.since(arrival);
        // A record without an arrival says nothing.
        if arrival.0 > 0 && ahead_ms >= TOLD_FROM_MS {
            self.most_ms = self.most_ms.max(ahead_ms);
            self.since.get_or_insert(arrival);
        }
    }

    /// A bid of a record that arrived then is not counted.
    pub(super) fn on_refused(
        &mut self,
        agreed: &GeometryItem,
        arrival: Millis,
        (bid, refused): (&Bid, Refused),
    ) {
        let came_in_time = !passed(agreed, window_of(agreed, bid.event_time), arrival);
        if refused == Refused::Late && arrival.0 > 0 && came_in_time {
            self.late += 1;
        }
    }

    /// What is told of it, if anything.
    pub(super) fn told(&self, shard_id: &ShardId) -> Option<ClockAhead> {
        let (ahead_ms, late) = (self.most_ms, self.late);
        self.since.map(|since| ClockAhead { shard_id: shard_id.clone(), ahead_ms, since, late })
    }
}

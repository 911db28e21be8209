//! What was met: every fault and every state that the simulation is there for. One that is never met proves nothing.

use std::fmt;

use super::words::words;

words!(
    /// Something that worlds are meant to meet.
    Met {
        /// A request that never arrived.
        LostRequest = "lost request",
        /// An answer that never came back.
        LostReply = "lost reply",
        /// A request that arrived after its caller gave up.
        Delayed = "delayed request",
        /// A request that was carried out twice.
        Twice = "duplicate delivery",
        /// A slow request that others overtook.
        Slow = "latency",
        /// A request refused for its rate.
        Throttled = "throttle",
        /// Status 500, nothing done.
        Failed = "server error",
        /// Status 500, all done.
        FailedDone = "server error after the fact",
        /// Entries or keys that were refused.
        Partial = "partial failure",
        /// An iterator that was too old.
        Expired = "iterator expiry",
        /// A conflict of someone else.
        Conflict = "foreign conflict",
        /// A conflict with a schema change.
        SchemaConflict = "schema conflict",
        /// A conflict between transactions of this world.
        DataConflict = "conflict",
        /// A commit whose answer never came.
        UnknownCommit = "unknown commit",
        /// A process that died as it sent something.
        CrashAtCall = "crash at a call",
        /// A process that died.
        Crash = "crash and restart",
        /// A process that was asked to stop.
        Stop = "graceful stop",
        /// A process that stood still and woke.
        Pause = "paused process that wakes",
        /// Two workers that read one shard.
        TwoOwners = "two owners of one lease",
        /// A write that came from a worker that had lost its lease.
        LateWriter = "write of a former owner",
        /// A shard that was split.
        Split = "split",
        /// Shards that were merged.
        Merge = "merge",
        /// A shard that was closed while its own parent was not read to the end.
        EarlySplit = "split before inheriting",
        /// A tail that had tails.
        NestedTail = "nested tail",
        /// A bid that was sent again because another shard answered.
        StaleMap = "stale shard map",
        /// A tick of the world's own processors.
        Tick = "tick",
        /// A tick that was carried out twice or late.
        TickAgain = "tick doubled or delayed",
        /// A shard that took nothing for a while although windows were open.
        Idle = "idle shard",
        /// A producer whose clock is wrong.
        Skew = "clock skew",
        /// Arrivals that went back.
        ArrivalBack = "arrivals out of order",
        /// An item that TTL deleted.
        TtlDeletion = "ttl deletion",
        /// An item that was put again after TTL had deleted it.
        ReplayAfterTtl = "replay after ttl deletion",
        /// A lease table that lost its rows.
        LostLeases = "lost lease table",
        /// A row of the lease table that another tool changed.
        Edited = "edited lease row",
        /// A processor whose wall clock is further off than records are kept.
        FarClock = "clock beyond retention",
        /// Records that retention removed.
        Trimmed = "trimmed log",
        /// Records that retention may have removed under a reader.
        Gap = "trimmed under a reader",
        /// A stream that was away.
        StreamAway = "stream away",
        /// Tables that were away.
        TableAway = "table away",
        /// A ledger that was away.
        LedgerAway = "ledger away",
        /// A record that is no bid.
        Garbage = "garbage record",
        /// A bid that came too late.
        Late = "late bid",
        /// A bid that was dated too far ahead.
        Early = "early bid",
        /// A bid in the wrong shard.
        Stray = "stray bid",
        /// A second copy of a bid.
        Duplicate = "duplicate bid",
        /// A bid that could not make its window.
        ExpiredBid = "expired bid",
        /// A bid of which no one knows whether it is in the stream.
        UnknownBid = "unknown bid",
        /// A put that met an equal item.
        Replay = "replayed put",
        /// A sale.
        Sale = "sale",
        /// A decision not to sell.
        NoSale = "no sale",
        /// A candidate that could not pay.
        PassedOver = "candidate passed over",
        /// A log that was read for an auction whose candidates did not suffice.
        LogRead = "log read behind candidates",
        /// A batch that was halved.
        Halved = "batch halved",
        /// An auction that was set aside.
        Held = "auction held",
        /// A decision that another attempt or another settler had made.
        SecondSettler = "decision that stood already",
        /// A record that was put without regard to its key.
        ServiceManaged = "service-managed distribution",
        /// A stage that refused such a stream.
        KeysIgnored = "stream that ignores keys refused",
        /// An item that the table refused.
        RefusedItem = "item refused by the table",
        /// A refused item that a person gave up.
        SkippedItem = "refused item given up",
        /// An item that no longer says what its digest says.
        Corrupted = "corrupted item",
        /// A deposit.
        Deposit = "deposit",
        /// An outbox index that showed what was decided before.
        StaleIndex = "stale outbox index",
        /// Credentials that expired in the middle of work.
        Unauthorized = "credentials expired",
    }
);

/// How often each was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Self {
        Self(vec![0; Met::ALL.len()])
    }
}

impl Coverage {
    /// Something was met.
    pub fn meet(&mut self, met: Met) {
        self.0[met.index()] += 1;
    }

    /// How often something was met.
    #[must_use]
    pub fn count(&self, met: Met) -> u64 {
        self.0[met.index()]
    }

    /// Adds what another met.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own += other);
    }

    /// What was never met.
    #[must_use]
    pub fn missing(&self) -> Vec<Met> {
        Met::ALL.iter().copied().filter(|met| self.count(*met) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pair in Met::ALL.chunks(2) {
            let cells = pair.iter().map(|met| format!("{:<34}{:>12}", met.as_str(), self.count(*met)));
            writeln!(f, "  {}", cells.collect::<Vec<_>>().join("    "))?;
        }
        Ok(())
    }
}

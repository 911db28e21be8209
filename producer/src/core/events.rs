//! What happened to records, for whoever counts it.

use schemas::ids::ShardId;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records stored.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Entries sent again.
    pub retries: u64,
    /// Entries refused for their rate.
    pub throttled: u64,
    /// Bids sent again because a shard answered that was not predicted.
    pub resends: u64,
}

/// A record that the stream has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The shard that has it.
    pub shard_id: ShardId,
    /// Its bids.
    pub bids: usize,
    /// Its bytes.
    pub bytes: usize,
    /// How long its oldest bid waited until the record was first sent, in ms.
    pub buffered_ms: u64,
    /// How long its oldest bid was on its way, in ms.
    pub waited_ms: u64,
}

/// What happened to records since the last look.
#[derive(Debug, Default)]
pub struct Events {
    /// Stored, in the order of the replies.
    pub stored: Vec<Stored>,
    /// Entries that a shard refused for its rate; each names whom it was predicted for.
    pub throttled: Vec<Option<ShardId>>,
    /// Entries sent again; each names whom it was predicted for.
    pub retried: Vec<Option<ShardId>>,
}

//! Counters of one producer, and what it says at the end.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::exit;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Lines or bids taken in.
    pub sent: AtomicU64,
    /// Bids that Kinesis has.
    pub accepted: AtomicU64,
    /// Lines refused with a reason.
    pub refused: AtomicU64,
    /// Bids of which an attempt's outcome never came before time ran out.
    pub unknown: AtomicU64,
    /// Records that Kinesis has.
    pub records: AtomicU64,
    /// Bytes of those records.
    pub bytes: AtomicU64,
    /// Entries sent again.
    pub retries: AtomicU64,
    /// Entries refused for their rate.
    pub throttled: AtomicU64,
    /// Records sent again because another shard answered than was predicted.
    pub resends: AtomicU64,
}

/// What a producer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Lines or bids taken in.
    pub sent: u64,
    /// Bids that Kinesis has.
    pub accepted: u64,
    /// Lines refused.
    pub refused: u64,
    /// Bids without an answer.
    pub unknown: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
}

impl Metrics {
    /// Counters as they stand.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            sent: get(&self.sent),
            accepted: get(&self.accepted),
            refused: get(&self.refused),
            unknown: get(&self.unknown),
            records: get(&self.records),
            bytes: get(&self.bytes),
        }
    }
}

impl Summary {
    /// 0 when all was accepted, 1 when lines were refused, 69 when bids could not be delivered.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.unknown, self.refused) {
            (0, 0) => exit::DONE,
            (0, _) => exit::FOUND,
            _ => exit::UNAVAILABLE,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, accepted, refused, unknown, records, bytes } = self;
        write!(
            f,
            "sent {sent}, accepted {accepted}, refused {refused}, unknown {unknown}, in {records} records of {bytes} bytes"
        )
    }
}

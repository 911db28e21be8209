//! Counters of one processor, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, and gauges of now.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records read.
    pub records: AtomicU64,
    /// Bids counted.
    pub counted: AtomicU64,
    /// Copies.
    pub duplicates: AtomicU64,
    /// Not valid.
    pub rejected: AtomicU64,
    /// In the wrong shard.
    pub stray: AtomicU64,
    /// Dated too far ahead.
    pub early: AtomicU64,
    /// Too late.
    pub late: AtomicU64,
    /// Aggregates made durable.
    pub auctions_closed: AtomicU64,
    /// Windows open now.
    pub open_windows: AtomicU64,
    /// Shards held now.
    pub leases_held: AtomicU64,
    /// Items that stood there already with the same digest.
    pub replays: AtomicU64,
    /// Items that stood there already with another digest.
    pub divergence: AtomicU64,
    /// Calls refused for their rate.
    pub throttles: AtomicU64,
    /// Ticks sent.
    pub ticks: AtomicU64,
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Reads a counter.
#[must_use]
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

//! Counters of one processor, read by whoever shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::ids::ShardId;

use crate::core::ahead::AHEAD_TOLD_MS;

/// What one shard looks like now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardGauges {
    /// How far reading is behind the tip, in ms.
    pub behind_ms: u64,
    /// How far the shard clock is behind the service's time, in ms.
    pub clock_lag_ms: u64,
    /// How far the shard clock is ahead of the service's time, in ms.
    pub clock_ahead_ms: u64,
    /// How far the checkpoint's clock is behind the service's time, in ms.
    pub checkpoint_age_ms: u64,
    /// Windows that hold bids or counts.
    pub open_windows: u64,
    /// Counted bids in memory.
    pub open_bids: u64,
}

/// How long something took: buckets of [`Latency::BOUNDS_MS`], then all that took longer.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; Latency::BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// Upper bounds, inclusive, in ms.
    pub const BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000];

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let bucket = Self::BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts per bucket, and the sum in microseconds.
    #[must_use]
    pub fn read(&self) -> ([u64; Self::BOUNDS_MS.len() + 1], u64) {
        (std::array::from_fn(|at| get(&self.buckets[at])), get(&self.sum_us))
    }
}

/// Counters since the start, and gauges of now.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records read.
    pub records: AtomicU64,
    /// Records read again: a checkpoint before this worker's lease was past them.
    pub records_again: AtomicU64,
    /// Records of inherited tails.
    pub records_inherited: AtomicU64,
    /// Bytes read.
    pub read_bytes: AtomicU64,
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
    /// Windows made durable.
    pub windows_closed: AtomicU64,
    /// Windows open now.
    pub open_windows: AtomicU64,
    /// Counted bids in memory now.
    pub open_bids: AtomicU64,
    /// Shards held now.
    pub leases_held: AtomicU64,
    /// Leases gained.
    pub leases_gained: AtomicU64,
    /// Leases that another worker took or asked for.
    pub leases_lost: AtomicU64,
    /// Parts of the hash space that no row reads.
    pub lease_gaps: AtomicU64,
    /// Leases of which nothing was heard for twice the failover time.
    pub leases_unread: AtomicU64,
    /// Rows of the lease table that cannot be read, at the last look.
    pub leases_unreadable: AtomicU64,
    /// Rows of the lease table that another tool wrote or changed, at the last look.
    pub leases_altered: AtomicU64,
    /// Places of such rows that were taken and not believed.
    pub leases_doubted: AtomicU64,
    /// Times that records may have been removed before they were read.
    pub gaps: AtomicU64,
    /// 1 while stream or lease table did not answer the last look.
    pub away: AtomicU64,
    /// 1 while stream or leases refuse the credentials, or a policy denies the calls.
    pub unauthorized: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Lease rows whose write had no reply.
    pub lease_unknown: AtomicU64,
    /// Items put.
    pub items_written: AtomicU64,
    /// Bid events written.
    pub bid_events: AtomicU64,
    /// Times that an item was refused by the table and held.
    pub items_refused: AtomicU64,
    /// Items that a person gave up and that were therefore not written.
    pub items_skipped: AtomicU64,
    /// 1 while the table refuses this processor's writes as a whole.
    pub table_refuses: AtomicU64,
    /// Items that are held because the table refuses them, by their keys, with what it says.
    pub held: Mutex<BTreeMap<String, String>>,
    /// Items that stood there already.
    pub conditional_failures: AtomicU64,
    /// Items that stood there already with the same digest.
    pub replays: AtomicU64,
    /// Items that stood there already with another digest.
    pub divergence: AtomicU64,
    /// Writes refused for their rate.
    pub throttles: AtomicU64,
    /// Writes that failed otherwise, or had no reply.
    pub write_faults: AtomicU64,
    /// Writes that may be under way at once, now.
    pub writes_bound: AtomicU64,
    /// How long a put took.
    pub put_seconds: Latency,
    /// Reads refused for their rate.
    pub read_throttles: AtomicU64,
    /// Reads that failed otherwise.
    pub read_faults: AtomicU64,
    /// Iterators that expired.
    pub expired_iterators: AtomicU64,
    /// Records that were met without a number that can be read; their shard waits.
    pub unnumbered: AtomicU64,
    /// Ticks sent.
    pub ticks: AtomicU64,
    /// Shards whose reading the service refuses, now and until it does not.
    pub refused: Mutex<BTreeSet<ShardId>>,
    /// Shards that are read now.
    pub shards: Mutex<BTreeMap<ShardId, ShardGauges>>,
}

impl Metrics {
    /// Says whether reading a shard is refused.
    pub fn set_refused(&self, shard_id: &ShardId, is_refused: bool) {
        let mut refused = self.refused.lock().expect("no holder panics");
        if is_refused {
            refused.insert(shard_id.clone());
        } else {
            refused.remove(shard_id);
        }
    }

    /// Shards whose reading is refused.
    #[must_use]
    pub fn shards_refused(&self) -> u64 {
        u64::try_from(self.refused.lock().expect("no holder panics").len()).unwrap_or(u64::MAX)
    }

    /// Says of an item that it is held and why, or that it no longer is. Returns how many are held.
    pub fn set_held(&self, key: &str, reason: Option<String>) -> usize {
        let mut held = self.held.lock().expect("no holder panics");
        match reason {
            Some(reason) => drop(held.insert(key.to_owned(), reason)),
            None => drop(held.remove(key)),
        }
        held.len()
    }

    /// Items that are held because the table refuses them.
    #[must_use]
    pub fn items_held(&self) -> u64 {
        u64::try_from(self.held.lock().expect("no holder panics").len()).unwrap_or(u64::MAX)
    }

    /// Shards whose clock is ahead of the service's by more than is told.
    #[must_use]
    pub fn clocks_ahead(&self) -> u64 {
        let shards = self.shards.lock().expect("no holder panics");
        let ahead = shards.values().filter(|shard| shard.clock_ahead_ms > AHEAD_TOLD_MS).count();
        u64::try_from(ahead).unwrap_or(u64::MAX)
    }

    /// Sets what a shard looks like, or forgets it.
    pub fn set_shard(&self, shard_id: &ShardId, gauges: Option<ShardGauges>) {
        let mut shards = self.shards.lock().expect("no holder panics");
        match gauges {
            Some(gauges) => drop(shards.insert(shard_id.clone(), gauges)),
            None => drop(shards.remove(shard_id)),
        }
        let sum = |pick: fn(&ShardGauges) -> u64| shards.values().map(pick).sum();
        self.open_windows.store(sum(|one| one.open_windows), Ordering::Relaxed);
        self.open_bids.store(sum(|one| one.open_bids), Ordering::Relaxed);
    }
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

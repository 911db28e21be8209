//! Counters of one settler, read by whoever shows them.

use std::sync::atomic::AtomicU64;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Sales.
    pub settled: AtomicU64,
    /// Auctions decided as not sold.
    pub no_sale: AtomicU64,
    /// Auctions set aside.
    pub held: AtomicU64,
    /// Transactions that ended well.
    pub transactions: AtomicU64,
    /// Attempts that met a conflict.
    pub conflicts: AtomicU64,
    /// Attempts after the first.
    pub retries: AtomicU64,
    /// Conflicts of batches that ended well.
    pub resolved: AtomicU64,
}

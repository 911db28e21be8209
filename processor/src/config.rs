//! What a processor is told when it starts.

use clap::{Parser, ValueEnum};
use schemas::keys;

/// Which single bids are written for analysts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BidEvents {
    /// None.
    None,
    /// Each region's best in each auction.
    Best,
}

/// Reads shards and writes the aggregates of closed auctions.
#[derive(Parser, Clone, Debug)]
#[command(name = "processor", version)]
pub struct Config {
    /// The stream of bids.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM)]
    pub stream: String,
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE)]
    pub table: String,
    /// The table of leases.
    #[arg(long, env = "LEASE_TABLE", default_value = keys::LEASE_TABLE)]
    pub lease_table: String,
    /// This worker's name in the lease table; made up when absent.
    #[arg(long)]
    pub worker: Option<String>,
    /// Pause between two reads of a shard, in ms; AWS allows 5 reads a second.
    #[arg(long, default_value_t = 210, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub poll_ms: u64,
    /// How long a lease may stand still before another worker takes it, in ms.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    pub failover_ms: u64,
    /// Which single bids are written.
    #[arg(long, value_enum, default_value = "none")]
    pub bid_events: BidEvents,
    /// Window length that the pipeline must have agreed on, in ms.
    #[arg(long)]
    pub window_ms: Option<u64>,
}

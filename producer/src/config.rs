//! What a producer is told when it starts.

use std::path::PathBuf;

use clap::Parser;
use schemas::ids::Region;
use schemas::keys;
use schemas::record::Envelope;

/// Puts bids into Kinesis: NDJSON from standard input or a file, or generated load.
#[derive(Parser, Clone, Debug)]
#[command(name = "producer", version)]
pub struct Config {
    /// The stream of bids.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM)]
    pub stream: String,
    /// The region of this edge.
    #[arg(long, env = "AWS_REGION")]
    pub region: Region,
    /// NDJSON to read; standard input when absent.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Generates load instead of reading: this many bids a second.
    #[arg(long, conflicts_with = "input")]
    pub generate: Option<u32>,
    /// Seconds of generated load.
    #[arg(long, default_value_t = 30)]
    pub duration: u64,
    /// Slots of generated load.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub slots: u32,
    /// Accounts of generated load.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub accounts: u32,
    /// Seed of generated load.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How bids are wrapped: block, aggregated or plain.
    #[arg(long, default_value = "block")]
    pub envelope: Envelope,
    /// Longest time a bid waits for company, in ms.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub linger_ms: u64,
    /// How long an undeliverable bid is tried before it is answered as unknown, in s.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub deliver_s: u64,
    /// Refused lines with their reasons, as NDJSON.
    #[arg(long)]
    pub rejects: Option<PathBuf>,
}

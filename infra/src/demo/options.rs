//! What a person may ask of the demo.

use std::path::PathBuf;

use clap::Args;
use schemas::ids::Region;

/// Options of the demo.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Seconds of load; bids from outside end when their input does.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) duration: u64,
    /// Bids a second, all regions together.
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    pub(super) rate: u32,
    /// Slots that are auctioned, and that the ledger knows.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) slots: u32,
    /// Accounts that bid, and that the ledger knows.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) accounts: u32,
    /// Seed of the load and of injected conflicts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    pub(super) seed: i64,
    /// Window length, in ms.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub(super) window: u64,
    /// How many of a thousand commits to the ledger conflict on purpose.
    #[arg(long, value_name = "PER_MILLE", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=900))]
    pub(super) conflicts: u32,
    /// NDJSON to send instead of generated load; `-` is standard input. One producer takes it, in --region.
    #[arg(long, value_name = "FILE")]
    pub(super) bids: Option<PathBuf>,
    /// The region of bids from outside: a line that names another one is refused.
    #[arg(long, requires = "bids", default_value = "us-east-1")]
    pub(super) region: Region,
    /// Writes refused lines, each with its number, field and reason, as NDJSON to this file.
    #[arg(long, value_name = "FILE", requires = "bids")]
    pub(super) rejects: Option<PathBuf>,
    /// Writes the report as JSON to this file, `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

//! What a settler is told when it starts.

use clap::Parser;
use schemas::keys;

use crate::db::Ledger;

/// Emits winners to the ledger.
#[derive(Parser, Clone, Debug)]
#[command(name = "settler", version)]
pub struct Config {
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE)]
    pub table: String,
    /// Where the ledger is.
    #[command(flatten)]
    pub ledger: Ledger,
    /// This worker's name in conflict events; made up when absent.
    #[arg(long)]
    pub worker: Option<String>,
    /// Most auctions of one transaction; 100 stay far below 3,000 rows.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=300))]
    pub batch: u16,
    /// Longest pause between two looks at an idle outbox, in ms.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub idle_ms: u64,
}

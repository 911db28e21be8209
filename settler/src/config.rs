//! What a settler is told when it starts.

use std::net::SocketAddr;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use schemas::keys;

use crate::core::transaction::Rules;
use crate::db::Ledger;

/// Emits winners to the ledger.
#[derive(Parser, Clone, Debug)]
#[command(name = "settler", version)]
pub struct Config {
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE, value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// The stream of bids, which is read for auctions whose candidates do not suffice.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM, value_parser = NonEmptyStringValueParser::new())]
    pub stream: String,
    /// Where the ledger is.
    #[command(flatten)]
    pub ledger: Ledger,
    /// This worker's name in conflict events; made up when absent.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub worker: Option<String>,
    /// Most auctions of one transaction; 100 stay far below 3,000 rows.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=300))]
    pub batch: u16,
    /// Buckets that are settled at once, each with a connection of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub lanes: u16,
    /// Most new connections to the ledger in a second; a cluster takes 100 from everyone together.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub connects_per_second: u32,
    /// Longest pause between two looks at an idle outbox, in ms.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub idle_ms: u64,
    /// Where `GET /metrics` and `GET /health` are answered; beyond loopback a token is needed.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// How a batch is run; what the winner pays is what was agreed.
    #[arg(skip)]
    pub rules: Rules,
    /// The token that requests must bring as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

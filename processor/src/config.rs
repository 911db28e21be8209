//! What a processor is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::keys;
use schemas::limits::SHARD_READ_CALLS_PER_S;

use crate::core;

/// Which single bids are written for analysts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BidEvents {
    /// None.
    None,
    /// Each region's best in each auction.
    Best,
    /// Every counted bid.
    All,
}

impl From<BidEvents> for core::BidEvents {
    fn from(events: BidEvents) -> Self {
        match events {
            BidEvents::None => Self::None,
            BidEvents::Best => Self::Best,
            BidEvents::All => Self::All,
        }
    }
}

/// A form of metrics on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricsForm {
    /// CloudWatch's embedded metric format.
    Emf,
}

/// Where stream and tables are.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// The stream of bids.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM, global = true, value_parser = NonEmptyStringValueParser::new())]
    pub stream: String,
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE, global = true, value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// The table of leases.
    #[arg(long, env = "LEASE_TABLE", default_value = keys::LEASE_TABLE, global = true, value_parser = NonEmptyStringValueParser::new())]
    pub lease_table: String,
}

/// Reads shards and writes the aggregates of closed auctions.
#[derive(Parser, Clone, Debug)]
#[command(name = "processor", version)]
pub struct Config {
    /// What to do instead of reading.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where stream and tables are.
    #[command(flatten)]
    pub names: Names,
    /// This worker's name in the lease table, to which each start adds letters of its own; made up when absent.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub worker: Option<String>,
    /// Time from one read of a shard to the next, in ms, from 200: Kinesis allows 5 reads a second of a shard, all its
    /// readers together, and settlers that read the log need one of them.
    #[arg(long, default_value_t = 250, value_parser = poll_ms)]
    pub poll_ms: u64,
    /// How long a lease may stand still before another worker takes it, in ms.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    pub failover_ms: u64,
    /// Pause between two looks at the lease table, in ms.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub look_ms: u64,
    /// How long a stop may take to write what was closed and to release the leases, in ms.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub grace_ms: u64,
    /// Memory for pages that were read and not taken yet, in MiB, all shards together.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=4_096))]
    pub read_ahead_mib: u32,
    /// Open bids in memory above which no further lease is taken.
    #[arg(long, default_value_t = 8_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub open_bids_max: u64,
    /// Reads by enhanced fan-out, as this registered consumer, which is made when it is not there.
    #[arg(long, value_name = "CONSUMER", num_args = 0..=1, default_missing_value = "processor", value_parser = NonEmptyStringValueParser::new())]
    pub fan_out: Option<String>,
    /// Which single bids are written.
    #[arg(long, value_enum, default_value = "none")]
    pub bid_events: BidEvents,
    /// Where `GET /metrics` and `GET /health` are answered; beyond loopback a token is needed.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The token that requests must bring as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Writes metrics to standard output too: in CloudWatch's embedded metric format.
    #[arg(long, value_enum)]
    pub metrics: Option<MetricsForm>,
    /// Window length that the pipeline must have agreed on, in ms.
    #[arg(long)]
    pub window_ms: Option<u64>,
}

/// Longest time between two reads, in ms.
const POLL_MS_MAX: u64 = 60_000;

/// Faster reads would only be refused, to this reader and to every other one of the shard.
fn poll_ms(text: &str) -> Result<u64, String> {
    let least = 1_000 / u64::from(SHARD_READ_CALLS_PER_S);
    let ms = text.parse().ok().filter(|ms| (least..=POLL_MS_MAX).contains(ms));
    ms.ok_or_else(|| {
        format!(
            "a shard may be read {SHARD_READ_CALLS_PER_S} times a second, so {least} to {POLL_MS_MAX} ms; for less delay \
             read with --fan-out"
        )
    })
}

impl Config {
    /// How long a lease may stand still.
    #[must_use]
    pub fn failover(&self) -> Duration {
        Duration::from_millis(self.failover_ms)
    }
}

/// What a processor can do instead of reading.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Who reads which shard, from where, and what nobody reads.
    Leases(Leases),
}

/// Shows leases, or changes one.
#[derive(Args, Clone, Debug)]
pub struct Leases {
    /// What to change; without it the leases are shown.
    #[command(subcommand)]
    pub change: Option<Change>,
    /// As JSON, one object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Looks twice, this many ms apart, and shows an owner that has not renewed in between as silent; from a third of
    /// --failover-ms on every owner that lives has.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub watch_ms: Option<u64>,
}

/// A change of one lease.
#[derive(Subcommand, Clone, Debug)]
pub enum Change {
    /// Takes a lease away from its owner; the next worker that looks takes it. Nothing is lost or doubled.
    Release {
        /// The shard.
        shard: String,
    },
    /// Lets a shard be read again from an earlier place. What was written stays, and what was closed is not written again.
    Rewind {
        /// The shard.
        shard: String,
        /// `TRIM_HORIZON` or a sequence number.
        #[arg(long)]
        to: String,
    },
    /// Gives up an item that the table refuses, so that the checkpoint of its shard moves on without it. A row at the
    /// item's key keeps who did so, when and why, and the audit tells of it.
    Skip {
        /// The item's PK, as the error and `processor leases` name it.
        pk: String,
        /// Its SK.
        sk: String,
        /// Why it may be given up.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        reason: String,
        /// Who gives it up.
        #[arg(long, env = "USER", value_parser = NonEmptyStringValueParser::new())]
        by: String,
    },
    /// Lets leases of a stream that was deleted begin anew, once another was made under its name. Its processors must
    /// have stopped, as they do by themselves.
    Forget,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_not_read_more_often_than_kinesis_allows() {
        let parse = |ms: &str| Config::try_parse_from(["processor", "--poll-ms", ms]);
        for (ms, expected) in [("200", 200), ("60000", 60_000)] {
            assert_eq!(parse(ms).unwrap().poll_ms, expected);
        }
        for refused in ["199", "10", "0", "60001", "fast"] {
            let told = parse(refused).unwrap_err();
            assert_eq!(runtime::args::answer(&told), schemas::exit::USAGE);
            let told = told.to_string();
            assert!(told.contains("--poll-ms") && told.contains("200 to 60000 ms"), "{told}");
        }
        let default = Config::try_parse_from(["processor"]).unwrap().poll_ms;
        assert!(default >= 250, "one of five reads a second is left for settlers: {default}");
    }
}

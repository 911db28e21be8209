//! What a producer is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, value_parser};
use runtime::connection::KEEP_ALIVE_S;
use schemas::ids::Region;
use schemas::intake::IntakeRules;
use schemas::keys;
use schemas::money::Rounding;
use schemas::record::Envelope;

use crate::error::Error;
use crate::generator::{GeneratorConfig, Mixed, Share};
use crate::http::{Listen, Patience};
use crate::source::Source;

/// Puts bids into Kinesis: NDJSON from standard input or a file, over HTTP, or generated load.
///
/// Exit codes: 0 all accepted, 1 some refused (0 over HTTP, where each caller was told), 64 bad usage or configuration,
/// 69 Kinesis cannot be reached or bids could not be delivered, 70 a fault of ours, 74 input or output failed.
#[derive(Parser, Clone, Debug)]
#[command(name = "producer", version)]
pub struct Config {
    /// The stream of bids.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM, value_parser = NonEmptyStringValueParser::new())]
    pub stream: String,
    /// The region of this edge.
    #[arg(long, env = "AWS_REGION")]
    pub region: Region,
    /// NDJSON to read; `-`, and what is read without this, is standard input.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Rounds amounts and prices of more than four decimals, down or half-even, instead of refusing them.
    #[arg(long, value_name = "RULE")]
    pub round_prices: Option<Rounding>,
    /// The way in over HTTP.
    #[command(flatten)]
    pub http: Http,
    /// Generates load instead of reading: this many bids a second.
    #[arg(long, value_name = "RATE", conflicts_with = "input", value_parser = value_parser!(u32).range(1..))]
    pub generate: Option<u32>,
    /// What load is generated.
    #[command(flatten)]
    pub load: Load,
    /// How bids are wrapped: block, aggregated or plain.
    #[arg(long, default_value = "block")]
    pub envelope: Envelope,
    /// Longest time a bid waits for company, in ms. It goes at once when nothing of its shard is under way and its
    /// shard's bids do not come faster than 40 a second.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..=10_000))]
    pub linger_ms: u64,
    /// Most bids of one record.
    #[arg(long, default_value_t = 2_500, value_parser = value_parser!(u32).range(1..=5_900))]
    pub record_bids: u32,
    /// Memory for bids on their way, in bytes; when it is full, input waits.
    #[arg(long, default_value_t = 64 * 1_048_576, value_parser = value_parser!(u64).range(65_536..=68_719_476_736))]
    pub buffer_bytes: u64,
    /// How long an undeliverable bid is tried before it is answered, in s; the default outlasts a minute without
    /// Kinesis.
    #[arg(long, default_value_t = 120, value_parser = value_parser!(u64).range(1..=3_600))]
    pub deliver_s: u64,
    /// How long delivering goes on after a request to stop, in s.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=3_600))]
    pub drain_s: u64,
    /// The table with the agreed geometry and accounts: bids that could not count are refused by it.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE, value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// Reads no table, whatever else names one: no bid is refused as too old, too far ahead or of an unknown account.
    #[arg(long)]
    pub no_table: bool,
    /// Keeps a bid that is at most this many ms too far ahead until it is due, instead of refusing it.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = value_parser!(u64).range(..=60_000))]
    pub hold_ahead_ms: u64,
    /// Shows `/metrics` and `/health` on this address too, whatever way bids come in; other than loopback only with a
    /// token.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// The token that requests to --metrics-listen must bring as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true)]
    pub metrics_token: Option<String>,
    /// Lines that were not accepted, with their reasons, as NDJSON. Over HTTP each caller is told instead, and only what
    /// was taken and not delivered stands here too.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// The bids that were taken, with their regions, as NDJSON.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The summary, as JSON; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The way in over HTTP.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "HTTP")]
pub struct Http {
    /// Takes bids over HTTP on this address instead of reading; other than loopback only with a token.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["input", "generate"])]
    pub listen: Option<SocketAddr>,
    /// A file with the bearer token that callers must give; PRODUCER_TOKEN in the environment does the same.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub token_file: Option<PathBuf>,
    /// Most bytes of a request's body, also after it is inflated.
    #[arg(long, default_value_t = 4 * 1_048_576, value_parser = value_parser!(u32).range(16_384..=67_108_864))]
    pub body_bytes: u32,
    /// Most connections at once.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// How long a connection without a request stays open, in s: longer than the balancer in front keeps it, so that no
    /// request meets its closing.
    #[arg(long, default_value_t = KEEP_ALIVE_S, value_parser = value_parser!(u32).range(1..=3_600))]
    pub keep_alive_s: u32,
}

/// What load is generated.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Generated load")]
pub struct Load {
    /// Seconds of load; 30 unless a count is given.
    #[arg(long, requires = "generate")]
    pub duration: Option<u64>,
    /// Number of bids.
    #[arg(long, requires = "generate")]
    pub count: Option<u64>,
    /// Number of slots.
    #[arg(long, requires = "generate", default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub slots: u32,
    /// Number of accounts.
    #[arg(long, requires = "generate", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub accounts: u32,
    /// The seed: the same one gives the same bids but for their times.
    #[arg(long, requires = "generate", default_value_t = 1)]
    pub seed: u64,
    /// NEXMark's skew: all but one in N bids go to the hot slot of the moment; 1 for none.
    #[arg(long, requires = "generate", value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=10_000))]
    pub hot_slots: u32,
    /// NEXMark's skew: all but one in N bids come from the hot account of the moment; 1 for none.
    #[arg(long, requires = "generate", value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=10_000))]
    pub hot_accounts: u32,
    /// Share of bids sent twice, 0 to 1.
    #[arg(long, requires = "generate", value_name = "SHARE", default_value = "0")]
    pub duplicates: Share,
    /// Share of bids dated ten minutes ago.
    #[arg(long, requires = "generate", value_name = "SHARE", default_value = "0")]
    pub late: Share,
    /// Share of bids dated ten minutes ahead.
    #[arg(long, requires = "generate", value_name = "SHARE", default_value = "0")]
    pub early: Share,
    /// Share of lines that are no bid.
    #[arg(long, requires = "generate", value_name = "SHARE", default_value = "0")]
    pub invalid: Share,
    /// Regions that bid, with their weights and how far their clocks are ahead, in ms: us-east-1=6,eu-west-1=3@-400.
    #[arg(long, requires = "generate", value_name = "REGION=WEIGHT[@SKEW]", value_delimiter = ',')]
    pub mix: Vec<Mixed>,
}

/// How bids come in, and with that who is told what became of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// As lines, read or generated: whoever started the producer is told at its end.
    Lines,
    /// In calls, over HTTP or of a program: each caller is told at once.
    Calls,
}

/// Seconds of load when neither duration nor count is given.
const DURATION_S: u64 = 30;

impl Config {
    /// The table that says what the pipeline agreed on, unless none is to be read.
    #[must_use]
    pub fn agreed_table(&self) -> Option<&str> {
        (!self.no_table).then_some(&self.table)
    }

    /// How what bidders send is read.
    #[must_use]
    pub fn intake_rules(&self) -> IntakeRules {
        IntakeRules { region: self.region, rounding: self.round_prices }
    }

    /// Where bids come in over HTTP, when they do.
    #[must_use]
    pub fn listen(&self) -> Option<Listen> {
        let Http { listen, token_file, body_bytes, connections, keep_alive_s } = &self.http;
        Some(Listen {
            address: (*listen)?,
            token_file: token_file.clone(),
            body_bytes_max: usize::try_from(*body_bytes).unwrap_or(usize::MAX),
            connections_max: usize::try_from(*connections).unwrap_or(usize::MAX),
            patience: Patience {
                keep_alive: Duration::from_secs((*keep_alive_s).into()),
                ..Patience::default()
            },
        })
    }

    /// How bids come in.
    #[must_use]
    pub fn intake(&self) -> Intake {
        if self.http.listen.is_some() { Intake::Calls } else { Intake::Lines }
    }

    /// Where the bids come from, unless they come in over HTTP.
    ///
    /// # Errors
    /// [`Error::Usage`] for load that cannot be made.
    pub fn source(&self) -> Result<Source, Error> {
        Ok(match (self.generate, &self.input) {
            (Some(rate), _) => Source::Generate(self.load.at(rate).check()?),
            (None, Some(path)) if path.as_os_str() != "-" => Source::File(path.clone()),
            (None, _) => Source::Stdin,
        })
    }
}

impl Load {
    /// This load at a rate, in bids a second.
    #[must_use]
    pub fn at(&self, rate: u32) -> GeneratorConfig {
        let seconds = self.duration.or_else(|| self.count.is_none().then_some(DURATION_S));
        GeneratorConfig {
            rate,
            duration_ms: seconds.map(|seconds| seconds.saturating_mul(1_000)),
            count: self.count,
            slots: self.slots,
            accounts: self.accounts,
            seed: self.seed,
            hot_slots: self.hot_slots,
            hot_accounts: self.hot_accounts,
            duplicates: self.duplicates,
            late: self.late,
            early: self.early,
            invalid: self.invalid,
            mix: self.mix.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_load_is_generated_is_said_only_where_some_is() {
        let parse =
            |more: &[&str]| Config::try_parse_from(["producer", "--region", "eu-1"].iter().chain(more));
        let load = parse(&["--generate", "5", "--duplicates", "0.1", "--count", "3"]).unwrap();
        assert!(matches!(load.source(), Ok(Source::Generate(load)) if load.count == Some(3)));
        assert!(matches!(parse(&[]).unwrap().source(), Ok(Source::Stdin)));
        for ignored in [["--duplicates", "0.1"], ["--count", "3"], ["--slots", "200"], ["--mix", "eu-1=2"]] {
            let refused = parse(&ignored).unwrap_err().to_string();
            assert!(refused.contains("--generate"), "{refused}");
        }
        let whole = parse(&["--generate", "5", "--late", "0.6", "--early", "0.6"]).unwrap();
        assert!(matches!(whole.source(), Err(Error::Usage { .. })));
    }
}

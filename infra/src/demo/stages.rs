//! The stages of the demo: two processors and two settlers, and a producer for each region, all in this process and each
//! started as its own binary would be.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use runtime::clients::Clients;
use runtime::shutdown::{self, Shutdown, Trigger};
use schemas::ids::Region;
use schemas::keys;
use schemas::time::Millis;
use serde_json::json;
use settler::db::Ledger;
use tokio::task::{JoinError, JoinSet};

use super::{Demo, drain};
use crate::engines::Engines;
use crate::failure::Failure;
use crate::report::LiveNumbers;
use crate::runs::{self, Run};
use crate::view::Look;

/// Where the producers of generated load stand.
const REGIONS: [&str; 4] = ["us-east-1", "eu-central-1", "ap-northeast-1", "sa-east-1"];
/// Processors and settlers each.
const WORKERS: usize = 2;
/// How long a lease may stand still: the workers share a process, so a pause of one is a pause of all.
const FAILOVER_MS: &str = "1500";

/// Everything that runs.
pub(super) struct Stages {
    clients: Clients,
    began: Millis,
    halt: Trigger,
    readers: JoinSet<Result<(), Failure>>,
    sending: JoinSet<Result<(usize, Millis), Failure>>,
    producers: Vec<Producer>,
    processors: Vec<Arc<processor::Metrics>>,
    settlers: Vec<Arc<settler::Metrics>>,
}

struct Producer {
    region: Region,
    metrics: Arc<producer::Metrics>,
    ended: Option<Millis>,
}

/// Bids by their answer, other than accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Refused lines, and bids whose window was closed.
    pub(super) refused: u64,
    /// Not in the stream.
    pub(super) undelivered: u64,
    /// Perhaps in the stream.
    pub(super) unknown: u64,
}

impl Stages {
    /// Starts processors and settlers.
    pub(super) async fn start(engines: &Engines, ledger: &Ledger) -> anyhow::Result<Self> {
        let clients = engines.clients().await;
        let (halt, halted) = shutdown::channel();
        let mut stages = Self {
            clients,
            began: runtime::clock::now(),
            halt,
            readers: JoinSet::new(),
            sending: JoinSet::new(),
            producers: Vec::new(),
            processors: Vec::new(),
            settlers: Vec::new(),
        };
        for number in 0..WORKERS {
            stages.start_processor(number, halted.clone())?;
            stages.start_settler(number, ledger.clone(), halted.clone())?;
        }
        Ok(stages)
    }

    fn start_processor(&mut self, number: usize, stop: Shutdown) -> anyhow::Result<()> {
        // Names are given, because the environment may name those of another pipeline.
        let config = processor::Config::try_parse_from([
            "processor",
            "--stream",
            keys::STREAM,
            "--table",
            keys::TABLE,
            "--lease-table",
            keys::LEASE_TABLE,
            "--bid-events",
            "best",
            "--failover-ms",
            FAILOVER_MS,
            "--worker",
            &format!("processor-{number}"),
        ])?;
        let metrics = Arc::new(processor::Metrics::default());
        self.processors.push(Arc::clone(&metrics));
        let clients = self.clients.clone();
        self.readers.spawn(async move { Ok(processor::run(config, clients, stop, metrics).await?) });
        Ok(())
    }

    fn start_settler(&mut self, number: usize, ledger: Ledger, stop: Shutdown) -> anyhow::Result<()> {
        let worker = format!("settler-{number}");
        let mut config = settler::Config::try_parse_from([
            "settler",
            "--stream",
            keys::STREAM,
            "--table",
            keys::TABLE,
            "--worker",
            &worker,
        ])?;
        config.ledger = ledger;
        let metrics = Arc::new(settler::Metrics::default());
        self.settlers.push(Arc::clone(&metrics));
        let clients = self.clients.clone();
        self.readers.spawn(async move { Ok(settler::run(config, clients, stop, metrics).await?) });
        Ok(())
    }

    /// Starts the producers: one for each region, or one for bids from outside.
    pub(super) fn send(
        &mut self,
        options: &Demo,
        rejects: Option<&Path>,
        asked: &Shutdown,
    ) -> anyhow::Result<()> {
        self.began = runtime::clock::now();
        let regions = match &options.bids {
            Some(_) => vec![options.region],
            None => REGIONS.iter().map(|code| code.parse()).collect::<Result<_, _>>()?,
        };
        for region in regions {
            let config = config(options, region, rejects)?;
            let metrics = Arc::new(producer::Metrics::default());
            let (number, clients, asked) = (self.producers.len(), self.clients.clone(), asked.clone());
            self.producers.push(Producer { region, metrics: Arc::clone(&metrics), ended: None });
            self.sending.spawn(async move {
                producer::run(config, clients, asked, metrics).await?;
                Ok((number, runtime::clock::now()))
            });
        }
        Ok(())
    }

    /// Whether every producer has ended.
    pub(super) fn sent_all(&self) -> bool {
        self.sending.is_empty()
    }

    /// Waits until a stage ends, or for this long; answers whether one ended.
    ///
    /// # Errors
    /// What ended a stage that should have gone on.
    pub(super) async fn next_within(&mut self, time: Duration) -> Result<bool, Failure> {
        tokio::select! {
            Some(done) = self.sending.join_next() => {
                let (number, at) = joined(done)?;
                self.producers[number].ended = Some(at);
                Ok(true)
            }
            Some(done) = self.readers.join_next() => {
                joined(done)?;
                Err(Failure::fault("a stage ended before it was asked to"))
            }
            () = tokio::time::sleep(time) => Ok(false),
        }
    }

    /// Stops processors and settlers and waits for them.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.halt.trigger();
        while let Some(done) = self.readers.join_next().await {
            joined(done)?;
        }
        Ok(())
    }

    /// The pipeline as it stands.
    pub(super) fn look(&self) -> Look {
        let decided = |one: &Arc<settler::Metrics>| get(&one.settled) + get(&one.no_sale) + get(&one.held);
        Look {
            elapsed_ms: runtime::clock::now().since(self.began),
            accepted: self
                .producers
                .iter()
                .map(|one| (one.region.to_string(), get(&one.metrics.accepted)))
                .collect(),
            open_windows: self.processors.iter().map(|one| get(&one.open_windows)).sum(),
            closed: self.processors.iter().map(|one| get(&one.auctions_closed)).sum(),
            settled: self.settlers.iter().map(decided).sum(),
            conflicts: self.settlers.iter().map(|one| get(&one.conflicts)).sum(),
        }
    }

    /// Whether everything that was accepted was read, closed and decided.
    pub(super) async fn drained(&self) -> Result<bool, Failure> {
        let look = self.look();
        let accepted = look.accepted.iter().map(|(_, accepted)| accepted).sum();
        let read = |one: &Arc<processor::Metrics>| -> u64 {
            [&one.counted, &one.duplicates, &one.rejected, &one.stray, &one.early, &one.late]
                .into_iter()
                .map(get)
                .sum()
        };
        let read: u64 = self.processors.iter().map(read).sum();
        if read < accepted || look.open_windows > 0 {
            // Not worth a question to the tables.
            return Ok(false);
        }
        let regions: Vec<Region> = self.producers.iter().map(|one| one.region).collect();
        drain::is_done(&self.clients.dynamodb, &regions, accepted).await
    }

    /// Items that another run of the same log would have written otherwise.
    pub(super) fn divergence(&self) -> u64 {
        self.processors.iter().map(|one| get(&one.divergence)).sum()
    }

    /// Bids that were not accepted.
    pub(super) fn sent(&self) -> Sent {
        let sum = |pick: fn(&producer::Summary) -> u64| -> u64 {
            self.producers.iter().map(|one| pick(&one.metrics.summary())).sum()
        };
        Sent {
            refused: sum(|one| one.refused + one.expired),
            undelivered: sum(|one| one.undelivered),
            unknown: sum(|one| one.unknown),
        }
    }

    /// A row for each producer.
    pub(super) fn runs(&self, options: &Demo) -> Vec<Run> {
        let run = |one: &Producer| {
            let summary = one.metrics.summary();
            let parameters = match &options.bids {
                Some(path) => json!({ "region": one.region.as_str(), "input": path }),
                None => json!({
                    "region": one.region.as_str(),
                    "rate": options.rate_of_one(),
                    "duration_s": options.duration,
                    "slots": options.slots,
                    "accounts": options.accounts,
                }),
            };
            let outcome = LiveNumbers {
                bids_sent: summary.sent,
                bids_accepted: summary.accepted,
                expired: summary.expired,
            };
            Run {
                kind: runs::PRODUCER,
                seed: options.seed,
                parameters,
                outcome: json!(outcome),
                started: self.began,
                finished: one.ended.unwrap_or_else(runtime::clock::now),
            }
        };
        self.producers.iter().map(run).collect()
    }
}

impl Demo {
    /// Bids a second of one region.
    fn rate_of_one(&self) -> u32 {
        self.rate / u32::try_from(REGIONS.len()).expect("a handful of regions")
    }
}

/// What a producer is told.
fn config(options: &Demo, region: Region, rejects: Option<&Path>) -> anyhow::Result<producer::Config> {
    let mut arguments = vec!["producer".to_owned()];
    let mut add = |name: &str, value: &dyn std::fmt::Display| {
        arguments.extend([name.to_owned(), value.to_string()]);
    };
    add("--region", &region);
    add("--stream", &keys::STREAM);
    match &options.bids {
        Some(path) => {
            add("--input", &path.display());
            // A bid whose window is closed is refused with that reason, rather than counted as late.
            add("--table", &keys::TABLE);
            if let Some(rejects) = rejects {
                add("--rejects", &rejects.display());
            }
        }
        None => {
            add("--generate", &options.rate_of_one());
            add("--duration", &options.duration);
            add("--slots", &options.slots);
            add("--accounts", &options.accounts);
            add("--seed", &options.seed);
        }
    }
    // Generated load is to show what lateness costs, so nothing of it is refused at the door.
    let with_table = options.bids.is_some();
    let more = (!with_table).then(|| "--no-table".to_owned());
    Ok(producer::Config::try_parse_from(arguments.into_iter().chain(more))?)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What a stage returned; its panic is a fault of ours.
fn joined<T>(done: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    done.unwrap_or_else(|error| Err(Failure::fault(format!("a stage broke: {error}"))))
}

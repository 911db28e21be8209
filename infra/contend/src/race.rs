//! One race: workers that are connected and wait, and then all begin at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use runtime::shutdown::Shutdown;
use tokio::sync::Barrier;

use super::fixture::Fixture;
use super::latency_proxy::{HopLatency, relay};
use settler::Error;
use settler::core::jitter::Strategy;
use settler::core::plan::Job;
use settler::core::rows::Auction;
use settler::core::transaction::{End, Ended, Rules};
use settler::db::{Connection, Ledger, Pool};
use settler::runner::Runner;

/// What they race for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotRow {
    /// One account, which every one debits once: an auction each.
    Account,
    /// One auction, which only one can decide.
    Auction,
}

/// A race that can be run again and again.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// What they race for.
    pub hot_row: HotRow,
    /// How many race.
    pub workers: u16,
    /// How they space their attempts.
    pub strategy: Strategy,
}

/// How a race went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Attempts of each worker.
    pub tries: Vec<u32>,
    /// From the start to the last who is done.
    pub completion: Duration,
}

/// New connections a second; a race needs all of its own before it starts.
const CONNECTS_PER_SECOND: u32 = 100;

impl Race {
    /// Runs it once, on rows of its own that are taken away again, however it ends.
    ///
    /// # Errors
    /// When the ledger cannot be used, or a worker does not get through, as after a stop.
    pub async fn run(
        &self,
        ledger: &Ledger,
        connection: &Connection,
        hops: HopLatency,
        stop: &Shutdown,
    ) -> Result<Outcome, Error> {
        let fixture = Fixture::make(self, connection).await?;
        let raced = self.race(ledger, fixture.auctions(self.workers), hops, stop).await;
        let cleared = fixture.clear(connection).await;
        raced.and_then(|outcome| cleared.map(|()| outcome))
    }

    async fn race(
        &self,
        ledger: &Ledger,
        auctions: Vec<Arc<Auction>>,
        hops: HopLatency,
        stop: &Shutdown,
    ) -> Result<Outcome, Error> {
        let (ledger, _relay) = behind(ledger, hops).await?;
        let pool = Arc::new(ledger.pool(CONNECTS_PER_SECOND).await?);
        self.connect(&pool).await?;
        let barrier = Arc::new(Barrier::new(usize::from(self.workers)));
        let mut workers = tokio::task::JoinSet::new();
        for auction in auctions {
            let (pool, barrier, rules) = (Arc::clone(&pool), Arc::clone(&barrier), self.rules());
            let stop = stop.clone();
            workers.spawn(async move {
                barrier.wait().await;
                let began = Instant::now();
                let mut runner = Runner::new(&pool, Job::Settle(vec![auction]), rules, Some(&stop));
                let ended = runner.next().await;
                (ended, began.elapsed())
            });
        }
        let mut outcome = Ok(Outcome { tries: Vec::new(), completion: Duration::ZERO });
        // All of them, also after one has failed: none may still write when the rows are taken away.
        while let Some(worker) = workers.join_next().await {
            let told = match worker {
                Ok((Some(Ended { end: End::Done(_), tries, .. }), took)) => {
                    if let Ok(outcome) = &mut outcome {
                        outcome.tries.push(tries);
                        outcome.completion = outcome.completion.max(took);
                    }
                    continue;
                }
                Ok((ended, _)) => format!("a worker did not get through: {:?}", ended.map(|one| one.end)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => format!("a worker ended: {error}"),
            };
            outcome = Err(Error::Input(told));
        }
        outcome
    }

    fn rules(&self) -> Rules {
        Rules {
            strategy: self.strategy,
            backoff: self.strategy.backoff(),
            attempts_max: 100_000,
            deadline: Duration::from_secs(600),
            ..Rules::default()
        }
    }

    /// Every worker's connection, with its statements prepared: a race is not about connecting.
    async fn connect(&self, pool: &Pool) -> Result<(), Error> {
        let connections = try_join_all((0..self.workers).map(|_| async {
            let mut connection = pool.take().await?;
            let prepared = connection.prepare().await;
            prepared
                .map_err(|error| Error::Unreachable { ledger: pool.name(), reason: error.to_string() })?;
            Ok::<_, Error>(connection)
        }));
        connections.await?.into_iter().for_each(|connection| pool.give_back(connection));
        Ok(())
    }
}

/// The ledger as it is reached through a relay, and the relay.
async fn behind(
    ledger: &Ledger,
    hops: HopLatency,
) -> Result<(Ledger, Option<tokio::task::JoinSet<()>>), Error> {
    let Some(url) =
        ledger.database_url.as_ref().filter(|_| !hops.is_none() && ledger.dsql_endpoint.is_none())
    else {
        return Ok((ledger.clone(), None));
    };
    let usage = |reason: &str| Error::Usage(format!("DATABASE_URL: {reason}; --hop-ms 0 needs none of it"));
    let config: tokio_postgres::Config = url.parse().map_err(|_| usage("it is no URL of a PostgreSQL"))?;
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        _ => return Err(usage("a relay needs a host")),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let upstream: Option<SocketAddr> = found.ok().and_then(|mut found| found.next());
    let upstream = upstream.ok_or_else(|| usage("its host has no address"))?;
    let (address, tasks) = relay(upstream, hops)
        .await
        .map_err(|error| Error::Io(format!("no relay could be started: {error}")))?;
    let user = config.get_user().unwrap_or("postgres");
    let password = config.get_password().map(String::from_utf8_lossy).unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let url = format!("postgres://{user}:{password}@{address}/{database}");
    Ok((Ledger { database_url: Some(url), ..ledger.clone() }, Some(tasks)))
}

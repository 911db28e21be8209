//! One race: workers that are connected and wait, and then all begin at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use runtime::backoff::Backoff;
use schemas::ids::{AccountId, BidId, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, State};
use schemas::money::{BasisPoints, Money, Price};
use schemas::time::Millis;
use tokio::sync::Barrier;
use uuid::Uuid;

use super::hops::{Hops, relay};
use crate::core::jitter::Strategy;
use crate::core::plan::Job;
use crate::core::rows::Auction;
use crate::core::transaction::{End, Rules};
use crate::db::{Connection, Ledger, Pool};
use crate::error::Error;
use crate::provision::{NewAccount, NewSlot};
use crate::runner::Runner;

/// What they race for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prize {
    /// One account, which every one debits once: an auction each.
    Account,
    /// One auction, which only one can decide.
    Auction,
}

/// A race that can be run again and again.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// What they race for.
    pub prize: Prize,
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

fn id() -> Uuid {
    Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed())
}

impl Race {
    /// Runs it once, with accounts, slots and auctions of its own.
    ///
    /// # Errors
    /// When the ledger cannot be used, or a worker does not get through.
    pub async fn run(&self, ledger: &Ledger, connection: &Connection, hops: Hops) -> Result<Outcome, Error> {
        let auctions = self.provision(connection).await?;
        let (ledger, _relay) = behind(ledger, hops).await?;
        let pool = Arc::new(ledger.pool(CONNECTS_PER_SECOND).await?);
        self.connect(&pool).await?;
        let barrier = Arc::new(Barrier::new(usize::from(self.workers)));
        let mut workers = tokio::task::JoinSet::new();
        for auction in auctions {
            let (pool, barrier, rules) = (Arc::clone(&pool), Arc::clone(&barrier), self.rules());
            workers.spawn(async move {
                barrier.wait().await;
                let began = Instant::now();
                let mut runner = Runner::new(&pool, Job::Settle(vec![auction]), rules, None);
                let ended = runner.next().await;
                (ended, began.elapsed())
            });
        }
        let mut outcome = Outcome { tries: Vec::new(), completion: Duration::ZERO };
        while let Some(worker) = workers.join_next().await {
            let (ended, took) = worker.map_err(|error| Error::Input(format!("a worker ended: {error}")))?;
            match ended {
                Some(ended) if matches!(ended.end, End::Done(_)) => {
                    outcome.tries.push(ended.tries);
                    outcome.completion = outcome.completion.max(took);
                }
                other => return Err(Error::Input(format!("a worker did not get through: {other:?}"))),
            }
        }
        Ok(outcome)
    }

    fn rules(&self) -> Rules {
        Rules {
            strategy: self.strategy,
            backoff: Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(2_000) },
            attempts_max: 100_000,
            deadline: Duration::from_secs(600),
            ..Rules::default()
        }
    }

    /// Every worker's connection, with its statements prepared: a race is not about connecting.
    async fn connect(&self, pool: &Pool) -> Result<(), Error> {
        let connections = try_join_all((0..self.workers).map(|_| async {
            let mut connection = pool.take().await?;
            let prepared = connection.statements().await;
            prepared
                .map_err(|error| Error::Unreachable { ledger: pool.name(), reason: error.to_string() })?;
            Ok::<_, Error>(connection)
        }));
        connections.await?.into_iter().for_each(|connection| pool.give_back(connection));
        Ok(())
    }

    async fn provision(&self, connection: &Connection) -> Result<Vec<Arc<Auction>>, Error> {
        let buyer = AccountId(id());
        let account = NewAccount {
            account_id: buyer,
            name: "contention experiment".to_owned(),
            balance: Money(10_000_000),
            credit_limit: Money(0),
        };
        crate::provision::accounts(connection, &[account]).await?;
        let count = if self.prize == Prize::Account { self.workers } else { 1 };
        let slots: Vec<SlotId> = (0..count).map(|_| SlotId(id())).collect();
        let publisher = AccountId(id());
        let rows: Vec<NewSlot> =
            slots.iter().map(|slot_id| NewSlot { slot_id: *slot_id, publisher, floor: Money(1) }).collect();
        crate::provision::slots(connection, &rows).await?;
        let auctions: Vec<_> =
            slots.iter().map(|slot| Arc::new(Auction::of(aggregate(*slot, buyer)))).collect();
        Ok(auctions.iter().cycle().take(usize::from(self.workers)).cloned().collect())
    }
}

/// The ledger as it is reached through a relay, and the relay.
async fn behind(ledger: &Ledger, hops: Hops) -> Result<(Ledger, Option<tokio::task::JoinSet<()>>), Error> {
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

fn aggregate(slot_id: SlotId, buyer: AccountId) -> Aggregate {
    let price = Price::from_units(10_000).expect("one unit is a price");
    let candidate = Candidate {
        bid_id: BidId(id()),
        account_id: buyer,
        region: "eu-central-1".parse().expect("a region"),
        amount: price,
        quality: BasisPoints::ONE,
        event_time: Millis(1),
        shard_id: ShardId("contend".to_owned()),
        sequence: "1".parse().expect("a number"),
        sub_sequence: 0,
    };
    Aggregate {
        slot_id,
        window_start: Millis(0),
        window_end: Millis(1_000),
        bids: 1,
        bidders: 1,
        amount_sum: Money::from(price),
        amount_min: price,
        amount_max: price,
        duplicates: 0,
        regions: BTreeMap::new(),
        candidates: vec![candidate],
        next_amount: None,
        next_score: None,
        shard_id: ShardId("contend".to_owned()),
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

//! How fast the settler settles, on the local engines: `cargo bench -p infra --bench settler`.
//!
//! Three questions, each answered in figures and none of them a test: settlements a second against one transaction for
//! each, calls under contention against AWS's simulator, and the time from a pending auction to its mark.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    dead_code,
    reason = "a bench fails loudly and prints figures"
)]

#[path = "../tests/it/settler/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use contend::{HopLatency, HotRow, Race};
use futures::{StreamExt, stream};
use runtime::shutdown;
use schemas::item::State;
use schemas::keys::outbox_bucket;
use settler::core::jitter::Strategy;
use settler::core::plan::{Done, Job};
use settler::core::rows::Auction;
use settler::core::transaction::{End, Rules};
use settler::db::Pool;
use settler::runner::Runner;
use settler::{Config, Metrics};
use world::{World, auction};

/// Buckets that are settled at once, as in a settler.
const LANES: usize = 4;
const ACCOUNTS: u128 = 1_000;
const SLOTS: u128 = 200;

#[tokio::main]
async fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wants = |name: &str| only.is_empty() || name.contains(&only);
    let world = World::start().await;
    world.provision(ACCOUNTS, 99_999_999_999, SLOTS).await;
    if wants("throughput") {
        throughput(&world).await;
    }
    if wants("contention") {
        contention(&world).await;
    }
    if wants("latency") {
        latency(&world).await;
    }
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

async fn throughput(world: &World) {
    println!("throughput: {LANES} lanes, through the local DSQL");
    let mut window = 1;
    for (name, accounts) in [("spread over 1,000 accounts", ACCOUNTS), ("one hot account", 1)] {
        let mut rates = Vec::new();
        for (batch, count) in [(1, 400), (100, 8_000)] {
            let mut samples: Vec<f64> = Vec::new();
            for _ in 0..3 {
                let auctions: Vec<Arc<Auction>> = (0..count)
                    .map(|number| {
                        window += 1;
                        let winner = 1 + number % accounts;
                        Arc::new(Auction::of(auction(1 + number % SLOTS, window, &[(winner, 16)])))
                    })
                    .collect();
                samples.push(settle(world, auctions, batch).await);
            }
            samples.sort_by(f64::total_cmp);
            println!("  {name}, {batch:>3} a transaction: {:>8.0} settlements/s (median of 3)", samples[1]);
            rates.push(samples[1]);
        }
        println!("  {name}: {:.1} times", rates[1] / rates[0]);
    }
}

/// Settlements a second; batches are cut bucket by bucket, as the outbox has them.
async fn settle(world: &World, auctions: Vec<Arc<Auction>>, batch: usize) -> f64 {
    let pool = world.ledger().pool(100).await.unwrap();
    let count = auctions.len();
    let mut buckets: BTreeMap<u32, Vec<Arc<Auction>>> = BTreeMap::new();
    for one in auctions {
        let first = one.aggregate.candidates[0].account_id;
        buckets.entry(outbox_bucket(&first, world.agreed.outbox_buckets)).or_default().push(one);
    }
    let connections = futures::future::join_all((0..LANES).map(|_| pool.take())).await;
    connections.into_iter().for_each(|connection| pool.give_back(connection.unwrap()));
    let began = Instant::now();
    let pool = &pool;
    let lane = |bucket: Vec<Arc<Auction>>| async move {
        for part in bucket.chunks(batch) {
            run(pool, part.to_vec()).await;
        }
    };
    stream::iter(buckets.into_values()).map(lane).buffer_unordered(LANES).collect::<Vec<()>>().await;
    f64::from(u32::try_from(count).unwrap()) / began.elapsed().as_secs_f64()
}

async fn run(pool: &Pool, part: Vec<Arc<Auction>>) {
    let mut runner = Runner::new(pool, Job::Settle(part), Rules::default(), None);
    while let Some(ended) = runner.next().await {
        assert!(matches!(ended.end, End::Done(Done::Decided(_))), "{:?}", ended.end);
    }
}

async fn contention(world: &World) {
    println!(
        "contention: one account, full jitter, hops of |Normal(10, 2)| ms, base 5 ms, cap 2,000 ms, 20 races each"
    );
    let connection = world.connect().await;
    let hops = HopLatency { mean_ms: 10, deviation_ms: 2 };
    let (_never, stop) = shutdown::channel();
    for (workers, simulated) in [(10_u16, 39.0), (20, 100.0), (50, 333.0)] {
        let race = Race { hot_row: HotRow::Account, workers, strategy: Strategy::Full };
        let (mut calls, mut most) = (0, 0);
        for _ in 0..20 {
            let outcome = race.run(&world.ledger(), &connection, hops, &stop).await.unwrap();
            calls += outcome.tries.iter().sum::<u32>();
            most = most.max(outcome.tries.into_iter().max().unwrap());
        }
        let mean = f64::from(calls) / 20.0;
        let away = (mean / simulated - 1.0) * 100.0;
        println!(
            "  {workers:>3} workers: {mean:>6.1} calls (simulator {simulated}, {away:+.1} %), at most {most} by one"
        );
    }
}

/// One auction at a time on an idle system, at moments that have nothing to do with the settler's.
async fn latency(world: &World) {
    let mut config = Config::try_parse_from(["settler"]).unwrap();
    config.ledger = world.ledger();
    let (trigger, asked) = shutdown::channel();
    let running =
        tokio::spawn(settler::run(config, world.clients.clone(), asked, Arc::new(Metrics::default())));
    let mut waits = Vec::new();
    for number in 0..200_u128 {
        let pause = Duration::from_secs(1).mul_f64(runtime::chance::unit());
        tokio::time::sleep(pause).await;
        let one =
            auction(1 + number % SLOTS, 900_000_000 + u64::try_from(number).unwrap(), &[(1 + number, 16)]);
        let began = Instant::now();
        world.pend(&one).await;
        while world.item(&one).await.unwrap().state != State::Settled {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        waits.push(began.elapsed());
    }
    trigger.trigger();
    running.await.unwrap().unwrap();
    waits.sort();
    let at = |percent: usize| waits[(waits.len() * percent).div_ceil(100) - 1].as_millis();
    println!(
        "latency of one auction, idle system, {} of them: p50 {} ms, p99 {} ms, most {} ms",
        waits.len(),
        at(50),
        at(99),
        at(100)
    );
}

//! AWS's simulator of optimistic writers as a model of our own: what the races are held against, for any number of them.
//!
//! Clients read the version of one row and write it if it is still the same; whoever was too late waits by its strategy
//! and reads again, until everyone has written once. A request and an answer take a hop each. The shape is that of
//! aws-samples/aws-arch-backoff-simulator: a hop after the wait, too, and the wait after the first failure is already
//! the second of the exponential row (`base * 2`), but for the connectors, which begin with the first. Calls are writes,
//! completion is the last answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::latency_proxy::HopLatency;
use settler::core::jitter::Strategy;

/// Simulated races, as many as in [`super::published`]; a mean of them is what is shown.
const RUNS: u32 = 100;
/// So that the same question has the same answer.
const SEED: u64 = 1;

/// What reaches whom at a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    /// The server: which version stands?
    Read,
    /// The client: this one did.
    Version(u32),
    /// The server: write, if this version still stands.
    Write(u32),
    /// The client: another was faster.
    TooLate,
    /// The client: done.
    Written,
}

#[derive(Clone, Copy, Default)]
struct Client {
    failures: u32,
    waited: Duration,
}

/// Mean calls and mean completion in ms.
#[expect(clippy::float_arithmetic, reason = "means of an experiment, not money or time that is kept")]
pub(crate) fn simulate(strategy: Strategy, workers: u16, hops: HopLatency) -> (f64, f64) {
    let mut random = SmallRng::seed_from_u64(SEED);
    let (mut calls, mut completion) = (0, Duration::ZERO);
    for _ in 0..RUNS {
        let (called, took) = race(strategy, workers, hops, &mut random);
        calls += called;
        completion += took;
    }
    (f64::from(calls) / f64::from(RUNS), completion.as_secs_f64() * 1_000.0 / f64::from(RUNS))
}

fn race(strategy: Strategy, workers: u16, hops: HopLatency, random: &mut SmallRng) -> (u32, Duration) {
    let mut clients = vec![Client::default(); usize::from(workers)];
    let mut on_the_way: BinaryHeap<_> =
        (0..clients.len()).map(|client| Reverse((hops.draw(random), client, Message::Read))).collect();
    let (mut version, mut calls, mut now) = (0, 0, Duration::ZERO);
    while let Some(Reverse((at, client, message))) = on_the_way.pop() {
        now = at;
        let next = match message {
            Message::Read => Message::Version(version),
            Message::Version(seen) => Message::Write(seen),
            Message::Write(seen) => {
                calls += 1;
                let is_in_time = seen == version;
                version += u32::from(is_in_time);
                if is_in_time { Message::Written } else { Message::TooLate }
            }
            Message::TooLate => Message::Read,
            Message::Written => continue,
        };
        let wait = if message == Message::TooLate {
            let Client { failures, waited } = &mut clients[client];
            *failures += 1;
            let attempt = if strategy == Strategy::Connector { *failures - 1 } else { *failures };
            *waited = strategy.delay(&strategy.backoff(), attempt, *waited, random.random());
            *waited
        } else {
            Duration::ZERO
        };
        on_the_way.push(Reverse((now + wait + hops.draw(random), client, next)));
    }
    (calls, now)
}

//! The only loop: bids in, requests out, every reply read, every bid answered.
//!
//! Owns the clocks and the files; decides nothing about bids. A failure of input or of a file ends the taking, never
//! the delivering of what was taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use hashbrown::HashMap;
use runtime::clients::Clients;
use runtime::failure::Failure;
use runtime::shutdown::Shutdown;
use runtime::{agreed, chance, clock};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use crate::answers::Answers;
use crate::config::Config;
use crate::core::delivery::{Answer, BACKOFF, Moment, Outcome, Reply};
use crate::core::sender::{HELD_BYTES, Rules, Sender};
use crate::core::shard_map::ShardMap;
use crate::error::Error;
use crate::metrics::{Metrics, Summary};
use crate::source::{Call, Feed, Source, Taken};
use crate::{put, shards};

/// Sends what the configuration names until it ends or the stop, drains, and says what was done.
///
/// # Errors
/// When the stream or the geometry cannot be used, or input or an output file fails.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<Summary, Error> {
    run_from(config.source(), config, clients, shutdown, metrics).await
}

/// [`run`] with bids from another source than the configuration names.
///
/// # Errors
/// As [`run`].
pub async fn run_from(
    source: Source,
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<Summary, Error> {
    let mut drive = Drive::open(&config, clients, metrics).await?;
    let mut feed = Some(Feed::open(source, config.region)?);
    let held_max = usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX) / HELD_BYTES;
    let mut drained_by: Option<tokio::time::Instant> = None;
    loop {
        drive.turn();
        if feed.is_some() && (shutdown.requested() || drive.failure.is_some()) {
            feed = None;
            drained_by = Some(tokio::time::Instant::now() + Duration::from_secs(config.drain_s));
            drive.sender.on_end();
            continue;
        }
        if feed.is_none() && drive.sender.held() == 0 {
            return drive.finish();
        }
        let has_room = drive.sender.held() < held_max;
        let due = drive.next_due();
        tokio::select! {
            biased;
            Some(replied) = drive.flight.join_next() => drive.on_replied(replied),
            Some(listed) = drive.listing.join_next() => drive.on_listed(listed),
            () = shutdown.wait(), if feed.is_some() => {}
            () = until(drained_by) => drive.sender.abandon(),
            () = until(due) => {}
            taken = next(&mut feed), if has_room && feed.is_some() => match taken {
                Ok(Some(taken)) => taken.into_iter().for_each(|taken| drive.on_taken(taken)),
                Ok(None) => {
                    feed = None;
                    drive.sender.on_end();
                }
                Err(source) => drive.fail(Error::io("input cannot be read", source)),
            },
        }
    }
}

async fn next(feed: &mut Option<Feed>) -> std::io::Result<Option<Vec<Taken>>> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

type Replied = (u64, Result<Vec<Reply>, Failure>);

struct Drive {
    sender: Sender,
    client: Client,
    stream: String,
    flight: JoinSet<Replied>,
    /// At most one listing of shards.
    listing: JoinSet<Result<ShardMap, Failure>>,
    listed: u32,
    calls: HashMap<u64, oneshot::Sender<Outcome>>,
    next_call: u64,
    answers: Answers,
    failure: Option<Error>,
    metrics: Arc<Metrics>,
    started: Instant,
    json: Option<std::path::PathBuf>,
}

impl Drive {
    async fn open(config: &Config, clients: Clients, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let answers = Answers::open(config.rejects.as_deref(), config.record.as_deref())?;
        let listed = shards::list(&clients.kinesis, &config.stream).await;
        let map = listed.map_err(|failure| Error::stream(&config.stream, failure))?;
        let geometry = match &config.table {
            Some(table) => Some(agreed::read(&clients.dynamodb, table, None).await?.geometry),
            None => None,
        };
        let rules = Rules {
            envelope: config.envelope,
            record_bids_max: usize::try_from(config.record_bids).unwrap_or(usize::MAX),
            linger_ms: config.linger_ms,
            deliver_ms: config.deliver_s.saturating_mul(1_000),
            geometry,
        };
        tracing::info!(stream = config.stream, shards = map.len(), envelope = %config.envelope, "sending");
        Ok(Self {
            sender: Sender::new(rules, map),
            client: clients.kinesis,
            stream: config.stream.clone(),
            flight: JoinSet::new(),
            listing: JoinSet::new(),
            listed: 0,
            calls: HashMap::new(),
            next_call: 0,
            answers,
            failure: None,
            metrics,
            started: Instant::now(),
            json: config.json.clone(),
        })
    }

    fn now(&self) -> Moment {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { elapsed_ms, wall: clock::now() }
    }

    fn next_due(&self) -> Option<tokio::time::Instant> {
        let due_ms = self.sender.next_due_ms()?;
        Some(tokio::time::Instant::from_std(self.started + Duration::from_millis(due_ms)))
    }

    /// Everything that is due and waits for nothing.
    fn turn(&mut self) {
        let now = self.now();
        while let Some(request) = self.sender.poll_request(now) {
            self.flight.spawn(put::put(self.client.clone(), self.stream.clone(), request));
        }
        for answer in self.sender.poll_answers() {
            self.on_answer(answer);
        }
        if self.sender.wants_map() && self.listing.is_empty() {
            let (client, stream) = (self.client.clone(), self.stream.clone());
            let delay = BACKOFF.delay(self.listed, chance::unit());
            self.listed = self.listed.saturating_add(1);
            self.listing.spawn(async move {
                tokio::time::sleep(delay).await;
                shards::list(&client, &stream).await
            });
        }
        self.count();
    }

    fn count(&self) {
        let (counts, metrics) = (self.sender.counts(), &self.metrics);
        Metrics::set(&metrics.records, counts.records);
        Metrics::set(&metrics.bytes, counts.bytes);
        Metrics::set(&metrics.retries, counts.retries);
        Metrics::set(&metrics.throttled, counts.throttled);
        Metrics::set(&metrics.resends, counts.resends);
        Metrics::set(&metrics.held, u64::try_from(self.sender.held()).unwrap_or(u64::MAX));
        Metrics::set(&metrics.in_flight, u64::try_from(self.sender.in_flight()).unwrap_or(u64::MAX));
    }

    fn on_taken(&mut self, taken: Taken) {
        Metrics::add(&self.metrics.sent);
        let now = self.now();
        let (ticket, bid) = match taken {
            Taken::Refused { line, refused } => {
                Metrics::add(&self.metrics.refused);
                let told = self.answers.on_refused(line, &refused.field, &refused.reason, &refused.text);
                return self.check(told);
            }
            Taken::Call(Call { bid, reply }) => {
                self.next_call += 1;
                self.calls.insert(self.next_call, reply);
                (self.next_call, bid)
            }
            Taken::Duplicate { bid, ticket } => {
                Metrics::add(&self.metrics.duplicates_generated);
                (ticket, bid)
            }
            Taken::Bid { bid, ticket } => (ticket, bid),
        };
        let recorded = self.answers.on_taken(&bid);
        self.check(recorded);
        self.sender.on_bid(ticket, bid, now);
    }

    fn on_answer(&mut self, answer: Answer) {
        let counter = match &answer.outcome {
            Outcome::Accepted(_) => &self.metrics.accepted,
            Outcome::Expired => &self.metrics.expired,
            Outcome::Undelivered => &self.metrics.undelivered,
            Outcome::Unknown => &self.metrics.unknown,
        };
        Metrics::add(counter);
        let told = self.answers.on_outcome(answer.ticket, &answer.bid, &answer.outcome);
        self.check(told);
        if let Some(reply) = self.calls.remove(&answer.ticket) {
            // Whoever asked may have gone.
            let _ = reply.send(answer.outcome);
        }
    }

    fn on_replied(&mut self, replied: Result<Replied, JoinError>) {
        let (id, replies) = joined(replied);
        let now = self.now();
        self.sender.on_replies(id, replies, now, &mut chance::unit);
        if let Some(refusal) = self.sender.refusal() {
            let error = Error::stream(&self.stream, refusal.clone());
            self.fail(error);
        }
    }

    fn on_listed(&mut self, listed: Result<Result<ShardMap, Failure>, JoinError>) {
        match joined(listed) {
            Ok(map) => {
                tracing::info!(shards = map.len(), "shard map read again");
                let now = self.now();
                self.sender.on_map(map, now);
                self.listed = if self.sender.wants_map() { self.listed } else { 0 };
            }
            Err(failure) => tracing::warn!(%failure, "shard map not read"),
        }
    }

    fn check(&mut self, done: Result<(), Error>) {
        if let Err(error) = done {
            self.fail(error);
        }
    }

    /// Keeps the first failure for the end.
    fn fail(&mut self, error: Error) {
        if self.failure.is_none() {
            tracing::error!(%error, "no more bids are taken");
            self.failure = Some(error);
        }
    }

    fn finish(mut self) -> Result<Summary, Error> {
        self.count();
        let flushed = self.answers.flush();
        self.check(flushed);
        let summary = self.metrics.summary();
        if let Some(path) = self.json.take() {
            let text = serde_json::to_vec_pretty(&summary).expect("numbers are JSON");
            let written = std::fs::write(&path, text);
            self.check(written.map_err(|source| {
                Error::io(format!("summary {} cannot be written", path.display()), source)
            }));
        }
        tracing::info!(?summary, "done");
        self.failure.map_or(Ok(summary), Err)
    }
}

/// What a task returned; its panic is ours.
fn joined<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => unreachable!("no task is cancelled while the loop runs"),
    }
}

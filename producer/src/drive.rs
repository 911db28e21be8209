//! The only loop: bids in, requests out, every reply read, every bid answered.
//!
//! Owns the clocks and the files; decides nothing about bids. A failure of input or of a file ends the taking, never
//! the delivering of what was taken.

mod taking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use runtime::chance;
use runtime::clients::Clients;
use runtime::distribution::KeysError;
use runtime::failure::Failure;
use runtime::outage::Watched;
use runtime::shutdown::{self, Shutdown};
use runtime::told::Told;
use schemas::ids::Region;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::answers::Answers;
use crate::calls::Calls;
use crate::config::Config;
use crate::core::admission::Admission;
use crate::core::delivery::{Answer, Moment, Outcome, Reply};
use crate::core::sender::{Rules, Sender};
use crate::error::Error;
use crate::files::{Files, Output};
use crate::handle::Handle;
use crate::http;
use crate::known::Known;
use crate::listing::{Listed, Listing};
use crate::metrics::refusals::Reason;
use crate::metrics::{Metrics, Summary};
use crate::room::bids_in;
use crate::shards::Ask;
use crate::source::{Feed, Source, Taken};
use crate::stream_clock::StreamClock;
use crate::{put, shards, show};

/// How often what is costly to know is looked at.
const LOOK_MS: u64 = 1_000;
/// After a request to stop, input that says nothing for so long has handed over all that it had read.
const QUIET: Duration = Duration::from_millis(200);

/// Sends what the configuration names until it ends or the stop, drains, and says what was done.
///
/// # Errors
/// When the stream or the geometry cannot be used, the address cannot be listened on, or input or an output file
/// fails.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<Summary, Error> {
    let Some(listen) = config.listen() else {
        return run_from(config.source()?, config, clients, shutdown, metrics).await;
    };
    let (handle, source) = Handle::new(config.buffer_bytes, &config.stream);
    let files = Files::open(&source, &config)?;
    let _shown = show::start(&config, &metrics, &shutdown).await?;
    let (maps, names) = watch::channel(Arc::default());
    let door = http::Door::new(&listen, config.intake_rules(), names, (handle, Arc::clone(&metrics)))?;
    // Before the first request comes: its names are looked up at once.
    let known = Known::read(&config, &clients, maps).await?;
    let listener = http::bind(&listen).await?;
    let (end, ended) = shutdown::channel();
    let served = tokio::spawn(http::serve(listener, door, [shutdown.clone(), ended]));
    let summary = run_with((files, source), known, config, clients, (shutdown, metrics)).await;
    end.trigger();
    // Every bid has its answer by now; what is left is to write it.
    let _ = tokio::time::timeout(http::FAREWELL, served).await;
    summary
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
    let files = Files::open(&source, &config)?;
    let _shown = show::start(&config, &metrics, &shutdown).await?;
    let (maps, _) = watch::channel(Arc::default());
    let known = Known::read(&config, &clients, maps).await?;
    run_with((files, source), known, config, clients, (shutdown, metrics)).await
}

/// [`run_from`] with its files opened.
async fn run_with(
    (mut files, source): (Files, Source),
    known: Known,
    config: Config,
    clients: Clients,
    (shutdown, metrics): (Shutdown, Arc<Metrics>),
) -> Result<Summary, Error> {
    let input = files.input.take();
    let mut drive = Drive::open(&config, (files, known), clients, metrics).await?;
    let mut feed = Some(Feed::open(source, input, config.intake_rules())?);
    // What was taken and found no room yet: at most one chunk.
    let mut backlog = VecDeque::new();
    let held_max = bids_in(config.buffer_bytes);
    let mut drained_by: Option<tokio::time::Instant> = None;
    loop {
        drive.on_backlog(&mut backlog, held_max);
        drive.turn();
        if drained_by.is_none() && (shutdown.requested() || drive.failure.is_some()) {
            if let Some(feed) = &mut feed {
                feed.stop();
            }
            drained_by = Some(tokio::time::Instant::now() + Duration::from_secs(config.drain_s));
        }
        if feed.is_none() && backlog.is_empty() {
            drive.sender.on_end();
            drive.turn();
            if drive.held() == 0 {
                return drive.finish();
            }
        }
        let due = drive.next_due();
        let takes = feed.is_some() && backlog.is_empty();
        tokio::select! {
            biased;
            Some(replied) = drive.flight.join_next() => drive.on_replied(replied),
            Some(listed) = drive.listing.next() => drive.on_listed(listed),
            () = shutdown.wait(), if drained_by.is_none() => {}
            () = until(drained_by) => {
                drive.end(&mut feed, &mut backlog).await;
                drive.abandon(&mut backlog);
            }
            () = until(due) => {}
            taken = next(&mut feed), if takes => match taken {
                Ok(Some(taken)) => backlog.extend(taken),
                Ok(None) => feed = None,
                Err(error) => {
                    feed = None;
                    drive.fail(error);
                }
            },
            // A reader that waits in a read cannot be woken; what it had read has come by now.
            () = tokio::time::sleep(QUIET), if takes && drained_by.is_some() => {
                drive.end(&mut feed, &mut backlog).await;
            }
        }
    }
}

async fn next(feed: &mut Option<Feed>) -> Result<Option<Vec<Taken>>, Error> {
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
    admission: Admission,
    sender: Sender,
    known: Known,
    clock: StreamClock,
    region: Region,
    client: Client,
    stream: String,
    flight: JoinSet<Replied>,
    listing: Listing,
    looked_ms: u64,
    calls: Calls,
    answers: Answers,
    failure: Option<Error>,
    metrics: Arc<Metrics>,
    started: Instant,
    summary: Option<Output>,
    told: Told,
    /// Putting records.
    sending: Watched,
}

impl Drive {
    async fn open(
        config: &Config,
        (files, mut known): (Files, Known),
        clients: Clients,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let listed = shards::list(&clients.kinesis, &config.stream, Ask::Keys).await;
        let map = listed.map_err(|error| Error::keys(&config.stream, error))?;
        let geometry = known.geometry;
        // Bids that are not due yet leave room for those that are.
        let kept_max = bids_in(config.buffer_bytes) / 2;
        let admission = Admission::new(geometry, config.hold_ahead_ms, kept_max);
        let roster = known.roster();
        let rules = Rules {
            envelope: config.envelope,
            record_bids_max: usize::try_from(config.record_bids).unwrap_or(usize::MAX),
            linger_ms: config.linger_ms,
            deliver_ms: config.deliver_s.saturating_mul(1_000),
            geometry,
        };
        metrics.on_heard(None);
        tracing::info!(stream = config.stream, shards = map.len(), envelope = %config.envelope, "sending");
        let mut drive = Self {
            admission,
            sender: Sender::new(rules, map),
            known,
            clock: StreamClock::new(clients.kinesis_clock),
            region: config.region,
            listing: Listing::new(clients.kinesis.clone(), config.stream.clone()),
            client: clients.kinesis,
            stream: config.stream.clone(),
            flight: JoinSet::new(),
            looked_ms: 0,
            calls: Calls::default(),
            answers: Answers::new((config.stream.clone(), geometry), files.rejects, files.record),
            failure: None,
            metrics,
            started: Instant::now(),
            summary: files.summary,
            told: Told::default(),
            // Its shards were listed.
            sending: Watched::after_a_good_start(format!("stream {}", config.stream)),
        };
        drive.on_roster(roster);
        Ok(drive)
    }

    fn now(&self) -> Moment {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { elapsed_ms, wall: self.clock.now() }
    }

    fn next_due(&self) -> Option<tokio::time::Instant> {
        let kept_ms = self.admission.next_due().map(|due| {
            let now = self.now();
            now.elapsed_ms.saturating_add(due.since(now.wall))
        });
        let due = [self.sender.next_due_ms(), self.listing.due_ms(), kept_ms];
        let due_ms = due.into_iter().flatten().min()?;
        Some(tokio::time::Instant::from_std(self.started + Duration::from_millis(due_ms)))
    }

    /// Everything that is due and waits for nothing.
    fn turn(&mut self) {
        let now = self.now();
        while let Some(request) = self.sender.poll_request(now) {
            self.metrics.on_ask();
            self.flight.spawn(put::put(self.client.clone(), self.stream.clone(), request));
        }
        self.on_answers();
        let is_quiet = self.listing.due_ms().is_some_and(|due_ms| due_ms <= now.elapsed_ms);
        if is_quiet || self.sender.wants_map() {
            let ask = if self.sender.doubts_keys() { Ask::Keys } else { Ask::Shards };
            self.metrics.on_ask();
            self.listing.begin(now.elapsed_ms, ask);
        }
        if now.elapsed_ms >= self.looked_ms {
            self.looked_ms = now.elapsed_ms + LOOK_MS;
            Metrics::set(&self.metrics.lag_ms, self.sender.lag_ms(now));
            self.metrics.clock_offset_ms.store(self.clock.look(), Ordering::Relaxed);
            if let Some(roster) = self.known.poll_roster() {
                self.on_roster(roster);
            }
        }
    }

    fn count(&mut self) {
        let (counts, metrics) = (self.sender.counts(), &self.metrics);
        Metrics::set(&metrics.records, counts.records);
        Metrics::set(&metrics.bytes, counts.bytes);
        Metrics::set(&metrics.retries, counts.retries);
        Metrics::set(&metrics.throttled, counts.throttled);
        Metrics::set(&metrics.resends, counts.resends);
        Metrics::set(&metrics.held, u64::try_from(self.held()).unwrap_or(u64::MAX));
        Metrics::set(&metrics.kept, u64::try_from(self.admission.kept()).unwrap_or(u64::MAX));
        Metrics::set(&metrics.in_flight, u64::try_from(self.sender.in_flight()).unwrap_or(u64::MAX));
        metrics.series.on_events(&self.sender.poll_events());
    }

    /// Counts what was answered, and only then tells it: whoever is told finds it counted.
    fn on_answers(&mut self) {
        let answers = self.sender.poll_answers();
        let mut counts = [0_u64; 5];
        for answer in &answers {
            counts[match &answer.outcome {
                Outcome::Accepted(_) => 0,
                Outcome::Refused(_) => unreachable!("the sender refuses nothing"),
                Outcome::Expired => {
                    self.metrics.refusals.add(answer.bid.region, Reason::Expired);
                    1
                }
                Outcome::Undelivered | Outcome::StreamRefuses(_) => 2,
                Outcome::Unknown => 3,
                Outcome::RecordRefused(_) => {
                    self.metrics.refusals.add(answer.bid.region, Reason::Record);
                    4
                }
            }] += 1;
        }
        let metrics = &self.metrics;
        let Metrics { accepted, expired, undelivered, unknown, refused, .. } = metrics.as_ref();
        let counters = [accepted, expired, undelivered, unknown, refused];
        counters.into_iter().zip(counts).for_each(|(counter, count)| Metrics::add_many(counter, count));
        self.count();
        let now = self.now();
        for Answer { ticket, bid, outcome } in answers {
            self.answer(ticket, &bid, outcome, now);
        }
    }

    fn on_replied(&mut self, replied: Result<Replied, JoinError>) {
        let (id, replies) = joined(replied);
        let now = self.now();
        self.listing.on_heard(now.elapsed_ms);
        let trouble = put::trouble(&replies);
        self.metrics.on_heard(trouble.as_ref());
        let given_up = put::given_up(trouble, &self.sending);
        self.sender.on_replies(id, replies, now, &mut chance::unit);
        if let Some(failure) = self.sender.refusal().or(given_up.as_ref()) {
            let error = Error::stream(&self.stream, failure.clone());
            self.fail(error);
        }
    }

    fn on_listed(&mut self, listed: Listed) {
        let (listed, now) = (joined(listed), self.now());
        self.listing.on_ended(now.elapsed_ms);
        self.metrics.on_heard(listed.as_ref().err().and_then(KeysError::failure));
        match listed {
            Ok(map) if *self.sender.map() == map && !self.sender.wants_map() => {}
            Ok(map) => {
                tracing::info!(shards = map.len(), "shard map read again");
                self.sender.on_map(map, now);
            }
            Err(KeysError::Managed(managed)) => {
                self.sender.on_keys_ignored();
                self.fail(managed.into());
            }
            Err(KeysError::Call(failure)) if self.told.may_tell() => {
                let trouble = Error::stream(&self.stream, failure);
                tracing::warn!(%trouble, "shard map not read, tried again");
            }
            Err(_) => {}
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
            self.metrics.standing().on_end();
        }
    }

    fn finish(mut self) -> Result<Summary, Error> {
        self.count();
        Metrics::set(&self.metrics.lag_ms, 0);
        let flushed = self.answers.flush();
        self.check(flushed);
        let summary = self.metrics.summary();
        if let Some(mut output) = self.summary.take() {
            let mut text = serde_json::to_vec_pretty(&summary).expect("numbers are JSON");
            text.push(b'\n');
            let written = output.write(&text).and_then(|()| output.flush());
            self.check(written);
        }
        summary.log();
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

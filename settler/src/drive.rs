//! The only loop: buckets in random order, several at once, one transaction per batch, marks after the commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use runtime::backoff::Backoff;
use runtime::clients::Clients;
use runtime::failure::Failure;
use runtime::outage::{State, Verdict, Watched};
use runtime::shutdown::Shutdown;
use schemas::ids::SettlementId;
use schemas::item::Outcome;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::conflicts;
use crate::core::attempt::Meaning;
use crate::core::choose::Terms;
use crate::core::plan::{Done, Job};
use crate::core::rounds::{Round, Rounds};
use crate::core::rows::{Auction, Decided};
use crate::core::transaction::{End, Ended, Rules};
use crate::db::Pool;
use crate::error::Error;
use crate::grace::Grace;
use crate::metrics::{Contention, Metrics};
use crate::outbox::{Key, Marked, Outbox};
use crate::progress;
use crate::ready::{broken, ready};
use crate::replays::Replays;
use crate::runner::Runner;
use crate::walk::Walk;

/// Marks in flight at once, of one batch.
const MARKS: usize = 32;
/// Between two tries of a mark.
const MARK_BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };
/// What marks have after a stop however late the ledger answered: a decision that nobody marks is found again, and one
/// that is marked is shown.
const MARKS_AT_LEAST: Duration = Duration::from_secs(1);
/// What stands in a code's place when the ledger lets nobody in.
const NOT_LET_IN: &str = "not let in";
/// Tries of a mark; after them the item is found again in the outbox.
const MARK_TRIES: u32 = 5;

/// Settles until the stop; a batch that was begun is finished.
///
/// # Errors
/// When the geometry is missing, a service refuses for good, or cannot be reached at the start. Later on an outage is
/// waited for.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<(), Error> {
    crate::show::start(&config, &metrics, &shutdown).await?;
    let pool = config.ledger.pool(config.connects_per_second).await?;
    let prepared = async {
        let agreed = runtime::agreed::read(&clients.dynamodb, &config.table, None).await?;
        let ledger = ready(&pool, config.rules.flight).await?;
        Ok::<_, Error>((agreed, ledger))
    };
    let (agreed, ledger) = tokio::select! {
        prepared = prepared => prepared?,
        () = shutdown.wait() => {
            tracing::info!("settler stopped before it began");
            return Ok(());
        }
    };
    let worker = config.worker.clone().unwrap_or_else(|| format!("settler-{:016x}", runtime::chance::seed()));
    tracing::info!(worker, ledger = config.ledger.name(), "settler started");
    let mut rounds = Rounds::new(agreed.outbox_buckets, Duration::from_millis(config.idle_ms));
    let mut rng = StdRng::seed_from_u64(runtime::chance::seed());
    let (stream, geometry) = (config.stream.clone(), agreed.geometry);
    let replays = Arc::new(Replays::new(clients.kinesis, stream, geometry, Arc::clone(&metrics)));
    let outbox = Outbox { client: clients.dynamodb, table: config.table.clone(), agreed };
    let walk = Walk::new(outbox.clone(), Arc::clone(&replays));
    // The geometry came from the same table.
    let reading = Watched::after_a_good_start(format!("outbox of table {}", config.table));
    // Both end with the settler, however it ends.
    let mut telling = JoinSet::new();
    telling.spawn(progress::tell(Arc::clone(&metrics), shutdown.clone()));
    telling.spawn(Arc::clone(&replays).run(shutdown.clone()));
    let found = AtomicU64::default();
    let settler =
        Settler { config, outbox, walk, replays, pool, worker, metrics, shutdown, reading, ledger, found };
    while !settler.shutdown.requested() {
        let left = settler.look(rounds.order(&mut rng)).await?;
        settler.walk.tell();
        let is_away = [&settler.reading, &settler.ledger].iter().any(|one| one.state() != State::Well);
        let round = match left {
            0 if is_away => Round::Away,
            0 => Round::Idle,
            _ => Round::Found,
        };
        let pause = rounds.pause(round);
        if !pause.is_zero() {
            tokio::select! {
                () = settler.shutdown.wait() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    let Contention { conflicts, retries, resolved, resolution_rate } = settler.metrics.contention();
    tracing::info!(
        worker = settler.worker,
        conflicts,
        retries,
        resolved,
        resolutionRate = resolution_rate,
        "settler stopped"
    );
    Ok(())
}

struct Settler {
    config: Config,
    outbox: Outbox,
    walk: Walk,
    replays: Arc<Replays>,
    pool: Pool,
    worker: String,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    /// Reading the outbox.
    reading: Watched,
    /// Deciding in the ledger.
    ledger: Watched,
    /// Auctions found by the walk that is under way.
    found: AtomicU64,
}

impl Settler {
    /// Walks the buckets, some of them at once; answers how many auctions left the outbox by it.
    async fn look(&self, order: &[u32]) -> Result<usize, Error> {
        let lanes = usize::from(self.config.lanes);
        let mut walked =
            stream::iter(order.to_vec()).map(|bucket| self.bucket(bucket)).buffer_unordered(lanes);
        let mut left = 0;
        while let Some(one) = walked.next().await {
            left += one?;
        }
        self.metrics.pending.store(self.found.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        Ok(left)
    }

    /// Settles what one bucket holds now.
    async fn bucket(&self, bucket: u32) -> Result<usize, Error> {
        if self.shutdown.requested() {
            return Ok(0);
        }
        let walked = tokio::select! {
            walked = self.walk.bucket(bucket, self.config.batch) => walked,
            () = self.shutdown.wait() => return Ok(0),
        };
        let found = match walked {
            Ok(found) => found,
            Err(failure) => {
                let verdict = self.reading.on_failure(&failure);
                self.show_outbox();
                if verdict == Verdict::GiveUp {
                    return Err(Error::Call { what: self.reading.what().to_owned(), failure });
                }
                return Ok(0);
            }
        };
        self.reading.on_success();
        self.show_outbox();
        self.found.fetch_add(u64::try_from(found.auctions.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.metrics.foreign.fetch_add(found.foreign, Ordering::Relaxed);
        let mut left = 0;
        for (key, reason) in &found.unreadable {
            left += self.hold(key, reason).await;
        }
        if self.shutdown.requested() {
            // Of the auctions nothing was begun, and now nothing is.
            return Ok(left);
        }
        for (key, reason) in self.replays.take_held() {
            left += self.hold(&key, &reason).await;
        }
        let (mut batch, mut alone) = (Vec::new(), Vec::new());
        for auction in found.auctions {
            match self.replays.found(&auction) {
                Some(auction) => alone.push(auction),
                None => batch.push(auction),
            }
        }
        left += self.settle(batch).await?;
        // What was read of the log may be thousands of accounts: such an auction shares its transaction with no other.
        for auction in alone {
            left += self.settle(vec![auction]).await?;
        }
        Ok(left)
    }

    /// Runs one job to its end; answers how many auctions left the outbox by it.
    async fn settle(&self, batch: Vec<Arc<Auction>>) -> Result<usize, Error> {
        let rules = Rules { terms: Terms::from(&self.outbox.agreed.geometry), ..self.config.rules };
        let runner = Runner::new(&self.pool, Job::Settle(batch), rules, Some(&self.shutdown));
        let mut runner = runner.watched(&self.metrics);
        let mut left = 0;
        while let Some(ended) = runner.next().await {
            self.count(&ended);
            let grace = Grace::after(Some(&self.shutdown));
            conflicts::record(&self.pool, runner.connection(), grace, &self.worker, &ended).await;
            left += self.ended(ended).await?;
        }
        Ok(left)
    }

    /// Shows how reading the outbox stands.
    fn show_outbox(&self) {
        let state = self.reading.state();
        let is = |shown: &[State]| u64::from(shown.contains(&state));
        self.metrics.outbox_away.store(is(&[State::Away, State::Refused]), Ordering::Relaxed);
        self.metrics.outbox_unauthorized.store(is(&[State::Unauthorized]), Ordering::Relaxed);
    }

    async fn ended(&self, ended: Ended) -> Result<usize, Error> {
        let Job::Settle(batch) = ended.job else { return Ok(0) };
        match ended.end {
            End::Done(Done::Decided(rows)) => {
                self.ledger.on_success();
                self.metrics.ledger_away.store(0, Ordering::Relaxed);
                self.metrics.ledger_statements.store(0, Ordering::Relaxed);
                self.metrics.transactions.fetch_add(1, Ordering::Relaxed);
                for auction in &batch {
                    match rows.contains_key(&auction.id) {
                        true => self.replays.forget(auction),
                        false => self.replays.ask(auction),
                    }
                }
                Ok(self.mark(&batch, &rows).await)
            }
            End::Done(_) => Ok(0),
            End::GivenBack(meaning) => {
                if meaning == Meaning::Unauthorized {
                    let (code, message) = (NOT_LET_IN.to_owned(), "it lets nobody in that way".to_owned());
                    let failure = Failure::Unauthorized { code, message };
                    if self.ledger.on_failure(&failure) == Verdict::GiveUp {
                        return Err(Error::Call { what: self.ledger.what().to_owned(), failure });
                    }
                }
                // Whether a connection can be made is said by whoever tries.
                if !matches!(meaning, Meaning::Away | Meaning::Unauthorized) {
                    let is_away = u64::from(meaning == Meaning::Unknown);
                    self.metrics.ledger_away.store(is_away, Ordering::Relaxed);
                }
                let given_back = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                self.metrics.given_back.fetch_add(given_back, Ordering::Relaxed);
                tracing::warn!(auctions = batch.len(), ?meaning, "auctions given back, found again later");
                Ok(0)
            }
            End::Refused(reason) => {
                let mut held = 0;
                for auction in &batch {
                    held += self.hold(&auction.aggregate.key(), &reason).await;
                }
                Ok(held)
            }
            End::Broken(reason) => {
                // Someone changes the schema or a grant, perhaps: what is refused now may be right again.
                let failure = Failure::Refused { code: "statements".to_owned(), message: reason.clone() };
                let verdict = self.ledger.on_failure(&failure);
                self.metrics.ledger_statements.store(1, Ordering::Relaxed);
                if verdict == Verdict::GiveUp {
                    return Err(broken(&reason));
                }
                let given_back = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                self.metrics.given_back.fetch_add(given_back, Ordering::Relaxed);
                Ok(0)
            }
        }
    }

    async fn hold(&self, key: &Key, reason: &str) -> usize {
        let (slot, window) = (key.0.trim_start_matches("SLOT#"), key.1.trim_start_matches("WINDOW#"));
        let release = format!("settler release --slot {slot} --window {window}");
        tracing::error!(
            slot,
            window,
            reason,
            release,
            "auction held: it is out of the outbox until it is released"
        );
        match self.outbox.hold(key, reason).await {
            Ok(true) => {
                self.metrics.held.fetch_add(1, Ordering::Relaxed);
                1
            }
            Ok(false) => 0,
            Err(failure) => {
                tracing::warn!(%failure, slot, window, "hold not written, found again later");
                // Credentials that expired say nothing of the item.
                if matches!(failure, Failure::Refused { .. }) {
                    let reason = format!("it can be neither decided ({reason}) nor held ({failure})");
                    self.metrics.foreign.fetch_add(self.walk.note(key, reason).into(), Ordering::Relaxed);
                }
                0
            }
        }
    }

    fn count(&self, ended: &Ended) {
        let met = conflicts::conflicts(&ended.attempts);
        let again = u64::try_from(ended.attempts.len()).unwrap_or(u64::MAX);
        self.metrics.conflicts.fetch_add(met, Ordering::Relaxed);
        self.metrics.retries.fetch_add(again, Ordering::Relaxed);
        if conflicts::resolved(&ended.end) {
            self.metrics.resolved.fetch_add(met, Ordering::Relaxed);
        }
        self.metrics.attempts.observe(f64::from(ended.tries));
    }

    /// Copies the rows to their items; answers how many left the outbox.
    async fn mark(&self, batch: &[Arc<Auction>], rows: &BTreeMap<SettlementId, Decided>) -> usize {
        let decided: Vec<(Arc<Auction>, Decided)> = batch
            .iter()
            .filter_map(|auction| Some((Arc::clone(auction), rows.get(&auction.id)?.clone())))
            .collect();
        let mark =
            |(auction, row): (Arc<Auction>, Decided)| async move { self.mark_one(&auction, &row).await };
        let mut marks = stream::iter(decided).map(mark).buffer_unordered(MARKS);
        let over = async {
            Grace::after(Some(&self.shutdown)).over().await;
            tokio::time::sleep(MARKS_AT_LEAST).await;
        };
        let mut over = std::pin::pin!(over);
        let mut left = 0;
        loop {
            let marked = tokio::select! {
                marked = marks.next() => marked,
                () = &mut over => {
                    tracing::warn!("not all marks were written in the time after the stop, found again later");
                    return left;
                }
            };
            let Some(one) = marked else { return left };
            left += one;
        }
    }

    async fn mark_one(&self, auction: &Auction, row: &Decided) -> usize {
        let (slot_id, window) = (auction.aggregate.slot_id, auction.aggregate.window_start);
        let mut unknown = false;
        for attempt in 0..MARK_TRIES {
            match self.outbox.mark(auction, row).await {
                // A mark whose answer was lost stands when the next try finds it.
                Ok(Marked::Before) if !unknown => tracing::debug!(%slot_id, %window, "marked before"),
                Ok(Marked::Now | Marked::Before) => {
                    self.marked(auction, row);
                    return 1;
                }
                Ok(Marked::Gone | Marked::Aside) => {
                    tracing::debug!(%slot_id, %window, "gone or held, not marked")
                }
                Ok(Marked::Differs { item }) => {
                    let reason = format!(
                        "the item carries the digest {item}, and the decision that stands {}",
                        row.digest
                    );
                    return self.hold(&auction.aggregate.key(), &reason).await;
                }
                Err(failure) if failure.is_transient() && attempt + 1 < MARK_TRIES => {
                    unknown |= matches!(failure, Failure::Unknown { .. });
                    tokio::time::sleep(MARK_BACKOFF.delay(attempt, runtime::chance::unit())).await;
                    continue;
                }
                Err(failure) => {
                    tracing::warn!(%failure, %slot_id, %window, "mark not written, found again later");
                }
            }
            return 0;
        }
        0
    }

    fn marked(&self, auction: &Auction, row: &Decided) {
        let sale = matches!(row.decision.outcome, Outcome::Sale { .. });
        let counter = if sale { &self.metrics.settled } else { &self.metrics.no_sale };
        counter.fetch_add(1, Ordering::Relaxed);
        let is_of_log = auction.behind.cost().is_some();
        self.metrics.log_auctions.fetch_add(is_of_log.into(), Ordering::Relaxed);
        let closed = auction.aggregate.window_end.plus(self.outbox.agreed.geometry.grace_ms);
        let waited = Duration::from_millis(runtime::clock::now().since(closed));
        self.metrics.settle_seconds.observe(waited.as_secs_f64());
    }
}

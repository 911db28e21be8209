//! The loop of a processor: looks at the lease table, acts on what its core says, and starts a loop per held lease.

mod doubted;
mod holes;
mod outages;
mod same;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::clients::Clients;
use runtime::failure::Failure;
use runtime::outage::{State, Verdict};
use runtime::shutdown::{self, Shutdown, Trigger};
use schemas::ids::ShardId;
use schemas::item::GeometryItem;
use schemas::lease::Lease;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::core::holding::{Finish, Loss, Now, Timing, Written};
use crate::core::lease::{Action, Age, Appetite, Look, Removal, Watch, gaps};
use crate::drive::holes::{Holes, Told};
use crate::drive::outages::{Outages, With};
use crate::drive::same::{Seen, same_stream};
use crate::error::Error;
use crate::held::{Held, NoTable};
use crate::leases::{Leases, Rows, is_no_table};
use crate::metrics::{Metrics, add, get};
use crate::reader::{PERMIT_BYTES, Source};
use crate::samples::Samples;
use crate::sink::Sink;
use crate::stream::Stream;

/// Ticks a second for one idle shard: at most five.
const TICK_EVERY: Duration = Duration::from_millis(200);
/// Between two checkpoints of a shard, which also renew its lease.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(1_000);
/// Before a lease row without a reply is written again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Rows that a held lease may be told of before it listens.
const SEEN_MAX: usize = 4;

/// What all loops of a processor share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) agreed: GeometryItem,
    pub(crate) leases: Leases,
    pub(crate) stream: Stream,
    pub(crate) source: Source,
    pub(crate) sink: Sink,
    pub(crate) worker: String,
    pub(crate) shutdown: Shutdown,
    /// Asked for when this processor cannot go on.
    pub(crate) end: Shutdown,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) samples: Samples,
    started: Instant,
    /// A lease was given up: another look is due.
    given_up: Notify,
}

/// Reads shards until the stop, then writes what was closed, checkpoints and releases what it holds.
///
/// # Errors
/// When the geometry is missing or another one, or a service refuses for good.
pub async fn run(
    config: Config,
    clients: Clients,
    stop: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<(), Error> {
    let door = crate::show::open(&config).await?;
    let (ends, end) = shutdown::channel();
    let shared = Arc::new(Shared::new(config, clients, (stop, end), metrics).await?);
    tracing::info!(worker = shared.worker, stream = shared.stream.name, "processor started");
    crate::show::start(&shared, door);
    let watch = Watch::new(shared.worker.clone(), shared.config.failover());
    let mut workers = Fleet { watch, held: BTreeMap::new(), told: Told::default(), outages: None };
    let done = workers.look_until_stop(&shared).await;
    if let Err(error) = &done {
        tell_end(&shared, error, &ends);
    }
    let released = workers.release(&shared).await;
    tracing::info!(worker = shared.worker, "processor stopped");
    done.and(released)
}

impl Shared {
    async fn new(
        config: Config,
        clients: Clients,
        (shutdown, end): (Shutdown, Shutdown),
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let names = config.names.clone();
        let agreed = runtime::agreed::read(&clients.dynamodb, &names.table, None).await?;
        if let Some(given) = config.window_ms.filter(|given| *given != agreed.geometry.window_ms) {
            return Err(Error::Window { given, agreed: agreed.geometry.window_ms });
        }
        // Each start has a name of its own: what an earlier process of this name left is another worker's.
        let given = config.worker.as_deref().unwrap_or("worker");
        let worker = format!("{given}#{:08x}", runtime::chance::seed() >> 32);
        let consumer_arn = match &config.fan_out {
            None => None,
            Some(name) => {
                let found = crate::fan_out::consumer(&clients.kinesis, &names.stream, name).await;
                let what = format!("consumer {name} of stream {}", names.stream);
                Some(found.map_err(|failure| Error::Call { what, failure })?)
            }
        };
        let memory = usize::try_from(config.read_ahead_mib).unwrap_or(64) * 1_048_576 / PERMIT_BYTES;
        let stream = Stream::new(clients.kinesis.clone(), names.stream, clients.kinesis_clock.clone());
        let source = Source {
            client: clients.kinesis.clone(),
            stream: stream.clone(),
            poll: Duration::from_millis(config.poll_ms),
            consumer_arn,
            memory: Arc::new(Semaphore::new(memory)),
            metrics: Arc::clone(&metrics),
        };
        let (buckets, table) = (agreed.outbox_buckets, names.table);
        Ok(Self {
            leases: Leases { client: clients.dynamodb.clone(), table: names.lease_table },
            stream,
            sink: Sink::new(clients.dynamodb, table, buckets, Arc::clone(&metrics)),
            source,
            config,
            agreed,
            worker,
            shutdown,
            end,
            metrics,
            samples: Samples::default(),
            started: Instant::now(),
            given_up: Notify::new(),
        })
    }

    /// Waits until leases are to be released: a stop was asked for, or this processor cannot go on.
    pub(crate) async fn stops(&self) {
        tokio::select! {
            () = self.shutdown.wait() => {}
            () = self.end.wait() => {}
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now::new(self.started.elapsed(), self.stream.clock.span(), runtime::clock::now())
    }

    pub(crate) fn timing(&self) -> Timing {
        let renew_every = self.config.failover() / 3;
        Timing {
            checkpoint_every: CHECKPOINT_EVERY.min(renew_every),
            renew_every,
            tick_every: TICK_EVERY,
            retry_after: RETRY_AFTER.min(renew_every),
        }
    }

    async fn hold(self: Arc<Self>, row: Lease, seen: mpsc::Receiver<Lease>) {
        let shard_id = row.shard_id.clone();
        tracing::info!(%shard_id, checkpoint = row.checkpoint.as_text(), closed_through = %row.closed_through,
            tails = row.tails.len(), "lease held");
        add(&self.metrics.leases_held, 1);
        add(&self.metrics.leases_gained, 1);
        let finish = Held::new(Arc::clone(&self), row, seen).run().await;
        self.metrics.leases_held.fetch_sub(1, Ordering::Relaxed);
        match finish {
            Ok(Finish::Ended) => tracing::info!(%shard_id, "shard read to its end"),
            Ok(Finish::Released) => tracing::info!(%shard_id, "lease released"),
            Ok(Finish::HandedOver) => {
                add(&self.metrics.leases_lost, 1);
                tracing::info!(%shard_id, "lease handed over");
            }
            Ok(Finish::Lost(loss)) => {
                add(&self.metrics.leases_lost, 1);
                match loss {
                    Loss::Taken(by) => tracing::warn!(%shard_id, by, "lease lost to another worker"),
                    Loss::Changed => {
                        tracing::warn!(%shard_id, "lease lost: its row was released by a command or changed by another tool");
                    }
                    Loss::Missing => {
                        tracing::warn!(%shard_id, "lease lost: its row was deleted or cannot be read; a deleted one is made again at the next look, and its shard is read from its beginning or from what its parents left");
                    }
                }
            }
            // Said once for all of them by the look that follows.
            Err(NoTable) => {
                add(&self.metrics.leases_lost, 1);
                tracing::debug!(%shard_id, "lease gone with its table");
            }
        }
        self.given_up.notify_one();
    }
}

/// Why a look came to nothing.
enum Trouble {
    /// A call failed.
    Call { with: With, failure: Failure },
    /// It can never come to anything.
    Final(Error),
}

struct One {
    seen: mpsc::Sender<Lease>,
    task: JoinHandle<()>,
}

/// The leases that this worker holds, and what it saw of all.
struct Fleet {
    watch: Watch,
    held: BTreeMap<ShardId, One>,
    told: Told,
    /// None before the first look that went well.
    outages: Option<Outages>,
}

impl Fleet {
    async fn look_until_stop(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let pause = Duration::from_millis(shared.config.look_ms).min(shared.config.failover() / 3);
        while !shared.shutdown.requested() {
            self.forget_finished().await?;
            let looked = self.look(shared).await;
            shared.metrics.away.store(u64::from(looked.is_err()), Ordering::Relaxed);
            let pause = match looked {
                Ok(()) => {
                    self.outages.get_or_insert_with(|| Outages::of(shared)).on_success();
                    pause
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Call { with, failure }) => self.on_trouble(shared, with, failure)?,
            };
            let state = self.outages.as_ref().map_or(State::Well, Outages::state);
            shared.metrics.unauthorized.store(u64::from(state == State::Unauthorized), Ordering::Relaxed);
            tokio::select! {
                () = shared.shutdown.wait() => {}
                () = shared.given_up.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// A look failed. Returns when the next one is due, or why there is none.
    ///
    /// The first look finds out whether the services are there at all; later ones live through an outage.
    fn on_trouble(&self, shared: &Shared, with: With, failure: Failure) -> Result<Duration, Error> {
        let Some(outages) = &self.outages else {
            return Err(Error::Call { what: with.named(shared), failure });
        };
        match outages.with(with).on_failure(&failure) {
            Verdict::Again(wait) => Ok(wait),
            Verdict::GiveUp if matches!(with, With::Leases) && is_no_table(&failure) => {
                Err(Error::NoLeases { table: shared.leases.table.clone() })
            }
            Verdict::GiveUp => Err(Error::Call { what: with.named(shared), failure }),
        }
    }

    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), Trouble> {
        // Rows before shards: a row that is missing although its shard is listed was missing when that shard was there.
        let on_stream = |failure| Trouble::Call { with: With::Stream, failure };
        let service = shared.stream.now().await.map_err(on_stream)?;
        let rows = shared.leases.all(service.latest).await;
        let read = rows.map_err(|failure| Trouble::Call { with: With::Leases, failure })?;
        let shards = shared.stream.shards().await.map_err(on_stream)?;
        shared.samples.on_shards(&shards);
        let kept = shared.stream.kept().await;
        if let Some(managed) = shared.stream.managed() {
            return Err(Trouble::Final(managed.into()));
        }
        let created = kept.map(|kept| kept.created);
        let seen = Seen { met: shared.stream.met(), now: created };
        same_stream(&shared.config.names, &read.leases, seen).map_err(Trouble::Final)?;
        let Rows { leases: rows, unreadable } = read;
        for row in &rows {
            if let Some(one) = self.held.get(&row.shard_id) {
                // A full queue means that newer rows wait there already.
                let _ = one.seen.try_send(row.clone());
            }
        }
        let held: BTreeSet<ShardId> = self.held.keys().cloned().collect();
        let is_full = get(&shared.metrics.open_bids) >= shared.config.open_bids_max;
        let appetite = if is_full { Appetite::Nothing } else { Appetite::Share };
        // Unknown counts as old: a cut window is never written.
        let latest = shared.now().service.latest;
        let age = kept.map_or(Age::Old, |kept| kept.age(latest));
        let look = Look { rows: &rows, shards: &shards, age, latest, created, held: &held, appetite };
        let now = shared.now().monotonic;
        let actions = self.watch.on_look(&look, now);
        let made = actions.iter().filter_map(|action| match action {
            Action::Make(row) => Some(row.clone()),
            _ => None,
        });
        // Where a row stands that cannot be read, none is made.
        let stands = |row: &Lease| unreadable.iter().any(|one| one.shard_id == row.shard_id);
        let covered: Vec<Lease> = rows.iter().cloned().chain(made.filter(|row| !stands(row))).collect();
        let mut denied = None;
        for action in actions {
            // One that fails is found out by the next look; the others do not wait for it.
            if let Err(failure) = self.act(shared, action).await {
                tracing::warn!(%failure, "lease could not be changed");
                denied = denied.or((!failure.is_transient()).then_some(failure));
            }
        }
        let unread = self.watch.unread(&rows, now);
        let holes = Holes { unread, gaps: gaps(&covered, &shards), unreadable };
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        shared.metrics.leases_unread.store(count(holes.unread.len()), Ordering::Relaxed);
        shared.metrics.leases_unreadable.store(count(holes.unreadable.len()), Ordering::Relaxed);
        shared.metrics.lease_gaps.store(count(holes.gaps.len()), Ordering::Relaxed);
        let altered = rows.iter().filter(|row| !row.is_trusted()).count();
        shared.metrics.leases_altered.store(count(altered), Ordering::Relaxed);
        self.told.on_look(holes, now);
        denied.map_or(Ok(()), |failure| Err(Trouble::Call { with: With::Leases, failure }))
    }

    async fn act(&mut self, shared: &Arc<Shared>, action: Action) -> Result<(), Failure> {
        match action {
            Action::Make(row) => shared.leases.make(&row).await,
            Action::Take { row, seen, doubts } => {
                if matches!(shared.leases.write(&row, seen).await?, Written::Done) {
                    doubts.iter().for_each(|doubt| doubted::tell(shared, doubt, &row));
                    match &row.checkpoint_owner {
                        Some(from) => tracing::info!(shard_id = %row.shard_id, from, "lease asked for"),
                        None => self.start(shared, row),
                    }
                }
                Ok(())
            }
            Action::Hold(row) => {
                self.start(shared, row);
                Ok(())
            }
            Action::Remove { shard_id, seen, reason } => {
                match reason {
                    Removal::Inherited => tracing::info!(%shard_id, "row of an ended shard removed"),
                    Removal::Gone => {
                        tracing::error!(%shard_id, "the stream dropped a shard that was not read to its end");
                    }
                }
                shared.leases.remove(&shard_id, seen).await
            }
        }
    }

    fn start(&mut self, shared: &Arc<Shared>, row: Lease) {
        let (seen, receiver) = mpsc::channel(SEEN_MAX);
        let shard_id = row.shard_id.clone();
        let task = tokio::spawn(Arc::clone(shared).hold(row, receiver));
        self.held.insert(shard_id, One { seen, task });
    }

    async fn forget_finished(&mut self) -> Result<(), Error> {
        for (shard_id, one) in self.held.extract_if(.., |_, one| one.task.is_finished()) {
            one.task.await.map_err(|error| fault(&shard_id, &error))?;
        }
        Ok(())
    }

    /// Waits for all to be released; what takes longer than the grace period expires.
    async fn release(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(shared.config.grace_ms);
        while let Some((shard_id, mut one)) = self.held.pop_first() {
            match tokio::time::timeout_at(deadline, &mut one.task).await {
                Ok(done) => drop(done.map_err(|error| fault(&shard_id, &error))?),
                Err(_) => {
                    tracing::error!(%shard_id, "not released within the grace period; the lease will expire");
                    one.task.abort();
                }
            }
        }
        Ok(())
    }
}

/// Lets go of all leases because this processor cannot go on, and says what is open then.
fn tell_end(shared: &Shared, error: &Error, ends: &Trigger) {
    let (open_windows, open_bids) = (get(&shared.metrics.open_windows), get(&shared.metrics.open_bids));
    tracing::error!(%error, open_windows, open_bids, "cannot go on, leases are let go");
    ends.trigger();
}

fn fault(shard_id: &ShardId, error: &tokio::task::JoinError) -> Error {
    Error::Fault { shard_id: shard_id.clone(), message: error.to_string() }
}

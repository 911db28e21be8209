//! The loops: one that looks after leases, one per shard that is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::primitives::Blob;
use runtime::clients::Clients;
use runtime::failure::{Failure, classify};
use runtime::shutdown::Shutdown;
use schemas::ids::ShardId;
use schemas::item::GeometryItem;
use schemas::lease::{Checkpoint, Lease};
use schemas::record::{Decoded, decode_into, tick};
use schemas::time::Millis;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::core::lease::{Watch, taken};
use crate::core::shard::ShardMachine;
use crate::core::{BidEvents, Judged};
use schemas::lease::Beginning;
use crate::error::Error;
use crate::leases::{Leases, Written};
use crate::metrics::{Metrics, add};
use crate::reader::{Reader, list};
use crate::sink::Sink;

/// Ticks a second for one idle shard, at most.
const TICK_EVERY: Duration = Duration::from_millis(200);
/// How often a checkpoint is written, which also renews the lease.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(1_000);

/// Reads shards until the stop, then checkpoints and releases what it holds.
///
/// # Errors
/// When the geometry is missing or another one, or a service refuses for good.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<(), Error> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &config.table, None).await?;
    if let Some(given) = config.window_ms.filter(|given| *given != agreed.geometry.window_ms) {
        return Err(Error::Window { given, agreed: agreed.geometry.window_ms });
    }
    let worker = config.worker.clone().unwrap_or_else(|| format!("worker-{:016x}", runtime::chance::seed()));
    let leases = Leases { client: clients.dynamodb.clone(), table: config.lease_table.clone() };
    let shared = Arc::new(Shared { config, clients, agreed, leases, worker, shutdown, metrics });
    tracing::info!(worker = shared.worker, stream = shared.config.stream, "processor started");
    let done = shared.look_after_leases().await;
    tracing::info!(worker = shared.worker, "processor stopped");
    done
}

struct Shared {
    config: Config,
    clients: Clients,
    agreed: GeometryItem,
    leases: Leases,
    worker: String,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
}

type Held = BTreeMap<ShardId, JoinHandle<Result<(), Error>>>;

impl Shared {
    async fn look_after_leases(self: &Arc<Self>) -> Result<(), Error> {
        let failover = Duration::from_millis(self.config.failover_ms);
        let (mut watch, started) = (Watch::new(self.worker.clone(), failover), Instant::now());
        let mut held = Held::new();
        let mut first = true;
        while !self.shutdown.requested() {
            match self.look(&mut watch, started.elapsed(), &mut held).await {
                Ok(()) => first = false,
                // The first look finds out whether the services are there at all; later ones live through an outage.
                Err(failure) if first || !failure.is_transient() => {
                    let what = format!(
                        "leases of stream {} in table {}",
                        self.config.stream, self.config.lease_table
                    );
                    return Err(Error::Call { what, failure });
                }
                Err(failure) => tracing::warn!(%failure, "leases could not be looked after"),
            }
            for (_, task) in held.extract_if(.., |_, task| task.is_finished()) {
                self.finished(task).await?;
            }
            tokio::select! {
                () = self.shutdown.wait() => {}
                () = tokio::time::sleep(failover / 3) => {}
            }
        }
        for (_, task) in held {
            self.finished(task).await?;
        }
        Ok(())
    }

    async fn finished(&self, task: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
        match task.await {
            Ok(done) => done,
            Err(panic) => {
                let failure = Failure::Refused { code: "Panic".to_owned(), message: panic.to_string() };
                Err(Error::Call { what: "a shard's task".to_owned(), failure })
            }
        }
    }

    async fn look(
        self: &Arc<Self>,
        watch: &mut Watch,
        now: Duration,
        held: &mut Held,
    ) -> Result<(), Failure> {
        let shards = list(&self.clients.kinesis, &self.config.stream).await?;
        let mut rows = self.leases.all().await?;
        let known: Vec<ShardId> = rows.iter().map(|row| row.shard_id.clone()).collect();
        for shard in shards.iter().filter(|shard| !known.contains(&shard.shard_id)) {
            self.leases.make(shard).await?;
            rows.push(Lease::new(shard.shard_id.clone(), shard.range, shard.parents.clone()));
        }
        let ended = |id: &ShardId| {
            rows.iter().any(|row| &row.shard_id == id && row.checkpoint == Checkpoint::ShardEnd)
        };
        let ready: Vec<Lease> = rows.iter().filter(|row| row.parents.iter().all(ended)).cloned().collect();
        for lease in watch.on_leases(&ready, now) {
            if held.contains_key(&lease.shard_id) {
                continue;
            }
            let mine = taken(&lease, &self.worker);
            if self.leases.write(&mine, lease.counter).await? == Written::Done {
                tracing::info!(shard_id = %mine.shard_id, from = ?lease.owner, checkpoint = mine.checkpoint.as_text(), "lease taken");
                held.insert(mine.shard_id.clone(), tokio::spawn(Arc::clone(self).hold(mine)));
            }
        }
        Ok(())
    }

    /// A shard that was never checkpointed is read from its oldest record, which is its beginning only while the
    /// stream is younger than its retention. Unknown counts as gone: a cut window is never written.
    async fn beginning(&self, lease: &Lease) -> Beginning {
        if lease.checkpoint != Checkpoint::TrimHorizon {
            return Beginning::Whole;
        }
        let sent =
            self.clients.kinesis.describe_stream_summary().stream_name(&self.config.stream).send().await;
        let summary = sent.ok().and_then(|answer| answer.stream_description_summary);
        let young = summary.and_then(|summary| {
            let created = u64::try_from(summary.stream_creation_timestamp.to_millis().ok()?).ok()?;
            let kept_ms = u64::try_from(summary.retention_period_hours).ok()? * 3_600_000;
            Some(runtime::clock::now().since(Millis(created)) < kept_ms)
        });
        if young == Some(true) { Beginning::Whole } else { Beginning::Cut }
    }

    async fn hold(self: Arc<Self>, lease: Lease) -> Result<(), Error> {
        self.metrics.leases_held.fetch_add(1, Ordering::Relaxed);
        let shard_id = lease.shard_id.clone();
        let open = Open { metrics: Arc::clone(&self.metrics), windows: 0 };
        let beginning = self.beginning(&lease).await;
        let done = ShardLoop::new(&self, lease, open, beginning).run().await;
        self.metrics.leases_held.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = &done {
            tracing::error!(%shard_id, %error, "shard stopped");
        }
        done
    }
}

/// This shard's part of the gauge of open windows.
struct Open {
    metrics: Arc<Metrics>,
    windows: u64,
}

impl Open {
    fn set(&mut self, windows: usize) {
        let windows = u64::try_from(windows).unwrap_or(u64::MAX);
        let gauge: &AtomicU64 = &self.metrics.open_windows;
        gauge.fetch_add(windows, Ordering::Relaxed);
        gauge.fetch_sub(self.windows, Ordering::Relaxed);
        self.windows = windows;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.set(0);
    }
}

struct ShardLoop<'a> {
    shared: &'a Shared,
    sink: Sink,
    reader: Reader,
    machine: ShardMachine,
    lease: Lease,
    open: Open,
    ticked: Option<Instant>,
}

impl<'a> ShardLoop<'a> {
    fn new(shared: &'a Shared, lease: Lease, open: Open, beginning: Beginning) -> Self {
        let lease = Lease { beginning, ..lease };
        let (machine, _) = ShardMachine::begin(&lease, shared.agreed.clone(), BidEvents::Best, Vec::new());
        let sink = Sink {
            client: shared.clients.dynamodb.clone(),
            table: shared.config.table.clone(),
            agreed: shared.agreed.clone(),
            bid_events: shared.config.bid_events,
            metrics: Arc::clone(&shared.metrics),
        };
        let reader = Reader::new(
            shared.clients.kinesis.clone(),
            shared.config.stream.clone(),
            lease.shard_id.clone(),
            lease.checkpoint.clone(),
        );
        Self { shared, sink, reader, machine, lease, open, ticked: None }
    }

    async fn run(mut self) -> Result<(), Error> {
        let poll = Duration::from_millis(self.shared.config.poll_ms);
        let mut decoded = Decoded::default();
        let mut checkpointed = Instant::now();
        loop {
            let began = Instant::now();
            let page = self.reader.read().await?.unwrap_or_default();
            for (arrival, sequence, data) in &page.records {
                decode_into(data.as_ref(), &mut decoded);
                let (closed, judged) = self.machine.on_record(*arrival, sequence, &decoded);
                self.count(&judged);
                for window in closed {
                    let (start, auctions) = (window.window_start, window.aggregates.len());
                    let writing = Instant::now();
                    let ticket = window.ticket;
                    self.sink.write(window).await?;
                    self.machine.on_written(ticket);
                    let write_ms = u64::try_from(writing.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(shard_id = %self.lease.shard_id, window = %start, auctions, write_ms,
                        lag_ms = page.behind_ms, "window closed");
                }
            }
            self.open.set(self.machine.open_windows());
            let stop = self.shared.shutdown.requested();
            if stop || page.ended || checkpointed.elapsed() >= CHECKPOINT_EVERY {
                checkpointed = Instant::now();
                if self.checkpoint(stop, page.ended).await == Written::Lost {
                    tracing::warn!(shard_id = %self.lease.shard_id, "lease lost");
                    return Ok(());
                }
            }
            if stop || page.ended {
                return Ok(());
            }
            if page.at_tip && page.records.is_empty() {
                self.tick().await;
            }
            // A page that is not the last is followed at once, within the rate that a shard allows.
            tokio::time::sleep(poll.saturating_sub(began.elapsed())).await;
        }
    }

    fn count(&self, judged: &Judged) {
        let metrics = &self.shared.metrics;
        add(&metrics.records, 1);
        add(&metrics.counted, judged.counted);
        add(&metrics.duplicates, judged.duplicates);
        add(&metrics.rejected, judged.rejected);
        add(&metrics.stray, judged.stray);
        add(&metrics.early, judged.early);
        add(&metrics.late, judged.late);
    }

    /// Writes the checkpoint, which renews the lease; `release` gives it up, `ended` finishes the shard. Everything
    /// that the machine closed so far is durable here.
    async fn checkpoint(&mut self, release: bool, ended: bool) -> Written {
        let mut lease = self.machine.checkpoint(&self.lease);
        lease.counter += 1;
        lease.owner_switches = 0;
        if ended {
            lease = self.machine.ended(&lease, Vec::new());
        }
        if release || ended {
            lease.owner = None;
        }
        match self.shared.leases.write(&lease, self.lease.counter).await {
            Ok(Written::Done) => {
                self.lease = lease;
                tracing::debug!(shard_id = %self.lease.shard_id, checkpoint = self.lease.checkpoint.as_text(), "checkpoint");
                Written::Done
            }
            Ok(Written::Lost) => Written::Lost,
            Err(failure) => {
                // The row may stand or not; the next attempt carries the same counter and finds out.
                tracing::warn!(shard_id = %self.lease.shard_id, %failure, "checkpoint not written");
                Written::Done
            }
        }
    }

    /// Puts a tick into an idle shard when a window would be closed by a record that arrived now.
    async fn tick(&mut self) {
        let recently = self.ticked.is_some_and(|at| at.elapsed() < TICK_EVERY);
        if recently || !self.machine.due(runtime::clock::now()) {
            return;
        }
        self.ticked = Some(Instant::now());
        let put = self.shared.clients.kinesis.put_record().stream_name(&self.shared.config.stream);
        let put = put
            .partition_key("a")
            .explicit_hash_key(self.lease.range.start.to_string())
            .data(Blob::new(tick()));
        match put.send().await {
            Ok(_) => add(&self.shared.metrics.ticks, 1),
            Err(error) => tracing::debug!(failure = %classify(&error), "tick not sent"),
        }
    }
}

//! The only loop: buckets in random order, one transaction per batch, marks after the commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use rand::seq::SliceRandom;
use runtime::clients::Clients;
use runtime::failure::Failure;
use runtime::shutdown::Shutdown;
use schemas::ids::SettlementId;
use schemas::item::{Aggregate, Outcome};
use schemas::settlement::settlement_id;

use crate::config::Config;
use crate::conflicts;
use crate::db::Connection;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, Pending};
use crate::runner::{Decided, Ended, GivenBack, settle};

/// Shortest pause between two looks at an outbox that was empty.
const IDLE_MIN: Duration = Duration::from_millis(40);
/// Marks in flight at once.
const MARKS: usize = 32;

/// Settles until the stop; a batch that was begun is finished.
///
/// # Errors
/// When the geometry is missing, or a service refuses or cannot be reached at the start.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<(), Error> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &config.table, None).await?;
    let connection = config.ledger.connect().await?;
    let worker = config.worker.clone().unwrap_or_else(|| format!("settler-{:016x}", runtime::chance::seed()));
    tracing::info!(worker, ledger = config.ledger.name(), "settler started");
    let buckets: Vec<u32> = (0..agreed.outbox_buckets).collect();
    let outbox = Outbox { client: clients.dynamodb, table: config.table.clone(), agreed };
    let mut settler = Settler { config, outbox, connection, worker, metrics };
    let mut idle = IDLE_MIN;
    while !shutdown.requested() {
        let mut order = buckets.clone();
        order.shuffle(&mut rand::rng());
        let mut found = 0;
        for bucket in order {
            if shutdown.requested() {
                break;
            }
            found += settler.bucket(bucket).await?;
        }
        idle =
            if found > 0 { IDLE_MIN } else { (idle * 2).min(Duration::from_millis(settler.config.idle_ms)) };
        if found == 0 {
            tokio::select! {
                () = shutdown.wait() => {}
                () = tokio::time::sleep(idle) => {}
            }
        }
    }
    tracing::info!(worker = settler.worker, "settler stopped");
    Ok(())
}

struct Settler {
    config: Config,
    outbox: Outbox,
    connection: Connection,
    worker: String,
    metrics: Arc<Metrics>,
}

impl Settler {
    /// Settles what one bucket holds now and answers how many items that were.
    async fn bucket(&mut self, bucket: u32) -> Result<usize, Error> {
        let pending = match self.outbox.bucket(bucket, self.config.batch).await {
            Ok(pending) => pending,
            Err(failure @ Failure::Refused { .. }) => {
                return Err(Error::Call { what: format!("outbox of table {}", self.outbox.table), failure });
            }
            Err(failure) => {
                tracing::warn!(%failure, bucket, "outbox could not be read");
                return Ok(0);
            }
        };
        let found = pending.len();
        let batch = self.readable(pending).await;
        self.settle(batch).await?;
        Ok(found)
    }

    /// Sets aside what cannot be read, and keeps the rest.
    async fn readable(&mut self, pending: Vec<Pending>) -> Vec<Aggregate> {
        let mut batch = Vec::with_capacity(pending.len());
        for (key, aggregate) in pending {
            match aggregate {
                Ok(aggregate) => batch.push(aggregate),
                Err(reason) => self.hold(&key, &reason).await,
            }
        }
        batch
    }

    async fn hold(&mut self, key: &(String, String), reason: &str) {
        tracing::error!(?key, reason, "auction held: it leaves the outbox until it is released");
        match self.outbox.hold(key, reason).await {
            Ok(true) => drop(self.metrics.held.fetch_add(1, Ordering::Relaxed)),
            Ok(false) => {}
            Err(failure) => tracing::warn!(%failure, "hold not written"),
        }
    }

    /// Settles a batch; one that keeps conflicting or is refused is halved, down to the culprit.
    async fn settle(&mut self, batch: Vec<Aggregate>) -> Result<(), Error> {
        let mut work = vec![batch];
        while let Some(mut batch) = work.pop() {
            if batch.is_empty() {
                continue;
            }
            let pricing = self.outbox.agreed.geometry.pricing;
            let Ended { rows, conflicts } =
                settle(&self.config.ledger, &mut self.connection, &batch, pricing).await?;
            self.count(&conflicts, rows.is_ok());
            let now = runtime::clock::now();
            conflicts::record(&self.connection, &self.worker, &conflicts, rows.is_ok(), now).await;
            match rows {
                Ok(rows) => {
                    self.metrics.transactions.fetch_add(1, Ordering::Relaxed);
                    self.mark(&batch, &rows).await;
                }
                Err(GivenBack::Refused(reason)) if batch.len() == 1 => {
                    self.hold(&batch[0].key(), &reason).await;
                }
                // One that still conflicts stays in the outbox and is found again.
                Err(GivenBack::Conflicts) if batch.len() == 1 => {}
                Err(_) => {
                    let half = batch.split_off(batch.len() / 2);
                    work.extend([half, batch]);
                }
            }
        }
        Ok(())
    }

    fn count(&self, conflicts: &[crate::runner::Conflict], resolved: bool) {
        let count = u64::try_from(conflicts.len()).unwrap_or(u64::MAX);
        self.metrics.conflicts.fetch_add(count, Ordering::Relaxed);
        self.metrics.retries.fetch_add(count, Ordering::Relaxed);
        if resolved {
            self.metrics.resolved.fetch_add(count, Ordering::Relaxed);
        }
    }

    async fn mark(&self, batch: &[Aggregate], rows: &BTreeMap<SettlementId, Decided>) {
        let decided: Vec<(Aggregate, Decided)> = batch
            .iter()
            .filter_map(|one| {
                Some((one.clone(), rows.get(&settlement_id(&one.slot_id, one.window_start))?.clone()))
            })
            .collect();
        let outbox = self.outbox.clone();
        let mark = move |(aggregate, row): (Aggregate, Decided)| {
            let outbox = outbox.clone();
            async move {
                let marked = outbox.mark(&aggregate, &row).await;
                (aggregate, row, marked)
            }
        };
        let mut marks = stream::iter(decided).map(mark).buffer_unordered(MARKS);
        while let Some((aggregate, row, marked)) = marks.next().await {
            if row.new {
                let sale = matches!(row.decision.outcome, Outcome::Sale { .. });
                let counter = if sale { &self.metrics.settled } else { &self.metrics.no_sale };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            match marked {
                Ok(true) => {}
                Ok(false) if row.digest != aggregate.digest() => {
                    tracing::error!(slot_id = %aggregate.slot_id, window = %aggregate.window_start,
                        "item and row carry different digests: the row stays, the item is not marked");
                }
                Ok(false) => tracing::debug!(slot_id = %aggregate.slot_id, "marked already"),
                Err(failure) => {
                    tracing::warn!(%failure, slot_id = %aggregate.slot_id, "mark not written, found again later")
                }
            }
        }
    }
}

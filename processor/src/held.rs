//! The loop of one held lease: performs what its core asks for and tells it what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use schemas::ids::ShardId;
use schemas::lease::Lease;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::Closed;
use crate::core::ahead::{Told, Watched, ahead_ms};
use crate::core::holding::{Effect, Finish, Holding, Raw, Taken, Written};
use crate::drive::Shared;
use crate::leases::is_no_table;
use crate::metrics::{ShardGauges, add};
use crate::reader::{Next, Page, Pages};

/// How often the core is told the time when nothing else happens.
const TIME_EVERY: Duration = Duration::from_millis(50);
/// How long records are taken in one go before others get their turn.
const SLICE: Duration = Duration::from_millis(4);
/// Between two lines about checkpoints of a shard.
const CHECKPOINT_LINE_EVERY: Duration = Duration::from_secs(10);

/// Reads one shard until its lease is given up.
pub(crate) struct Held {
    shared: Arc<Shared>,
    shard_id: ShardId,
    holding: Holding,
    pages: Option<Pages>,
    puts: JoinSet<u64>,
    /// What the table refuses: a ticket and how many items of it. At most one message for each of `puts`.
    refused: (mpsc::UnboundedSender<Left>, mpsc::UnboundedReceiver<Left>),
    row: Option<BoxFuture<'static, Result<Written, NoTable>>>,
    seen: mpsc::Receiver<Lease>,
    behind_ms: u64,
    again: Again,
    checkpoint_logged: Instant,
    altered: Altered,
    watched: Watched,
    late: u64,
}

/// Whether it was said that a tool changed the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Altered {
    No,
    Told,
}

/// The lease table is gone, and every lease with it: there is nothing to renew or to release.
#[derive(Debug)]
pub(crate) struct NoTable;

/// A window's ticket, and how many of its items the table refuses.
type Left = (u64, usize);

/// What is read again after a take.
#[derive(Debug, Default)]
struct Again {
    records: u64,
    bids: u64,
    bytes: u64,
    is_told: bool,
}

impl Held {
    /// A lease whose row stands as `row`; `seen` brings rows as the table was seen to hold them.
    pub(crate) fn new(shared: Arc<Shared>, row: Lease, seen: mpsc::Receiver<Lease>) -> Self {
        let shard_id = row.shard_id.clone();
        let rules = (shared.agreed.clone(), shared.config.bid_events.into());
        let holding = Holding::new(row, shared.worker.clone(), rules, shared.timing(), shared.now());
        Self {
            shared,
            shard_id,
            holding,
            pages: None,
            puts: JoinSet::new(),
            refused: mpsc::unbounded_channel(),
            row: None,
            seen,
            behind_ms: 0,
            again: Again::default(),
            checkpoint_logged: Instant::now(),
            altered: Altered::No,
            watched: Watched::default(),
            late: 0,
        }
    }

    /// Runs until the lease is given up, and answers why.
    ///
    /// # Errors
    /// At once when the lease table is gone.
    pub(crate) async fn run(mut self) -> Result<Finish, NoTable> {
        let mut timer = tokio::time::interval(TIME_EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told_to_stop = false;
        loop {
            if let Some(finish) = self.perform() {
                return Ok(finish);
            }
            let shared = Arc::clone(&self.shared);
            let reads = self.pages.is_some() && self.holding.wants_records();
            tokio::select! {
                () = shared.stops(), if !told_to_stop => {
                    told_to_stop = true;
                    self.holding.on_stop();
                }
                Some(done) = self.puts.join_next() => match done {
                    Ok(ticket) => self.holding.on_written(ticket),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some((ticket, left)) = self.refused.1.recv() => self.holding.on_refused(ticket, left),
                written = answer(&mut self.row) => self.on_row(written?),
                Some(row) = self.seen.recv() => self.holding.on_seen(&row),
                page = next(&mut self.pages), if reads => self.on_page(page).await,
                _ = timer.tick() => {}
            }
            self.tell_altered();
            self.tell_ahead();
            self.holding.on_time(self.shared.now());
            self.show();
        }
    }

    /// Says when the shard's clock is ahead of the stream's.
    fn tell_ahead(&mut self) {
        let Some(machine) = self.holding.machine() else { return };
        let (shard_id, clock) = (&self.shard_id, machine.clock());
        match self.watched.on_look(clock, self.late, self.shared.now()) {
            Some(Told::Ahead { ahead_ms, since, late }) => {
                tracing::warn!(%shard_id, %clock, ahead_ms, %since, late,
                    "clock of the shard is ahead of the stream's: until the stream's has come up bids are late that come in time");
            }
            Some(Told::Over { since, late }) => {
                tracing::info!(%shard_id, %since, late, "clock of the shard is no longer ahead of the stream's");
            }
            None => {}
        }
    }

    /// Says once that a tool changed the row, until it is written again.
    fn tell_altered(&mut self) {
        let Some(doubt) = self.holding.altered() else {
            self.altered = Altered::No;
            return;
        };
        if self.altered == Altered::No {
            let (shard_id, found) = (&self.shard_id, doubt.found.as_text());
            let next = format!("change a place with `processor leases rewind {shard_id} --to PLACE`");
            tracing::warn!(%shard_id, checkpoint = found, disagrees = %doubt, next,
                "another tool changed the row of a lease that is held: the place that was reached is written again");
            self.altered = Altered::Told;
        }
    }

    /// Performs what the core asks for; the answer ends the loop.
    fn perform(&mut self) -> Option<Finish> {
        while let Some(effect) = self.holding.poll_effect() {
            match effect {
                Effect::Read { shard_id, from } => {
                    if shard_id != self.shard_id {
                        tracing::info!(shard_id = %self.shard_id, parent = %shard_id, from = from.as_text(), "tail read");
                    }
                    self.pages = Some(self.shared.source.read(shard_id, from));
                }
                Effect::Put(closed) => {
                    let (shared, shard_id) = (Arc::clone(&self.shared), self.shard_id.clone());
                    let refused = self.refused.0.clone();
                    self.puts.spawn(async move { put(&shared, &shard_id, *closed, refused).await });
                }
                Effect::Write { row, seen } => {
                    let shared = Arc::clone(&self.shared);
                    self.row = Some(async move { write(&shared, &row, seen).await }.boxed());
                }
                Effect::Tick { hash_key } => {
                    let shared = Arc::clone(&self.shared);
                    tokio::spawn(async move {
                        match shared.stream.tick(hash_key).await {
                            Ok(()) => add(&shared.metrics.ticks, 1),
                            Err(failure) => tracing::debug!(%failure, "tick not sent"),
                        }
                    });
                }
                Effect::Finish(finish) => return Some(finish),
            }
        }
        None
    }

    fn on_row(&mut self, written: Written) {
        let before = self.holding.row().checkpoint.clone();
        if matches!(written, Written::Unknown) {
            add(&self.shared.metrics.lease_unknown, 1);
        }
        let is_done = matches!(written, Written::Done);
        self.holding.on_row(written);
        let row = self.holding.row();
        if is_done && row.checkpoint != before {
            add(&self.shared.metrics.checkpoints, 1);
            let (shard_id, checkpoint) = (&self.shard_id, row.checkpoint.as_text());
            let closed_through = row.closed_through;
            tracing::debug!(%shard_id, checkpoint, %closed_through, "checkpoint");
            if self.checkpoint_logged.elapsed() >= CHECKPOINT_LINE_EVERY {
                self.checkpoint_logged = Instant::now();
                tracing::info!(%shard_id, checkpoint, %closed_through, "checkpoint");
            }
        }
    }

    async fn on_page(&mut self, page: Option<Page>) {
        let Some(mut page) = page else {
            self.pages = None;
            return;
        };
        self.behind_ms = page.read.behind_ms;
        if self.holding.on_page(page.read) {
            add(&self.shared.metrics.gaps, 1);
            tracing::error!(shard_id = %self.shard_id, "records may have been removed before they were read: windows that may miss some are cut");
        }
        let (mut began, records) = (Instant::now(), std::mem::take(&mut page.records));
        for raw in records {
            let taken = self.holding.on_record(&raw);
            self.count(&raw, &taken);
            // Nothing ends while records are taken: rows are answered between pages.
            let _ = self.perform();
            if began.elapsed() >= SLICE {
                self.holding.on_time(self.shared.now());
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
        match page.next {
            Next::More => {}
            Next::Tip => {
                self.caught_up();
                self.holding.on_tip(self.shared.now());
            }
            Next::End(children) => {
                self.pages = None;
                self.holding.on_end(children);
            }
            Next::Gone => {
                self.pages = None;
                tracing::error!(shard_id = %self.shard_id, "the stream no longer has what was to be read; windows that it held are cut");
                self.holding.on_gone();
            }
        }
    }

    fn count(&mut self, raw: &Raw, taken: &Taken) {
        let metrics = &self.shared.metrics;
        let bytes = u64::try_from(raw.data.len()).unwrap_or(u64::MAX);
        add(&metrics.read_bytes, bytes);
        match taken {
            Taken::New(judged) => {
                add(&metrics.records, 1);
                add(&metrics.counted, judged.counted);
                add(&metrics.duplicates, judged.duplicates);
                add(&metrics.rejected, judged.rejected);
                add(&metrics.stray, judged.stray);
                add(&metrics.early, judged.early);
                add(&metrics.late, judged.late);
                self.late += judged.late;
                self.shared.samples.on_refused(&self.shard_id, &raw.sequence, judged);
                self.caught_up();
            }
            Taken::Again(judged) => {
                add(&metrics.records_again, 1);
                self.again.records += 1;
                self.again.bids += judged.bids();
                self.again.bytes += bytes;
            }
            Taken::Tail => add(&metrics.records_inherited, 1),
        }
    }

    /// Says once how much was read again.
    fn caught_up(&mut self) {
        if !self.again.is_told {
            self.again.is_told = true;
            let Again { records, bids, bytes, .. } = self.again;
            tracing::info!(shard_id = %self.shard_id, records, bids, bytes, "read again up to where the shard was left");
        }
    }

    fn show(&self) {
        let Some(machine) = self.holding.machine() else { return };
        let now = self.shared.now().service.middle();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let known = |clock: schemas::time::Millis| if clock.0 == 0 { 0 } else { now.since(clock) };
        let gauges = ShardGauges {
            behind_ms: self.behind_ms,
            clock_lag_ms: known(machine.clock()),
            clock_ahead_ms: ahead_ms(machine.clock(), self.shared.now()),
            checkpoint_age_ms: known(self.holding.row().closed_through),
            open_windows: count(machine.open_windows() + machine.pending_windows()),
            open_bids: count(machine.open_bids()),
        };
        self.shared.metrics.set_shard(&self.shard_id, Some(gauges));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.metrics.set_shard(&self.shard_id, None);
    }
}

/// The answer to the row that is being written; never without one.
async fn answer<T>(row: &mut Option<BoxFuture<'static, T>>) -> T {
    match row {
        Some(under_way) => {
            let written = under_way.await;
            *row = None;
            written
        }
        None => std::future::pending().await,
    }
}

async fn next(pages: &mut Option<Pages>) -> Option<Page> {
    match pages {
        Some(pages) => pages.next().await,
        None => std::future::pending().await,
    }
}

async fn write(shared: &Shared, row: &Lease, seen: u64) -> Result<Written, NoTable> {
    match shared.leases.write(row, seen).await {
        Ok(written) => Ok(written),
        Err(failure) if is_no_table(&failure) => Err(NoTable),
        Err(failure) => {
            tracing::error!(shard_id = %row.shard_id, %failure, "lease row refused, tried again");
            Ok(Written::Unknown)
        }
    }
}

async fn put(
    shared: &Shared,
    shard_id: &ShardId,
    closed: Closed,
    refused: mpsc::UnboundedSender<Left>,
) -> u64 {
    let began = Instant::now();
    let (ticket, window, auctions) = (closed.ticket, closed.window_start, closed.aggregates.len());
    let (bids, late) = (closed.bids(), closed.late());
    // Whoever listened may have given the lease up.
    let on_refused = |left: usize| {
        let _ = refused.send((ticket, left));
    };
    shared.sink.write(shard_id, closed, on_refused).await;
    let write_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let due = shared.agreed.geometry.closes_at(window);
    let lag_ms = shared.now().service.middle().since(due);
    add(&shared.metrics.windows_closed, 1);
    tracing::info!(%shard_id, %window, auctions, bids, late, lag_ms, write_ms, "window closed");
    ticket
}

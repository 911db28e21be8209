//! Reads the log for auctions whose candidates do not suffice, beside the loop that settles all others.
//!
//! Auctions of one window that one shard closed are read together, one reading a shard at a time, and no faster than
//! leaves the shard's processor its share. What is found waits here until the auction is met in the outbox again. Time
//! decides nothing: while the stream does not answer, the auctions stay in the outbox.

mod page;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use runtime::shard_end::ShardEnd;
use runtime::shutdown::Shutdown;
use runtime::told::Told;
use schemas::geometry::Geometry;
use schemas::ids::ShardId;
use schemas::item::Replay;
use schemas::lease::Checkpoint;
use schemas::limits::LOG_BYTES_MAX;
use schemas::time::Millis;
use tokio::sync::Notify;

use crate::core::behind::{Behind, Cost};
use crate::core::replay::Reading;
use crate::core::rows::Auction;
use crate::metrics::Metrics;
use crate::outbox::Key;
use crate::replays::page::{next_limit, take};
use crate::replays::place::{Call, DOUBTS_MAX, PageError, Places};

/// Shortest time between two calls to a shard, of five that it serves in a second (Kinesis API reference, GetRecords).
const BETWEEN_CALLS: Duration = Duration::from_secs(1);
/// Bytes a second that are read of a shard, half of what it gives to all who poll it (same page).
const BYTES_PER_S: u32 = 1_048_576;
/// Records of the very first page; later ones ask for as many as a second's bytes are likely to hold, by the page before.
const FIRST_PAGE: i32 = 100;
/// Between two tries of a call.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(10) };
/// Between two tries of a call that was one too many for its shard: soon, for the next free place is anyone's.
const CROWDED: Backoff = Backoff { base: Duration::from_millis(400), cap: Duration::from_secs(1) };
/// How long one reading may take in all, outages included; then its auctions are asked for again.
const READING_WITHIN: Duration = Duration::from_secs(1_200);
/// Empty pages at the tip of a shard after which nothing more is expected: the record that closed the window was there
/// when its item was written.
const EMPTY_MAX: u32 = 5;
/// Shards that are read at once.
const SHARDS_MAX: usize = 8;
/// Auctions that are remembered while they await a reading; others are asked for when they are met again.
const WAITING_MAX: usize = 4_096;
/// Bids behind candidates that are kept for the next look at the outbox; a reading waits while there are more.
const KEPT_MAX: usize = 250_000;
/// How long they are kept: another settler may have decided the auction.
const KEPT_FOR: Duration = Duration::from_secs(120);

/// The log as settlers read it.
#[derive(Debug)]
pub(crate) struct Replays {
    client: Client,
    stream: String,
    geometry: Geometry,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    asked: Notify,
    told: Told,
}

#[derive(Debug, Default)]
struct State {
    /// Readings to come, oldest first.
    groups: Vec<Group>,
    /// Auctions that await a reading or are being read.
    waiting: BTreeSet<Key>,
    /// Auctions with what was found behind them.
    found: BTreeMap<Key, (Instant, Arc<Auction>)>,
    /// Auctions that cannot be decided, and why.
    held: Vec<(Key, String)>,
    /// When a shard may be called next.
    next_call: BTreeMap<ShardId, Instant>,
    /// Records to ask for in the first page of a reading, as the last page of any showed.
    limit: Option<i32>,
}

/// Auctions that one reading serves.
#[derive(Clone, Debug)]
struct Group {
    window: Millis,
    shard_id: ShardId,
    replay: Arc<Replay>,
    auctions: Vec<Arc<Auction>>,
}

/// What a reading came to.
#[derive(Debug)]
enum Read {
    /// The window was read to its close.
    Closed(Box<Reading>, Cost),
    /// The log of the window is longer than is read.
    TooLong(Cost),
    /// The log does not hold what it must.
    Lost(String),
    /// Not in time: asked for again when the auctions are met.
    GivenUp,
}

impl Replays {
    pub(crate) fn new(client: Client, stream: String, geometry: Geometry, metrics: Arc<Metrics>) -> Self {
        let (state, asked, told) = (Mutex::default(), Notify::new(), Told::default());
        Self { client, stream, geometry, metrics, state, asked, told }
    }

    /// Whether an auction need not be looked at now.
    pub(crate) fn is_waiting(&self, key: &Key) -> bool {
        self.lock().waiting.contains(key)
    }

    /// Asks for what stands behind an auction's candidates.
    pub(crate) fn ask(&self, auction: &Arc<Auction>) {
        let Some(replay) = &auction.aggregate.replay else { return };
        let mut state = self.lock();
        let key = auction.aggregate.key();
        if state.waiting.len() >= WAITING_MAX || !state.waiting.insert(key) {
            return;
        }
        let (window, shard_id) = (auction.aggregate.window_start, &auction.aggregate.shard_id);
        let same = |group: &&mut Group| {
            group.window == window && group.shard_id == *shard_id && group.replay == *replay
        };
        match state.groups.iter_mut().find(same) {
            Some(group) => group.auctions.push(Arc::clone(auction)),
            None => state.groups.push(Group {
                window,
                shard_id: shard_id.clone(),
                replay: Arc::clone(replay),
                auctions: vec![Arc::clone(auction)],
            }),
        }
        drop(state);
        self.asked.notify_one();
    }

    /// The auction with what was found behind its candidates, when it was asked for and is the same still.
    pub(crate) fn found(&self, auction: &Auction) -> Option<Arc<Auction>> {
        let state = self.lock();
        let (_, found) = state.found.get(&auction.aggregate.key())?;
        (found.digest == auction.digest).then(|| Arc::clone(found))
    }

    /// An auction was decided.
    pub(crate) fn forget(&self, auction: &Auction) {
        self.lock().found.remove(&auction.aggregate.key());
    }

    /// Auctions that cannot be decided, each once.
    pub(crate) fn take_held(&self) -> Vec<(Key, String)> {
        std::mem::take(&mut self.lock().held)
    }

    /// Reads until the stop.
    pub(crate) async fn run(self: Arc<Self>, stop: Shutdown) {
        let mut under_way = FuturesUnordered::new();
        let mut shards: BTreeSet<ShardId> = BTreeSet::new();
        loop {
            while let Some(group) = self.next(&shards) {
                shards.insert(group.shard_id.clone());
                under_way.push(self.group(group));
            }
            tokio::select! {
                () = stop.wait() => return,
                () = self.asked.notified() => {}
                () = tokio::time::sleep(BETWEEN_CALLS) => {}
                Some(shard_id) = under_way.next(), if !under_way.is_empty() => drop(shards.remove(&shard_id)),
            }
        }
    }

    /// The oldest reading of a shard that is not being read.
    fn next(&self, shards: &BTreeSet<ShardId>) -> Option<Group> {
        let mut state = self.lock();
        state.found.retain(|_, (since, _)| since.elapsed() < KEPT_FOR);
        let kept: usize = state.found.values().map(|(_, auction)| auction.behind.bids().len()).sum();
        if shards.len() >= SHARDS_MAX || kept > KEPT_MAX {
            return None;
        }
        let at = state.groups.iter().position(|group| !shards.contains(&group.shard_id))?;
        Some(state.groups.remove(at))
    }

    async fn group(&self, group: Group) -> ShardId {
        let began = Instant::now();
        let read = tokio::time::timeout(READING_WITHIN, self.read(&group)).await.unwrap_or(Read::GivenUp);
        let ended = match &read {
            Read::Closed(..) => "closed",
            Read::TooLong(_) => "too long",
            Read::Lost(_) => "lost",
            Read::GivenUp => "given up",
        };
        let Group { window, shard_id, auctions, .. } = group;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(%window, %shard_id, auctions = auctions.len(), ended, took_ms, "log read for auctions");
        let mut state = self.lock();
        for auction in &auctions {
            state.waiting.remove(&auction.aggregate.key());
        }
        let found = |auction: &Arc<Auction>, behind| Arc::new(Auction { behind, ..Auction::clone(auction) });
        match read {
            Read::Closed(reading, cost) => {
                let mut slots = reading.finish().unwrap_or_default();
                for auction in auctions {
                    let key = auction.aggregate.key();
                    let of_slot = slots.remove(&auction.aggregate.slot_id).unwrap_or_default();
                    match of_slot.behind(&auction.aggregate, self.geometry.ranking) {
                        Ok(bids) => {
                            let auction = found(&auction, Behind::Read(bids, cost));
                            state.found.insert(key, (Instant::now(), auction));
                        }
                        Err(differs) => state.held.push((key, lost(&differs))),
                    }
                }
            }
            Read::TooLong(cost) => {
                for auction in auctions {
                    let auction = found(&auction, Behind::OutOfReach(Some(cost)));
                    state.found.insert(auction.aggregate.key(), (Instant::now(), auction));
                }
            }
            Read::Lost(reason) => {
                state.held.extend(auctions.iter().map(|one| (one.aggregate.key(), lost(&reason))));
            }
            Read::GivenUp => {
                tracing::warn!(%window, %shard_id, auctions = auctions.len(), "log not read in time, asked for again");
            }
        }
        shard_id
    }

    async fn read(&self, group: &Group) -> Read {
        let slots = group.auctions.iter().map(|auction| auction.aggregate.slot_id);
        let mut reading =
            Reading::new(self.geometry, group.window, (&group.shard_id, group.replay.as_ref()), slots);
        let mut cost = Cost::default();
        let (mut iterator, mut empty, mut attempt, mut doubts) = (None, 0, 0, 0);
        let (mut limit, mut end) = (self.lock().limit.unwrap_or(FIRST_PAGE), ShardEnd::default());
        while let Some((shard_id, from)) = reading.reading() {
            let (shard_id, from) = (shard_id.clone(), from.clone());
            let page = match self.page(&shard_id, &from, &mut iterator, limit).await {
                Ok(page) => page,
                Err(PageError { failure, call }) => {
                    let is_gone = self.place().is_gone((&shard_id, &from), (&failure, call)).await;
                    doubts = if is_gone { doubts + 1 } else { 0 };
                    if doubts >= DOUBTS_MAX {
                        let stream = &self.stream;
                        return Read::Lost(format!(
                            "stream {stream} has no such place in {shard_id} ({failure})"
                        ));
                    }
                    self.away(&shard_id, &failure);
                    let is_crowded = matches!(failure, Failure::Throttled { .. });
                    let backoff = if is_crowded { CROWDED } else { BACKOFF };
                    tokio::time::sleep(backoff.delay(attempt, runtime::chance::unit().max(0.5))).await;
                    attempt += 1;
                    continue;
                }
            };
            (attempt, doubts) = (0, 0);
            self.metrics.log_away.store(0, Ordering::Relaxed);
            let bytes: usize = page.records().iter().map(|one| one.data().as_ref().len()).sum();
            self.spent(&shard_id, bytes, &mut cost);
            if let Some(next) = next_limit(page.records().len(), bytes) {
                limit = next;
                self.lock().limit = Some(next);
            }
            let has_next = page.next_shard_iterator().is_some();
            let is_tip = has_next && page.millis_behind_latest() == Some(0) && page.records().is_empty();
            empty = if is_tip { empty + 1 } else { 0 };
            if let Err(failure) = take(&mut reading, &page) {
                // What follows the last record that was read is asked for again.
                iterator = None;
                self.away(&shard_id, &failure);
                continue;
            }
            if self.is_end(&mut end, &shard_id, &page).await
                && reading.reading().is_some_and(|(at, _)| *at == shard_id)
            {
                reading.on_end();
            }
            if reading.reading().is_some() && cost.bytes > LOG_BYTES_MAX {
                return Read::TooLong(cost);
            }
            if empty > EMPTY_MAX {
                return Read::Lost(format!("shard {shard_id} holds nothing that closes the window"));
            }
        }
        Read::Closed(Box::new(reading), cost)
    }

    /// Whether a page is the last of its shard.
    async fn is_end(&self, end: &mut ShardEnd, shard_id: &ShardId, page: &GetRecordsOutput) -> bool {
        if page.next_shard_iterator().is_some() {
            end.on_more();
            return false;
        }
        let children = page.child_shards().len();
        let confirmed = end.on_end(&self.client, &self.stream, (shard_id, children)).await;
        confirmed.inspect_err(|failure| self.away(shard_id, failure)).is_ok()
    }

    /// The next page of a shard, not before its turn.
    async fn page(
        &self,
        shard_id: &ShardId,
        from: &Checkpoint,
        iterator: &mut Option<String>,
        limit: i32,
    ) -> Result<GetRecordsOutput, PageError> {
        let at = match iterator.take() {
            Some(at) => at,
            None => {
                let asked = self.place().iterator(shard_id, from).await;
                asked.map_err(|failure| PageError { failure, call: Call::Iterator })?
            }
        };
        let turn = self.lock().next_call.get(shard_id).copied();
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn.into()).await;
        }
        let call = self.client.get_records().shard_iterator(&at).limit(limit);
        let failed = |error| PageError { failure: classify(&error), call: Call::Records };
        let page = call.send().await.map_err(failed)?;
        *iterator = page.next_shard_iterator().map(str::to_owned);
        Ok(page)
    }

    fn place(&self) -> Places<'_> {
        Places { client: &self.client, stream: &self.stream }
    }

    /// Counts a call, and says when the shard may be called again.
    fn spent(&self, shard_id: &ShardId, bytes: usize, cost: &mut Cost) {
        let counted = u64::try_from(bytes).unwrap_or(u64::MAX);
        cost.reads += 1;
        cost.bytes = cost.bytes.saturating_add(counted);
        self.metrics.log_reads.fetch_add(1, Ordering::Relaxed);
        self.metrics.log_bytes.fetch_add(counted, Ordering::Relaxed);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let share = Duration::from_secs(1).saturating_mul(bytes) / BYTES_PER_S;
        let mut state = self.lock();
        // A shard whose turn is past needs no memory of it.
        let now = Instant::now();
        state.next_call.retain(|_, turn| *turn > now);
        state.next_call.insert(shard_id.clone(), now + share.max(BETWEEN_CALLS));
    }

    fn away(&self, shard_id: &ShardId, failure: &Failure) {
        let stream = &self.stream;
        if failure.code() != "ExpiredIteratorException" && !matches!(failure, Failure::Throttled { .. }) {
            self.metrics.log_away.store(1, Ordering::Relaxed);
        }
        if self.told.may_tell() {
            tracing::warn!(%failure, stream, %shard_id, "log cannot be read for auctions, tried again; check that Kinesis answers and that the role may call GetShardIterator and GetRecords");
        } else {
            tracing::debug!(%failure, stream, %shard_id, "log cannot be read for auctions, tried again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an auction is held whose log cannot be read again, and what may be done.
fn lost(reason: &str) -> String {
    format!(
        "its candidates do not suffice, and the log behind them cannot be read again: {reason}; where retention took it, or the \
         stream was made again, `settler release --by-candidates` decides it by its candidates alone; where --stream named another stream, \
         mend that and release it"
    )
}

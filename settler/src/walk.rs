//! The way through a bucket of the outbox: past what cannot be taken, to what can.
//!
//! Nobody but the stages should write to the table, and somebody will: an entry that is no auction stays in the index,
//! and a page of them in front of the honest ones must not keep those from being settled. So a look goes on behind what
//! it cannot take, within a bound, and where the bound ends it the next look goes on from there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use runtime::failure::Failure;
use schemas::limits::OUTBOX_SUBS;

use crate::core::foreign::{AGAIN_AFTER, Foreign, REMEMBERED_MAX};
use crate::core::rows::Auction;
use crate::outbox::{Found, GET_MAX, Items, Key, Outbox, Position};
use crate::replays::Replays;

/// Most pages of each part of a bucket in one look.
const PAGES_MAX: u32 = 8;
/// Entries of a page behind the first, however small a batch is.
const PAGE_MIN: u16 = 100;

/// What a look at a bucket found.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Auctions that await their decision.
    pub(crate) auctions: Vec<Arc<Auction>>,
    /// Pending items that cannot be decided, and why.
    pub(crate) unreadable: Vec<(Key, String)>,
    /// How many entries were found foreign that were not known to be.
    pub(crate) foreign: u64,
}

impl Batch {
    fn len(&self) -> usize {
        self.auctions.len() + self.unreadable.len()
    }
}

/// Walks buckets, and remembers what it cannot take and how far it came.
#[derive(Debug)]
pub(crate) struct Walk {
    outbox: Outbox,
    /// Auctions whose log is being read are met again once it was.
    replays: Arc<Replays>,
    began: Instant,
    foreign: Mutex<Foreign>,
    starts: Mutex<BTreeMap<u32, Start>>,
}

/// Where a part of a bucket goes on.
#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Begin,
    Behind(Position),
    End,
}

/// Where the next look at a bucket goes on, and since when its beginning was not looked at.
#[derive(Clone, Debug)]
struct Start {
    places: Vec<Place>,
    since: Duration,
}

impl Walk {
    pub(crate) fn new(outbox: Outbox, replays: Arc<Replays>) -> Self {
        Self { outbox, replays, began: Instant::now(), foreign: Mutex::default(), starts: Mutex::default() }
    }

    /// What one bucket holds that can be taken, oldest windows first, at most `most`.
    pub(crate) async fn bucket(&self, bucket: u32, most: u16) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        let mut places = self.start(bucket);
        for page in 0..PAGES_MAX {
            let limit = if page == 0 { most } else { most.max(PAGE_MIN) };
            let entries = self.page(bucket, &mut places, limit).await?;
            let mut unknown = entries.into_iter();
            loop {
                let room = usize::from(most).saturating_sub(batch.len());
                let keys: Vec<Key> = unknown.by_ref().take(room.min(GET_MAX)).collect();
                if keys.is_empty() {
                    break;
                }
                let items = self.outbox.get(&keys).await?;
                if !self.take(items, &mut batch) {
                    return Ok(batch);
                }
            }
            if batch.len() >= usize::from(most) {
                return Ok(batch);
            }
            if places.iter().all(|place| matches!(place, Place::End)) {
                lock(&self.starts).remove(&bucket);
                return Ok(batch);
            }
        }
        if batch.len() == 0 {
            let since = lock(&self.starts).get(&bucket).map_or_else(|| self.now(), |start| start.since);
            lock(&self.starts).insert(bucket, Start { places, since });
        }
        Ok(batch)
    }

    /// Where a look begins: where the last one was cut off, and now and then at the beginning, where someone may have
    /// mended something.
    fn start(&self, bucket: u32) -> Vec<Place> {
        let mut starts = lock(&self.starts);
        let is_old = |start: &Start| self.now().saturating_sub(start.since) >= AGAIN_AFTER;
        if starts.get(&bucket).is_some_and(is_old) {
            starts.remove(&bucket);
        }
        let begin = || (0..OUTBOX_SUBS).map(|_| Place::Begin).collect();
        starts.get(&bucket).map_or_else(begin, |start| start.places.clone())
    }

    /// The next page of every part, without what is known to be foreign.
    async fn page(&self, bucket: u32, places: &mut [Place], limit: u16) -> Result<Vec<Key>, Failure> {
        let parts = (0..OUTBOX_SUBS).zip(places.iter_mut());
        let pages = parts.filter_map(|(sub, place)| {
            let from = match std::mem::replace(place, Place::End) {
                Place::Begin => None,
                Place::Behind(position) => Some(position),
                Place::End => return None,
            };
            Some(async move { (place, self.outbox.page((bucket, sub), from, limit).await) })
        });
        let mut found: Vec<(String, Key)> = Vec::new();
        for (place, page) in join_all(pages).await {
            let page = page?;
            found.extend(page.entries);
            *place = page.next.map_or(Place::End, Place::Behind);
        }
        found.sort_unstable();
        let (foreign, now) = (lock(&self.foreign), self.now());
        let is_due = |key: &Key| !foreign.is_known(key, now) && !self.replays.is_waiting(key);
        Ok(found.into_iter().map(|(_, key)| key).filter(is_due).collect())
    }

    /// Sorts what was read; false when the service did not get to all of it.
    fn take(&self, items: Items, batch: &mut Batch) -> bool {
        let mut foreign = lock(&self.foreign);
        for (key, found) in items.found {
            match found {
                Found::Foreign(reason) => {
                    batch.foreign += u64::from(foreign.note(key, reason, self.now()));
                    continue;
                }
                Found::Auction(auction) => batch.auctions.push(auction),
                Found::Unreadable(reason) => batch.unreadable.push((key.clone(), reason)),
                Found::Left => {}
            }
            foreign.forget(&key);
        }
        items.is_whole
    }

    /// An item can be neither decided nor held; answers whether that is new.
    pub(crate) fn note(&self, key: &Key, reason: String) -> bool {
        lock(&self.foreign).note(key.clone(), reason, self.now())
    }

    /// Says what lies in the outbox and is not ours, each once.
    pub(crate) fn tell(&self) {
        let Some(told) = lock(&self.foreign).to_tell(self.now()) else { return };
        let table = &self.outbox.table;
        for ((pk, sk), reason) in &told.entries {
            let (pk, sk) = (pk.escape_debug(), sk.escape_debug());
            tracing::warn!(
                table, %pk, %sk, reason,
                "an item in the outbox is no auction to settle and is passed by: mend it, or take outbox_pk and outbox_sk from it, or delete it"
            );
        }
        if told.more > 0 {
            tracing::warn!(
                table,
                more = told.more,
                "and more items in the outbox that are no auctions to settle"
            );
        }
        if told.has_beyond {
            tracing::warn!(
                table,
                remembered = REMEMBERED_MAX,
                "and items beyond those that are remembered: each is passed by at every look, and nobody counts them"
            );
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The places for connections at a listener.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::bound::Bound;

/// How often a newcomer looks again when nothing says that a place is free.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// So many places; beyond them a newcomer gets that of the connection that asked nothing for longest.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    made: u64,
    connections: BTreeMap<u64, Arc<Bound>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) bound: Arc<Bound>,
    number: u64,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().connections.remove(&self.number);
        self.places.freed.notify_one();
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default(), freed: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; for one caller at a time.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.attempt() {
                return place;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.freed.notified()).await;
        }
    }

    /// A place when one is free; otherwise makes one free as soon as that may be.
    fn attempt(self: &Arc<Self>) -> Option<Place> {
        let mut held = self.held();
        if held.connections.len() < self.most {
            let (bound, number) = (Arc::new(Bound::new()), held.made);
            held.made += 1;
            held.connections.insert(number, Arc::clone(&bound));
            return Some(Place { bound, number, places: Arc::clone(self) });
        }
        let is_ending = held.connections.values().any(|bound| bound.is_ending());
        if let Some((from, number)) = held.spare().filter(|_| !is_ending)
            && from <= Instant::now()
        {
            held.connections[&number].give_up();
        }
        None
    }
}

impl Held {
    /// The connection that can best be spared, and from when on. One that brought no token goes before any that did,
    /// also when it has to be waited for.
    fn spare(&self) -> Option<(Instant, u64)> {
        let spare =
            |(number, bound): (&u64, &Arc<Bound>)| Some((bound.is_known(), bound.spare_from()?, *number));
        let (_, from, number) = self.connections.iter().filter_map(spare).min()?;
        Some((from, number))
    }
}

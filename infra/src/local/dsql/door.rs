//! How many may come in: a bucket of connections that fills at a steady rate, and a lobby for those that log in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::Limits;

/// Connections that have not logged in yet: each holds two small buffers and one of PostgreSQL's 200 places.
const LOBBY_MAX: usize = 64;
/// How long one may stay in a full lobby; a log-in takes some ms.
const LOBBY_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks into a full lobby.
const LOBBY_LOOK: Duration = Duration::from_millis(5);

/// The connections that have not logged in yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    session: AbortHandle,
    is_known: Arc<AtomicBool>,
    since: Instant,
}

impl Lobby {
    /// Waits until one more may come in: others have logged in or gone, or the oldest had time enough and is put out.
    pub(super) async fn room(&mut self) {
        loop {
            self.waiting.retain(|one| !one.session.is_finished() && !one.is_known.load(Ordering::Relaxed));
            if self.waiting.len() < LOBBY_MAX {
                return;
            }
            if let Some(oldest) = self.waiting.pop_front_if(|one| one.since.elapsed() >= LOBBY_PATIENCE) {
                tracing::debug!("lobby of the local dsql is full, a connection without a log-in is closed");
                oldest.session.abort();
                return;
            }
            tokio::time::sleep(LOBBY_LOOK).await;
        }
    }

    /// Takes a connection in.
    pub(super) fn enter(&mut self, session: AbortHandle, is_known: Arc<AtomicBool>) {
        self.waiting.push_back(Waiting { session, is_known, since: Instant::now() });
    }
}

/// Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct Door {
    /// What one connection takes from the bucket.
    spacing: Duration,
    /// The bucket, as time: how far behind `full_at` may lie.
    burst: Duration,
    /// When the bucket would be full again.
    full_at: Option<Instant>,
}

impl Door {
    pub(super) fn new(limits: &Limits) -> Self {
        let spacing = Duration::from_secs(1) / limits.connects_per_second.max(1);
        Self { spacing, burst: spacing * limits.connects_burst.max(1), full_at: None }
    }

    /// Whether one more may come in.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.spacing;
        let fits = full_at.duration_since(now) <= self.burst;
        if fits {
            self.full_at = Some(full_at);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut door = Door::new(&Limits { connects_per_second: 10, connects_burst: 3, ..Limits::default() });
        let begin = Instant::now();
        let admitted = |door: &mut Door, ms| door.admits(begin + Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 0].map(|ms| admitted(&mut door, ms)), [true, true, true, false]);
        assert_eq!([100, 100, 150, 200].map(|ms| admitted(&mut door, ms)), [true, false, false, true]);
        assert_eq!([5_000; 4].map(|ms| admitted(&mut door, ms)), [true, true, true, false]);
    }
}

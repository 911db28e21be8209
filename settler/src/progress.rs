//! How a settler does, as one line of log every 10 s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::shutdown::Shutdown;

use crate::metrics::Metrics;

/// Between two lines.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The line, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    settled: u64,
    no_sale: u64,
    held: u64,
    conflicts: u64,
    given_back: u64,
    pending: u64,
}

impl Line {
    fn of(metrics: &Metrics) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            settled: get(&metrics.settled),
            no_sale: get(&metrics.no_sale),
            held: get(&metrics.held),
            conflicts: get(&metrics.conflicts),
            given_back: get(&metrics.given_back),
            pending: get(&metrics.pending),
        }
    }

    /// Decisions since an earlier line.
    fn decided_since(self, before: Self) -> u64 {
        (self.settled + self.no_sale).saturating_sub(before.settled + before.no_sale)
    }
}

/// Tells it until the stop.
pub(crate) async fn tell(metrics: Arc<Metrics>, shutdown: Shutdown) {
    let mut before = Line::of(&metrics);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
        let line = Line::of(&metrics);
        let Line { settled, no_sale, held, conflicts, given_back, pending } = line;
        let decided_in_10_s = line.decided_since(before);
        tracing::info!(decided_in_10_s, settled, no_sale, held, pending, conflicts, given_back, "settling");
        before = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_what_was_decided_since_the_last_one() {
        let metrics = Metrics::default();
        metrics.settled.store(1, Ordering::Relaxed);
        let before = Line::of(&metrics);
        let counters = [
            (&metrics.settled, 4),
            (&metrics.no_sale, 8),
            (&metrics.held, 16),
            (&metrics.conflicts, 32),
            (&metrics.given_back, 64),
            (&metrics.pending, 128),
        ];
        counters.iter().for_each(|(counter, value)| counter.store(*value, Ordering::Relaxed));
        let line = Line::of(&metrics);
        let expected = Line { settled: 4, no_sale: 8, held: 16, conflicts: 32, given_back: 64, pending: 128 };
        assert_eq!((line, line.decided_since(before)), (expected, 11));
    }
}

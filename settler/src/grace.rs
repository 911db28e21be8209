//! What a stop leaves: a little time to finish what was begun, all of it together.

use std::time::Duration;

use runtime::shutdown::Shutdown;
use tokio::time::Instant;

/// How long what was begun may go on once a stop was asked for: attempts, connections and what is written about them.
/// Only a statement that was sent before the stop has its own time.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The time after a stop; for ever where nobody can ask for one.
#[derive(Clone, Copy, Debug)]
pub struct Grace<'a>(Option<&'a Shutdown>);

impl<'a> Grace<'a> {
    /// The time after this stop.
    #[must_use]
    pub fn after(stop: Option<&'a Shutdown>) -> Self {
        Self(stop)
    }

    /// Whether the stop was asked for.
    #[must_use]
    pub fn has_begun(self) -> bool {
        self.end().is_some()
    }

    /// What is left of it; none while nobody asked for a stop.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        self.end().map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// How long something may take that is begun now and may take `longest` otherwise.
    #[must_use]
    pub fn at_most(self, longest: Duration) -> Duration {
        self.left().map_or(longest, |left| longest.min(left))
    }

    /// Waits for `delay`, and no longer than until a stop is asked for; after one for all of it.
    pub(crate) async fn pause(self, delay: Duration) {
        let sleep = tokio::time::sleep(delay);
        match self.0 {
            Some(stop) if !stop.requested() => tokio::select! {
                () = sleep => {}
                () = stop.wait() => {}
            },
            _ => sleep.await,
        }
    }

    /// Returns when it is over.
    pub(crate) async fn over(self) {
        let Some(stop) = self.0 else { return std::future::pending().await };
        stop.wait().await;
        if let Some(end) = self.end() {
            tokio::time::sleep_until(end).await;
        }
    }

    fn end(self) -> Option<Instant> {
        Some(self.0?.asked_at()? + STOP_GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_begins_with_the_stop_and_is_spent_once() {
        let (trigger, stop) = runtime::shutdown::channel();
        let grace = Grace::after(Some(&stop));
        let longest = Duration::from_secs(10);
        assert!(!grace.has_begun() && grace.left().is_none() && grace.at_most(longest) == longest);
        trigger.trigger();
        let first = stop.asked_at().unwrap();
        assert!(grace.has_begun() && grace.at_most(longest) <= STOP_GRACE);
        assert_eq!(grace.at_most(Duration::ZERO), Duration::ZERO, "what is short stays short");
        while first.elapsed().is_zero() {
            tokio::task::yield_now().await;
        }
        trigger.trigger();
        assert_eq!(stop.asked_at(), Some(first), "a second stop gives no more time");
        assert!(grace.left().unwrap() < STOP_GRACE, "it counts from the stop");
    }

    #[tokio::test]
    async fn without_a_stop_it_never_ends_and_a_pause_ends_with_the_stop() {
        let (trigger, stop) = runtime::shutdown::channel();
        for grace in [Grace::after(None), Grace::after(Some(&stop))] {
            let over = tokio::time::timeout(Duration::from_millis(1), grace.over());
            assert!(over.await.is_err());
        }
        let hour = Duration::from_secs(3_600);
        tokio::join!(Grace::after(Some(&stop)).pause(hour), async { trigger.trigger() });
    }
}

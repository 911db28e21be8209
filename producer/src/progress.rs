//! What a person at a terminal sees while bids are on their way: one line, written over once a second; and what was
//! done, at the end. On a pipe there are lines of log and nothing else, one every 10 s of these.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::shutdown::Shutdown;

use crate::metrics::{Metrics, Summary};

/// How often the line is written.
const EVERY: Duration = Duration::from_secs(1);
/// How often a line of the log says how it goes.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Goes to the line's beginning and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// Shows progress on standard error until the stop: a line that is written over on a terminal, else lines of the log.
pub async fn show(metrics: Arc<Metrics>, stop: Shutdown) {
    if !std::io::stderr().is_terminal() {
        return log(&metrics, &stop).await;
    }
    let mut before = 0;
    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        let accepted = metrics.accepted.load(Ordering::Relaxed);
        write(&format!("{CLEAR}{}", line(&metrics, accepted.saturating_sub(before))));
        before = accepted;
    }
    write(CLEAR);
}

async fn log(metrics: &Metrics, stop: &Shutdown) {
    let mut before = metrics.summary();
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(LOG_EVERY) => {}
        }
        let now = metrics.summary();
        let accepted_per_s = now.accepted.saturating_sub(before.accepted) / LOG_EVERY.as_secs();
        let refused_now = (now.refused + now.expired).saturating_sub(before.refused + before.expired);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tracing::info!(
            accepted_per_s,
            refused_in_10_s = refused_now,
            accepted = now.accepted,
            refused = now.refused,
            expired = now.expired,
            undelivered = now.undelivered,
            unknown = now.unknown,
            waiting = get(&metrics.held),
            not_due = get(&metrics.kept),
            requests = get(&metrics.in_flight),
            lag_ms = get(&metrics.lag_ms),
            throttled = now.throttled,
            clock_offset_ms = now.clock_offset_ms,
            health = metrics.health().word(),
            "producing"
        );
        before = now;
    }
}

/// Says on a terminal what was done.
pub fn end(summary: &Summary) {
    if std::io::stderr().is_terminal() {
        write(&format!("producer: {summary}\n"));
    }
}

/// The line, with what was accepted in the last second.
fn line(metrics: &Metrics, accepted_per_s: u64) -> String {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let refused = get(&metrics.refused) + get(&metrics.expired);
    let failed = get(&metrics.undelivered) + get(&metrics.unknown);
    format!(
        "{accepted_per_s} bids/s, accepted {}, refused {refused}, failed {failed}, in flight {} bids in {} requests, lag {} ms, throttled {}",
        get(&metrics.accepted),
        get(&metrics.held),
        get(&metrics.in_flight),
        get(&metrics.lag_ms),
        get(&metrics.throttled),
    )
}

fn write(text: &str) {
    let mut out = std::io::stderr();
    // A terminal that is gone is no reason to stop sending.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_person_asks() {
        let metrics = Metrics::default();
        for (counter, value) in [
            (&metrics.accepted, 1),
            (&metrics.refused, 2),
            (&metrics.expired, 4),
            (&metrics.undelivered, 8),
            (&metrics.unknown, 16),
            (&metrics.held, 32),
            (&metrics.in_flight, 64),
            (&metrics.lag_ms, 128),
            (&metrics.throttled, 256),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
        assert_eq!(
            line(&metrics, 512),
            "512 bids/s, accepted 1, refused 6, failed 24, in flight 32 bids in 64 requests, lag 128 ms, throttled 256"
        );
    }
}

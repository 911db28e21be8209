//! Counters of one producer, and what it says at the end. [`export`] is the same for a collector of metrics.

pub mod export;
pub mod refusals;
mod series;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use runtime::failure::Failure;
use schemas::exit;
use schemas::ids::Region;
use serde::Serialize;

use crate::config::Intake;
use crate::core::standing::{Health, Standing};

use self::refusals::{Reason, Refusals, Refused};
pub use self::series::{Series, ShardLabel, Way};

/// Counters since the start, for whoever looks while the producer runs.
///
/// `sent = accepted + refused + expired + undelivered + unknown`, once everything is answered.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Lines or bids taken in.
    pub sent: AtomicU64,
    /// Bids that Kinesis has.
    pub accepted: AtomicU64,
    /// Lines refused with a reason.
    pub refused: AtomicU64,
    /// Bids refused because their window is closed.
    pub expired: AtomicU64,
    /// Bids that could not be delivered; Kinesis does not have them.
    pub undelivered: AtomicU64,
    /// Bids of which an attempt's outcome never came before time ran out.
    pub unknown: AtomicU64,
    /// Copies that the load generator made on purpose; they are sent and accepted like any bid.
    pub duplicates_generated: AtomicU64,
    /// Bids taken with a rounded amount.
    pub rounded: AtomicU64,
    /// Records that Kinesis has.
    pub records: AtomicU64,
    /// Bytes of those records.
    pub bytes: AtomicU64,
    /// Entries sent again.
    pub retries: AtomicU64,
    /// Entries refused for their rate.
    pub throttled: AtomicU64,
    /// Bids sent again because another shard answered than was predicted.
    pub resends: AtomicU64,
    /// Bids taken and not yet answered; goes up and down.
    pub held: AtomicU64,
    /// Requests under way; goes up and down.
    pub in_flight: AtomicU64,
    /// How long the oldest bid without an answer has been on its way, in ms; looked at once a second.
    pub lag_ms: AtomicU64,
    /// Bids kept until they are due; goes up and down.
    pub kept: AtomicU64,
    /// By how many ms this machine's clock is ahead of the stream's; below 0 when it is behind.
    pub clock_offset_ms: AtomicI64,
    /// Version of the roster that is in use; 0 without one.
    pub roster_version: AtomicU64,
    /// Refused and expired bids by region and reason.
    pub refusals: Refusals,
    /// What is counted by shard, spread over buckets, or by another label.
    pub series: Series,
    /// What the stream last said.
    standing: Mutex<Standing>,
}

/// What a producer did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines or bids taken in.
    pub sent: u64,
    /// Bids that Kinesis has.
    pub accepted: u64,
    /// Lines refused.
    pub refused: u64,
    /// Bids refused because their window is closed.
    pub expired: u64,
    /// Bids that could not be delivered.
    pub undelivered: u64,
    /// Bids without an answer.
    pub unknown: u64,
    /// Copies made on purpose.
    pub duplicates_generated: u64,
    /// Bids taken with a rounded amount.
    pub rounded: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Entries sent again.
    pub retries: u64,
    /// Entries refused for their rate.
    pub throttled: u64,
    /// Bids sent again because another shard answered than was predicted.
    pub resends: u64,
    /// Refused and expired bids by region and reason.
    pub refusals: Vec<Refused>,
    /// By how many ms this machine's clock was ahead of the stream's at the last look; below 0 when it was behind.
    pub clock_offset_ms: i64,
}

impl Metrics {
    /// Counters as they stand.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            sent: get(&self.sent),
            accepted: get(&self.accepted),
            refused: get(&self.refused),
            expired: get(&self.expired),
            undelivered: get(&self.undelivered),
            unknown: get(&self.unknown),
            duplicates_generated: get(&self.duplicates_generated),
            rounded: get(&self.rounded),
            records: get(&self.records),
            bytes: get(&self.bytes),
            retries: get(&self.retries),
            throttled: get(&self.throttled),
            resends: get(&self.resends),
            refusals: self.refusals.counts(),
            clock_offset_ms: self.clock_offset_ms.load(Ordering::Relaxed),
        }
    }

    /// Whether this producer is well.
    #[must_use]
    pub fn health(&self) -> Health {
        self.standing().health(Instant::now())
    }

    /// The stream answered, or a call failed.
    pub(crate) fn on_heard(&self, trouble: Option<&Failure>) {
        let (mut standing, now) = (self.standing(), Instant::now());
        match trouble {
            None => standing.on_answer(now),
            Some(failure) => standing.on_failure(failure, now),
        }
    }

    /// The stream is asked something.
    pub(crate) fn on_ask(&self) {
        self.standing().on_ask(Instant::now());
    }

    pub(crate) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a bid that was refused.
    pub(crate) fn on_refused(&self, region: Region, reason: Reason) {
        Self::add(&self.refused);
        self.refusals.add(region, reason);
    }

    pub(crate) fn add(counter: &AtomicU64) {
        Self::add_many(counter, 1);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(counter: &AtomicU64, value: u64) {
        counter.store(value, Ordering::Relaxed);
    }
}

impl Summary {
    /// 0 when all was accepted, 1 when lines were refused, 69 when bids could not be delivered. A caller that was told
    /// of its refused bid got what it came for, and the work is done.
    #[must_use]
    pub fn exit_code(&self, intake: Intake) -> u8 {
        match (self.unknown + self.undelivered, self.refused + self.expired, intake) {
            (0, 0, _) | (0, _, Intake::Calls) => exit::DONE,
            (0, _, Intake::Lines) => exit::FOUND,
            _ => exit::UNAVAILABLE,
        }
    }
}

impl Summary {
    /// Says it as the last line of a producer's log, with its counts as fields.
    pub(crate) fn log(&self) {
        let Self { sent, accepted, refused, expired, undelivered, unknown, .. } = *self;
        let Self { rounded, records, bytes, retries, throttled, resends, clock_offset_ms, .. } = *self;
        let refusals = self.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(
            sent,
            accepted,
            refused,
            expired,
            undelivered,
            unknown,
            rounded,
            records,
            bytes,
            retries,
            throttled,
            resends,
            refusals,
            clock_offset_ms,
            "producer stopped"
        );
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, accepted, refused, expired, undelivered, unknown, throttled, .. } = self;
        let [records, bytes] =
            [(self.records, "record", "records"), (self.bytes, "byte", "bytes")].map(counted);
        let [retries, resends] =
            [(self.retries, "retry", "retries"), (self.resends, "bid", "bids")].map(counted);
        write!(
            f,
            "sent {sent}, accepted {accepted}, refused {refused}, expired {expired}, undelivered {undelivered}, \
             unknown {unknown}, in {records} of {bytes}; {retries}, {throttled} throttled, {resends} sent again \
             after a wrong shard"
        )
    }
}

/// A count with its noun.
fn counted((count, one, many): (u64, &str, &str)) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_the_worst() {
        let code = |intake, refused, expired, undelivered, unknown| {
            Summary { refused, expired, undelivered, unknown, ..Summary::default() }.exit_code(intake)
        };
        for (intake, refused) in [(Intake::Lines, 1), (Intake::Calls, 0)] {
            let code =
                |refused, expired, undelivered, unknown| code(intake, refused, expired, undelivered, unknown);
            assert_eq!([code(0, 0, 0, 0), code(1, 0, 0, 0), code(0, 1, 0, 0)], [0, refused, refused]);
            assert_eq!([code(1, 0, 1, 0), code(0, 1, 0, 1)], [69, 69]);
        }
    }

    #[test]
    fn one_is_one_and_all_else_are_many() {
        let one = Summary {
            sent: 1,
            accepted: 1,
            records: 1,
            bytes: 1,
            retries: 1,
            resends: 1,
            ..Summary::default()
        };
        assert_eq!(
            one.to_string(),
            "sent 1, accepted 1, refused 0, expired 0, undelivered 0, unknown 0, in 1 record of 1 byte; 1 retry, \
             0 throttled, 1 bid sent again after a wrong shard"
        );
        let none = Summary::default().to_string();
        assert!(none.ends_with(
            "in 0 records of 0 bytes; 0 retries, 0 throttled, 0 bids sent again after a wrong shard"
        ));
    }
}

//! Counters and histograms of one settler, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Attempts of a part: the official connectors stop after 4, ours after 16.
const ATTEMPTS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0];
/// Seconds from the moment a window could close to its mark.
const SETTLE_SECONDS: [f64; 11] = [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0, 600.0];

/// Counters since the start.
#[derive(Debug)]
pub struct Metrics {
    /// Sales that this settler marked.
    pub settled: AtomicU64,
    /// Auctions that this settler marked as not sold.
    pub no_sale: AtomicU64,
    /// Auctions set aside.
    pub held: AtomicU64,
    /// Items in the outbox that are no auctions to settle, each counted once.
    pub foreign: AtomicU64,
    /// Transactions that ended well.
    pub transactions: AtomicU64,
    /// Attempts that met a conflict.
    pub conflicts: AtomicU64,
    /// Attempts that did not end well and were made again.
    pub retries: AtomicU64,
    /// Conflicts of batches that ended well.
    pub resolved: AtomicU64,
    /// Parts that were left for later.
    pub given_back: AtomicU64,
    /// Auctions that the last walk over all buckets found, at most a batch of each.
    pub pending: AtomicU64,
    /// 1 while the ledger does not answer.
    pub ledger_away: AtomicU64,
    /// 1 while the ledger answers and lets nobody in.
    pub ledger_refuses: AtomicU64,
    /// 1 while the ledger refuses the settler's statements.
    pub ledger_statements: AtomicU64,
    /// 1 while the table of aggregates does not answer.
    pub outbox_away: AtomicU64,
    /// 1 while the table of aggregates refuses the credentials, or a policy denies reading it.
    pub outbox_unauthorized: AtomicU64,
    /// 1 while the stream cannot be read for auctions whose candidates do not suffice.
    pub log_away: AtomicU64,
    /// Auctions that were decided with what was read of the log.
    pub log_auctions: AtomicU64,
    /// GetRecords calls for them.
    pub log_reads: AtomicU64,
    /// Bytes of records that were read for them.
    pub log_bytes: AtomicU64,
    /// Attempts of each part.
    pub attempts: Histogram,
    /// Seconds from window end and grace to the mark.
    pub settle_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            settled: AtomicU64::default(),
            no_sale: AtomicU64::default(),
            held: AtomicU64::default(),
            foreign: AtomicU64::default(),
            transactions: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            retries: AtomicU64::default(),
            resolved: AtomicU64::default(),
            given_back: AtomicU64::default(),
            pending: AtomicU64::default(),
            ledger_away: AtomicU64::default(),
            ledger_refuses: AtomicU64::default(),
            ledger_statements: AtomicU64::default(),
            outbox_away: AtomicU64::default(),
            outbox_unauthorized: AtomicU64::default(),
            log_away: AtomicU64::default(),
            log_auctions: AtomicU64::default(),
            log_reads: AtomicU64::default(),
            log_bytes: AtomicU64::default(),
            attempts: Histogram::new(ATTEMPTS),
            settle_seconds: Histogram::new(SETTLE_SECONDS),
        }
    }
}

/// What contention cost, in the words of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Contention {
    /// Attempts that met a conflict.
    pub conflicts: u64,
    /// Attempts that were made again, for any reason.
    pub retries: u64,
    /// Conflicts of batches that ended well.
    pub resolved: u64,
    /// Resolved conflicts as a share of all; 1 without any.
    #[serde(rename = "resolutionRate")]
    pub resolution_rate: f64,
}

impl Metrics {
    /// The summary.
    #[must_use]
    #[expect(clippy::float_arithmetic, reason = "a share that is shown, not money")]
    pub fn contention(&self) -> Contention {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let (conflicts, resolved) = (get(&self.conflicts), get(&self.resolved));
        let resolution_rate = if conflicts == 0 { 1.0 } else { float(resolved) / float(conflicts) };
        Contention { conflicts, retries: get(&self.retries), resolved, resolution_rate }
    }
}

impl Metrics {
    /// Makes them known to a registry, under `settler_*`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Counters(Arc::clone(self))));
        registry.register("settler_attempts", "Attempts of a part until it ended", self.attempts.clone());
        let help = "Time from window end and grace to the mark of the decision";
        registry.register_with_unit("settler_settle", help, Unit::Seconds, self.settle_seconds.clone());
    }

    /// What a scrape is answered: OpenMetrics text.
    #[must_use]
    pub fn exposition(self: &Arc<Self>) -> String {
        let mut registry = Registry::default();
        self.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes any text");
        text
    }
}

/// The counters, read at the moment they are asked for.
#[derive(Debug)]
struct Counters(Arc<Metrics>);

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &self.0;
        for (name, help, counter) in [
            ("settler_settled", "Sales that were marked", &metrics.settled),
            ("settler_no_sale", "Auctions that were marked as not sold", &metrics.no_sale),
            ("settler_held", "Auctions set aside until they are released", &metrics.held),
            (
                "settler_foreign",
                "Items in the outbox that are no auctions to settle, each counted once",
                &metrics.foreign,
            ),
            ("settler_transactions", "Transactions that ended well", &metrics.transactions),
            ("settler_conflicts", "Attempts that met a conflict", &metrics.conflicts),
            ("settler_retries", "Attempts that were made again, for any reason", &metrics.retries),
            ("settler_resolved", "Conflicts of batches that ended well", &metrics.resolved),
            ("settler_given_back", "Auctions that were left for later", &metrics.given_back),
            (
                "settler_log_auctions",
                "Auctions that were decided with what stands behind their candidates in the log",
                &metrics.log_auctions,
            ),
            ("settler_log_reads", "GetRecords calls for them", &metrics.log_reads),
            ("settler_log_bytes", "Bytes of records that were read for them", &metrics.log_bytes),
        ] {
            let counter = ConstCounter::new(counter.load(Ordering::Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        for (name, help, flag) in [
            (
                "settler_pending",
                "Auctions that the last walk over the outbox found, at most a batch of each bucket",
                &metrics.pending,
            ),
            ("settler_ledger_away", "1 while the ledger does not answer", &metrics.ledger_away),
            (
                "settler_ledger_refuses",
                "1 while the ledger answers and lets nobody in",
                &metrics.ledger_refuses,
            ),
            (
                "settler_ledger_statements_refused",
                "1 while the ledger refuses the settler's statements, as after a column was renamed",
                &metrics.ledger_statements,
            ),
            ("settler_outbox_away", "1 while the outbox does not answer, or refuses", &metrics.outbox_away),
            (
                "settler_outbox_unauthorized",
                "1 while the outbox refuses the credentials, or a policy denies reading it",
                &metrics.outbox_unauthorized,
            ),
            (
                "settler_log_away",
                "1 while the stream cannot be read for auctions whose candidates do not suffice",
                &metrics.log_away,
            ),
        ] {
            let flag = i64::try_from(flag.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            let gauge = ConstGauge::new(flag);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_names_every_counter_and_both_histograms() {
        let metrics = Arc::new(Metrics::default());
        metrics.conflicts.store(4, Ordering::Relaxed);
        metrics.resolved.store(3, Ordering::Relaxed);
        metrics.attempts.observe(3.0);
        metrics.settle_seconds.observe(0.07);
        let text = metrics.exposition();
        for line in [
            "settler_conflicts_total 4",
            "settler_resolved_total 3",
            "settler_held_total 0",
            "settler_log_auctions_total 0",
            "settler_log_away 0",
            "settler_attempts_bucket{le=\"3.0\"} 1",
            "settler_settle_seconds_bucket{le=\"0.05\"} 0",
            "settler_settle_seconds_bucket{le=\"0.1\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let share = serde_json::to_string(&metrics.contention()).unwrap();
        assert_eq!(share, r#"{"conflicts":4,"retries":0,"resolved":3,"resolutionRate":0.75}"#);
    }
}

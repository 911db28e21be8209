//! All metrics as text for a collector (OpenMetrics 1.0, which Prometheus reads).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::refusals::{RefusalLabel, Refused};
use crate::core::sender::HELD_BYTES;
use crate::core::standing::Health;

/// The media type of [`Exporter::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the metrics of one producer.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// An exporter of these metrics.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let mut registry = Registry::with_prefix("producer");
        let series = &metrics.series;
        registry.register("shard_records", "Records stored in a shard", series.shard_records.clone());
        registry.register("shard_bids", "Bids stored in a shard", series.shard_bids.clone());
        registry.register_with_unit(
            "shard",
            "Bytes stored in a shard",
            Unit::Bytes,
            series.shard_bytes.clone(),
        );
        registry.register(
            "shard_throttled_entries",
            "Entries a shard refused for its rate",
            series.shard_throttled.clone(),
        );
        registry.register(
            "shard_retried_entries",
            "Entries sent again to a shard",
            series.shard_retried.clone(),
        );
        for (name, help, histogram) in [
            ("buffering", "From taking a record's oldest bid to its first being sent", &series.buffering_s),
            ("delivery", "From taking a record's oldest bid to its being stored", &series.delivery_s),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        registry.register("record_bids", "Bids of a record", series.record_bids.clone());
        registry.register_with_unit(
            "bid",
            "Bytes of a record by its bids",
            Unit::Bytes,
            series.bid_bytes.clone(),
        );
        registry.register("http_requests", "Requests answered", series.requests.clone());
        registry.register_collector(Box::new(Counters(Arc::clone(metrics))));
        Self { registry }
    }

    /// The metrics, for another who shows them.
    #[must_use]
    pub fn into_registry(self) -> Registry {
        self.registry
    }

    /// The metrics as they stand.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("memory takes every write");
        text
    }
}

/// The plain counters, read when they are asked for.
#[derive(Debug)]
struct Counters(Arc<Metrics>);

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = &self.0;
        let counters: [(&str, &str, &AtomicU64); 13] = [
            ("bids_taken", "Lines or bids taken in", &metrics.sent),
            ("bids_accepted", "Bids that the stream has", &metrics.accepted),
            ("bids_refused", "Lines refused", &metrics.refused),
            ("bids_expired", "Bids refused because their window is closed", &metrics.expired),
            ("bids_rounded", "Bids taken with a rounded amount", &metrics.rounded),
            ("bids_undelivered", "Bids that could not be delivered", &metrics.undelivered),
            ("bids_unknown", "Bids whose outcome never came", &metrics.unknown),
            (
                "bids_duplicated",
                "Copies made on purpose by the load generator",
                &metrics.duplicates_generated,
            ),
            ("bids_resent", "Bids sent again after a wrong shard", &metrics.resends),
            ("records_stored", "Records that the stream has", &metrics.records),
            ("stored_bytes", "Bytes of those records", &metrics.bytes),
            ("entries_retried", "Entries sent again", &metrics.retries),
            ("entries_throttled", "Entries refused for their rate", &metrics.throttled),
        ];
        for (name, help, counter) in counters {
            let counter = ConstCounter::new(counter.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, metric_type(&counter))?)?;
        }
        let mut refusals = encoder.encode_descriptor(
            "refusals",
            "Bids refused or expired, by region and reason",
            None,
            MetricType::Counter,
        )?;
        for Refused { region, reason, bids } in metrics.refusals.counts() {
            ConstCounter::new(bids).encode(refusals.encode_family(&RefusalLabel { region, reason })?)?;
        }
        let held = metrics.held.load(Ordering::Relaxed);
        let health = metrics.health();
        let away = u64::from(health.is_of_the_stream());
        let unauthorized = u64::from(health == Health::Unauthorized);
        let gauges = [
            ("stream_away", "1 while the stream does not answer, is not there or refuses", away),
            (
                "stream_unauthorized",
                "1 while the stream refuses the credentials, or a policy denies the call",
                unauthorized,
            ),
            ("bids_held", "Bids taken and not yet answered", held),
            (
                "held_bytes",
                "Memory those bids are counted with",
                held * u64::try_from(HELD_BYTES).unwrap_or(0),
            ),
            ("requests_in_flight", "Requests under way", metrics.in_flight.load(Ordering::Relaxed)),
            ("bids_kept", "Bids that are kept until they are due", metrics.kept.load(Ordering::Relaxed)),
            (
                "roster_version",
                "Version of the roster of accounts in use, 0 without one",
                metrics.roster_version.load(Ordering::Relaxed),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, metric_type(&gauge))?)?;
        }
        let gauge = ConstGauge::new(metrics.clock_offset_ms.load(Ordering::Relaxed));
        let help = "How many ms this machine's clock is ahead of the stream's, below 0 when it is behind";
        gauge.encode(encoder.encode_descriptor("clock_offset_ms", help, None, metric_type(&gauge))?)?;
        let lag = Duration::from_millis(metrics.lag_ms.load(Ordering::Relaxed));
        let gauge = ConstGauge::new(lag.as_secs_f64());
        let help = "How long the oldest bid without an answer has been on its way";
        gauge.encode(encoder.encode_descriptor("lag", help, Some(&Unit::Seconds), metric_type(&gauge))?)
    }
}

fn metric_type(metric: &impl EncodeMetric) -> MetricType {
    metric.metric_type()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::events::{Events, Stored};
    use crate::metrics::Way;
    use crate::metrics::refusals::Reason;
    use schemas::ids::ShardId;

    #[test]
    fn the_text_has_every_metric_with_its_unit_and_labels_from_closed_sets() {
        let metrics = Arc::new(Metrics::default());
        metrics.accepted.store(5, Ordering::Relaxed);
        metrics.held.store(2, Ordering::Relaxed);
        metrics.lag_ms.store(1_500, Ordering::Relaxed);
        let shard = ShardId("shardId-000000000003".to_owned());
        let stored = Stored { shard_id: shard.clone(), bids: 3, bytes: 60, buffered_ms: 3, waited_ms: 12 };
        let (throttled, retried) = (vec![Some(shard.clone()), None], vec![Some(shard); 2]);
        metrics.series.on_events(&Events { stored: vec![stored], throttled, retried });
        metrics.series.on_request(Way::Bids, 429);
        metrics.on_refused("eu-1".parse().unwrap(), Reason::of_field("amount"));
        metrics.clock_offset_ms.store(-700, Ordering::Relaxed);
        let text = Exporter::new(&metrics).text();
        for line in [
            "producer_bids_accepted_total 5",
            "producer_bids_held 2",
            "producer_stream_away 0",
            "producer_stream_unauthorized 0",
            "producer_held_bytes 1024",
            "producer_lag_seconds 1.5",
            "producer_refusals_total{region=\"eu-1\",reason=\"amount\"} 1",
            "producer_clock_offset_ms -700",
            "producer_shard_bids_total{shard=\"shardId-000000000003\"} 3",
            "producer_shard_bytes_total{shard=\"shardId-000000000003\"} 60",
            "producer_shard_throttled_entries_total{shard=\"-\"} 1",
            "producer_shard_retried_entries_total{shard=\"shardId-000000000003\"} 2",
            "producer_buffering_seconds_bucket{le=\"0.002\"} 0",
            "producer_buffering_seconds_bucket{le=\"0.004\"} 1",
            "producer_delivery_seconds_bucket{le=\"0.01\"} 0",
            "producer_delivery_seconds_bucket{le=\"0.02\"} 1",
            "producer_record_bids_bucket{le=\"4.0\"} 1",
            "producer_bid_bytes_bucket{le=\"18.0\"} 0",
            "producer_bid_bytes_bucket{le=\"20.0\"} 1",
            "producer_http_requests_total{path=\"/v1/bids\",status=\"429\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
        }
    }
}

//! The readings in Prometheus' form.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{Latency, Metrics};
use crate::readings::{Kind, Reading, put_latency, readings};

/// A registry of everything a processor shows.
#[must_use]
pub fn registry(metrics: Arc<Metrics>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(metrics)));
    registry
}

#[derive(Debug)]
struct Shown(Arc<Metrics>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for reading in readings(&self.0) {
            if reading.values.is_empty() {
                continue;
            }
            let kind = match reading.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(reading.name, reading.help, None, kind)?;
            for (label, value) in &reading.values {
                match reading.label {
                    None => encode(&reading, *value, &mut metric)?,
                    Some(name) => {
                        encode(&reading, *value, &mut metric.encode_family(&[(name, label.as_str())])?)?;
                    }
                }
            }
        }
        histogram(put_latency(&self.0), &mut encoder)
    }
}

fn encode(reading: &Reading, value: u64, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match reading.kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
    }
}

fn histogram(latency: &Latency, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (counts, sum_us) = latency.read();
    let seconds = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
    let bounds = Latency::BOUNDS_MS.iter().map(|ms| seconds(ms * 1_000)).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    let (name, help) = ("processor_put_seconds", "How long a put took");
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(seconds(sum_us), counts.iter().sum(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ShardGauges, add};
    use prometheus_client::encoding::text;
    use schemas::ids::ShardId;

    #[test]
    fn counters_gauges_and_latencies_are_shown_with_their_labels() {
        let metrics = Arc::new(Metrics::default());
        add(&metrics.late, 3);
        add(&metrics.divergence, 1);
        metrics.put_seconds.observe(std::time::Duration::from_millis(7));
        metrics.set_shard(
            &ShardId("shardId-1".into()),
            Some(ShardGauges { behind_ms: 42, ..ShardGauges::default() }),
        );
        let mut out = String::new();
        text::encode(&mut out, &registry(metrics)).unwrap();
        for line in [
            "processor_bids_refused_total{reason=\"late\"} 3\n",
            "processor_divergence_total 1\n",
            "processor_shard_behind_ms{shard=\"shardId-1\"} 42\n",
            "processor_put_seconds_bucket{le=\"0.005\"} 0\n",
            "processor_put_seconds_bucket{le=\"0.01\"} 1\n",
            "processor_put_seconds_bucket{le=\"+Inf\"} 1\n",
            "processor_put_seconds_count 1\n",
        ] {
            assert!(out.contains(line), "{line} is not in\n{out}");
        }
    }
}

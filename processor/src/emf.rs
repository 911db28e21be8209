//! The readings in CloudWatch's embedded metric format: one JSON object a line on standard output.
//!
//! Source: Amazon CloudWatch user guide, "Specification: Embedded metric format". Counters are told as what was added
//! since the line before, for CloudWatch sums what it is sent. A worker's name is a property and no dimension: each
//! start has a new one, and every new value of a dimension is a metric that is paid for.

use std::collections::BTreeMap;

use schemas::time::Millis;
use serde_json::{Map, Value, json};

use crate::readings::{Kind, Reading, Unit};

/// Where CloudWatch shows them.
pub const NAMESPACE: &str = "QuantEdge/Processor";

/// Writes documents and remembers what counters were told.
#[derive(Debug)]
pub struct Emf {
    stream: String,
    worker: String,
    told: BTreeMap<(&'static str, String), u64>,
}

/// A label's name and value; none for the processor as a whole.
type Label<'a> = Option<(&'static str, &'a str)>;

impl Emf {
    /// For the processor of a stream.
    #[must_use]
    pub fn new(stream: String, worker: String) -> Self {
        Self { stream, worker, told: BTreeMap::new() }
    }

    /// The documents of one moment: one for the processor, one per shard and one per reason.
    pub fn on_readings(&mut self, readings: &[Reading], now: Millis) -> Vec<Value> {
        let mut groups: BTreeMap<Label<'_>, Vec<(&Reading, u64)>> = BTreeMap::new();
        for reading in readings {
            for (label, value) in &reading.values {
                let value = match reading.kind {
                    Kind::Gauge => *value,
                    Kind::Counter => {
                        let told = self.told.insert((reading.name, label.clone()), *value).unwrap_or(0);
                        value.saturating_sub(told)
                    }
                };
                let group = reading.label.map(|name| (name, label.as_str()));
                groups.entry(group).or_default().push((reading, value));
            }
        }
        groups.into_iter().map(|(label, values)| self.document(label, &values, now)).collect()
    }

    fn document(&self, label: Option<(&str, &str)>, values: &[(&Reading, u64)], now: Millis) -> Value {
        let mut dimensions = vec!["stream"];
        let mut root = Map::from_iter([
            ("stream".to_owned(), json!(self.stream)),
            ("worker".to_owned(), json!(self.worker)),
        ]);
        if let Some((name, value)) = label {
            dimensions.push(name);
            root.insert(name.to_owned(), json!(value));
        }
        let unit = |unit: Unit| match unit {
            Unit::Count => "Count",
            Unit::Bytes => "Bytes",
            Unit::Milliseconds => "Milliseconds",
            Unit::Microseconds => "Microseconds",
        };
        let metrics: Vec<Value> =
            values.iter().map(|(one, _)| json!({ "Name": one.name, "Unit": unit(one.unit) })).collect();
        root.extend(values.iter().map(|(one, value)| (one.name.to_owned(), json!(value))));
        let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics });
        root.insert("_aws".to_owned(), json!({ "Timestamp": now.0, "CloudWatchMetrics": [directive] }));
        Value::Object(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, ShardGauges, add};
    use crate::readings::readings;
    use schemas::ids::ShardId;

    const UNITS: [&str; 27] = [
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "Bytes/Second",
        "Kilobytes/Second",
        "Megabytes/Second",
        "Gigabytes/Second",
        "Terabytes/Second",
        "Bits/Second",
        "Kilobits/Second",
        "Megabits/Second",
        "Gigabits/Second",
        "Terabits/Second",
        "Count/Second",
        "None",
    ];

    /// The documented schema: what is required, of which type, how long and how many, and that what is named is there.
    fn check(document: &Value) {
        let root = document.as_object().expect("the root is an object");
        let aws = root["_aws"].as_object().expect("_aws is an object");
        assert!(aws["Timestamp"].is_u64(), "a timestamp is an integer in ms");
        let directives = aws["CloudWatchMetrics"].as_array().expect("an array of directives");
        for directive in directives {
            let namespace = directive["Namespace"].as_str().unwrap();
            assert!((1..=1024).contains(&namespace.len()) && !namespace.trim().is_empty());
            let sets = directive["Dimensions"].as_array().unwrap();
            assert!(!sets.is_empty(), "at least one set of dimensions");
            for name in sets.iter().flat_map(|set| set.as_array().unwrap()) {
                let name = name.as_str().unwrap();
                assert!(
                    (1..=250).contains(&name.len()) && root[name].is_string(),
                    "{name} is a string of the root"
                );
            }
            assert!(sets.iter().all(|set| set.as_array().unwrap().len() <= 30));
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!((1..=100).contains(&metrics.len()), "{} metrics in a directive", metrics.len());
            for metric in metrics {
                let name = metric["Name"].as_str().unwrap();
                assert!(
                    (1..=1024).contains(&name.len()) && root[name].is_number(),
                    "{name} is a number of the root"
                );
                assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
            }
        }
        assert!(document.to_string().len() < 1_048_576, "an event of CloudWatch Logs is below 1 MB");
    }

    /// Everything that ops are promised, with what Prometheus calls it.
    const PROMISED: [(&str, &str); 15] = [
        ("processor_shard_behind_ms", "processor_shard_behind_ms{"),
        ("processor_records", "processor_records_total "),
        ("processor_bids_counted", "processor_bids_counted_total "),
        ("processor_shard_clock_lag_ms", "processor_shard_clock_lag_ms{"),
        ("processor_open_windows", "processor_open_windows "),
        ("processor_shard_checkpoint_age_ms", "processor_shard_checkpoint_age_ms{"),
        ("processor_leases_held", "processor_leases_held "),
        ("processor_leases_gained", "processor_leases_gained_total "),
        ("processor_leases_lost", "processor_leases_lost_total "),
        ("processor_auctions_closed", "processor_auctions_closed_total "),
        ("processor_put_us", "processor_put_seconds_bucket{"),
        ("processor_conditional_failures", "processor_conditional_failures_total "),
        ("processor_write_throttles", "processor_write_throttles_total "),
        ("processor_divergence", "processor_divergence_total "),
        ("processor_bids_refused", "processor_bids_refused_total{reason="),
    ];

    #[test]
    fn everything_that_ops_are_promised_is_told_in_both_forms() {
        let metrics = std::sync::Arc::new(Metrics::default());
        metrics.set_shard(&ShardId("shardId-1".into()), Some(ShardGauges::default()));
        let documents = Emf::new("bids".into(), "me".into()).on_readings(&readings(&metrics), Millis(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &crate::prometheus::registry(metrics)).unwrap();
        for (emf, prometheus) in PROMISED {
            assert!(documents.iter().any(|document| document[emf].is_u64()), "{emf} is in no document");
            assert!(text.lines().any(|line| line.starts_with(prometheus)), "{prometheus} is not in\n{text}");
        }
        for reason in ["late", "early", "stray", "duplicate", "rejected"] {
            assert!(documents.iter().any(|document| document["reason"] == reason), "{reason} is no reason");
        }
    }

    #[test]
    fn documents_keep_the_documented_schema_and_tell_what_was_added() {
        let metrics = Metrics::default();
        metrics.set_shard(&ShardId("shardId-1".into()), Some(ShardGauges::default()));
        let mut emf = Emf::new("bids".to_owned(), "worker".to_owned());
        let late = |documents: &[Value]| {
            let of = documents.iter().find(|document| document["reason"] == "late").unwrap();
            of["processor_bids_refused"].as_u64().unwrap()
        };
        add(&metrics.late, 3);
        let first = emf.on_readings(&readings(&metrics), Millis(1_795_000_000_000));
        first.iter().for_each(check);
        assert!(first.iter().any(|document| document["shard"] == "shardId-1"));
        assert_eq!(late(&first), 3);
        add(&metrics.late, 4);
        let second = emf.on_readings(&readings(&metrics), Millis(1_795_000_010_000));
        second.iter().for_each(check);
        assert_eq!(late(&second), 4);
    }
}

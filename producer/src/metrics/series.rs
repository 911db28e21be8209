//! Metrics with labels and distributions.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::core::events::{Events, Stored};

/// A shard's name as a label. Shards are few, and those that closed stay, as counters must.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShardLabel {
    /// The shard, `-` when none was predicted.
    pub shard: String,
}

/// A way in and the status it answered as labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    /// The way in.
    pub path: &'static str,
    /// The status.
    pub status: u16,
}

/// The ways in over HTTP, so that no caller can make a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `POST /v1/bids`.
    Bids,
    /// `POST /v1/openrtb`.
    OpenRtb,
    /// `GET /health`.
    Health,
    /// `GET /metrics`.
    Metrics,
    /// Every other path.
    Other,
}

impl Way {
    /// The path, or `-`.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Bids => "/v1/bids",
            Self::OpenRtb => "/v1/openrtb",
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::Other => "-",
        }
    }
}

/// What is counted by shard, spread over buckets, or by another label.
#[derive(Clone, Debug)]
pub struct Series {
    /// Records stored in a shard.
    pub shard_records: Family<ShardLabel, Counter>,
    /// Bids in those.
    pub shard_bids: Family<ShardLabel, Counter>,
    /// Bytes of those.
    pub shard_bytes: Family<ShardLabel, Counter>,
    /// Entries that a shard refused for its rate.
    pub shard_throttled: Family<ShardLabel, Counter>,
    /// Entries sent again to a shard.
    pub shard_retried: Family<ShardLabel, Counter>,
    /// From taking a record's oldest bid to its first being sent, in s.
    pub buffering_s: Histogram,
    /// From taking a record's oldest bid to its being stored, in s.
    pub delivery_s: Histogram,
    /// Bids of a record.
    pub record_bids: Histogram,
    /// Bytes of a record by its bids.
    pub bid_bytes: Histogram,
    /// HTTP requests answered.
    pub requests: Family<RequestLabel, Counter>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            shard_records: Family::default(),
            shard_bids: Family::default(),
            shard_bytes: Family::default(),
            shard_throttled: Family::default(),
            shard_retried: Family::default(),
            // 1 ms to 8 s and 5 ms to 41 s, 1 to 4,096 bids, and bytes between a dense block and a bid alone.
            buffering_s: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            delivery_s: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            record_bids: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            bid_bytes: Histogram::new([
                14.0, 16.0, 18.0, 20.0, 24.0, 32.0, 48.0, 64.0, 80.0, 95.0, 128.0, 176.0,
            ]),
            requests: Family::default(),
        }
    }
}

impl Series {
    pub(crate) fn on_events(&self, events: &Events) {
        for Stored { shard_id, bids, bytes, buffered_ms, waited_ms } in &events.stored {
            let label = ShardLabel { shard: shard_id.0.clone() };
            let (bids, bytes) = (wide(*bids), wide(*bytes));
            self.shard_records.get_or_create(&label).inc();
            self.shard_bids.get_or_create(&label).inc_by(bids);
            self.shard_bytes.get_or_create(&label).inc_by(bytes);
            self.buffering_s.observe(Duration::from_millis(*buffered_ms).as_secs_f64());
            self.delivery_s.observe(Duration::from_millis(*waited_ms).as_secs_f64());
            self.record_bids.observe(statistic(bids));
            self.bid_bytes.observe(statistic(bytes / bids.max(1)));
        }
        for (shards, counter) in
            [(&events.throttled, &self.shard_throttled), (&events.retried, &self.shard_retried)]
        {
            for shard in shards {
                let shard = shard.as_ref().map_or("-", |shard| shard.0.as_str()).to_owned();
                counter.get_or_create(&ShardLabel { shard }).inc();
            }
        }
    }

    pub(crate) fn on_request(&self, way: Way, status: u16) {
        self.requests.get_or_create(&RequestLabel { path: way.path(), status }).inc();
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn statistic(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

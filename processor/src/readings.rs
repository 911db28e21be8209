//! Everything a processor can show, as names, words and numbers: what Prometheus and CloudWatch both are told.
//!
//! Names are interface. Labels come from closed sets only: reasons and shards.

use crate::metrics::{Latency, Metrics, ShardGauges, get};

/// What a number means over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; shown since the start.
    Counter,
    /// Of now.
    Gauge,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

/// One metric with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `processor_<thing>_<unit>`; Prometheus adds `_total` to counters.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What a value means over time.
    pub kind: Kind,
    /// What a value counts.
    pub unit: Unit,
    /// The label's name, when there is one.
    pub label: Option<&'static str>,
    /// The label's value, empty when there is none, and the number.
    pub values: Vec<(String, u64)>,
}

/// All metrics but the latency, which has a form of its own.
#[must_use]
pub fn readings(metrics: &Metrics) -> Vec<Reading> {
    let mut all: Vec<Reading> = counters(metrics)
        .into_iter()
        .map(|(name, help, unit, value)| one(name, help, (Kind::Counter, unit), value))
        .collect();
    let gauges = gauges(metrics).into_iter();
    all.extend(gauges.map(|(name, help, value)| one(name, help, (Kind::Gauge, Unit::Count), value)));
    let reasons = [
        ("rejected", &metrics.rejected),
        ("stray", &metrics.stray),
        ("early", &metrics.early),
        ("late", &metrics.late),
        ("duplicate", &metrics.duplicates),
    ];
    all.push(Reading {
        name: "processor_bids_refused",
        help: "Bids that were not counted, by reason",
        kind: Kind::Counter,
        unit: Unit::Count,
        label: Some("reason"),
        values: reasons.iter().map(|(reason, count)| ((*reason).to_owned(), get(count))).collect(),
    });
    all.extend(by_shard(metrics));
    all
}

/// How long puts took.
#[must_use]
pub fn put_latency(metrics: &Metrics) -> &Latency {
    &metrics.put_seconds
}

fn one(name: &'static str, help: &'static str, (kind, unit): (Kind, Unit), value: u64) -> Reading {
    Reading { name, help, kind, unit, label: None, values: vec![(String::new(), value)] }
}

type Counter = (&'static str, &'static str, Unit, u64);

fn counters(m: &Metrics) -> Vec<Counter> {
    use Unit::{Bytes, Count, Microseconds};
    vec![
        ("processor_records", "Records read for the first time", Count, get(&m.records)),
        ("processor_records_again", "Records read again after a lease moved", Count, get(&m.records_again)),
        ("processor_records_inherited", "Records of parents' tails", Count, get(&m.records_inherited)),
        (
            "processor_records_unnumbered",
            "Records without a number or a time of arrival that can be read",
            Count,
            get(&m.unnumbered),
        ),
        ("processor_read_bytes", "Bytes of records read", Bytes, get(&m.read_bytes)),
        ("processor_bids_counted", "Bids counted in an auction", Count, get(&m.counted)),
        ("processor_auctions_closed", "Aggregates made durable", Count, get(&m.auctions_closed)),
        ("processor_windows_closed", "Closed windows made durable", Count, get(&m.windows_closed)),
        ("processor_bid_events_written", "Bid events written", Count, get(&m.bid_events)),
        ("processor_items_written", "Items put", Count, get(&m.items_written)),
        ("processor_put_us", "Time that puts took, all together", Microseconds, m.put_seconds.read().1),
        ("processor_items_refused", "Items that the table refused", Count, get(&m.items_refused)),
        ("processor_items_skipped", "Items that a person gave up", Count, get(&m.items_skipped)),
        (
            "processor_conditional_failures",
            "Items that stood there already",
            Count,
            get(&m.conditional_failures),
        ),
        ("processor_replays", "Items that stood there already and are equal", Count, get(&m.replays)),
        ("processor_divergence", "Items that stood there already and differ", Count, get(&m.divergence)),
        ("processor_write_throttles", "Writes refused for their rate", Count, get(&m.throttles)),
        ("processor_write_faults", "Writes that failed otherwise", Count, get(&m.write_faults)),
        ("processor_read_throttles", "Reads refused for their rate", Count, get(&m.read_throttles)),
        ("processor_read_faults", "Reads that failed otherwise", Count, get(&m.read_faults)),
        ("processor_iterators_expired", "Iterators that expired", Count, get(&m.expired_iterators)),
        ("processor_gaps", "Times that records may have gone before they were read", Count, get(&m.gaps)),
        ("processor_ticks_sent", "Ticks put into idle shards", Count, get(&m.ticks)),
        ("processor_checkpoints", "Checkpoints that moved", Count, get(&m.checkpoints)),
        (
            "processor_leases_doubted",
            "Places taken that another tool wrote: what may have begun before them is not written",
            Count,
            get(&m.leases_doubted),
        ),
        ("processor_leases_gained", "Leases gained", Count, get(&m.leases_gained)),
        ("processor_leases_lost", "Leases lost or handed over", Count, get(&m.leases_lost)),
        (
            "processor_lease_replies_lost",
            "Writes of lease rows without a reply",
            Count,
            get(&m.lease_unknown),
        ),
    ]
}

fn gauges(m: &Metrics) -> Vec<(&'static str, &'static str, u64)> {
    vec![
        ("processor_leases_held", "Leases held", get(&m.leases_held)),
        ("processor_lease_gaps", "Parts of the hash space that no lease covers", get(&m.lease_gaps)),
        ("processor_leases_unread", "Leases that nobody reads", get(&m.leases_unread)),
        ("processor_leases_unreadable", "Lease rows that cannot be read", get(&m.leases_unreadable)),
        ("processor_leases_altered", "Lease rows that another tool wrote or changed", get(&m.leases_altered)),
        ("processor_shards_refused", "Shards whose reading is refused", m.shards_refused()),
        ("processor_items_held", "Items that the table refuses and that hold a checkpoint", m.items_held()),
        ("processor_table_refuses", "1 while the table refuses all writes", get(&m.table_refuses)),
        ("processor_services_away", "1 while stream or leases do not answer", get(&m.away)),
        (
            "processor_services_unauthorized",
            "1 while stream or leases refuse the credentials, or a policy denies the calls",
            get(&m.unauthorized),
        ),
        ("processor_open_windows", "Windows that hold bids or counts", get(&m.open_windows)),
        ("processor_open_bids", "Counted bids in memory", get(&m.open_bids)),
        ("processor_writes_bound", "Writes that may be under way at once", get(&m.writes_bound)),
    ]
}

fn by_shard(metrics: &Metrics) -> Vec<Reading> {
    type Pick = fn(&ShardGauges) -> u64;
    let picks: [(&'static str, &'static str, Unit, Pick); 6] = [
        ("processor_shard_behind_ms", "How far reading is behind the tip", Unit::Milliseconds, |s| {
            s.behind_ms
        }),
        (
            "processor_shard_clock_lag_ms",
            "How far the shard clock is behind the service's time",
            Unit::Milliseconds,
            |s| s.clock_lag_ms,
        ),
        (
            "processor_shard_clock_ahead_ms",
            "How far the shard clock is ahead of the service's time: bids in time are late meanwhile",
            Unit::Milliseconds,
            |s| s.clock_ahead_ms,
        ),
        (
            "processor_shard_checkpoint_age_ms",
            "How far what is durable is behind the service's time",
            Unit::Milliseconds,
            |s| s.checkpoint_age_ms,
        ),
        ("processor_shard_open_windows", "Windows of the shard", Unit::Count, |s| s.open_windows),
        ("processor_shard_open_bids", "Bids of the shard in memory", Unit::Count, |s| s.open_bids),
    ];
    let shards = metrics.shards.lock().expect("no holder panics");
    picks
        .into_iter()
        .map(|(name, help, unit, pick)| Reading {
            name,
            help,
            kind: Kind::Gauge,
            unit,
            label: Some("shard"),
            values: shards.iter().map(|(shard, gauges)| (shard.to_string(), pick(gauges))).collect(),
        })
        .collect()
}

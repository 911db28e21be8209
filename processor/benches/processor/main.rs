//! Time and memory per bid, from decoded bids, from bytes, on two threads, beside a hand-written loop and `timely`.
//!
//! `cargo bench -p processor --bench processor` runs all parts; names after `--` choose some. Bids are NEXMark's, 10
//! million of them in ten windows, mapped to as many slots as give 88 bids per slot and window, and to 20,000
//! accounts; all ids are UUIDs. `--test` (how `cargo test --benches` starts it) runs everything once on few bids.

#![expect(clippy::float_arithmetic, reason = "statistics about time, none of it kept")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

mod closing;
mod crowd;
mod hand;
mod memory;
mod with_timely;

use std::io::{self, Write};
use std::time::Instant;

use processor::core::BidEvents;
use processor::core::shard::ShardMachine;
use schemas::hash::HashRange;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Lease;
use schemas::record::{Decoded, Kind, decode_into, encode_aggregated, encode_block};

use self::crowd::{Crowd, RECORD_BIDS, agreed};

/// A whole run of one way to do the work: nanoseconds per bid of each window, the median of them.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn per_bid(began: Instant, bids: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(bids).unwrap())
}

fn machine(shard: &str) -> ShardMachine {
    let lease = Lease::new(ShardId(shard.to_owned()), HashRange::ALL, Vec::new());
    ShardMachine::begin(&lease, agreed(), BidEvents::None, Vec::new()).0
}

fn number(of: usize) -> SequenceNumber {
    format!("49590338271490256608559692538361571095921575989136588{of:04}").parse().unwrap()
}

/// Records of decoded bids through the machine; each window is closed by the one after it.
fn core(crowd: &Crowd) -> f64 {
    let mut machine = machine("shardId-000000000000");
    let mut times = Vec::new();
    for window in 0..crowd.windows {
        let records: Vec<Decoded> = crowd
            .bids(window)
            .chunks(RECORD_BIDS)
            .map(|bids| Decoded { kind: Kind::Block, items: bids.iter().copied().map(Ok).collect() })
            .collect();
        let numbers: Vec<SequenceNumber> = (0..records.len()).map(number).collect();
        let began = Instant::now();
        let mut counted = 0;
        for (at, record) in records.iter().enumerate() {
            let (closed, judged) = machine.on_record(crowd.arrival(window, at), &numbers[at], record);
            counted += judged.counted;
            closed.into_iter().for_each(|closed| machine.on_written(closed.ticket));
        }
        times.push(per_bid(began, crowd.per_window));
        assert_eq!(counted, u64::try_from(crowd.per_window).unwrap());
    }
    median(times)
}

/// From the bytes of records to windows.
fn from_bytes(crowd: &Crowd, encode: fn(&[schemas::bid::Bid]) -> Vec<u8>) -> f64 {
    let mut machine = machine("shardId-000000000000");
    let (mut times, mut decoded) = (Vec::new(), Decoded::default());
    for window in 0..crowd.windows {
        let records: Vec<Vec<u8>> = crowd.bids(window).chunks(RECORD_BIDS).map(encode).collect();
        let numbers: Vec<SequenceNumber> = (0..records.len()).map(number).collect();
        let began = Instant::now();
        for (at, record) in records.iter().enumerate() {
            decode_into(record, &mut decoded);
            let (closed, _) = machine.on_record(crowd.arrival(window, at), &numbers[at], &decoded);
            closed.into_iter().for_each(|closed| machine.on_written(closed.ticket));
        }
        times.push(per_bid(began, crowd.per_window));
    }
    median(times)
}

/// As many bids as one thread takes, on each of two: how much more comes out of both.
fn two_threads(crowd: &Crowd) -> f64 {
    let one = from_bytes(crowd, encode_block);
    let (a, b) = std::thread::scope(|scope| {
        let run = || from_bytes(crowd, encode_block);
        let (a, b) = (scope.spawn(run), scope.spawn(run));
        (a.join().unwrap(), b.join().unwrap())
    });
    one / a + one / b
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name);
    let crowd = if is_test { Crowd::new(2, 10_000) } else { Crowd::new(10, 1_000_000) };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} bids, {} slots, {} accounts, {} bids per slot and window, {RECORD_BIDS} bids per record",
        crowd.windows * crowd.per_window,
        crowd.slots.len(),
        crowd.accounts.len(),
        crowd.per_window / crowd.slots.len()
    )?;
    if runs("core") {
        let (ours, hand) = (core(&crowd), hand::run(&crowd, hand::Copies::Removed));
        writeln!(
            out,
            "core      {ours:6.1} ns/bid; hand-written loop {hand:.1} ns/bid; ratio {:.2}",
            hand / ours
        )?;
        let without = hand::run(&crowd, hand::Copies::Counted);
        writeln!(out, "          hand-written loop without removal of copies {without:.1} ns/bid")?;
        if runs("timely") {
            let timely = with_timely::run(&crowd);
            writeln!(
                out,
                "timely    {timely:6.1} ns/bid without removal of copies; ours with it takes {:.2} of that",
                ours / timely
            )?;
        }
    }
    if runs("bytes") {
        writeln!(out, "block     {:6.1} ns/bid from bytes to windows", from_bytes(&crowd, encode_block))?;
        writeln!(
            out,
            "aggregate {:6.1} ns/bid from bytes to windows",
            from_bytes(&crowd, encode_aggregated)
        )?;
    }
    if runs("threads") {
        writeln!(out, "threads   two do {:.2} times the work of one", two_threads(&crowd))?;
    }
    if runs("memory") {
        memory::run(&crowd, &mut out)?;
    }
    if runs("closing") {
        closing::run(if is_test { 200 } else { 20_000 }, &mut out)?;
    }
    Ok(())
}

//! Time and memory per bid, from decoded bids, from bytes, on two threads, beside a hand-written loop and `timely`.
//!
//! `cargo bench -p processor --bench processor` runs all parts; names after `--` choose some. Bids are NEXMark's, 10
//! million of them in each of two crowds, mapped to as many slots as give 88 bids per slot and window, and to 20,000
//! accounts; all ids are UUIDs. `--test` (how `cargo test --benches` starts it) runs everything once on few bids.

#![expect(clippy::float_arithmetic, reason = "statistics about time, none of it kept")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

mod closing;
mod crowd;
mod hand;
mod memory;
mod with_timely;

use std::cell::Cell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use processor::core::BidEvents;
use processor::core::shard::ShardMachine;
use schemas::bid::Bid;
use schemas::hash::HashRange;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::Lease;
use schemas::record::{Decoded, Kind, decode_into, encode_aggregated, encode_block};

use self::crowd::{Crowd, RECORD_BIDS, agreed};

/// The median of what each window took.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What one thread worked: its time on a core, so that others on the machine do not count.
struct Work(Duration);

impl Work {
    fn on_core() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
    }

    fn begin() -> Self {
        Self(Self::on_core())
    }

    /// Nanoseconds per thing.
    fn per(&self, things: usize) -> f64 {
        (Self::on_core() - self.0).as_secs_f64() * 1e9 / f64::from(u32::try_from(things).unwrap())
    }
}

fn machine(shard: &str) -> ShardMachine {
    let lease = Lease::new(ShardId(shard.to_owned()), HashRange::ALL, Vec::new());
    ShardMachine::begin(&lease, agreed(), BidEvents::None, Vec::new()).0
}

fn number(of: usize) -> SequenceNumber {
    format!("49590338271490256608559692538361571095921575989136588{of:04}").parse().unwrap()
}

/// Times of the machine: per bid that is judged, and per auction that is closed.
struct Times {
    bid: f64,
    close: f64,
}

/// A machine that takes one window after the other; a tick closes each.
struct Machine {
    machine: ShardMachine,
    decoded: Decoded,
}

impl Machine {
    fn new() -> Self {
        Self { machine: machine("shardId-000000000000"), decoded: Decoded::default() }
    }

    fn run<R>(
        &mut self,
        crowd: &Crowd,
        window: usize,
        records: &[R],
        decode: impl Fn(&R, &mut Decoded),
    ) -> Times {
        let numbers: Vec<SequenceNumber> = (0..=records.len()).map(number).collect();
        let work = Work::begin();
        let mut counted = 0;
        for (at, record) in records.iter().enumerate() {
            decode(record, &mut self.decoded);
            let (_, judged) = self.machine.on_record(crowd.arrival(window, at), &numbers[at], &self.decoded);
            counted += judged.counted;
        }
        let bid = work.per(crowd.per_window);
        assert_eq!(counted, u64::try_from(crowd.per_window).unwrap());
        let work = Work::begin();
        let (closed, _) =
            self.machine.on_record(crowd.close(window), &numbers[records.len()], &Decoded::default());
        let close = work.per(closed.iter().map(|closed| closed.aggregates.len()).sum());
        closed.into_iter().for_each(|closed| self.machine.on_written(closed.ticket));
        Times { bid, close }
    }
}

/// The same windows by the machine, by hand and by `timely`, each after the other before the next one: what others on
/// the computer take from one they take from all.
struct Beside {
    ours: Times,
    by_hand: f64,
    without_removal: f64,
    timely: f64,
}

fn beside(crowd: &Crowd) -> Vec<Beside> {
    let mut machine = Machine::new();
    with_timely::run(crowd, move |crowd, window, bids, timely| Beside {
        ours: machine.run(crowd, window, &decoded(bids), take_over),
        by_hand: hand::run(bids, hand::Copies::Removed),
        without_removal: hand::run(bids, hand::Copies::Counted),
        timely,
    })
}

/// The windows by the machine alone: nanoseconds per bid.
fn alone(crowd: &Crowd) -> f64 {
    let mut machine = Machine::new();
    let mut time = |window| {
        let records = decoded(&crowd.bids(window));
        machine.run(crowd, window, &records, take_over).bid
    };
    median((0..crowd.windows).map(&mut time).collect())
}

/// Decoded bids.
fn decoded(bids: &[Bid]) -> Vec<Cell<Decoded>> {
    let record = |bids: &[Bid]| Decoded { kind: Kind::Block, items: bids.iter().copied().map(Ok).collect() };
    bids.chunks(RECORD_BIDS).map(record).map(Cell::new).collect()
}

/// Takes decoded bids over from where they lie, and leaves those before in their place: no memory is given back while
/// time is taken.
fn take_over(record: &Cell<Decoded>, decoded: &mut Decoded) {
    *decoded = record.replace(std::mem::take(decoded));
}

/// From the bytes of records to windows: nanoseconds per bid.
fn from_bytes(crowd: &Crowd, encode: fn(&[Bid]) -> Vec<u8>) -> f64 {
    let mut machine = Machine::new();
    let mut time = |window| {
        let records: Vec<Vec<u8>> = crowd.bids(window).chunks(RECORD_BIDS).map(encode).collect();
        machine.run(crowd, window, &records, |record, decoded| decode_into(record, decoded)).bid
    };
    median((0..crowd.windows).map(&mut time).collect())
}

/// A thread's bids in the time that passes, for what threads do to each other is the question.
fn passing(crowd: &Crowd) -> f64 {
    let mut machine = machine("shardId-000000000000");
    let mut decoded = Decoded::default();
    let records: Vec<Vec<Vec<u8>>> = (0..crowd.windows.min(3_000_000 / crowd.per_window))
        .map(|window| crowd.bids(window).chunks(RECORD_BIDS).map(encode_block).collect())
        .collect();
    let began = Instant::now();
    for (window, records) in records.iter().enumerate() {
        for (at, record) in records.iter().enumerate() {
            decode_into(record, &mut decoded);
            let (closed, _) = machine.on_record(crowd.arrival(window, at), &number(at), &decoded);
            closed.into_iter().for_each(|closed| machine.on_written(closed.ticket));
        }
    }
    began.elapsed().as_secs_f64()
}

/// As many bids as one thread takes, on each of two: how much more comes out of both.
fn two_threads(crowd: &Crowd) -> f64 {
    let one = passing(crowd);
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(|| passing(crowd)), scope.spawn(|| passing(crowd)));
        (a.join().unwrap(), b.join().unwrap())
    });
    one / a + one / b
}

/// Everything about speed, for one crowd.
fn speed(crowd: &Crowd, runs: &dyn Fn(&str) -> bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} bids in windows of {}, {} slots, {} accounts, {} bids per slot and window, {RECORD_BIDS} bids per record",
        crowd.windows * crowd.per_window,
        crowd.per_window,
        crowd.slots.len(),
        crowd.accounts.len(),
        crowd.per_window / crowd.slots.len()
    )?;
    if runs("core") {
        let (alone, beside) = (alone(crowd), beside(crowd));
        let of = |time: fn(&Beside) -> f64| median(beside.iter().map(time).collect());
        let (ours, close) = (of(|one| one.ours.bid), of(|one| one.ours.close) / 1e3);
        let (hand, without, timely) =
            (of(|one| one.by_hand), of(|one| one.without_removal), of(|one| one.timely));
        let to_hand = of(|one| one.by_hand / one.ours.bid);
        let to_timely = of(|one| one.ours.bid / one.timely);
        writeln!(out, "  core      {alone:6.1} ns/bid; {ours:.1} when these take each window after it:")?;
        writeln!(out, "  by hand   {hand:6.1} ns/bid; ratio {to_hand:.2}")?;
        writeln!(out, "  by hand   {without:6.1} ns/bid without removal of copies")?;
        writeln!(
            out,
            "  timely    {timely:6.1} ns/bid without removal of copies; ours takes {to_timely:.2} of that"
        )?;
        writeln!(out, "  close     {close:6.1} us per auction, items built")?;
    }
    if runs("bytes") {
        let (block, aggregated) = (from_bytes(crowd, encode_block), from_bytes(crowd, encode_aggregated));
        writeln!(out, "  block     {block:6.1} ns/bid from bytes to windows")?;
        writeln!(out, "  aggregate {aggregated:6.1} ns/bid from bytes to windows")?;
    }
    if runs("threads") {
        writeln!(out, "  threads   two do {:.2} times the work of one", two_threads(crowd))?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name);
    let mut out = io::stdout().lock();
    // A shard of 8,800 bids a second, and one of 100,000: tables that fit a cache, and tables that do not.
    let crowds = if is_test { vec![(2, 10_000)] } else { vec![(114, 88_000), (10, 1_000_000)] };
    let crowds: Vec<Crowd> = crowds.into_iter().map(|(windows, bids)| Crowd::new(windows, bids)).collect();
    for crowd in crowds.iter().filter(|_| ["core", "bytes", "threads"].iter().any(|name| runs(name))) {
        speed(crowd, &runs, &mut out)?;
    }
    if runs("memory") {
        memory::run(crowds.last().expect("there is one"), &mut out)?;
    }
    if runs("closing") {
        closing::run(if is_test { 200 } else { 20_000 }, &mut out)?;
    }
    Ok(())
}

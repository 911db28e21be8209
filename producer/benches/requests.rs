//! Bytes per bid beside the entropy of NEXMark's bids, and time from text to ready PutRecords requests, by step.
//!
//! `cargo bench -p producer --bench requests` prints both. The floor is what no code can go below: the entropy of
//! every field as NEXMark's rules draw it, ids included, less the order between bids, slots and accounts, which nobody
//! needs. `--test` (how `cargo test --benches` starts it) runs each once.
#![expect(clippy::float_arithmetic, reason = "statistics about bytes and time, none of them in a record")]

use std::collections::HashSet;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use producer::core::delivery::{Moment, Request};
use producer::core::sender::{Rules, Sender};
use producer::core::shard_map::ShardMap;
use producer::generator::{Generator, GeneratorConfig, Made};
use producer::input::line;
use producer::put::entries;
use schemas::bid::Bid;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{BidId, Region, ShardId};
use schemas::intake::{IntakeRules, to_line};
use schemas::limits::SHARD_WRITE_BYTES_PER_S;
use schemas::record::{Decoded, Envelope, decode_into, encode_aggregated, encode_block};
use schemas::time::Millis;

/// Accounts of every crowd.
const ACCOUNTS: u32 = 1_000;
/// How fast bids come, which decides over how many ms a block's event times spread.
const BIDS_PER_S: u32 = 28_000;
/// NEXMark: a bid goes to one of so many auctions when it does not go to the hot one (in flight, and the lead).
const AUCTIONS_ABOUT: u32 = 111;
/// Where NEXMark's price, `100 * 10^(6 u)` cents, is cut by the generator.
const CENTS: std::ops::RangeInclusive<u32> = 100..=1_000_000;
const START: u64 = 1_795_000_000_000;

struct Crowd {
    bids: u32,
    slots: u32,
    timed_ids: bool,
}

fn region() -> Region {
    "eu-central-1".parse().expect("a code")
}

/// Bids as the load generator makes them, their times spread over how long they take to come.
fn draw(crowd: &Crowd) -> Vec<Bid> {
    let config = GeneratorConfig { slots: crowd.slots, accounts: ACCOUNTS, ..GeneratorConfig::default() };
    let mut generator = Generator::new(config, region());
    let bid = |number: u32| {
        let at = START + u64::from(number) * 1_000 / u64::from(BIDS_PER_S);
        let Made::Bid(mut bid) = generator.next(Millis(at)) else {
            unreachable!("nothing else was asked for")
        };
        if crowd.timed_ids {
            let mut id = *bid.bid_id.as_bytes();
            id[..6].copy_from_slice(&at.to_be_bytes()[2..]);
            id[6] = 0x70 | id[6] & 0xF;
            bid.bid_id = BidId::from_bytes(id);
        }
        bid
    };
    (0..crowd.bids).map(bid).collect()
}

fn log2(count: u32) -> f64 {
    f64::from(count).log2()
}

/// Bits of a coin that falls on one side with this probability.
fn coin(share: f64) -> f64 {
    -share * share.log2() - (1.0 - share) * (1.0 - share).log2()
}

/// Bits of NEXMark's price in cents as the generator cuts it.
fn price_bits() -> f64 {
    let below = |cents: f64| ((cents / 100.0).log10() / 6.0).clamp(0.0, 1.0);
    let share = |cents: u32| match cents {
        cents if cents == *CENTS.end() => 1.0 - below(f64::from(cents) - 0.5),
        cents => below(f64::from(cents) + 0.5) - below(f64::from(cents) - 0.5),
    };
    CENTS.map(share).filter(|share| *share > 0.0).map(|share| -share * share.log2()).sum()
}

/// `log2(from! / (from - taken)!)`.
fn ways(from: u32, taken: u32) -> f64 {
    (from - taken + 1..=from).map(log2).sum()
}

/// Bytes per bid below which no code can go, on average over such crowds.
fn floor(crowd: &Crowd, bids: &[Bid]) -> f64 {
    let seen = |count: usize| u32::try_from(count).expect("few");
    let slots = seen(bids.iter().map(|bid| bid.slot_id).collect::<HashSet<_>>().len());
    let accounts = seen(bids.iter().map(|bid| bid.account_id).collect::<HashSet<_>>().len());
    let about = AUCTIONS_ABOUT.min(crowd.slots);
    let id = if crowd.timed_ids { 74.0 } else { 122.0 };
    let slot = coin(0.5) + log2(about) / 2.0;
    let account = coin(0.25) + log2(ACCOUNTS) / 4.0;
    let amount = price_bits() + log2(100);
    // Times are drawn in order, so that they say nothing beyond how many bids each ms has: they are the order itself.
    let times = log2((crowd.bids * 1_000 / BIDS_PER_S).max(1));
    let per_bid = id + slot + account + amount + log2(115) + log2(5_001) + times;
    let dictionaries = f64::from(slots + accounts) * 122.0;
    let nobody_needs = ways(crowd.bids, crowd.bids) + ways(slots, slots) + ways(ACCOUNTS, accounts);
    (f64::from(crowd.bids) * per_bid + dictionaries - nobody_needs) / 8.0 / f64::from(crowd.bids)
}

/// Bids to the bytes of one record.
type Encode = fn(&[Bid]) -> Vec<u8>;

fn density(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "bytes per bid, {ACCOUNTS} accounts, NEXMark's skew; bids/s of one shard of 1 MiB/s")?;
    let crowds = [(2_500, 2_000, false), (250, 2_000, false), (10_000, 2_000, false)].into_iter();
    let more = [(2_500, 2_000, true), (2_500, 100_000, false), (10_000, 100_000, true)];
    for (bids, slots, timed_ids) in crowds.chain(more) {
        let crowd = Crowd { bids, slots, timed_ids };
        let drawn = draw(&crowd);
        let floor = floor(&crowd, &drawn);
        let envelopes: [(&str, Encode); 2] = [("block", encode_block), ("aggregated", encode_aggregated)];
        for (envelope, encode) in envelopes {
            let bytes = u32::try_from(encode(&drawn).len()).expect("a record");
            let per_bid = f64::from(bytes) / f64::from(bids);
            let key = 36.0 / f64::from(bids);
            let per_s = f64::from(SHARD_WRITE_BYTES_PER_S) / (per_bid + key);
            let version = if timed_ids { 7 } else { 4 };
            writeln!(
                out,
                "{envelope:10} {bids:6} bids {slots:6} slots v{version}: {per_bid:6.2} floor {floor:5.2} ratio {:4.2}, {per_s:6.0} bids/s",
                per_bid / floor
            )?;
        }
    }
    Ok(())
}

/// What this thread worked: its time on a core, so that others on the machine do not count.
fn on_core() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).expect("time on a core is not negative");
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// Median nanoseconds per bid of some rounds.
fn time(rounds: usize, bids: usize, mut work: impl FnMut()) -> f64 {
    let one = |_| {
        let start = on_core();
        work();
        (on_core() - start).as_secs_f64()
    };
    let mut took: Vec<f64> = (0..rounds).map(one).collect();
    took.sort_by(f64::total_cmp);
    took[rounds / 2] * 1e9 / f64::from(u32::try_from(bids).expect("few"))
}

/// Four shards of equal ranges.
fn map() -> ShardMap {
    let quarter = u128::MAX / 4 + 1;
    let shard = |number: u128| {
        let start = number * quarter;
        let range = HashRange { start: HashKey(start), end: HashKey(start + (quarter - 1)) };
        (range, ShardId(format!("shardId-{number:012}")))
    };
    ShardMap::new((0..4).map(shard).collect())
}

const NOW: Moment = Moment { elapsed_ms: 0, wall: Millis(START) };

fn sender() -> Sender {
    let rules = Rules {
        envelope: Envelope::Block,
        record_bids_max: 2_500,
        linger_ms: 1_000,
        deliver_ms: 30_000,
        geometry: None,
    };
    Sender::new(rules, map())
}

/// Bids into requests: hashed, grouped, encoded.
fn packed(sender: &mut Sender, bids: impl Iterator<Item = Bid>) -> Vec<Request> {
    (0..).zip(bids).for_each(|(ticket, bid)| sender.on_bid(ticket, bid, NOW));
    sender.on_end();
    std::iter::from_fn(|| sender.poll_request(NOW)).collect()
}

fn speed(out: &mut impl Write, rounds: usize) -> io::Result<()> {
    let bids = draw(&Crowd { bids: 20_000, slots: 2_000, timed_ids: false });
    let mut text = Vec::new();
    bids.iter().for_each(|bid| to_line(bid, &mut text));
    let parse = |text: &[u8]| {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let rules = IntakeRules { region: region(), rounding: None };
        let bid = |one: &[u8]| line(1, one, rules)?.content.ok().map(|read| *read.bid());
        lines.map(|one| bid(one).expect("our own")).collect()
    };
    let parsing = time(rounds, bids.len(), || drop::<Vec<Bid>>(black_box(parse(black_box(&text)))));
    let hashing = {
        let ids: Vec<_> = bids.iter().map(|bid| bid.slot_id).collect();
        time(rounds, bids.len(), || {
            ids.iter().for_each(|slot| {
                black_box(HashKey::of_slot(slot));
            })
        })
    };
    let encoding = time(rounds, bids.len(), || {
        bids.chunks(2_500).for_each(|bids| drop(black_box(encode_block(black_box(bids)))));
    });
    let fresh = || {
        let mut sender = sender();
        // The slots' hashes are known, as they are a second after the start.
        drop(packed(&mut sender, bids.iter().copied()));
        sender.abandon();
        drop(sender.poll_answers());
        sender
    };
    let mut senders: Vec<Sender> = (0..rounds * 2).map(|_| fresh()).collect();
    let requests = |sender: &mut Sender, bids: &[Bid]| -> usize {
        packed(sender, bids.iter().copied()).iter().map(|request| entries(request).len()).sum()
    };
    let packing = time(rounds, bids.len(), || {
        black_box(requests(&mut senders.pop().expect("one a round"), black_box(&bids)));
    });
    let whole = time(rounds, bids.len(), || {
        let parsed: Vec<Bid> = parse(black_box(&text));
        black_box(requests(&mut senders.pop().expect("one a round"), &parsed));
    });
    let block = encode_block(&bids[..2_500]);
    let mut decoded = Decoded::default();
    let decoding = time(rounds * 10, 2_500, || decode_into(black_box(&block), &mut decoded));
    writeln!(
        out,
        "ns of one core per bid, median of {rounds}: 2,000 slots, {ACCOUNTS} accounts, NEXMark's skew"
    )?;
    for (name, took) in [
        ("text to requests", whole),
        ("  parsing a line", parsing),
        ("parsed bids to requests", packing),
        ("  encoding blocks of 2,500", encoding),
        ("  hashing a slot, when it is new", hashing),
        ("decoding a block of 2,500", decoding),
    ] {
        writeln!(out, "{name:34} {took:6.0}")?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 101 };
    let mut out = io::stdout().lock();
    density(&mut out)?;
    speed(&mut out, rounds)
}

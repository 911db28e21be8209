//! Bytes and time per bid of each envelope, beside the entropy of what is in them.
//!
//! `cargo bench -p schemas --bench records` prints one line per crowd and envelope. The floor is what no code can go
//! below for bids drawn as these are: the entropy of every field, ids included, less the order between bids, slots and
//! accounts, which nobody needs. `--test` (how `cargo test --benches` starts it) runs each once.
#![expect(clippy::float_arithmetic, reason = "statistics about bytes, none of them in a record")]

use std::collections::HashSet;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::intake;
use schemas::money::{BasisPoints, Price};
use schemas::record::{Decoded, decode_into, encode_aggregated, encode_block};
use schemas::time::Millis;

/// An envelope's own function.
type Encode = fn(&[Bid]) -> Vec<u8>;

/// How bids are drawn.
struct Crowd {
    name: &'static str,
    bids: u32,
    slots: u32,
    accounts: u32,
    /// How long the producer gathered, in ms.
    span_ms: u32,
    timed_ids: bool,
}

const CROWDS: [Crowd; 6] = [
    Crowd {
        name: "2500 bids, 30 slots",
        bids: 2_500,
        slots: 30,
        accounts: 200,
        span_ms: 200,
        timed_ids: false,
    },
    Crowd {
        name: "2500 bids, 1000 slots",
        bids: 2_500,
        slots: 1_000,
        accounts: 200,
        span_ms: 200,
        timed_ids: false,
    },
    Crowd {
        name: "2500 bids, 30 slots, v7 ids",
        bids: 2_500,
        slots: 30,
        accounts: 200,
        span_ms: 200,
        timed_ids: true,
    },
    Crowd {
        name: "2500 bids, 2000 accounts",
        bids: 2_500,
        slots: 30,
        accounts: 2_000,
        span_ms: 200,
        timed_ids: false,
    },
    Crowd { name: "200 bids, 30 slots", bids: 200, slots: 30, accounts: 200, span_ms: 200, timed_ids: false },
    Crowd { name: "20 bids, 10 slots", bids: 20, slots: 10, accounts: 200, span_ms: 50, timed_ids: false },
];

/// SplitMix64: the same crowd every time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).expect("below a u32")
    }

    /// An index by its weight.
    fn weighted(&mut self, weights: &[u32]) -> u32 {
        let mut left = self.below(weights.iter().sum());
        let found = weights.iter().position(|&weight| {
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        });
        u32::try_from(found.expect("below the sum")).expect("few weights")
    }

    fn id(&mut self, version: u8) -> [u8; 16] {
        let mut id = (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes();
        id[6] = version << 4 | id[6] & 0xF;
        id[8] = 0x80 | id[8] & 0x3F;
        id
    }
}

/// Weights by rank: the k-th of them as likely as `1 / (k + 1)`.
fn zipf(count: u32) -> Vec<u32> {
    (1..=count).map(|rank| (1_000_000 / rank).max(1)).collect()
}

/// Weights around a mean, falling by a tenth per step away from it.
fn hill(count: u32, mean: u32) -> Vec<u32> {
    (0..count).map(|at| 1 + 1_000_000 / (1 + at.abs_diff(mean) * at.abs_diff(mean))).collect()
}

fn bits_of(weights: &[u32]) -> f64 {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    weights.iter().map(|&weight| f64::from(weight) / sum).map(|share| -share * share.log2()).sum()
}

/// `log2(from! / (from - taken)!)`.
fn ways(from: u32, taken: u32) -> f64 {
    (from - taken + 1..=from).map(|n| f64::from(n).log2()).sum()
}

fn draw(crowd: &Crowd) -> (Vec<Bid>, f64) {
    let mut draw = Draw(7);
    let slots: Vec<_> = (0..crowd.slots).map(|_| SlotId::from_bytes(draw.id(4))).collect();
    let accounts: Vec<_> = (0..crowd.accounts).map(|_| AccountId::from_bytes(draw.id(4))).collect();
    let at = |index: u32| usize::try_from(index).expect("32 bits");
    let (account_weights, cents, latencies, qualities) =
        (zipf(crowd.accounts), hill(2_000, 540), hill(400, 42), hill(100, 93));
    let bid = |_| {
        let time = 1_795_000_000_000 + u64::from(draw.below(crowd.span_ms));
        let mut id = draw.id(if crowd.timed_ids { 7 } else { 4 });
        if crowd.timed_ids {
            id[..6].copy_from_slice(&time.to_be_bytes()[2..]);
        }
        Bid {
            bid_id: BidId::from_bytes(id),
            slot_id: slots[at(draw.below(crowd.slots))],
            account_id: accounts[at(draw.weighted(&account_weights))],
            region: "eu-central-1".parse().expect("a code"),
            amount: Price::from_units(u64::from(draw.weighted(&cents) + 1) * 100).expect("above zero"),
            latency_ms: draw.weighted(&latencies),
            quality: BasisPoints::new(u16::try_from(draw.weighted(&qualities) * 100).expect("16 bits"))
                .expect("a share"),
            event_time: Millis(time),
        }
    };
    let bids: Vec<Bid> = (0..crowd.bids).map(bid).collect();
    let distinct = |count: usize| u32::try_from(count).expect("few");
    let slots_seen = distinct(bids.iter().map(|bid| bid.slot_id).collect::<HashSet<_>>().len());
    let accounts_seen = distinct(bids.iter().map(|bid| bid.account_id).collect::<HashSet<_>>().len());
    let id_bits = if crowd.timed_ids { 74.0 } else { 122.0 };
    let per_bid = id_bits
        + f64::from(crowd.slots).log2()
        + f64::from(crowd.span_ms).log2()
        + [&account_weights, &cents, &latencies, &qualities]
            .iter()
            .map(|weights| bits_of(weights))
            .sum::<f64>();
    let dictionaries = f64::from(slots_seen + accounts_seen) * 122.0;
    let nobody_needs =
        ways(crowd.bids, crowd.bids) + ways(crowd.slots, slots_seen) + ways(crowd.accounts, accounts_seen);
    let floor = (f64::from(crowd.bids) * per_bid + dictionaries - nobody_needs) / 8.0 / f64::from(crowd.bids);
    (bids, floor)
}

/// Nanoseconds per bid of the fastest of some rounds.
fn time(rounds: u32, bids: u32, mut work: impl FnMut()) -> f64 {
    let one = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(one).fold(f64::INFINITY, f64::min) * 1e9 / f64::from(bids)
}

fn main() -> io::Result<()> {
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 300 };
    let mut out = io::stdout().lock();
    for crowd in &CROWDS {
        let (bids, floor) = draw(crowd);
        let envelopes: [(&str, Encode); 2] = [("block", encode_block), ("aggregated", encode_aggregated)];
        for (envelope, encode) in envelopes {
            let data = encode(&bids);
            let bytes = f64::from(u32::try_from(data.len()).expect("32 bits")) / f64::from(crowd.bids);
            let encoding = time(rounds, crowd.bids, || drop(black_box(encode(black_box(&bids)))));
            let mut decoded = Decoded::default();
            let decoding = time(rounds, crowd.bids, || decode_into(black_box(&data), &mut decoded));
            writeln!(
                out,
                "{:28} {envelope:10} {bytes:6.2} bytes/bid, floor {floor:5.2}, ratio {:4.2}; encode {encoding:5.0} ns/bid, decode {decoding:5.0} ns/bid",
                crowd.name,
                bytes / floor,
            )?;
        }
    }
    let (bids, _) = draw(&CROWDS[0]);
    let mut lines = Vec::new();
    let writing = time(rounds, 2_500, || {
        lines.clear();
        bids.iter().for_each(|bid| intake::to_line(bid, &mut lines));
    });
    let reading = time(rounds, 2_500, || {
        for line in lines.split_inclusive(|b| *b == b'\n') {
            black_box(intake::parse_line(black_box(line), bids[0].region).expect("our own line"));
        }
    });
    writeln!(out, "intake: parse {reading:.0} ns/line, write {writing:.0} ns/line")
}

//! A bound on memory, measured in a process of its own, so that nothing that was freed before is counted as free.

use schemas::bid::Bid;
use schemas::hash::HashRange;
use schemas::ids::{AccountId, BidId, ShardId, SlotId};
use schemas::item::GeometryItem;
use schemas::lease::Lease;
use schemas::money::{BasisPoints, Price};
use schemas::record::{Decoded, Kind};
use schemas::time::Millis;

use super::world::Rng;
use crate::core::BidEvents;
use crate::core::shard::ShardMachine;

const CHILD: &str = "MEMORY_OF_OPEN_BIDS_UNDER_TEST";
const BIDS: u64 = 1_000_000;
const BIDS_PER_SLOT: u64 = 88;
const RECORD_BIDS: u64 = 2_500;
const BYTES_MAX: u64 = 150_000_000;

/// Bytes that a line of the process's status says, in KiB there (Linux, proc(5)).
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

fn id(rng: &mut Rng) -> [u8; 16] {
    (u128::from(rng.next()) << 64 | u128::from(rng.next())).to_be_bytes()
}

#[cfg(target_os = "linux")]
#[test]
fn a_million_open_bids_hold_less_than_150_mb() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let this = "core::tests::memory::a_million_open_bids_hold_less_than_150_mb";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", this, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{child:?}");
}

fn measure() {
    let agreed = GeometryItem { geometry: Default::default(), ttl_after_ms: 1_000, outbox_buckets: 4 };
    let row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
    let (mut machine, _) = ShardMachine::begin(&row, agreed, BidEvents::None, Vec::new());
    let mut rng = Rng(1);
    let slots: Vec<[u8; 16]> = (0..BIDS / BIDS_PER_SLOT).map(|_| id(&mut rng)).collect();
    let accounts: Vec<[u8; 16]> = (0..10_000).map(|_| id(&mut rng)).collect();
    let before = status("VmRSS");
    for record in 0..BIDS / RECORD_BIDS {
        let bid = |_| Bid {
            bid_id: BidId::from_bytes(id(&mut rng)),
            slot_id: SlotId::from_bytes(rng.pick(&slots)),
            account_id: AccountId::from_bytes(rng.pick(&accounts)),
            region: "us-east-1".parse().unwrap(),
            amount: Price::from_units(1 + rng.next() % 1_000_000).unwrap(),
            latency_ms: 1,
            quality: BasisPoints::new(1).unwrap(),
            event_time: Millis(1_800_000_000_000),
        };
        let items = (0..RECORD_BIDS).map(bid).map(Ok).collect();
        let sequence = (record + 1).to_string().parse().unwrap();
        machine.on_record(Millis(1_800_000_000_000), &sequence, &Decoded { kind: Kind::Block, items });
    }
    assert_eq!(machine.open_bids(), usize::try_from(BIDS).unwrap());
    // The most that was ever held, while tables grew.
    let grown = status("VmHWM").saturating_sub(before);
    assert!(grown < BYTES_MAX, "{} open bids hold {grown} bytes", machine.open_bids());
    assert!(grown > BIDS * 32, "{grown} bytes cannot hold them: nothing was measured");
}

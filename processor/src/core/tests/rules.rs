//! Claims about single rules: cut windows, the order of bids in a record, and what a checkpoint covers.

use std::collections::BTreeMap;

use schemas::attr::{Attr, Attrs};
use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, SequenceNumber, ShardId};
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::money::{BasisPoints, Price};
use schemas::time::Millis;

use super::reference::recompute;
use super::store::{Store, Table};
use super::world::{Rng, Shard, World, agreed, slots};
use crate::core::BidEvents;
use crate::core::shard::ShardMachine;

fn row(shard: &Shard) -> Lease {
    Lease::new(shard.id.clone(), shard.range, Vec::new())
}

fn machine(row: &Lease, seed: u64) -> ShardMachine {
    let (machine, closed) = ShardMachine::begin(row, agreed(seed), BidEvents::None, Vec::new());
    assert!(closed.is_empty(), "nothing was inherited");
    machine
}

/// Reads a shard from a row on, with restarts from its checkpoints at random.
fn read(shard: &Shard, mut row: Lease, rng: &mut Rng, seed: u64) -> Store {
    let (mut store, mut machine_now) = (Store::default(), machine(&row, seed));
    let after = |row: &Lease| match &row.checkpoint {
        Checkpoint::After(sequence) => shard.log.partition_point(|stored| stored.sequence <= *sequence),
        _ => 0,
    };
    let mut at = after(&row);
    while let Some(stored) = shard.log.get(at) {
        let (closed, _) = machine_now.on_record(stored.arrival, &stored.sequence, &stored.decoded);
        for closed in closed {
            store.write(&closed);
            machine_now.on_written(closed.ticket);
        }
        at += 1;
        if rng.percent(20) {
            row = machine_now.checkpoint(&row);
        }
        if rng.percent(5) {
            machine_now = machine(&row, seed);
            at = after(&row);
        }
    }
    store
}

#[test]
fn what_a_reader_cannot_have_seen_whole_is_never_written() {
    let (mut written, mut held_back) = (0, 0);
    for seed in 0..400 {
        let (world, mut rng) = (World::random(seed), Rng(seed + 3));
        let expected = recompute(&world.shards, &agreed(seed));
        let shard = &world.shards[0];
        if shard.log.len() < 4 {
            continue;
        }
        let from = rng.below(shard.log.len() - 1);
        let clock = shard.log[..=from].iter().map(|stored| stored.arrival).max().unwrap();
        // Where arrivals run backwards at the edge, the first clock is not the shard's.
        if shard.log[from + 1].arrival < clock {
            continue;
        }
        let checkpoint = Checkpoint::After(shard.log[from].sequence.clone());
        let cut = Lease { checkpoint, beginning: Beginning::Cut, ..row(shard) };
        let store = read(shard, cut, &mut rng, seed);
        for (key, item) in &store.items {
            assert_eq!(expected.get(key), Some(item), "seed {seed}: {key:?} was not whole");
        }
        assert_eq!(store.diverged, [], "seed {seed}");
        written += store.items.len();
        let own = |item: &&Attrs| item.get("shard_id") == Some(&Attr::S(shard.id.to_string()));
        held_back += expected.values().filter(own).count().saturating_sub(store.items.len());
    }
    assert!(written > 100 && held_back > 100, "{written} items written, {held_back} held back");
}

#[test]
fn a_rewind_lowers_nothing_and_writes_nothing_twice() {
    let mut closed = 0;
    for seed in 0..200 {
        let (world, mut rng) = (World::random(seed), Rng(seed + 5));
        let shard = &world.shards[1];
        let first = read(shard, row(shard), &mut rng, seed);
        let end = shard.log.iter().map(|stored| stored.arrival).max().unwrap_or_default();
        let rewound = Lease { closed_through: end, beginning: Beginning::Cut, ..row(shard) };
        let again = read(shard, rewound.clone(), &mut rng, seed);
        assert_eq!(again.items, Table::new(), "seed {seed}: what was closed is written again");
        closed += first.items.len();
        let mut machine = machine(&rewound, seed);
        for stored in &shard.log {
            machine.on_record(stored.arrival, &stored.sequence, &stored.decoded);
            assert!(machine.checkpoint(&rewound).closed_through >= end);
        }
    }
    assert!(closed > 1_000, "{closed} items");
}

#[test]
fn a_checkpoint_that_a_tool_set_back_makes_nothing_late() {
    let mut written = 0;
    for seed in 0..200 {
        let (world, mut rng) = (World::random(seed), Rng(seed + 7));
        let expected = recompute(&world.shards, &agreed(seed));
        let shard = &world.shards[0];
        let end = shard.log.iter().map(|stored| stored.arrival).max().unwrap_or_default();
        for checkpoint in [Checkpoint::TrimHorizon, Checkpoint::Latest] {
            // All else stands as the last owner left it.
            let left =
                Lease { checkpoint, replay_clock: end, closed_through: Millis(end.0 / 2), ..row(shard) };
            let store = read(shard, left, &mut rng, seed);
            for (key, item) in &store.items {
                assert_eq!(expected.get(key), Some(item), "seed {seed}: {key:?}");
            }
            assert_eq!(store.diverged, [], "seed {seed}");
            written += store.items.len();
        }
    }
    assert!(written > 1_000, "{written} items written");
}

/// An item without what only says where in its record a bid lies.
fn without_places(table: &Table) -> Table {
    fn strip(value: &Attr) -> Attr {
        match value {
            Attr::M(map) => Attr::M(strip_all(map)),
            Attr::L(list) => Attr::L(list.iter().map(strip).collect()),
            other => other.clone(),
        }
    }
    fn strip_all(attrs: &Attrs) -> Attrs {
        let kept = attrs.iter().filter(|(name, _)| !["sub_sequence", "digest"].contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), strip(value))).collect()
    }
    table.iter().map(|(key, item)| (key.clone(), strip_all(item))).collect()
}

#[test]
fn the_order_of_bids_in_a_record_changes_nothing_but_their_places() {
    for seed in 0..200 {
        let (world, mut rng) = (World::random(seed), Rng(seed + 7));
        for shard in &world.shards {
            let mut shuffled = shard.clone();
            let mut firsts = BTreeMap::new();
            let mut is_altered_copy =
                |bid: &Bid| *firsts.entry((bid.slot_id, bid.account_id, bid.bid_id)).or_insert(*bid) != *bid;
            for stored in &mut shuffled.log {
                let items = &mut stored.decoded.items;
                // Of copies that differ the first one counts, so there the order does matter.
                if items.iter().flatten().any(&mut is_altered_copy) {
                    continue;
                }
                for at in (1..items.len()).rev() {
                    let other = rng.below(at + 1);
                    items.swap(at, other);
                }
            }
            let mut calm = Rng(1);
            let one = read(shard, row(shard), &mut calm.clone(), seed);
            let two = read(&shuffled, row(&shuffled), &mut calm, seed);
            assert_eq!(without_places(&one.items), without_places(&two.items), "seed {seed}");
        }
    }
}

#[test]
fn a_record_without_an_arrival_moves_no_clock() {
    let world = World::new();
    let mut machine = machine(&row(&world.shards[0]), 0);
    let number = |text: &str| text.parse::<SequenceNumber>().unwrap();
    let empty = schemas::record::decode(&schemas::record::tick());
    machine.on_record(Millis(50), &number("1"), &empty);
    machine.on_record(Millis(0), &number("2"), &empty);
    assert_eq!((machine.clock(), machine.position()), (Millis(50), &Checkpoint::After(number("2"))));
}

#[test]
fn bytes_that_are_no_record_are_one_rejected_bid() {
    let world = World::new();
    let mut machine = machine(&row(&world.shards[0]), 0);
    let poison = schemas::record::decode(&[0xB1, 1, 2, 3, 4, 5, 6]);
    let (_, judged) = machine.on_record(Millis(50), &"1".parse().unwrap(), &poison);
    assert_eq!((judged.rejected, judged.bids()), (1, 1));
    let tick = schemas::record::decode(&schemas::record::tick());
    let (closed, _) = machine.on_record(Millis(500), &"2".parse().unwrap(), &tick);
    let total = &closed[0].totals[0];
    assert_eq!(
        (total.rejected, total.region.as_str(), &total.shard_id),
        (1, "-", &ShardId("shardId-000000000000".into()))
    );
}

#[test]
fn the_first_copy_of_a_record_is_told_by_its_place() {
    let world = World::new();
    let mut machine = machine(&row(&world.shards[0]), 0);
    let bid = |id: u8, region: &str| Bid {
        bid_id: BidId::from_bytes([id; 16]),
        slot_id: slots()[0],
        account_id: AccountId::from_bytes([1; 16]),
        region: region.parse().unwrap(),
        amount: Price::MAX,
        latency_ms: 1,
        quality: BasisPoints::ONE,
        event_time: Millis(100),
    };
    let (first, second) = (bid(1, "eu-west-1"), bid(2, "sa-east-1"));
    let items = [first, second, second, first].map(Ok).to_vec();
    let record = schemas::record::Decoded { kind: schemas::record::Kind::Block, items };
    let (_, judged) = machine.on_record(Millis(100), &"1".parse().unwrap(), &record);
    assert_eq!((judged.counted, judged.duplicates, judged.sample), (2, 2, None));
    assert_eq!(judged.copy, Some((2, second.region)));
}

//! One reader after another over each shard of a world, with checkpoints, crashes, zombies and lost writes at random:
//! the tables must be those of the recomputation, and no key may be put with two contents.

use std::collections::VecDeque;

use schemas::attr::Attr;
use schemas::item::GeometryItem;
use schemas::lease::{Checkpoint, Lease};

use super::reference::recompute;
use super::store::Store;
use super::world::{Rng, Shard, Stored, World, agreed};
use crate::core::mutant::{self, Mutant};
use crate::core::shard::ShardMachine;
use crate::core::tail::Inheritance;
use crate::core::{BidEvents, Closed};

/// Worlds that every claim is checked over.
const WORLDS: u64 = 500;
/// Worlds of crowded auctions.
const CROWDED: u64 = 40;

struct Reader<'a> {
    shard: &'a Shard,
    machine: ShardMachine,
    at: usize,
    unwritten: VecDeque<Closed>,
}

/// The records of a shard after a checkpoint.
fn after<'a>(shard: &'a Shard, checkpoint: &Checkpoint) -> &'a [Stored] {
    match checkpoint {
        Checkpoint::After(sequence) => {
            let at = shard.log.partition_point(|stored| stored.sequence <= *sequence);
            &shard.log[at..]
        }
        _ => &shard.log,
    }
}

impl<'a> Reader<'a> {
    fn new(shards: &'a [Shard], at: usize, row: &Lease, agreed: &GeometryItem) -> Self {
        let shard = &shards[at];
        let mut inheritance = Inheritance::new(&row.tails, agreed.geometry, BidEvents::None);
        while let Some((id, from)) = inheritance.reading() {
            let parent = shards.iter().find(|shard| shard.id == *id).unwrap();
            for stored in after(parent, &from.clone()) {
                inheritance.on_record(stored.arrival, &stored.sequence, &stored.decoded);
            }
            inheritance.on_end();
        }
        let (machine, closed) =
            ShardMachine::begin(row, agreed.clone(), BidEvents::None, inheritance.finish());
        let at = shard.log.len() - after(shard, &row.checkpoint).len();
        Self { shard, machine, at, unwritten: closed.into() }
    }

    fn step(&mut self) {
        let stored = &self.shard.log[self.at];
        let (closed, _) = self.machine.on_record(stored.arrival, &stored.sequence, &stored.decoded);
        self.unwritten.extend(closed);
        self.at += 1;
    }

    /// Writes some of what was closed, in any order.
    fn write_some(&mut self, store: &mut Store, rng: &mut Rng, most: usize) {
        for _ in 0..most.min(self.unwritten.len()) {
            let at = rng.below(self.unwritten.len());
            let closed = self.unwritten.remove(at).unwrap();
            store.write(&closed);
            self.machine.on_written(closed.ticket);
        }
    }

    /// The process is gone; some of what was under way arrives all the same.
    fn crash(mut self, store: &mut Store, rng: &mut Rng) {
        if rng.percent(50) {
            for _ in 0..rng.below(20) {
                if self.at < self.shard.log.len() {
                    self.step();
                }
            }
        }
        let some = rng.below(self.unwritten.len() + 1);
        self.write_some(store, rng, some);
    }
}

/// Runs a world to its end.
fn run(shards: &[Shard], seed: u64) -> Store {
    let (mut rng, agreed, mut store) = (Rng(seed * 7 + 1), agreed(seed), Store::default());
    let mut rows: Vec<Lease> = Vec::new();
    for (at, shard) in shards.iter().enumerate() {
        let parents = shard.parents.iter().map(|parent| shards[*parent].id.clone()).collect();
        let mut row = Lease::new(shard.id.clone(), shard.range, parents);
        row.tails = shard.parents.iter().map(|parent| rows[*parent].tail().unwrap()).collect();
        let mut reader = Reader::new(shards, at, &row, &agreed);
        loop {
            if rng.percent(30) {
                let some = rng.below(4);
                reader.write_some(&mut store, &mut rng, some);
            }
            if rng.percent(8) {
                row = reader.machine.checkpoint(&row);
            }
            if rng.percent(5) {
                std::mem::replace(&mut reader, Reader::new(shards, at, &row, &agreed))
                    .crash(&mut store, &mut rng);
                continue;
            }
            if reader.at == shard.log.len() {
                break;
            }
            reader.step();
        }
        let counts = reader.machine.on_end();
        reader.unwritten.extend(counts);
        let all = reader.unwritten.len();
        reader.write_some(&mut store, &mut rng, all);
        assert!(reader.machine.is_durable());
        // Any checkpoint written before is right too.
        rows.push(if rng.percent(50) {
            reader.machine.ended(&row, Vec::new())
        } else {
            let tail_checkpoint = Some(row.checkpoint.clone());
            Lease { tail_checkpoint, checkpoint: Checkpoint::ShardEnd, ..row }
        });
    }
    store
}

/// Whether the tables of a world are not those of its recomputation, and whether a key was put with two contents.
fn differs(seed: u64) -> (bool, bool) {
    differs_in(&World::random(seed), seed)
}

fn differs_in(world: &World, seed: u64) -> (bool, bool) {
    let store = run(&world.shards, seed);
    let expected = recompute(&world.shards, &agreed(seed));
    (store.items != expected, !store.diverged.is_empty())
}

#[test]
fn any_restart_zombie_and_cut_into_shards_gives_the_items_of_the_whole_log() {
    for seed in 0..WORLDS {
        assert_eq!(differs(seed), (false, false), "seed {seed}");
    }
}

#[test]
fn crowded_auctions_and_their_ties_give_the_items_of_the_whole_log() {
    for seed in 0..CROWDED {
        assert_eq!(differs_in(&World::crowded(seed), seed), (false, false), "seed {seed}");
    }
}

#[test]
fn auctions_of_more_regions_than_an_item_names_give_the_items_of_the_whole_log() {
    let mut bound = 0;
    for seed in 0..CROWDED / 4 {
        let world = World::worldwide(seed);
        assert_eq!(differs_in(&world, seed), (false, false), "seed {seed}");
        let items = recompute(&world.shards, &agreed(seed));
        let named = items.values().filter_map(|item| match item.get("regions") {
            Some(Attr::M(regions)) => Some(regions),
            _ => None,
        });
        bound += named.filter(|regions| regions.contains_key("*")).count();
    }
    assert!(bound > 5, "only {bound} auctions had more regions than are named");
}

#[test]
fn every_mutant_of_the_model_is_caught() {
    let mutants = [
        Mutant::SiblingClosedThrough,
        Mutant::TailKeepsClosed,
        Mutant::TailKeepsStrays,
        Mutant::RefusedInOwnWindow,
        Mutant::ChildClockAtZero,
        Mutant::RefusedHoldsNothing,
        Mutant::ClosedThroughGoesDown,
    ];
    for mutant in mutants {
        mutant::make(Some(mutant));
        let caught = (0..WORLDS).find(|seed| differs(*seed) != (false, false));
        mutant::make(None);
        assert!(caught.is_some(), "{mutant:?} goes unseen in {WORLDS} worlds");
    }
}

//! Several workers over one stream, one lease table and one table of items, in one thread and from one seed: looks,
//! takes, hand-overs, crashes, pauses, stops, lost requests, lost replies and writes in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemas::ids::ShardId;
use schemas::lease::{Checkpoint, Lease};
use schemas::time::{Millis, Span};

use super::reference::recompute;
use super::store::Store;
use super::world::{Rng, World, agreed};
use crate::core::BidEvents;
use crate::core::holding::{Effect, Holding, Now, Timing, Written};
use crate::core::lease::{Action, Age, Appetite, Listed, Look, Watch};

const TIMING: Timing = Timing {
    checkpoint_every: Duration::from_millis(4),
    renew_every: Duration::from_millis(10),
    tick_every: Duration::from_millis(3),
    retry_after: Duration::from_millis(2),
};
const FAILOVER: Duration = Duration::from_millis(30);

struct Held {
    holding: Holding,
    reading: Option<(usize, usize)>,
    /// Effects that were asked for and not performed.
    under_way: Vec<Effect>,
}

struct Worker {
    name: String,
    watch: Watch,
    held: BTreeMap<ShardId, Held>,
    /// It sleeps until then.
    paused: u64,
    stopping: bool,
}

struct Fleet {
    seed: u64,
    rng: Rng,
    world: World,
    rows: BTreeMap<ShardId, Lease>,
    store: Store,
    workers: Vec<Worker>,
    born: u64,
    faults: bool,
    ticks: u64,
}

fn now_of(world: &World, skew: u64) -> Now {
    Now { monotonic: Duration::from_millis(world.now), service: Span::at(Millis(world.now + skew)) }
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut fleet = Self {
            seed,
            rng: Rng(seed ^ 0xF1EE7),
            world: World::new(),
            rows: BTreeMap::new(),
            store: Store::default(),
            workers: Vec::new(),
            born: 0,
            faults: true,
            ticks: 0,
        };
        (0..3).for_each(|_| fleet.start());
        fleet
    }

    fn start(&mut self) {
        self.born += 1;
        let name = format!("worker-{}", self.born);
        let watch = Watch::new(name.clone(), FAILOVER);
        self.workers.push(Worker { name, watch, held: BTreeMap::new(), paused: 0, stopping: false });
    }

    /// Puts a row on a condition; the request or the reply may be lost.
    fn write(&mut self, row: &Lease, seen: Option<u64>) -> Written {
        let lost = |fleet: &mut Self| fleet.faults && fleet.rng.percent(10);
        if lost(self) {
            return Written::Unknown;
        }
        let stands = self.rows.get(&row.shard_id);
        if stands.map(|row| row.counter) != seen {
            return Written::Refused(stands.cloned().map(Box::new));
        }
        // What stands in the table is what an item can hold.
        let item = Lease::from_attrs(&row.to_attrs()).unwrap();
        self.rows.insert(row.shard_id.clone(), item);
        if lost(self) { Written::Unknown } else { Written::Done }
    }

    fn look(&mut self, at: usize) {
        let listed = |shard: &super::world::Shard| Listed {
            shard_id: shard.id.clone(),
            range: shard.range,
            parents: shard.parents.iter().map(|parent| self.world.shards[*parent].id.clone()).collect(),
            is_open: shard.children.is_empty(),
        };
        let shards: Vec<Listed> = self.world.shards.iter().map(listed).collect();
        let rows: Vec<Lease> = self.rows.values().cloned().collect();
        let now = now_of(&self.world, 0);
        let held: BTreeSet<ShardId> = self.workers[at].held.keys().cloned().collect();
        for row in &rows {
            if let Some(held) = self.workers[at].held.get_mut(&row.shard_id) {
                held.holding.on_seen(row);
            }
        }
        let look = Look {
            rows: &rows,
            shards: &shards,
            age: Age::Young,
            latest: now.service.latest,
            created: None,
            held: &held,
            appetite: Appetite::Share,
        };
        for action in self.workers[at].watch.on_look(&look, now.monotonic) {
            match action {
                Action::Make(row) => drop(self.write(&row, None)),
                Action::Take { row, seen, .. } => {
                    let waits = row.checkpoint_owner.is_some();
                    if matches!(self.write(&row, Some(seen)), Written::Done) && !waits {
                        self.hold(at, row, now);
                    }
                }
                Action::Hold(row) => self.hold(at, row, now),
                Action::Remove { shard_id, seen, .. } => {
                    if self.rows.get(&shard_id).is_some_and(|row| row.counter == seen) {
                        self.rows.remove(&shard_id);
                    }
                }
            }
        }
    }

    fn hold(&mut self, at: usize, row: Lease, now: Now) {
        let worker = &mut self.workers[at];
        let rules = (agreed(self.seed), BidEvents::Best);
        let holding = Holding::new(row.clone(), worker.name.clone(), rules, TIMING, now);
        worker.held.insert(row.shard_id, Held { holding, reading: None, under_way: Vec::new() });
    }

    /// One held lease of a worker gets a turn.
    fn turn(&mut self, at: usize) {
        let ids: Vec<ShardId> = self.workers[at].held.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.rng.pick(&ids);
        let mut held = self.workers[at].held.remove(&id).unwrap();
        if self.workers[at].stopping {
            held.holding.on_stop();
        }
        for _ in 0..self.rng.below(4) {
            self.read(&mut held);
        }
        let skew = self.rng.next() % 4;
        held.holding.on_time(now_of(&self.world, skew));
        while let Some(effect) = held.holding.poll_effect() {
            match effect {
                Effect::Finish(_) => return,
                Effect::Read { shard_id, from } => {
                    let at = self.world.shards.iter().position(|shard| shard.id == shard_id).unwrap();
                    let log = &self.world.shards[at].log;
                    let next = match from {
                        Checkpoint::After(sequence) => log.partition_point(|s| s.sequence <= sequence),
                        _ => 0,
                    };
                    held.reading = Some((at, next));
                }
                effect => held.under_way.push(effect),
            }
        }
        for _ in 0..self.rng.below(4) {
            if !held.under_way.is_empty() {
                let at = self.rng.below(held.under_way.len());
                let effect = held.under_way.swap_remove(at);
                self.perform(&mut held.holding, effect);
            }
        }
        self.workers[at].held.insert(id, held);
    }

    fn read(&mut self, held: &mut Held) {
        let Some((at, next)) = held.reading.filter(|_| held.holding.wants_records()) else { return };
        let shard = &self.world.shards[at];
        if let Some(stored) = shard.log.get(next) {
            held.holding.on_decoded(stored.arrival, &stored.sequence, &stored.decoded);
            held.reading = Some((at, next + 1));
        } else if !shard.children.is_empty() {
            let child = |child: &usize| self.world.shards[*child].id.clone();
            let children = shard.children.iter().map(child).collect();
            held.reading = None;
            held.holding.on_end(children);
        } else {
            held.holding.on_tip(now_of(&self.world, 0));
        }
    }

    fn perform(&mut self, holding: &mut Holding, effect: Effect) {
        match effect {
            Effect::Put(closed) => {
                self.store.write(&closed);
                holding.on_written(closed.ticket);
            }
            Effect::Write { row, seen } => {
                let written = self.write(&row, Some(seen));
                holding.on_row(written);
            }
            Effect::Tick { hash_key } => {
                let owner =
                    *self.world.live.iter().find(|at| self.world.shards[**at].range.owns(hash_key)).unwrap();
                self.ticks += 1;
                self.world.append(owner, self.world.now, Vec::new());
            }
            Effect::Read { .. } | Effect::Finish(_) => unreachable!("performed at once"),
        }
    }

    fn fault(&mut self) {
        let at = self.rng.below(self.workers.len());
        match self.rng.below(3) {
            0 => {
                self.workers.remove(at);
                self.start();
            }
            1 => self.workers[at].paused = self.world.now + 20 + self.rng.next() % 60,
            _ => self.workers[at].stopping = true,
        }
    }

    fn step(&mut self) {
        if self.faults && self.rng.percent(1) {
            self.fault();
        }
        let at = self.rng.below(self.workers.len());
        if self.workers[at].paused > self.world.now {
            return;
        }
        if self.workers[at].stopping && self.workers[at].held.is_empty() {
            self.workers.remove(at);
            return self.start();
        }
        if self.rng.percent(15) && !self.workers[at].stopping {
            self.look(at);
        } else {
            self.turn(at);
        }
    }

    /// Whether every shard was read and every row that is left checkpoints its tip.
    fn is_done(&self) -> bool {
        let end = self.world.shards.iter().flat_map(|shard| &shard.log).map(|s| s.arrival).max().unwrap();
        let live: BTreeSet<&ShardId> = self.world.live.iter().map(|at| &self.world.shards[*at].id).collect();
        self.rows.len() == live.len()
            && self
                .rows
                .values()
                .all(|row| live.contains(&row.shard_id) && row.closed_through >= end && row.tails.is_empty())
    }
}

#[test]
fn any_fate_of_any_worker_gives_the_items_of_the_whole_log() {
    let (mut ticks, mut shards) = (0, 0);
    for seed in 0..60 {
        let mut fleet = Fleet::new(seed);
        for _ in 0..200 {
            let mut rng = fleet.rng.clone();
            fleet.world.step(&mut rng);
            fleet.rng = rng;
            (0..20).for_each(|_| fleet.step());
        }
        fleet.faults = false;
        // What is idle now is closed by ticks, and the clocks of all shards are brought to one end.
        for step in 0..40_000 {
            fleet.step();
            if step % 8 == 0 {
                fleet.world.now += 1;
            }
            if step == 2_000 {
                fleet.world.settle();
            }
            if step > 2_000 && step % 100 == 0 && fleet.is_done() {
                break;
            }
        }
        assert!(fleet.is_done(), "seed {seed}: {:#?}", fleet.rows);
        assert_eq!(fleet.store.diverged, [], "seed {seed}");
        let expected = recompute(&fleet.world.shards, &agreed(seed));
        assert_eq!(fleet.store.items, expected, "seed {seed}");
        ticks += fleet.ticks;
        shards += fleet.world.shards.len();
    }
    assert!(ticks > 0, "no shard was ever idle");
    assert!(shards > 60 * 4, "too few splits and merges");
}

//! A world: processes, services and what happens to them, run from a script to its end.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::ids::ShardId;
use schemas::money::{BasisPoints, Price};

use super::call::Life;
use super::chance::Chance;
use super::checker::{Broken, Invariant};
use super::coverage::{Coverage, Met};
use super::model::stream::{Moment, Partial};
use super::net::{Event, Fates, Keep, Net};
use super::plan::{self, Rates};
use super::script::{Actor, BidOp, Op, Script};
use super::services::Services;
use super::setting::{BEGINNING_MS, Setting, bid_id};
use super::stage::{Stage, wall};
use super::words::{Fate, Foreign, Role};

/// How long everything may take to settle once faults have ceased: some failovers, windows and retries.
const SETTLES_WITHIN_MS: u64 = 150_000;
/// How often it is looked whether everything has settled.
const LOOK_EVERY_MS: u64 = 100;
/// Most events of one world: a bound against a world that runs in circles.
const EVENTS_MAX: u64 = 2_000_000;

/// How a world ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What could not be right, if anything.
    pub broken: Option<Broken>,
    /// What was met.
    pub coverage: Coverage,
    /// Fates that were met, so that the world can be run again without drawing them.
    pub fates: BTreeMap<(Actor, u64), Fate>,
    /// Everything that happened, when it was kept.
    pub history: String,
    /// Virtual time that passed, in ms.
    pub lasted_ms: u64,
    /// Events that happened.
    pub events: u64,
}

#[derive(Debug, Default)]
struct Process {
    lives: u32,
    stage: Option<Stage>,
    paused_until_ms: u64,
}

/// A world under way.
#[derive(Debug)]
pub struct World {
    net: Net,
    script: Script,
    processes: BTreeMap<Actor, Process>,
    bids: BTreeMap<u32, Bid>,
    seen_ms: u64,
}

/// Runs the world of a seed.
#[must_use]
pub fn run_seed(seed: u64, ops: usize, keep: Keep) -> (Script, Outcome) {
    let setting = Setting::of(seed);
    let script = plan::script(seed, ops, &setting);
    let outcome = World::new(setting, script.clone(), Fates::Drawn(Rates::of(seed)), keep).run();
    (Script { fates: outcome.fates.clone(), ..script }, outcome)
}

/// Runs a script: the fates of calls are those it names.
#[must_use]
pub fn run_script(script: &Script, keep: Keep) -> Outcome {
    let fates = Fates::Scripted(script.fates.clone());
    World::new(Setting::of(script.seed), script.clone(), fates, keep).run()
}

impl World {
    fn new(setting: Setting, script: Script, fates: Fates, keep: Keep) -> Self {
        let services = Services::new(&setting);
        let many = [
            (Role::Producer, setting.producers.len()),
            (Role::Processor, setting.processors.len()),
            (Role::Settler, setting.settlers),
        ];
        let actors =
            many.into_iter().flat_map(|(role, many)| (0..many).map(move |index| Actor { role, index }));
        let processes: BTreeMap<Actor, Process> = actors.map(|actor| (actor, Process::default())).collect();
        let mut net = Net::new(setting, services, (script.seed, script.calm_ms), fates, keep);
        for actor in processes.keys() {
            net.at(BEGINNING_MS, Event::Start(*actor));
        }
        for (index, timed) in script.ops.iter().enumerate() {
            net.at(BEGINNING_MS + timed.at_ms, Event::Op(index));
        }
        Self { net, script, processes, bids: BTreeMap::new(), seen_ms: 0 }
    }

    fn run(mut self) -> Outcome {
        // A core that panics breaks the world like anything else; what the world holds is only looked at afterwards.
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run_to_end()));
        let (broken, events) = ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            (Some(Broken { invariant: Invariant::Panics, detail: text.to_owned() }), 0)
        });
        if let Some(broken) = &broken {
            self.net.tell(|| format!("BROKEN {}: {}", broken.invariant, broken.detail));
        }
        let (coverage, fates) = (self.net.coverage.clone(), std::mem::take(&mut self.net.met));
        let lasted_ms = self.net.now_ms - BEGINNING_MS;
        Outcome { broken, coverage, fates, history: self.net.into_history(), lasted_ms, events }
    }

    fn run_to_end(&mut self) -> (Option<Broken>, u64) {
        let (mut events, mut broken) = (0, None);
        while let Some(event) = self.net.poll() {
            events += 1;
            self.on_event(event);
            broken = self.net.services.checker.broken.take();
            if broken.is_some() || (self.net.is_calm() && self.has_ended(events, &mut broken)) {
                break;
            }
        }
        (broken, events)
    }

    /// Whether there is nothing more to wait for: all is settled, or the time for it is over.
    fn has_ended(&mut self, events: u64, broken: &mut Option<Broken>) -> bool {
        let now_ms = self.net.now_ms;
        if now_ms < self.seen_ms + LOOK_EVERY_MS {
            return false;
        }
        self.seen_ms = now_ms;
        let Services { checker, table, .. } = &mut self.net.services;
        let Err(detail) = checker.on_look(table.items()) else { return true };
        let over = now_ms > self.net.calm_ms + SETTLES_WITHIN_MS || events > EVENTS_MAX;
        if over {
            *broken = Some(Broken { invariant: Invariant::Progress, detail });
        }
        over
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Op(index) => self.on_op(index),
            Event::Start(actor) => self.start(actor),
            Event::Die(life) => {
                let down_ms =
                    Chance::of(self.script.seed, [6, u64::from(life.number), self.net.now_ms]).below(2_500);
                self.die(life, down_ms);
            }
            Event::Arrive(flight) => self.net.on_arrive(*flight),
            Event::Wake(life) => self.with(life, Event::Wake(life), |stage, net| stage.on_wake(net)),
            Event::Hear(life, tag, reply) => {
                if self.is_paused(life) {
                    let until_ms = self.processes[&life.actor].paused_until_ms;
                    return self.net.at(until_ms, Event::Hear(life, tag, reply));
                }
                self.with(life, Event::Wake(life), |stage, net| stage.on_hear(tag, *reply, net));
            }
        }
    }

    fn is_paused(&self, life: Life) -> bool {
        self.processes.get(&life.actor).is_some_and(|process| self.net.now_ms < process.paused_until_ms)
    }

    /// Lets a life do something; one that stands still does it later, and one that is over not at all.
    fn with(&mut self, life: Life, later: Event, act: impl FnOnce(&mut Stage, &mut Net)) {
        if self.net.is_doomed(life) {
            return;
        }
        if self.is_paused(life) {
            let until_ms = self.processes[&life.actor].paused_until_ms;
            return self.net.at(until_ms, later);
        }
        let Some(process) = self.processes.get_mut(&life.actor) else { return };
        if process.lives != life.number + 1 {
            return;
        }
        let Some(stage) = &mut process.stage else { return };
        act(stage, &mut self.net);
        if stage.is_over() {
            self.net.tell(|| format!("{} has stopped", life.actor));
            process.stage = None;
            self.net.at(self.net.now_ms + 200, Event::Start(life.actor));
        }
    }

    fn start(&mut self, actor: Actor) {
        let Some(process) = self.processes.get_mut(&actor) else { return };
        if process.stage.is_some() {
            return;
        }
        let life = Life { actor, number: process.lives };
        process.lives += 1;
        process.paused_until_ms = 0;
        self.net.tell(|| format!("{actor} starts"));
        process.stage = Some(Stage::start(life, &mut self.net));
    }

    fn die(&mut self, life: Life, down_ms: u64) {
        let Some(process) = self.processes.get_mut(&life.actor) else { return };
        if process.lives != life.number + 1 || process.stage.is_none() {
            return;
        }
        process.stage = None;
        self.net.tell(|| format!("{} dies", life.actor));
        self.net.coverage.meet(Met::Crash);
        if life.actor.role == Role::Producer {
            self.net.services.checker.on_death((life.actor.index, life.number));
        }
        self.net.at(self.net.now_ms + down_ms, Event::Start(life.actor));
    }

    /// Looks whether two workers read one shard.
    fn meet_owners(&mut self) {
        let held = self.processes.values().filter_map(|process| process.stage.as_ref());
        let mut held: Vec<&ShardId> = held.flat_map(Stage::held).collect();
        held.sort_unstable();
        if held.windows(2).any(|pair| pair[0] == pair[1]) {
            self.net.coverage.meet(Met::TwoOwners);
        }
    }

    fn on_op(&mut self, index: usize) {
        let op = self.script.ops[index].op;
        self.meet_owners();
        self.net.tell(|| format!("- {op}"));
        match op {
            Op::Bid(bid) => self.on_bid(&bid),
            Op::Again { number, producer } => {
                if let Some(bid) = self.bids.get(&number).copied() {
                    self.offer(bid, producer);
                }
            }
            Op::Foreign { kind, slot } => self.on_foreign(kind, slot, index),
            Op::Crash { actor, for_ms } => {
                if let Some(life) = self.life(actor) {
                    self.die(life, for_ms);
                }
            }
            Op::Stop { actor, for_ms } => {
                if let Some(life) = self.life(actor) {
                    self.net.coverage.meet(Met::Stop);
                    let until_ms = self.net.now_ms + for_ms;
                    self.with(life, Event::Op(index), |stage, net| stage.on_stop(until_ms, net));
                }
            }
            Op::Pause { actor, for_ms } => {
                if let Some(process) =
                    self.processes.get_mut(&actor).filter(|process| process.stage.is_some())
                {
                    self.net.coverage.meet(Met::Pause);
                    process.paused_until_ms = self.net.now_ms + for_ms;
                }
            }
            _ => self.on_service_op(op),
        }
    }

    fn life(&self, actor: Actor) -> Option<Life> {
        let process = self.processes.get(&actor)?;
        process.stage.as_ref().map(|_| Life { actor, number: process.lives - 1 })
    }

    fn on_service_op(&mut self, op: Op) {
        let now_ms = self.net.now_ms;
        let Services { stream, table, ledger, checker } = &mut self.net.services;
        let met = match op {
            Op::Split { shard, at } => {
                let parent = stream.nth_open(shard);
                let row = table.lease(&parent.id);
                if !parent.parents.is_empty() && row.is_none_or(|row| !row.inherited) {
                    self.net.coverage.meet(Met::EarlySplit);
                }
                stream.split(shard, at, now_ms, checker).then_some(Met::Split)
            }
            Op::Merge { shard } => stream.merge(shard, now_ms, checker).then_some(Met::Merge),
            Op::Outage { service, for_ms } => {
                self.net.away(service, now_ms + for_ms);
                None
            }
            Op::Deposit { account, units } => {
                let account = self.net.setting.accounts[account % self.net.setting.accounts.len()].account_id;
                ledger.deposit(account, units, checker).then_some(Met::Deposit)
            }
            Op::Schema => {
                ledger.change_schema();
                None
            }
            Op::Corrupt { item } => table.corrupt(item).map(|item| {
                checker.on_corrupted(&item);
                Met::Corrupted
            }),
            Op::Manage { for_ms } => {
                stream.manage((now_ms + for_ms).min(self.net.calm_ms));
                None
            }
            Op::Refuse(op) => {
                table.refuse(op, now_ms);
                None
            }
            Op::Expire => (table.expire(now_ms) > 0).then_some(Met::TtlDeletion),
            Op::Trim => stream.trim(now_ms, checker).then_some(Met::Trimmed),
            Op::Edit { row, edit, record } => table.nth_lease(row).and_then(|shard_id| {
                let place = table.edit(&shard_id, edit, (&stream.numbers(&shard_id), record))?;
                checker.on_edited(&shard_id, place);
                Some(Met::Edited)
            }),
            Op::LoseLeases => {
                checker.on_leases_lost();
                (table.lose_leases() > 0).then_some(Met::LostLeases)
            }
            _ => None,
        };
        if let Some(met) = met {
            self.net.coverage.meet(met);
        }
    }

    fn on_bid(&mut self, op: &BidOp) {
        let setting = &self.net.setting;
        let producer = setting.producers[op.producer % setting.producers.len()];
        let mut chance = Chance::of(self.script.seed, [7, u64::from(op.number), 0]);
        let bid = Bid {
            bid_id: bid_id(op.number),
            slot_id: setting.slots[op.slot % setting.slots.len()].slot_id,
            account_id: setting.accounts[op.account % setting.accounts.len()].account_id,
            region: producer.region,
            amount: Price::from_units(op.units.max(1)).expect("a small price"),
            latency_ms: u32::try_from(chance.below(100)).expect("below 100"),
            quality: BasisPoints::new(op.quality.min(10_000)).expect("at most one"),
            event_time: wall(self.net.now_ms, producer.skew_ms + op.offset_ms),
        };
        self.bids.insert(op.number, bid);
        self.offer(bid, op.producer);
    }

    /// The edge offers a bid; when the producer is down it keeps it and tries again.
    fn offer(&mut self, bid: Bid, producer: usize) {
        let index = producer % self.net.setting.producers.len();
        let actor = Actor { role: Role::Producer, index };
        if let Some(life) = self.life(actor) {
            self.with(life, Event::Wake(life), |stage, net| stage.on_bid(bid, net));
        }
    }

    fn on_foreign(&mut self, kind: Foreign, slot: usize, index: usize) {
        let setting = &self.net.setting;
        if kind == Foreign::Garbage || kind == Foreign::Empty {
            self.net.coverage.meet(Met::Garbage);
        }
        let mut chance = Chance::of(self.script.seed, [8, u64::try_from(index).expect("few operations"), 0]);
        let number = 1_000_000 + u32::try_from(index * 100).expect("few operations");
        let first = slot % setting.slots.len();
        let order = setting.slots[first..].iter().chain(&setting.slots[..first]);
        let bids: Vec<Bid> = (number..)
            .zip(order)
            .map(|(number, slot)| Bid {
                bid_id: bid_id(number),
                slot_id: slot.slot_id,
                account_id: setting.accounts[0].account_id,
                region: "sa-east-1".parse().expect("a region"),
                amount: Price::from_units(77).expect("a small price"),
                latency_ms: 7,
                quality: BasisPoints::ONE,
                event_time: wall(self.net.now_ms, 0),
            })
            .collect();
        let Net { services, coverage, now_ms, .. } = &mut self.net;
        let mut moment = Moment { now_ms: *now_ms, chance: &mut chance, partial: Partial::No, coverage };
        services.on_foreign(kind, &bids, &mut moment);
    }
}

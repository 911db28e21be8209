//! A processor: the watch over leases and one holding for each lease that is held, driven as its loops drive them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use processor::core::holding::{Now, Timing};
use processor::core::lease::{Action, Appetite, Listed, Look, Watch};
use runtime::outage::Outage;
use schemas::ids::ShardId;
use schemas::lease::{Beginning, Lease, Tail};
use schemas::mutant::{self, Mutant};
use schemas::time::{Millis, Span};

use super::holder::{Heard, Holder};
use super::{Alarm, wall, watch};
use crate::local::kinesis::model::Distribution;
use crate::sim::call::{Answer, Call, Life, Reply, Shard};
use crate::sim::coverage::Met;
use crate::sim::net::Net;
use crate::sim::setting::FAR_MS;

/// How long a release may take when a processor ends by itself.
const GRACE_MS: u64 = 2_000;

/// What a request was for.
#[derive(Clone, Debug)]
enum Asked {
    /// All rows, which are looked at before the shards: a row that is missing although its shard is listed was missing
    /// when that shard was there.
    Rows,
    /// All shards, with the rows.
    Shards(Vec<Lease>),
    /// A row that is made, taken or removed.
    Action(Box<Action>),
    /// Something of a held lease.
    Holder(ShardId),
}

/// A processor's life.
#[derive(Debug)]
pub struct ProcessorStage {
    life: Life,
    skew_ms: i64,
    started_ms: u64,
    watch: Watch,
    /// The stream and the lease table, as looks find them.
    services: Outage,
    /// Whether a look is under way, and what it has still to do.
    looking: bool,
    actions: VecDeque<Action>,
    look_at_ms: u64,
    holders: BTreeMap<ShardId, Holder>,
    asked: BTreeMap<u64, Asked>,
    next_tag: u64,
    stopping: bool,
    until_ms: u64,
    over: bool,
    alarm: Alarm,
}

impl ProcessorStage {
    /// Starts a life.
    pub fn start(life: Life, net: &mut Net) -> Self {
        let failover = Duration::from_millis(net.setting.failover_ms);
        let mut stage = Self {
            life,
            skew_ms: net.setting.processors[life.actor.index],
            started_ms: net.now_ms,
            watch: Watch::new(life.to_string(), failover),
            services: Outage::after_a_good_start(),
            looking: false,
            actions: VecDeque::new(),
            look_at_ms: net.now_ms,
            holders: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_tag: 0,
            stopping: false,
            until_ms: u64::MAX,
            over: false,
            alarm: Alarm::default(),
        };
        if stage.skew_ms.abs() == FAR_MS {
            net.coverage.meet(Met::FarClock);
        }
        stage.turn(net);
        stage
    }

    fn now(&self, net: &Net) -> Now {
        let monotonic = Duration::from_millis(net.now_ms - self.started_ms);
        Now::new(monotonic, Some(service(net.now_ms)), wall(net.now_ms, self.skew_ms))
    }

    /// A stop was asked for: what is held is released until then.
    pub fn on_stop(&mut self, until_ms: u64, net: &mut Net) {
        (self.stopping, self.until_ms) = (true, until_ms);
        self.holders.values_mut().for_each(|holder| holder.on_stop());
        self.turn(net);
    }

    /// Whether it has ended in order.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Shards that it reads.
    pub fn held(&self) -> impl Iterator<Item = &ShardId> {
        self.holders.keys()
    }

    /// Time passed.
    pub fn on_wake(&mut self, net: &mut Net) {
        self.alarm.on_wake(net);
        self.turn(net);
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &mut Net) {
        let now = self.now(net);
        match (self.asked.remove(&tag), reply) {
            (Some(Asked::Rows), Ok(Answer::Leases(rows))) => self.ask(Asked::Shards(rows), Call::Shards, net),
            (Some(Asked::Shards(_)), Ok(Answer::Shards(_, Distribution::Auto)))
                if !mutant::is(Mutant::DistributionIgnored) =>
            {
                net.coverage.meet(Met::KeysIgnored);
                self.looking = false;
                self.on_stop(net.now_ms + GRACE_MS, net);
            }
            (Some(Asked::Shards(rows)), Ok(Answer::Shards(shards, _))) => self.look(&shards, &rows, net),
            (Some(Asked::Rows | Asked::Shards(_)), reply) => {
                self.looking = false;
                if let Err(trouble) = reply {
                    watch(&mut self.services, (self.life, self.started_ms), trouble, net);
                }
            }
            (Some(Asked::Action(action)), reply) => self.on_action(*action, &reply, net),
            (Some(Asked::Holder(shard_id)), reply) => {
                if let Some(holder) = self.holders.get_mut(&shard_id) {
                    holder.on_hear(tag, Heard { reply, now }, net);
                }
            }
            (None, _) => {}
        }
        self.turn(net);
    }

    fn look(&mut self, shards: &[Shard], rows: &[Lease], net: &mut Net) {
        self.services.on_success(Duration::from_millis(net.now_ms - self.started_ms));
        for row in rows {
            if let Some(holder) = self.holders.get_mut(&row.shard_id) {
                holder.on_seen(row);
            }
        }
        let shards: Vec<Listed> = shards
            .iter()
            .map(|shard| Listed {
                shard_id: shard.id.clone(),
                range: shard.range,
                parents: shard.parents.clone(),
                is_open: shard.open,
            })
            .collect();
        let held: BTreeSet<ShardId> = self.holders.keys().cloned().collect();
        let latest = self.now(net).service.latest;
        let age = net.setting.kept().age(latest);
        let appetite = Appetite::Share;
        let created = Some(net.setting.kept().created);
        let look = Look { rows, shards: &shards, age, latest, created, held: &held, appetite };
        let monotonic = self.now(net).monotonic;
        self.actions = self.watch.on_look(&look, monotonic).into();
        self.act(net);
    }

    /// The next thing that the look has to do; one after the other, as the production loop does them.
    fn act(&mut self, net: &mut Net) {
        while let Some(action) = self.actions.pop_front().filter(|_| !self.stopping) {
            let call = match action.clone() {
                Action::Make(row) => Call::MakeLease(row),
                Action::Take { row, seen, .. } => Call::WriteLease { lease: row, seen },
                Action::Remove { shard_id, seen, .. } => Call::DeleteLease { shard_id, seen },
                Action::Hold(row) => {
                    self.hold(row, net);
                    continue;
                }
            };
            return self.ask(Asked::Action(Box::new(action)), call, net);
        }
        self.looking = false;
    }

    fn on_action(&mut self, action: Action, reply: &Reply, net: &mut Net) {
        // A failure ends the look; the next one sees what became of it.
        if !matches!(reply, Ok(Answer::Done | Answer::Stands(_))) {
            self.actions.clear();
        }
        if let (Action::Take { row, .. }, Ok(Answer::Done)) = (action, reply)
            && row.checkpoint_owner.is_none()
        {
            self.hold(row, net);
        }
        self.act(net);
    }

    fn hold(&mut self, row: Lease, net: &mut Net) {
        if self.stopping || self.holders.contains_key(&row.shard_id) {
            return;
        }
        if row.beginning == Beginning::Cut {
            net.services.checker.on_cut(&row.shard_id, row.replay_clock.0);
        }
        tell_cuts(&row.tails, net);
        net.tell(|| {
            let cut = if row.beginning == Beginning::Cut { ", cut" } else { "" };
            format!("{} holds {} from {}{cut}", self.life, row.shard_id, row.checkpoint.as_text())
        });
        let ms = Duration::from_millis;
        let renew_every = ms(net.setting.failover_ms / 3);
        let timing = Timing {
            checkpoint_every: ms(net.setting.checkpoint_ms).min(renew_every),
            renew_every,
            tick_every: ms(200),
            retry_after: ms(200).min(renew_every),
        };
        let (shard_id, now) = (row.shard_id.clone(), self.now(net));
        let agreed = (net.setting.agreed.clone(), net.setting.bid_events);
        self.holders.insert(shard_id, Holder::new(self.life, row, agreed, timing, now));
    }

    fn ask(&mut self, asked: Asked, call: Call, net: &mut Net) {
        self.next_tag += 1;
        self.asked.insert(self.next_tag, asked);
        net.call(self.life, self.next_tag, call);
    }

    /// Everything that is due and waits for nothing.
    fn turn(&mut self, net: &mut Net) {
        if self.over {
            return;
        }
        if !self.looking && net.now_ms >= self.look_at_ms && !self.stopping {
            (self.looking, self.look_at_ms) = (true, net.now_ms + net.setting.failover_ms / 3);
            self.ask(Asked::Rows, Call::Leases, net);
        }
        let now = self.now(net);
        let mut next_ms = self.look_at_ms;
        for (shard_id, holder) in &mut self.holders {
            let mut ask = |call: Call, net: &mut Net| {
                self.next_tag += 1;
                self.asked.insert(self.next_tag, Asked::Holder(shard_id.clone()));
                net.call(self.life, self.next_tag, call);
                self.next_tag
            };
            holder.turn(now, net, &mut ask);
            next_ms = next_ms.min(holder.next_ms(net.now_ms));
        }
        let many = self.holders.len();
        self.holders.retain(|_, holder| !holder.is_finished());
        if self.holders.len() < many {
            // A lease was given up: another look is due.
            self.look_at_ms = net.now_ms + 1;
        }
        if self.stopping && (self.holders.is_empty() || net.now_ms >= self.until_ms) {
            self.over = true;
            return;
        }
        self.alarm.set(next_ms, self.life, net);
    }
}

/// Where the clock of the stream's service stands, as its replies tell it: in whole seconds.
fn service(now_ms: u64) -> Span {
    let earliest = now_ms / 1_000 * 1_000;
    Span { earliest: Millis(earliest), latest: Millis(earliest + 999) }
}

/// Tells the checker of tails whose records may be gone.
fn tell_cuts(tails: &[Tail], net: &mut Net) {
    for tail in tails {
        if tail.beginning == Beginning::Cut {
            net.services.checker.on_cut(&tail.shard_id, tail.replay_clock.0);
        }
        tell_cuts(&tail.tails, net);
    }
}

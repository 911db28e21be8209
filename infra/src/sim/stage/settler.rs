//! A settler: one bucket after another, the transaction core for each batch, marks after the commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use runtime::outage::Outage;
use schemas::attr::{Attr, Attrs};
use schemas::keys;
use schemas::limits::OUTBOX_SUBS;
use settler::core::attempt::{Failure, Fate, Origin};
use settler::core::choose::Terms;
use settler::core::plan::{Done, Job};
use settler::core::rows::Auction;
use settler::core::transaction::{Effect, End, Ended, Event, Moment, Rules, Transaction};

use super::behind::LogReading;
use super::marks::{Marks, hold};
use super::{Alarm, wall, watch};
use crate::sim::call::{Answer, Call, Key, Life, Reply, Trouble};
use crate::sim::coverage::Met;
use crate::sim::net::Net;

/// Shortest and longest pause between two looks at an outbox that was empty.
const IDLE_MS: (u64, u64) = (20, 400);

/// What a settler is doing.
#[derive(Debug)]
enum Doing {
    /// Nothing until then.
    Resting(u64),
    /// Walks on to the next bucket.
    Between,
    /// Asks the index.
    Asking { waiting: BTreeSet<u64>, found: Vec<(String, Key)>, failed: bool },
    /// Reads the items.
    Getting(u64),
    /// Waits for the ledger.
    Deciding(u64),
    /// Waits between attempts.
    Pausing(u64),
    /// Marks what was decided.
    Marking(Marks),
    /// Reads the log for an auction.
    Reading(Box<LogReading>),
}

/// A settler's life.
#[derive(Debug)]
pub struct SettlerStage {
    life: Life,
    started_ms: u64,
    doing: Doing,
    /// Buckets still to be walked in this look, the next one last.
    order: Vec<u32>,
    left: usize,
    idle_ms: u64,
    machine: Option<Transaction>,
    /// Auctions whose candidates do not suffice.
    unread: Vec<Arc<Auction>>,
    batch: usize,
    connected: bool,
    /// Reading the outbox.
    reading: Outage,
    next_tag: u64,
    until_ms: Option<u64>,
    over: bool,
    alarm: Alarm,
}

impl SettlerStage {
    /// Starts a life.
    pub fn start(life: Life, net: &mut Net) -> Self {
        let mut stage = Self {
            life,
            started_ms: net.now_ms,
            doing: Doing::Between,
            order: Vec::new(),
            left: 0,
            idle_ms: IDLE_MS.0,
            machine: None,
            unread: Vec::new(),
            batch: 0,
            connected: false,
            reading: Outage::after_a_good_start(),
            next_tag: 0,
            until_ms: None,
            over: false,
            alarm: Alarm::default(),
        };
        stage.turn(net);
        stage
    }

    /// A stop was asked for: what was begun is finished until then.
    pub fn on_stop(&mut self, until_ms: u64, net: &mut Net) {
        self.until_ms = Some(until_ms);
        self.turn(net);
    }

    /// Whether it has ended in order.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Time passed.
    pub fn on_wake(&mut self, net: &mut Net) {
        self.alarm.on_wake(net);
        self.turn(net);
    }

    fn ask(&mut self, call: Call, net: &mut Net) -> u64 {
        self.next_tag += 1;
        net.call(self.life, self.next_tag, call);
        self.next_tag
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &mut Net) {
        match &mut self.doing {
            Doing::Asking { waiting, found, failed } => {
                waiting.remove(&tag);
                match reply {
                    Ok(Answer::Outbox(entries)) => found.extend(entries),
                    Err(trouble) => {
                        *failed = true;
                        watch(&mut self.reading, (self.life, self.started_ms), trouble, net);
                    }
                    Ok(_) => *failed = true,
                }
                if waiting.is_empty() {
                    let (found, failed) = (std::mem::take(found), *failed);
                    self.on_found(found, failed, net);
                }
            }
            Doing::Getting(wanted) if *wanted == tag => self.on_items(reply, net),
            Doing::Deciding(wanted) if *wanted == tag => self.on_ledger(reply, net),
            Doing::Marking(marks) => {
                marks.on_hear(tag, reply, net);
            }
            Doing::Reading(reading) => reading.on_hear(tag, reply, net),
            _ => {}
        }
        self.turn(net);
    }

    fn on_found(&mut self, mut found: Vec<(String, Key)>, failed: bool, net: &mut Net) {
        found.sort_unstable();
        found.truncate(usize::from(net.setting.batch));
        if !failed {
            self.reading.on_success(Duration::from_millis(net.now_ms - self.started_ms));
        }
        if failed || found.is_empty() {
            self.doing = Doing::Between;
            return;
        }
        let keys = found.into_iter().map(|(_, key)| key).collect();
        let tag = self.ask(Call::Get(keys), net);
        self.doing = Doing::Getting(tag);
    }

    /// Sets aside what cannot be read, and settles the rest.
    fn on_items(&mut self, reply: Reply, net: &mut Net) {
        self.doing = Doing::Between;
        let Ok(Answer::Items(items)) = reply else { return };
        let (mut batch, mut holds) = (Vec::new(), Vec::new());
        for item in items {
            match read(&item) {
                Ok(Some(auction)) => batch.push(Arc::new(auction)),
                Ok(None) => net.coverage.meet(Met::StaleIndex),
                Err(reason) => holds.push(hold(key_of(&item), &reason)),
            }
        }
        // An item that cannot be read is held like one that is refused.
        if !holds.is_empty() {
            self.doing = Doing::Marking(Marks::new(self.life, Vec::new(), holds));
            return;
        }
        self.settle(batch, net);
    }

    fn settle(&mut self, batch: Vec<Arc<Auction>>, net: &mut Net) {
        self.batch = batch.len();
        let second = Duration::from_secs(1);
        let rules = Rules {
            terms: Terms::from(&net.setting.agreed.geometry),
            halve_after: 2,
            deadline: 4 * second,
            flight: Duration::from_millis(net.setting.timeout_ms),
            ..Rules::default()
        };
        self.machine = Some(Transaction::new(Job::Settle(batch), rules));
        self.tell(Event::Ready, net);
    }

    fn on_ledger(&mut self, reply: Reply, net: &mut Net) {
        let event = match reply {
            Ok(Answer::Seen(snapshot)) => {
                self.connected = true;
                Event::Seen(snapshot)
            }
            Ok(_) => Event::Committed,
            Err(trouble) => Event::Failed(self.failure(&trouble)),
        };
        self.tell(event, net);
    }

    fn failure(&mut self, trouble: &Trouble) -> Failure {
        let failure = match trouble {
            Trouble::Unreachable if !self.connected => Failure::away("connection refused".to_owned()),
            Trouble::Throttled => {
                Failure::answered("53300", "too many connections".to_owned(), Origin::Genuine)
            }
            Trouble::Sql(state, text) => Failure::answered(state, (*text).to_owned(), Origin::Genuine),
            _ => Failure::lost("connection closed".to_owned()),
        };
        if failure.fate() == Fate::Close {
            self.connected = false;
        }
        failure
    }

    /// Tells the transaction what happened and does what it says.
    fn tell(&mut self, event: Event, net: &mut Net) {
        let unit = net.unit(self.life.actor);
        let steady = Duration::from_millis(net.now_ms - self.started_ms);
        let now = Moment { wall: wall(net.now_ms, 0), steady };
        let Some(machine) = &mut self.machine else { return };
        if self.until_ms.is_some() {
            machine.hurry(now, Duration::from_millis(500));
        }
        match machine.on(event, now, unit) {
            Effect::Read(reads) => {
                let tag = self.ask(Call::Read(reads), net);
                self.doing = Doing::Deciding(tag);
            }
            Effect::Write(writes) => {
                let tag = self.ask(Call::Write(writes), net);
                self.doing = Doing::Deciding(tag);
            }
            Effect::Pause(delay) => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.doing = Doing::Pausing(net.now_ms + delay_ms);
            }
            Effect::Ended(ended) => self.on_ended(ended, net),
            Effect::Finished => {
                self.machine = None;
                self.doing = Doing::Between;
            }
        }
    }

    fn on_ended(&mut self, ended: Ended, net: &mut Net) {
        if ended.job.len() < self.batch {
            net.coverage.meet(Met::Halved);
        }
        let Job::Settle(batch) = ended.job else { return };
        let (decided, holds) = match ended.end {
            End::Done(Done::Decided(rows)) => {
                let row =
                    |auction: &Arc<Auction>| Some((Arc::clone(auction), rows.get(&auction.id)?.clone()));
                self.unread.extend(batch.iter().filter(|one| !rows.contains_key(&one.id)).cloned());
                (batch.iter().filter_map(row).collect(), Vec::new())
            }
            End::Refused(reason) | End::Broken(reason) => {
                (Vec::new(), batch.iter().map(|auction| hold(auction.aggregate.key(), &reason)).collect())
            }
            End::Done(_) | End::GivenBack(_) => (Vec::new(), Vec::new()),
        };
        net.tell(|| format!("{} decided {} and holds {}", self.life, decided.len(), holds.len()));
        self.doing = Doing::Marking(Marks::new(self.life, decided, holds));
    }

    /// Everything that is due and waits for nothing.
    fn turn(&mut self, net: &mut Net) {
        while !self.over {
            let until_ms = self.until_ms.unwrap_or(u64::MAX);
            match &mut self.doing {
                _ if net.now_ms >= until_ms => self.over = true,
                Doing::Resting(at_ms) if net.now_ms < *at_ms && self.until_ms.is_none() => {
                    let at_ms = *at_ms;
                    return self.alarm.set(at_ms, self.life, net);
                }
                Doing::Pausing(at_ms) if net.now_ms < *at_ms => {
                    let at_ms = (*at_ms).min(until_ms);
                    return self.alarm.set(at_ms, self.life, net);
                }
                Doing::Asking { .. } | Doing::Getting(_) | Doing::Deciding(_) => {
                    return self.alarm.set(until_ms.min(net.now_ms + 1_000), self.life, net);
                }
                Doing::Pausing(_) => self.tell(Event::Ready, net),
                Doing::Resting(_) | Doing::Between if self.until_ms.is_some() => self.over = true,
                Doing::Resting(_) | Doing::Between if !self.unread.is_empty() => self.begin_reading(net),
                Doing::Reading(_) if self.until_ms.is_some() => self.over = true,
                Doing::Reading(reading) => {
                    if let Some(at_ms) = reading.turn(self.life, &mut self.next_tag, net) {
                        return self.alarm.set(at_ms.min(until_ms), self.life, net);
                    }
                    self.end_reading(net);
                }
                Doing::Resting(_) => self.look(net),
                Doing::Between => self.walk(net),
                Doing::Marking(marks) => {
                    if let Some(at_ms) = marks.turn(&mut self.next_tag, net) {
                        return self.alarm.set(at_ms.min(until_ms), self.life, net);
                    }
                    self.left += marks.left();
                    self.doing = Doing::Between;
                    if self.machine.is_some() {
                        self.tell(Event::Ready, net);
                    }
                }
            }
        }
    }

    fn begin_reading(&mut self, net: &mut Net) {
        self.doing = Doing::Between;
        let geometry = net.setting.agreed.geometry;
        let reading = self.unread.pop().and_then(|auction| LogReading::new(auction, geometry, net));
        if let Some(reading) = reading {
            self.doing = Doing::Reading(Box::new(reading));
        }
    }

    fn end_reading(&mut self, net: &mut Net) {
        let Doing::Reading(reading) = std::mem::replace(&mut self.doing, Doing::Between) else { return };
        match reading.end(&net.setting.agreed.geometry) {
            Ok(auction) => self.settle(vec![auction], net),
            Err((key, reason)) => {
                net.tell(|| format!("{} holds {key:?}: {reason}", self.life));
                self.doing = Doing::Marking(Marks::new(self.life, Vec::new(), vec![hold(key, &reason)]));
            }
        }
    }

    /// Begins a look: all buckets in random order.
    fn look(&mut self, net: &mut Net) {
        let mut chance = net.chance(self.life.actor);
        self.order = (0..net.setting.agreed.outbox_buckets).collect();
        for at in (1..self.order.len()).rev() {
            self.order.swap(at, chance.index(at + 1));
        }
        (self.left, self.doing) = (0, Doing::Between);
        self.walk(net);
    }

    fn walk(&mut self, net: &mut Net) {
        let Some(bucket) = self.order.pop() else {
            self.idle_ms = if self.left > 0 { IDLE_MS.0 } else { (self.idle_ms * 2).min(IDLE_MS.1) };
            self.doing = Doing::Resting(net.now_ms + self.idle_ms);
            return;
        };
        let most = usize::from(net.setting.batch);
        let mut waiting = BTreeSet::new();
        for sub in 0..OUTBOX_SUBS {
            waiting.insert(self.ask(Call::Outbox { pk: keys::outbox_pk(bucket, sub), most }, net));
        }
        self.doing = Doing::Asking { waiting, found: Vec::new(), failed: false };
    }
}

fn key_of(item: &Attrs) -> Key {
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        _ => String::new(),
    };
    (text("PK"), text("SK"))
}

/// The auction of a pending item; nothing of one that is not pending any more; why it cannot be one.
fn read(item: &Attrs) -> Result<Option<Auction>, String> {
    if item.get("state") != Some(&Attr::S("PENDING".to_owned())) {
        return Ok(None);
    }
    Auction::read(item).map(Some)
}

//! Time, the queue of events, and the network between processes and services.
//!
//! Every call goes through [`Net::call`], which draws its fate. A fate that was met is kept, so that the history can
//! be run again without drawing, and shortened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use super::call::{Answer, Call, Entered, Life, Reply, Trouble};
use super::chance::Chance;
use super::coverage::{Coverage, Met};
use super::model::ledger::Injected;
use super::model::stream::{Moment, Partial};
use super::plan::Rates;
use super::script::Actor;
use super::services::Services;
use super::setting::Setting;
use super::words::{Fate, Service};

/// How long a process goes without credentials at most.
const EXPIRED_MS_MAX: u64 = 3_000;

/// Something that is due.
#[derive(Debug)]
pub enum Event {
    /// An operation of the script.
    Op(usize),
    /// A process is started.
    Start(Actor),
    /// A process dies, unless it did.
    Die(Life),
    /// A process asked to be woken.
    Wake(Life),
    /// A request arrives.
    Arrive(Box<Flight>),
    /// A process hears an answer.
    Hear(Life, u64, Box<Reply>),
}

/// A request under way.
#[derive(Debug)]
pub struct Flight {
    life: Life,
    tag: u64,
    call: Call,
    fate: Option<Fate>,
    /// When the answer is heard; none when it is not.
    heard_ms: Option<u64>,
    chance: Chance,
}

/// Where the fates of calls come from.
#[derive(Debug)]
pub enum Fates {
    /// Drawn at these rates.
    Drawn(Rates),
    /// As a script says.
    Scripted(BTreeMap<(Actor, u64), Fate>),
}

#[derive(Debug)]
struct Due {
    at_ms: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.order) == (other.at_ms, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

/// Time, events and services.
#[derive(Debug)]
pub struct Net {
    /// The true time, in ms since the epoch.
    pub now_ms: u64,
    /// What worlds are made of.
    pub setting: Setting,
    /// The services.
    pub services: Services,
    /// What was met.
    pub coverage: Coverage,
    /// Fates that calls met.
    pub met: BTreeMap<(Actor, u64), Fate>,
    /// When faults cease.
    pub calm_ms: u64,
    seed: u64,
    fates: Fates,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    calls: BTreeMap<Actor, u64>,
    draws: BTreeMap<Actor, u64>,
    /// Lives that end before they do anything more.
    doomed: BTreeSet<Life>,
    away: BTreeMap<Service, u64>,
    /// Processes whose credentials have expired, and until when they have no others.
    expired: BTreeMap<Actor, u64>,
    history: Option<String>,
}

/// Whether a history is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything is.
    History,
    /// Only what was met.
    Nothing,
}

impl Net {
    /// A net at a world's beginning.
    #[must_use]
    pub fn new(
        setting: Setting,
        services: Services,
        (seed, calm_ms): (u64, u64),
        fates: Fates,
        keep: Keep,
    ) -> Self {
        Self {
            now_ms: super::setting::BEGINNING_MS,
            setting,
            services,
            coverage: Coverage::default(),
            met: BTreeMap::new(),
            calm_ms: super::setting::BEGINNING_MS + calm_ms,
            seed,
            fates,
            queue: BinaryHeap::new(),
            order: 0,
            calls: BTreeMap::new(),
            draws: BTreeMap::new(),
            doomed: BTreeSet::new(),
            away: BTreeMap::new(),
            expired: BTreeMap::new(),
            history: (keep == Keep::History).then(String::new),
        }
    }

    /// Writes a line of history.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            let at_ms = self.now_ms - super::setting::BEGINNING_MS;
            writeln!(history, "{at_ms:>7} {}", line()).expect("text takes text");
        }
    }

    /// The history, when one was kept.
    #[must_use]
    pub fn into_history(self) -> String {
        self.history.unwrap_or_default()
    }

    /// Puts an event into the queue.
    pub fn at(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at_ms: at_ms.max(self.now_ms), order: self.order, event }));
    }

    /// Takes the next event and moves time to it.
    pub fn poll(&mut self) -> Option<Event> {
        let Reverse(due) = self.queue.pop()?;
        self.now_ms = due.at_ms;
        Some(due.event)
    }

    /// When the next event is due.
    #[must_use]
    pub fn peek_ms(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(due)| due.at_ms)
    }

    /// A process's next chance.
    pub fn chance(&mut self, actor: Actor) -> Chance {
        let draw = self.draws.entry(actor).or_default();
        *draw += 1;
        Chance::of(self.seed, [4, label(actor), *draw])
    }

    /// A number in `[0, 1)` for a process.
    pub fn unit(&mut self, actor: Actor) -> f64 {
        self.chance(actor).unit()
    }

    /// Whether faults have ceased.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.now_ms >= self.calm_ms
    }

    /// A service is away until then.
    pub fn away(&mut self, service: Service, until_ms: u64) {
        self.away.insert(service, until_ms);
    }

    fn is_away(&self, service: Service) -> bool {
        self.away.get(&service).is_some_and(|until| self.now_ms < *until)
    }

    /// Whether a life is about to end.
    #[must_use]
    pub fn is_doomed(&self, life: Life) -> bool {
        self.doomed.contains(&life)
    }

    /// Sends a request; the answer comes back with the tag.
    pub fn call(&mut self, life: Life, tag: u64, call: Call) {
        if self.is_doomed(life) {
            return;
        }
        let number = self.calls.entry(life.actor).or_default();
        *number += 1;
        let number = *number;
        let mut chance = Chance::of(self.seed, [5, label(life.actor), number]);
        let fate = self.fate(life.actor, number, &mut chance).filter(|fate| call.can_meet(*fate));
        if let Some(fate) = fate {
            self.met.insert((life.actor, number), fate);
            self.meet(fate, &call);
        }
        if fate == Some(Fate::Unauthorized) {
            let for_ms = Chance::of(self.seed, [6, label(life.actor), number]).below(EXPIRED_MS_MAX);
            self.expired.insert(life.actor, self.now_ms + for_ms);
        }
        let is_expired = self.expired.get(&life.actor).is_some_and(|until_ms| self.now_ms < *until_ms);
        let fate = fate.or((is_expired && call.can_meet(Fate::Unauthorized)).then_some(Fate::Unauthorized));
        self.tell(|| {
            let fate = fate.map(|fate| format!(" ! {fate}")).unwrap_or_default();
            format!("{} call {number} {}{}{fate}", life.actor, call.name(), call.detail())
        });
        if matches!(fate, Some(Fate::CrashBefore | Fate::CrashAfter)) {
            self.doomed.insert(life);
            self.at(self.now_ms, Event::Die(life));
        }
        self.send(Flight { life, tag, call, fate, heard_ms: None, chance });
    }

    /// Plans when a request arrives and when its answer is heard.
    fn send(&mut self, mut flight: Flight) {
        let (life, tag, fate) = (flight.life, flight.tag, flight.fate);
        let (timeout, slowest) = (self.setting.timeout_ms, self.setting.latency_ms);
        let (there, back) = (1 + flight.chance.below(slowest), flight.chance.below(slowest));
        let give_up_ms = self.now_ms + timeout;
        let service = flight.call.service();
        if self.is_away(service) {
            self.coverage.meet(match service {
                Service::Stream => Met::StreamAway,
                Service::Table => Met::TableAway,
                Service::Ledger => Met::LedgerAway,
            });
            return self.hear(life, tag, self.now_ms + 1, Err(Trouble::Unreachable));
        }
        if matches!(fate, Some(Fate::LostRequest | Fate::LostReply | Fate::Delayed)) {
            self.hear(life, tag, give_up_ms, Err(Trouble::Unknown));
        } else {
            let slow = (fate == Some(Fate::Slow)).then(|| timeout.saturating_sub(back + 1));
            flight.heard_ms = Some(self.now_ms + slow.unwrap_or(there).max(there) + back);
        }
        let arrives_ms = match fate {
            Some(Fate::LostRequest | Fate::CrashBefore) => return,
            Some(Fate::Delayed) => give_up_ms + flight.chance.between(1, 4_000),
            _ => flight.heard_ms.map_or(self.now_ms + there, |heard_ms| heard_ms - back),
        };
        if fate == Some(Fate::Twice) {
            let (call, chance) = (flight.call.clone(), flight.chance.clone());
            let first = Flight { life, tag, call, fate, heard_ms: None, chance };
            self.at(arrives_ms, Event::Arrive(Box::new(first)));
            let later_ms = flight.chance.below(timeout);
            flight.heard_ms = Some(arrives_ms + later_ms + back);
            return self.at(arrives_ms + later_ms, Event::Arrive(Box::new(flight)));
        }
        self.at(arrives_ms, Event::Arrive(Box::new(flight)));
    }

    fn hear(&mut self, life: Life, tag: u64, at_ms: u64, reply: Reply) {
        self.at(at_ms, Event::Hear(life, tag, Box::new(reply)));
    }

    /// A request arrived: it is carried out, or not, and answered.
    pub fn on_arrive(&mut self, flight: Flight) {
        let Flight { life, tag, call, fate, heard_ms, mut chance } = flight;
        let partial = if fate == Some(Fate::Partial) { Partial::Yes } else { Partial::No };
        let injected = if fate == Some(Fate::Conflict) { Injected::Conflict } else { Injected::Nothing };
        let away = self.is_away(call.service());
        let reply = match fate {
            _ if away => Err(Trouble::Unknown),
            Some(Fate::Throttled) => Err(Trouble::Throttled),
            Some(Fate::Failed) => Err(Trouble::Unknown),
            Some(Fate::Expired) => Err(Trouble::Expired),
            Some(Fate::Unauthorized) => Err(Trouble::Refused("ExpiredTokenException")),
            _ => {
                let coverage = &mut self.coverage;
                let mut moment = Moment { now_ms: self.now_ms, chance: &mut chance, partial, coverage };
                self.services.on_call(life, &call, &mut moment, injected)
            }
        };
        let reply = if fate == Some(Fate::FailedDone) { Err(Trouble::Unknown) } else { reply };
        self.tell(|| {
            let heard = if heard_ms.is_some() { "" } else { " (not heard)" };
            format!("  {} {}: {}{heard}", life.actor, call.name(), brief(&reply))
        });
        if let Some(heard_ms) = heard_ms {
            self.hear(life, tag, heard_ms, reply);
        }
    }

    fn fate(&mut self, actor: Actor, number: u64, chance: &mut Chance) -> Option<Fate> {
        let calm = self.is_calm();
        match &self.fates {
            _ if calm => None,
            Fates::Drawn(rates) => rates.draw(&mut chance.clone()),
            Fates::Scripted(fates) => fates.get(&(actor, number)).copied(),
        }
    }

    fn meet(&mut self, fate: Fate, call: &Call) {
        let met = match fate {
            Fate::LostRequest => Met::LostRequest,
            Fate::LostReply => Met::LostReply,
            Fate::Delayed => Met::Delayed,
            Fate::Twice => Met::Twice,
            Fate::Slow => Met::Slow,
            Fate::Throttled => Met::Throttled,
            Fate::Failed => Met::Failed,
            Fate::FailedDone => Met::FailedDone,
            Fate::Partial => Met::Partial,
            Fate::Expired => Met::Expired,
            Fate::Conflict => Met::Conflict,
            Fate::CrashBefore | Fate::CrashAfter => Met::CrashAtCall,
            Fate::Unauthorized => Met::Unauthorized,
        };
        self.coverage.meet(met);
        match (fate, call) {
            (Fate::LostReply | Fate::FailedDone | Fate::CrashAfter, Call::Write(_)) => {
                self.coverage.meet(Met::UnknownCommit);
            }
            (Fate::Twice | Fate::Delayed, Call::Tick(_)) => self.coverage.meet(Met::TickAgain),
            _ => {}
        }
    }
}

/// A label for the chance of a process.
fn label(actor: Actor) -> u64 {
    let index = u64::try_from(actor.index).expect("few processes");
    let role = u64::try_from(actor.role.index()).expect("few roles");
    role * 1_000 + index
}

fn brief(reply: &Reply) -> String {
    match reply {
        Ok(Answer::Entered(entered)) => {
            let one = |entered: &Entered| match entered {
                Entered::Stored(shard, sequence) => {
                    format!("{}@{sequence}", shard.0.trim_start_matches("shardId-0"))
                }
                Entered::Throttled => "throttled".to_owned(),
                Entered::Failed => "failed".to_owned(),
            };
            entered.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        Ok(Answer::Page(page)) => {
            let numbers = page.records.iter().map(|(_, sequence, _)| sequence.to_string());
            format!("[{}] next {:?}", numbers.collect::<Vec<_>>().join(" "), page.next)
        }
        Ok(Answer::Done) => "done".to_owned(),
        Ok(Answer::Stands(_)) => "another stands".to_owned(),
        Ok(_) => "ok".to_owned(),
        Err(trouble) => format!("{trouble:?}"),
    }
}

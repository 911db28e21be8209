//! A producer: the sender core, driven as its loop drives it.

use std::collections::BTreeMap;
use std::sync::Arc;

use producer::core::delivery::{BACKOFF, Moment, Outcome, Place, Reply as EntryReply};
use producer::core::sender::{Rules, Sender};
use producer::core::shard_map::ShardMap;
use runtime::failure::Failure;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::mutant::{self, Mutant};

use super::{Alarm, failure, wall};
use crate::local::kinesis::model::Distribution;
use crate::sim::call::{Answer, Call, Entered, Life, Reply};
use crate::sim::coverage::Met;
use crate::sim::net::Net;
use crate::sim::setting::ProducerSpec;

/// How long what is held may take when a producer ends by itself.
const DRAIN_MS: u64 = 2_000;

/// What a request was for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Put(u64),
    List,
}

/// How far a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Takes nothing more, and gives up what is left at this time.
    Draining(u64),
    Over,
}

/// A producer's life.
#[derive(Debug)]
pub struct ProducerStage {
    life: Life,
    spec: ProducerSpec,
    started_ms: u64,
    /// None until the shards were listed for the first time.
    sender: Option<Sender>,
    asked: BTreeMap<u64, Asked>,
    next_tag: u64,
    listing: bool,
    list_at_ms: Option<u64>,
    listed: u32,
    /// What the edge offers and is not taken yet.
    feed: Vec<Bid>,
    tickets: u64,
    phase: Phase,
    alarm: Alarm,
}

impl ProducerStage {
    /// Starts a life.
    pub fn start(life: Life, net: &mut Net) -> Self {
        let spec = net.setting.producers[life.actor.index];
        if spec.skew_ms != 0 {
            net.coverage.meet(Met::Skew);
        }
        let mut stage = Self {
            life,
            spec,
            started_ms: net.now_ms,
            sender: None,
            asked: BTreeMap::new(),
            next_tag: 0,
            listing: false,
            list_at_ms: Some(net.now_ms),
            listed: 0,
            feed: Vec::new(),
            tickets: 0,
            phase: Phase::Running,
            alarm: Alarm::default(),
        };
        stage.turn(net);
        stage
    }

    fn now(&self, net: &Net) -> Moment {
        Moment { elapsed_ms: net.now_ms - self.started_ms, wall: wall(net.now_ms, self.spec.skew_ms) }
    }

    /// The edge offers a bid.
    pub fn on_bid(&mut self, bid: Bid, net: &mut Net) {
        self.feed.push(bid);
        self.turn(net);
    }

    /// A stop was asked for: what is held may take until then.
    pub fn on_stop(&mut self, until_ms: u64, net: &mut Net) {
        self.phase = Phase::Draining(until_ms);
        if let Some(sender) = &mut self.sender {
            sender.on_end();
        }
        self.turn(net);
    }

    /// Whether it has ended in order.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Time passed.
    pub fn on_wake(&mut self, net: &mut Net) {
        self.alarm.on_wake(net);
        self.turn(net);
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &mut Net) {
        let now = self.now(net);
        match self.asked.remove(&tag) {
            Some(Asked::Put(id)) => {
                let replies = replies_of(reply);
                let actor = self.life.actor;
                if let Some(sender) = &mut self.sender {
                    sender.on_replies(id, replies, now, &mut || net.unit(actor));
                }
            }
            Some(Asked::List) => {
                self.listing = false;
                let geometry = net.setting.agreed.geometry;
                if self.is_managed(&reply, net) {
                    return;
                }
                self.on_listed(reply, now, geometry);
            }
            None => {}
        }
        self.turn(net);
    }

    /// Whether the stream was asked and ignores keys: then nothing more is taken, and what is held is answered.
    fn is_managed(&mut self, reply: &Reply, net: &mut Net) -> bool {
        let Ok(Answer::Shards(_, Distribution::Auto)) = reply else { return false };
        let is_asked = self.sender.as_ref().is_none_or(Sender::doubts_keys);
        if !is_asked || mutant::is(Mutant::DistributionIgnored) {
            return false;
        }
        net.coverage.meet(Met::KeysIgnored);
        if let Some(sender) = &mut self.sender {
            sender.on_keys_ignored();
        }
        self.on_stop(net.now_ms + DRAIN_MS, net);
        true
    }

    fn on_listed(&mut self, reply: Reply, now: Moment, geometry: Geometry) {
        let Ok(Answer::Shards(shards, _)) = reply else { return };
        let open = shards.into_iter().filter(|shard| shard.open).map(|shard| (shard.range, shard.id));
        let map = ShardMap::new(open.collect());
        match &mut self.sender {
            Some(sender) => {
                sender.on_map(map, now);
                self.listed = if sender.wants_map() { self.listed } else { 0 };
            }
            None => {
                let rules = Rules {
                    envelope: self.spec.envelope,
                    record_bids_max: self.spec.record_bids_max,
                    linger_ms: self.spec.linger_ms,
                    deliver_ms: self.spec.deliver_ms,
                    geometry: Some(geometry),
                };
                self.sender = Some(Sender::new(rules, map));
                self.listed = 0;
            }
        }
    }

    /// Everything that is due and waits for nothing, in the order of the production loop.
    fn turn(&mut self, net: &mut Net) {
        if self.phase == Phase::Over {
            return;
        }
        let now = self.now(net);
        self.take(net, now);
        if let (Phase::Draining(until_ms), Some(sender)) = (self.phase, &mut self.sender)
            && net.now_ms >= until_ms
        {
            sender.abandon();
        }
        self.send(net, now);
        self.answer(net);
        self.list(net);
        let held = self.sender.as_ref().map_or(0, Sender::held);
        if matches!(self.phase, Phase::Draining(_)) && held == 0 {
            self.phase = Phase::Over;
            return;
        }
        self.wake_when_due(net);
    }

    fn take(&mut self, net: &mut Net, now: Moment) {
        let Some(sender) = &mut self.sender else { return };
        if self.phase != Phase::Running {
            return;
        }
        for bid in std::mem::take(&mut self.feed) {
            self.tickets += 1;
            let taker = (self.life.actor.index, self.life.number);
            net.services.checker.on_taken(taker, self.tickets, &bid);
            sender.on_bid(self.tickets, bid, now);
        }
    }

    fn send(&mut self, net: &mut Net, now: Moment) {
        let Some(sender) = &mut self.sender else { return };
        while let Some(request) = sender.poll_request(now) {
            self.next_tag += 1;
            self.asked.insert(self.next_tag, Asked::Put(request.id));
            net.call(self.life, self.next_tag, Call::PutRecords(request.entries));
        }
    }

    fn answer(&mut self, net: &mut Net) {
        let Some(sender) = &mut self.sender else { return };
        drop(sender.poll_events());
        let mut answers = sender.poll_answers();
        answers.sort_by_key(|answer| answer.ticket);
        for answer in answers {
            match &answer.outcome {
                Outcome::Expired => net.coverage.meet(Met::ExpiredBid),
                Outcome::Unknown => net.coverage.meet(Met::UnknownBid),
                Outcome::Accepted(_)
                | Outcome::Refused(_)
                | Outcome::RecordRefused(_)
                | Outcome::Undelivered
                | Outcome::StreamRefuses(_) => {}
            }
            net.tell(|| {
                format!("{} answers {}: {}", self.life.actor, answer.bid.bid_id, short(&answer.outcome))
            });
            net.services.checker.on_answer((self.life.actor.index, self.life.number), &answer);
        }
    }

    fn list(&mut self, net: &mut Net) {
        let wanted = self.sender.as_ref().is_none_or(Sender::wants_map);
        if !wanted || self.listing {
            return;
        }
        if self.sender.as_ref().is_some_and(Sender::wants_map) {
            net.coverage.meet(Met::StaleMap);
        }
        match self.list_at_ms {
            Some(at_ms) if at_ms <= net.now_ms => {
                self.list_at_ms = None;
                self.listing = true;
                self.next_tag += 1;
                self.asked.insert(self.next_tag, Asked::List);
                net.call(self.life, self.next_tag, Call::Shards);
            }
            Some(_) => {}
            None => {
                let delay = BACKOFF.delay(self.listed, net.unit(self.life.actor));
                self.listed = self.listed.saturating_add(1);
                self.list_at_ms = Some(net.now_ms + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }

    fn wake_when_due(&mut self, net: &mut Net) {
        let due = self.sender.as_ref().and_then(Sender::next_due_ms).map(|due_ms| self.started_ms + due_ms);
        let drained = match self.phase {
            Phase::Draining(until_ms) => Some(until_ms),
            Phase::Running | Phase::Over => None,
        };
        let next = [due, self.list_at_ms, drained].into_iter().flatten().min();
        if let Some(at_ms) = next {
            self.alarm.set(at_ms, self.life, net);
        }
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(place) => format!("accepted at {} {}", place.shard_id, place.sequence),
        Outcome::Expired => "expired".to_owned(),
        Outcome::Refused(error) => format!("refused, {error}"),
        Outcome::RecordRefused(failure) => format!("refused, {failure}"),
        Outcome::Undelivered => "undelivered".to_owned(),
        Outcome::StreamRefuses(failure) => format!("undelivered, {failure}"),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

fn replies_of(reply: Reply) -> Result<Vec<EntryReply>, Failure> {
    match reply {
        Ok(Answer::Entered(entered)) => Ok(entered.into_iter().map(entry_reply).collect()),
        Ok(_) => Err(Failure::Unknown { message: "another answer".to_owned() }),
        Err(trouble) => Err(failure(trouble)),
    }
}

fn entry_reply(entered: Entered) -> EntryReply {
    match entered {
        Entered::Stored(shard_id, sequence) => {
            let sequence = sequence.to_string().parse().expect("digits are a number");
            EntryReply::Stored(Arc::new(Place { shard_id, sequence }))
        }
        Entered::Throttled => EntryReply::Throttled,
        Entered::Failed => EntryReply::Unknown,
    }
}

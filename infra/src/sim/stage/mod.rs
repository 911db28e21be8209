//! The stages of a world: production cores, each with a thin driver that performs its effects on the net.

pub mod behind;
pub mod holder;
pub mod marks;
pub mod processor;
pub mod producer;
pub mod settler;

use std::time::Duration;

use runtime::failure::Failure;
use runtime::outage::{Outage, Verdict};
use schemas::bid::Bid;
use schemas::ids::ShardId;
use schemas::time::Millis;

use super::call::{Life, Reply, Trouble};
use super::net::{Event, Net};
use super::words::Role;

/// The next time a process is to be woken; at most one is in the queue that matters.
#[derive(Debug, Default)]
struct Alarm {
    set_ms: Option<u64>,
}

impl Alarm {
    /// Wakes the process then, or earlier when an earlier time was set.
    fn set(&mut self, at_ms: u64, life: Life, net: &mut Net) {
        let at_ms = at_ms.max(net.now_ms + 1);
        if self.set_ms.is_none_or(|set_ms| at_ms < set_ms) {
            self.set_ms = Some(at_ms);
            net.at(at_ms, Event::Wake(life));
        }
    }

    fn on_wake(&mut self, net: &Net) {
        if self.set_ms.is_some_and(|set_ms| set_ms <= net.now_ms) {
            self.set_ms = None;
        }
    }
}

/// What a process's wall clock says.
pub fn wall(now_ms: u64, skew_ms: i64) -> Millis {
    Millis(now_ms.saturating_add_signed(skew_ms))
}

/// What a stage's core hears of trouble with the stream or the table.
fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Unknown => Failure::Unknown { message: "no answer".to_owned() },
        Trouble::Unreachable => Failure::Unreachable { message: "connection refused".to_owned() },
        Trouble::Throttled => Failure::Throttled { code: "ThrottlingException".to_owned() },
        Trouble::Expired => Failure::said("ExpiredIteratorException", "too old".to_owned()),
        Trouble::Refused(code) => Failure::said(code, "refused".to_owned()),
        Trouble::Sql(state, text) => Failure::Refused { code: state.to_owned(), message: text.to_owned() },
    }
}

/// Tells an outage of trouble: a process that gives up on one ends, and none of this world is worth that.
fn watch(outage: &mut Outage, (life, started_ms): (Life, u64), trouble: Trouble, net: &mut Net) {
    let (failure, now) = (failure(trouble), Duration::from_millis(net.now_ms - started_ms));
    if outage.on_failure(&failure, now, 0.5) == Verdict::GiveUp {
        net.services.checker.on_give_up(&life.to_string(), &failure.to_string());
    }
}

/// A life of some process.
#[derive(Debug)]
pub enum Stage {
    /// Takes bids.
    Producer(Box<producer::ProducerStage>),
    /// Reads shards.
    Processor(Box<processor::ProcessorStage>),
    /// Decides auctions.
    Settler(Box<settler::SettlerStage>),
}

impl Stage {
    /// Starts a life.
    pub fn start(life: Life, net: &mut Net) -> Self {
        match life.actor.role {
            Role::Producer => Self::Producer(Box::new(producer::ProducerStage::start(life, net))),
            Role::Processor => Self::Processor(Box::new(processor::ProcessorStage::start(life, net))),
            Role::Settler => Self::Settler(Box::new(settler::SettlerStage::start(life, net))),
        }
    }

    /// Time passed.
    pub fn on_wake(&mut self, net: &mut Net) {
        match self {
            Self::Producer(stage) => stage.on_wake(net),
            Self::Processor(stage) => stage.on_wake(net),
            Self::Settler(stage) => stage.on_wake(net),
        }
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &mut Net) {
        match self {
            Self::Producer(stage) => stage.on_hear(tag, reply, net),
            Self::Processor(stage) => stage.on_hear(tag, reply, net),
            Self::Settler(stage) => stage.on_hear(tag, reply, net),
        }
    }

    /// The edge offers a bid.
    pub fn on_bid(&mut self, bid: Bid, net: &mut Net) {
        if let Self::Producer(stage) = self {
            stage.on_bid(bid, net);
        }
    }

    /// A stop was asked for: what is begun may take until then.
    pub fn on_stop(&mut self, until_ms: u64, net: &mut Net) {
        match self {
            Self::Producer(stage) => stage.on_stop(until_ms, net),
            Self::Processor(stage) => stage.on_stop(until_ms, net),
            Self::Settler(stage) => stage.on_stop(until_ms, net),
        }
    }

    /// Whether it has ended in order.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Producer(stage) => stage.is_over(),
            Self::Processor(stage) => stage.is_over(),
            Self::Settler(stage) => stage.is_over(),
        }
    }

    /// Shards that it reads.
    #[must_use]
    pub fn held(&self) -> Vec<&ShardId> {
        match self {
            Self::Processor(stage) => stage.held().collect(),
            Self::Producer(_) | Self::Settler(_) => Vec::new(),
        }
    }
}

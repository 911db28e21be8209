//! One held lease from its take to its end: inherits, reads, checkpoints, renews, hands over, releases.
//!
//! Events go in, effects come out; whoever drives it may perform them late, in any order, twice, or never. Three rules
//! keep that harmless. A row is only ever written over the counter that was last seen, so a zombie changes nothing. A
//! write without a reply is neither done nor failed: the next one finds out, and what stands in the table is what
//! counts. A checkpoint covers nothing that is not durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use schemas::ids::ShardId;
use schemas::item::GeometryItem;
use schemas::lease::{Checkpoint, Lease};
use schemas::record::Decoded;
use schemas::seal::Seal;
use schemas::time::Millis;

use super::book::BidEvents;
use super::doubt::Doubt;
use super::mutant::{self, Mutant};
use super::shard::ShardMachine;
use super::tail::Inheritance;
use super::trimmed::Unread;

mod events;
mod reading;

pub use self::events::{Effect, Finish, Loss, Now, Raw, Taken, Timing, Written};

/// Items that are closed and not durable before reading pauses: some hundred bytes each.
const UNWRITTEN_MAX: usize = 100_000;
/// Between two ticks that only keep a quiet shard known: by a clock that is ahead every shard is quiet for ever.
const QUIET_TICK_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Phase {
    Inheriting(Inheritance),
    Reading(ShardMachine),
    /// Read to the end; the row that says so follows when all is durable.
    Ended(ShardMachine),
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Released,
    HandedOver,
}

/// One held lease.
#[derive(Debug)]
pub struct Holding {
    worker: String,
    agreed: GeometryItem,
    events: BidEvents,
    timing: Timing,
    /// The row that stands, as far as is known.
    row: Lease,
    phase: Phase,
    leaving: Leaving,
    children: Vec<ShardId>,
    effects: VecDeque<Effect>,
    /// Whether a write is under way, and when the last one was begun.
    writing: Option<Box<Lease>>,
    wrote: Duration,
    /// Whether a write that gives the lease up may stand.
    may_be_free: bool,
    retry: bool,
    /// How a tool changed the row, until it is written again.
    altered: Option<Doubt>,
    ticked: Option<Duration>,
    unwritten: BTreeMap<u64, usize>,
    /// Those of which nothing is left but what the table refuses.
    refused: BTreeSet<u64>,
    known_through: Millis,
    decoded: Decoded,
    unread: Unread,
    /// A shard in which nothing arrived since then is to be kept known; 0 when none is.
    quiet: Millis,
}

impl Holding {
    /// Begins to hold a lease whose row stands as `row`.
    #[must_use]
    pub fn new(
        row: Lease,
        worker: String,
        (agreed, events): (GeometryItem, BidEvents),
        timing: Timing,
        now: Now,
    ) -> Self {
        let inheritance = Inheritance::new(&row.tails, agreed.geometry, events);
        // Each row that this holding writes is sealed.
        let row = Lease { seal: Seal::Ours, ..row };
        let mut new = Self {
            worker,
            agreed,
            events,
            timing,
            known_through: row.closed_through,
            row,
            phase: Phase::Finished,
            leaving: Leaving::No,
            children: Vec::new(),
            effects: VecDeque::new(),
            writing: None,
            wrote: now.monotonic,
            may_be_free: false,
            retry: false,
            altered: None,
            ticked: None,
            unwritten: BTreeMap::new(),
            refused: BTreeSet::new(),
            decoded: Decoded::default(),
            unread: Unread::default(),
            quiet: Millis(0),
        };
        new.inherit(inheritance);
        new
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether more records may be given: not too much is unwritten, and the lease is not being left.
    #[must_use]
    pub fn wants_records(&self) -> bool {
        let reading = matches!(self.phase, Phase::Inheriting(_) | Phase::Reading(_));
        reading && self.leaving == Leaving::No && self.unwritten.values().sum::<usize>() < UNWRITTEN_MAX
    }

    /// Nothing is newer than what was taken: a tick is sent when a record that arrived now would close something, or
    /// when nothing arrived for so long that a later reader would have to take the shard for trimmed.
    pub fn on_tip(&mut self, now: Now) {
        let Phase::Reading(machine) = &self.phase else { return };
        let every = if machine.due(now.service.middle()) {
            self.timing.tick_every
        } else if machine.clock() < self.quiet {
            QUIET_TICK_EVERY
        } else {
            return;
        };
        let recently = self.ticked.is_some_and(|at| now.monotonic < at + every);
        if self.leaving == Leaving::No && !recently && !mutant::is(Mutant::NoTicks) {
            self.ticked = Some(now.monotonic);
            self.effects.push_back(Effect::Tick { hash_key: machine.range().start });
        }
    }

    /// What a closed window left is durable.
    pub fn on_written(&mut self, ticket: u64) {
        self.unwritten.remove(&ticket);
        self.refused.remove(&ticket);
        if let Phase::Reading(machine) | Phase::Ended(machine) = &mut self.phase {
            machine.on_written(ticket);
        }
    }

    /// Of what a closed window left, all is durable but `left` items that the table refuses. Nothing passes them, and a
    /// lease that is given up does not wait for them: whoever reads next closes their window again.
    pub fn on_refused(&mut self, ticket: u64, left: usize) {
        if mutant::is(Mutant::RefusedIsDurable) {
            return self.on_written(ticket);
        }
        if let Some(items) = self.unwritten.get_mut(&ticket) {
            *items = left;
            self.refused.insert(ticket);
        }
    }

    /// Whether all that will become durable by itself is.
    fn is_settled(&self) -> bool {
        self.unwritten.keys().all(|ticket| self.refused.contains(ticket))
    }

    /// The lease is to be released as soon as what was closed is durable.
    pub fn on_stop(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Released;
        }
    }

    /// The row as someone else saw it. One that is not newer than what is known says nothing, unless a tool changed it:
    /// then it is soon written over, for the place that was reached is true whatever a tool says.
    pub fn on_seen(&mut self, row: &Lease) {
        let mine = |owner: Option<&String>| owner == Some(&self.worker);
        if mine(row.owner.as_ref()) && row.counter == self.row.counter && row.is_altered() {
            self.altered = Some(Doubt::of(row, self.row.beginning));
            return;
        }
        let gives_up = self.may_be_free || self.writing.as_ref().is_some_and(|row| !mine(row.owner.as_ref()));
        if row.counter > self.row.counter && !mine(row.owner.as_ref()) && !gives_up {
            self.on_other(Some(row));
        }
    }

    /// How a tool changed the row under its owner, until the owner has written it again.
    #[must_use]
    pub fn altered(&self) -> Option<&Doubt> {
        self.altered.as_ref()
    }

    /// What became of the write under way.
    pub fn on_row(&mut self, written: Written) {
        let Some(tried) = self.writing.take() else { return };
        match written {
            Written::Done => self.stands(*tried),
            Written::Unknown => {
                self.retry = true;
                self.may_be_free |= tried.owner.as_ref() != Some(&self.worker);
            }
            Written::Refused(stands) => {
                let mine =
                    |row: &Lease| row.owner.as_ref() == Some(&self.worker) && row.checkpoint_owner.is_none();
                // One of our own attempts whose reply was lost: what stands is what counts, whichever it was.
                let ours = stands.as_ref().is_some_and(|row| {
                    let free = row.owner.is_none() && (self.may_be_free || tried.owner.is_none());
                    row.counter == self.row.counter + 1 && (free || mine(row)) && !row.is_altered()
                });
                match stands {
                    Some(row) if ours => self.stands(*row),
                    // A tool changed the row of this holding. Its counter is gone on from, its place is not.
                    Some(row) if mine(&row) && row.is_altered() => {
                        self.row.counter = row.counter;
                        self.retry = true;
                        self.altered = Some(Doubt::of(&row, self.row.beginning));
                    }
                    other => self.on_other(other.as_deref()),
                }
            }
        }
    }

    fn stands(&mut self, row: Lease) {
        (self.retry, self.may_be_free, self.altered) = (false, false, None);
        self.row = row;
        if self.row.owner.as_ref() != Some(&self.worker) {
            self.finish(match (&self.row.checkpoint, self.leaving) {
                (Checkpoint::ShardEnd, _) => Finish::Ended,
                (_, Leaving::HandedOver) => Finish::HandedOver,
                _ => Finish::Released,
            });
        }
    }

    /// Another worker's row stands: it asks for the lease, or has it.
    fn on_other(&mut self, row: Option<&Lease>) {
        (self.retry, self.may_be_free) = (false, false);
        match row {
            Some(row) if row.checkpoint_owner.as_ref() == Some(&self.worker) => {
                // Who asks copies what it saw, which a tool may have changed; the own place is true.
                self.row = Lease {
                    owner: row.owner.clone(),
                    checkpoint_owner: row.checkpoint_owner.clone(),
                    counter: row.counter,
                    owner_switches: row.owner_switches,
                    stream_created: row.stream_created,
                    ..self.row.clone()
                };
                self.leaving = Leaving::HandedOver;
            }
            _ if self.leaving == Leaving::HandedOver => self.finish(Finish::HandedOver),
            row => {
                let other = |row: &Lease| row.owner.clone().filter(|owner| *owner != self.worker);
                let loss = row.map_or(Loss::Missing, |row| other(row).map_or(Loss::Changed, Loss::Taken));
                self.finish(Finish::Lost(loss));
            }
        }
    }

    fn finish(&mut self, finish: Finish) {
        if !self.is_finished() {
            (self.phase, self.writing) = (Phase::Finished, None);
            self.effects.clear();
            self.effects.push_back(Effect::Finish(finish));
        }
    }

    /// Writes a row when it is time to.
    pub fn on_time(&mut self, now: Now) {
        if self.writing.is_some() || self.is_finished() {
            return;
        }
        let since = now.monotonic.saturating_sub(self.wrote);
        let leaves = self.leaving != Leaving::No || matches!(self.phase, Phase::Ended(_));
        let row = match self.last_row() {
            Some(last) if !self.retry || since >= self.timing.retry_after => last,
            Some(_) => return,
            // Who asked for the lease owns the row now; it waits for the last one.
            None if self.leaving == Leaving::HandedOver => return,
            None => {
                let safe = self.safe_row();
                let new = safe != self.row && !leaves;
                let due = if self.retry || self.altered.is_some() {
                    self.timing.retry_after
                } else if new {
                    self.timing.checkpoint_every
                } else {
                    self.timing.renew_every
                };
                if since < due {
                    return;
                }
                safe
            }
        };
        let moved = row.checkpoint != self.row.checkpoint;
        let owner_switches = if moved { 0 } else { row.owner_switches };
        let (seen, counter) = (self.row.counter, self.row.counter + 1);
        let row = Box::new(Lease { counter, owner_switches, ..row });
        (self.wrote, self.writing) = (now.monotonic, Some(row.clone()));
        self.effects.push_back(Effect::Write { row, seen });
    }

    /// The row that gives the lease up, once that may be written.
    fn last_row(&self) -> Option<Lease> {
        let free = |row: Lease| Lease { owner: None, checkpoint_owner: None, ..row };
        match (&self.phase, self.leaving) {
            (Phase::Ended(machine), _) if machine.is_durable() => {
                Some(free(machine.ended(&self.row, self.children.clone())))
            }
            // A shard whose end cannot be written down is given up like one that is still read.
            (Phase::Reading(machine) | Phase::Ended(machine), Leaving::Released) if self.is_settled() => {
                Some(free(machine.checkpoint(&self.row)))
            }
            (Phase::Reading(machine) | Phase::Ended(machine), Leaving::HandedOver) if self.is_settled() => {
                Some(Lease { checkpoint_owner: None, ..machine.checkpoint(&self.row) })
            }
            (Phase::Inheriting(_), Leaving::Released) => Some(free(self.row.clone())),
            (Phase::Inheriting(_), Leaving::HandedOver) => {
                Some(Lease { checkpoint_owner: None, ..self.row.clone() })
            }
            _ => None,
        }
    }

    fn safe_row(&self) -> Lease {
        match &self.phase {
            Phase::Reading(machine) | Phase::Ended(machine) => machine.checkpoint(&self.row),
            Phase::Inheriting(_) | Phase::Finished => self.row.clone(),
        }
    }

    /// Whether nothing is left to do but what was handed out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// Whether the lease is being given up: nothing is read any more.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// The row that stands, as far as is known.
    #[must_use]
    pub fn row(&self) -> &Lease {
        &self.row
    }

    /// The machine, once tails were read.
    #[must_use]
    pub fn machine(&self) -> Option<&ShardMachine> {
        match &self.phase {
            Phase::Reading(machine) | Phase::Ended(machine) => Some(machine),
            Phase::Inheriting(_) | Phase::Finished => None,
        }
    }
}

#[cfg(test)]
mod tests;

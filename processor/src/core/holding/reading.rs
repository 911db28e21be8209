//! What a holding does with what is read: tails first, then the shard itself, to its end or until it is gone.

use schemas::ids::{SequenceNumber, ShardId};
use schemas::record::{Decoded, decode_into};
use schemas::time::Millis;

use super::{Effect, Holding, Phase, Raw, Taken};
use crate::core::Closed;
use crate::core::shard::ShardMachine;
use crate::core::tail::{Inheritance, Left};
use crate::core::trimmed::{Read, Unread};

impl Holding {
    /// A page of the shard that is read came; its records follow. Answers whether records before them may be gone, so
    /// that windows are cut.
    pub fn on_page(&mut self, read: Read) -> bool {
        self.quiet = read.quiet;
        if !self.unread.on_page(read) {
            return false;
        }
        match &mut self.phase {
            Phase::Inheriting(inheritance) => inheritance.on_gap(),
            Phase::Reading(machine) => machine.on_gap(),
            Phase::Ended(_) | Phase::Finished => {}
        }
        true
    }

    /// The clock of the shard that is read.
    #[must_use]
    pub fn clock(&self) -> Millis {
        match &self.phase {
            Phase::Inheriting(inheritance) => inheritance.clock(),
            Phase::Reading(machine) | Phase::Ended(machine) => machine.clock(),
            Phase::Finished => Millis(0),
        }
    }

    /// Takes the next record of the shard that is read.
    pub fn on_record(&mut self, raw: &Raw) -> Taken {
        let mut decoded = std::mem::take(&mut self.decoded);
        decode_into(&raw.data, &mut decoded);
        let taken = self.on_decoded(raw.arrival, &raw.sequence, &decoded);
        self.decoded = decoded;
        taken
    }

    /// [`Self::on_record`] of a record that is decoded already.
    pub fn on_decoded(&mut self, arrival: Millis, sequence: &SequenceNumber, decoded: &Decoded) -> Taken {
        match &mut self.phase {
            Phase::Inheriting(inheritance) => {
                inheritance.on_record(arrival, sequence, decoded);
                Taken::Tail
            }
            Phase::Reading(machine) => {
                let (closed, judged) = machine.on_record(arrival, sequence, decoded);
                let again = machine.clock() <= self.known_through;
                self.put(closed);
                if again { Taken::Again(judged) } else { Taken::New(judged) }
            }
            Phase::Ended(_) | Phase::Finished => Taken::Tail,
        }
    }

    /// The shard that is read has no records after those taken: it is closed, and these are its children.
    pub fn on_end(&mut self, children: Vec<ShardId>) {
        match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Inheriting(mut inheritance) => {
                inheritance.on_end();
                self.inherit(inheritance);
            }
            Phase::Reading(mut machine) => {
                let closed = machine.on_end();
                self.children = children;
                self.phase = Phase::Ended(machine);
                self.put(closed);
            }
            phase => self.phase = phase,
        }
    }

    /// The stream no longer has the shard that is read: nobody knows what else was in it.
    pub fn on_gone(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Inheriting(mut inheritance) => {
                inheritance.on_gone();
                self.inherit(inheritance);
            }
            mut phase => {
                if let Phase::Reading(machine) = &mut phase {
                    machine.on_gap();
                }
                self.phase = phase;
                self.on_end(Vec::new());
            }
        }
    }

    pub(super) fn inherit(&mut self, inheritance: Inheritance) {
        if let Some((shard_id, from)) = inheritance.reading() {
            self.effects.push_back(Effect::Read { shard_id: shard_id.clone(), from: from.clone() });
            self.unread = inheritance.unread();
            self.phase = Phase::Inheriting(inheritance);
        } else {
            self.begin(inheritance.finish());
        }
    }

    fn begin(&mut self, left: Vec<Left>) {
        let (machine, closed) = ShardMachine::begin(&self.row, self.agreed.clone(), self.events, left);
        let (shard_id, from) = (self.row.shard_id.clone(), self.row.checkpoint.clone());
        self.phase = Phase::Reading(machine);
        self.unread = Unread::from(self.row.beginning, &self.row.tails, self.row.replay_clock);
        self.effects.push_back(Effect::Read { shard_id, from });
        self.put(closed);
    }

    fn put(&mut self, closed: Vec<Closed>) {
        for closed in closed {
            let items = closed.aggregates.len() + closed.totals.len() + closed.events.len();
            self.unwritten.insert(closed.ticket, items);
            self.effects.push_back(Effect::Put(Box::new(closed)));
        }
    }
}

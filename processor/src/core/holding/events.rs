//! What goes into a holding, and what comes out.

use std::time::Duration;

use schemas::hash::HashKey;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::{Checkpoint, Lease};
use schemas::mutant::{self, Mutant};
use schemas::time::{Millis, Span};

use crate::core::{Closed, Judged};

/// When a holding acts of itself.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two checkpoints, when there is a new one.
    pub checkpoint_every: Duration,
    /// Between two renewals, when there is none; a third of the failover time.
    pub renew_every: Duration,
    /// Between two ticks.
    pub tick_every: Duration,
    /// Before a write without a reply is tried again.
    pub retry_after: Duration,
}

/// Time at an edge: the monotonic clock decides when to act, the stream's own clock whether a tick is worth sending and
/// what retention may have taken away. The wall clock of a machine decides nothing.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since any fixed point.
    pub monotonic: Duration,
    /// Where the clock of the stream's service stands.
    pub service: Span,
}

impl Now {
    /// Time as an edge reads it; the wall clock stands in only until the service has said its time, and until then
    /// nothing is decided by it.
    #[must_use]
    pub fn new(monotonic: Duration, service: Option<Span>, wall: Millis) -> Self {
        let service = service.filter(|_| !mutant::is(Mutant::WallClockDecides));
        Self { monotonic, service: service.unwrap_or(Span::at(wall)) }
    }
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Raw {
    /// When the stream stored it.
    pub arrival: Millis,
    /// Its number.
    pub sequence: SequenceNumber,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// What to do.
#[derive(Debug)]
pub enum Effect {
    /// Read this shard from here on, and no other.
    Read {
        /// The shard: this one, or one whose tail is inherited.
        shard_id: ShardId,
        /// From where.
        from: Checkpoint,
    },
    /// Make durable what a closed window left.
    Put(Box<Closed>),
    /// Put this row over the one whose counter is `seen`.
    Write {
        /// The row.
        row: Box<Lease>,
        /// The counter that must stand there.
        seen: u64,
    },
    /// Put a tick into this shard.
    Tick {
        /// Its lowest key.
        hash_key: HashKey,
    },
    /// Forget this lease.
    Finish(Finish),
}

/// Why a lease is no longer held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The shard was read to its end.
    Ended,
    /// It was released on request.
    Released,
    /// It was handed over to who asked for it.
    HandedOver,
    /// Its row is not what its holder last wrote.
    Lost(Loss),
}

/// What stands where the row of a lost lease stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The row of this worker, or of this other tool.
    Taken(String),
    /// A row without an owner, or with this worker as its owner and a counter that it did not write.
    Changed,
    /// No row, or one that cannot be read.
    Missing,
}

/// What became of writing a row.
#[derive(Clone, Debug)]
pub enum Written {
    /// It stands.
    Done,
    /// Another counter stood there; this is the row that stands, if any.
    Refused(Option<Box<Lease>>),
    /// No reply came.
    Unknown,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was judged for the first time, as far as the last checkpoint tells.
    New(Judged),
    /// It was read again: its shard's clock there was reached before.
    Again(Judged),
    /// It belongs to an inherited tail.
    Tail,
}

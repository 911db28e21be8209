//! What a child inherits: the tails of its parents, read again to their ends.
//!
//! A tail is replayed with its own clock and its own `closedThrough`. Nothing is written, no refusal is counted, and
//! what closes in it is its shard's own and dropped. What is left open at the end is the children's: each keeps its
//! own range. A parent that still had tails when it ended is preceded by them.

use schemas::geometry::Geometry;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::{Beginning, Checkpoint, Tail};
use schemas::record::Decoded;
use schemas::time::Millis;

use super::book::{BidEvents, Book};
use super::cut::Cut;
use super::judge::Judge;
use super::mark::Record;
use super::mutant::{self, Mutant};
use super::trimmed::Unread;

/// What a shard left open at its end, or the union of what several left.
#[derive(Debug)]
pub struct Left {
    pub(super) book: Book,
    pub(super) clock: Millis,
    pub(super) cut: Cut,
}

/// One tail under way.
#[derive(Debug)]
struct Replay {
    tail: Tail,
    judge: Judge,
    book: Book,
    clock: Millis,
    cut: Cut,
    from: Checkpoint,
    unread: Unread,
    records: u64,
}

/// A tail to come.
#[derive(Debug)]
struct Planned {
    tail: Tail,
    /// How many tails right before it are its own.
    own: usize,
    unread: Unread,
}

/// Reads tails in an order in which each follows those it is preceded by.
#[derive(Debug)]
pub struct Inheritance {
    geometry: Geometry,
    events: BidEvents,
    /// Tails to come, the next one last.
    plan: Vec<Planned>,
    /// What tails left whose successor was not begun yet, oldest first.
    left: Vec<Left>,
    now: Option<Replay>,
    highest: Millis,
    records: u64,
}

impl Inheritance {
    /// Plans the reading of tails.
    #[must_use]
    pub fn new(tails: &[Tail], geometry: Geometry, events: BidEvents) -> Self {
        let mut plan = Vec::new();
        tails.iter().for_each(|tail| enlist(tail, &mut plan));
        plan.reverse();
        let highest = tails.iter().map(|tail| tail.closed_through).max().unwrap_or_default();
        let mut new = Self { geometry, events, plan, left: Vec::new(), now: None, highest, records: 0 };
        new.begin();
        new
    }

    /// The shard to read, and after which record; nothing when all tails were read.
    #[must_use]
    pub fn reading(&self) -> Option<(&ShardId, &Checkpoint)> {
        self.now.as_ref().map(|replay| (&replay.tail.shard_id, &replay.from))
    }

    /// Records read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether records after the place to read from may be gone when the first page comes.
    #[must_use]
    pub(super) fn unread(&self) -> Unread {
        self.now.as_ref().map_or_else(Unread::default, |replay| replay.unread)
    }

    /// Records between the last one and the next may be gone: windows that may miss some are cut.
    pub fn on_gap(&mut self) {
        if let Some(replay) = &mut self.now {
            replay.cut = replay.cut.with(Cut::of(Beginning::Cut));
        }
    }

    /// The clock of the shard under way.
    #[must_use]
    pub fn clock(&self) -> Millis {
        self.now.as_ref().map_or(self.highest, |replay| replay.clock)
    }

    /// Takes the next record of the shard under way.
    pub fn on_record(&mut self, arrival: Millis, sequence: &SequenceNumber, decoded: &Decoded) {
        self.records += 1;
        if let Some(replay) = &mut self.now {
            replay.on_record(arrival, sequence, decoded);
        }
    }

    /// The shard under way was read to its end.
    pub fn on_end(&mut self) {
        if let Some(replay) = self.now.take() {
            self.left.push(Left { book: replay.book, clock: replay.clock, cut: replay.cut });
        }
        self.begin();
    }

    /// The stream no longer holds the shard under way: what it left cannot be known, so it is cut.
    pub fn on_gone(&mut self) {
        if let Some(replay) = &mut self.now {
            replay.book = Book::new(self.events);
            replay.clock = replay.clock.max(replay.tail.closed_through);
            replay.cut = replay.cut.with(Cut::of(Beginning::Cut));
        }
        self.on_end();
    }

    /// Everything that was left, once all tails were read.
    #[must_use]
    pub fn finish(self) -> Vec<Left> {
        self.left
    }

    fn begin(&mut self) {
        let Some(Planned { tail, own, unread }) = self.plan.pop() else { return };
        let skip = if mutant::is(Mutant::SiblingClosedThrough) { self.highest } else { tail.closed_through };
        let judge = Judge::new(self.geometry, tail.range, skip).of_tail();
        let (mut book, mut cut) = (Book::new(self.events), Cut::of(tail.beginning));
        let mut clock = if own == 0 { tail.replay_clock } else { Millis(0) };
        let before = self.left.split_off(self.left.len() - own);
        for left in before {
            clock = clock.max(left.clock);
            cut = cut.with(left.cut);
            book.inherit(left.book, &self.geometry, tail.range, Millis(0));
        }
        while book.pop_passed(&self.geometry, clock).is_some() {}
        let from = tail.checkpoint.clone();
        self.now = Some(Replay { tail, judge, book, clock, cut, from, unread, records: 0 });
    }
}

fn enlist(tail: &Tail, plan: &mut Vec<Planned>) {
    tail.tails.iter().for_each(|own| enlist(own, plan));
    let unread = Unread::from(tail.beginning, &tail.tails, tail.replay_clock);
    let (tail, own) = (Tail { tails: Vec::new(), ..tail.clone() }, tail.tails.len());
    plan.push(Planned { tail, own, unread });
}

impl Replay {
    fn on_record(&mut self, arrival: Millis, sequence: &SequenceNumber, decoded: &Decoded) {
        self.clock = self.clock.max(arrival);
        let geometry = self.judge.geometry;
        self.cut.on_clock(&geometry, self.clock);
        if !mutant::is(Mutant::TailKeepsClosed) {
            while self.book.pop_passed(&geometry, self.clock).is_some() {}
        }
        self.records += 1;
        let record = Record { shard_id: &self.tail.shard_id, sequence, number: self.records };
        self.book.on_record(&mut self.judge, &decoded.items, &record, self.clock, |_window| {});
        self.from = Checkpoint::After(sequence.clone());
    }
}

//! The shard machine: which windows are open, which bid counts, what a close leaves, and where to read again.
//!
//! Time is the highest arrival seen and nothing else. For each record: the clock moves, windows it passed are closed,
//! then each bid is judged by the first rule that holds. The same log gives the same items, however it is cut into
//! pages, shards and owners, and however often it is read.

use std::sync::Arc;

use schemas::hash::HashRange;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::item::{GeometryItem, Replay};
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::record::Decoded;
use schemas::time::Millis;

use super::book::{BidEvents, Book};
use super::closed::{Closed, Closer};
use super::cut::Cut;
use super::index::wide;
use super::judge::{Judge, Judged, Refused, Sample, Verdict};
use super::mark::{Mark, Record};
use super::mutant::{self, Mutant};
use super::progress::Progress;
use super::tail::Left;
use super::window::Window;

/// The machine of one shard.
#[derive(Debug)]
pub struct ShardMachine {
    shard_id: ShardId,
    agreed: GeometryItem,
    events: BidEvents,
    at: Mark,
    judge: Judge,
    book: Book,
    cut: Cut,
    progress: Progress,
    /// Records taken.
    records: u64,
    /// From where a window is read again of which parents left a part.
    inherited: Arc<Replay>,
    /// Before the first count that was closed at the shard's end. Until the end itself is written down, a successor
    /// must count them whole again: no clock has passed them.
    counted_from: Option<Mark>,
}

impl ShardMachine {
    /// A machine that begins where a lease says, with what the tails of that lease left, if it has some. What the
    /// clock of its parents has closed is closed at once.
    #[must_use]
    pub fn begin(
        lease: &Lease,
        agreed: GeometryItem,
        events: BidEvents,
        left: Vec<Left>,
    ) -> (Self, Vec<Closed>) {
        let geometry = agreed.geometry;
        let mut book = Book::new(events);
        let mut cut = Cut::of(lease.beginning);
        // The first record of a shard without parents brings its clock along. Another clock in such a row is of a tool
        // that set the checkpoint back, and would make late what was in time.
        let is_root = lease.parents.is_empty() && !matches!(lease.checkpoint, Checkpoint::After(_));
        let mut clock = if is_root || !lease.tails.is_empty() { Millis(0) } else { lease.replay_clock };
        for left in left {
            clock = clock.max(left.clock);
            cut = cut.with(left.cut);
            book.inherit(left.book, &geometry, lease.range, lease.closed_through);
        }
        if mutant::is(Mutant::ChildInheritsNothing) {
            book = Book::new(events);
        }
        if mutant::is(Mutant::ChildClockAtZero) && !lease.tails.is_empty() {
            clock = Millis(0);
        }
        let judge = Judge::new(geometry, lease.range, lease.closed_through);
        let at = Mark { checkpoint: lease.checkpoint.clone(), clock };
        let inherited = Arc::new(Replay {
            checkpoint: lease.checkpoint.clone(),
            clock: Millis(0),
            tails: lease.tails.clone(),
        });
        let (shard_id, progress) = (lease.shard_id.clone(), Progress::default());
        let (records, counted_from) = (0, None);
        let mut machine = Self {
            shard_id,
            agreed,
            events,
            at,
            judge,
            book,
            cut,
            progress,
            records,
            inherited,
            counted_from,
        };
        let closed = machine.close_passed(Millis(0));
        (machine, closed)
    }

    /// Records between the last one and the next may be gone: windows that may miss some are cut.
    pub fn on_gap(&mut self) {
        self.cut = self.cut.with(Cut::of(Beginning::Cut));
    }

    /// Takes the next record: moves the clock, closes what it passed, judges each bid.
    pub fn on_record(
        &mut self,
        arrival: Millis,
        sequence: &SequenceNumber,
        decoded: &Decoded,
    ) -> (Vec<Closed>, Judged) {
        let before = self.at.clock;
        self.at.clock = before.max(arrival);
        self.cut.on_clock(&self.agreed.geometry, self.at.clock);
        let closed = self.close_passed(before);
        self.records += 1;
        let record = Record { shard_id: &self.shard_id, sequence, number: self.records };
        // At a shard's beginning the first record's own clock is the same to a replay, and says when it began.
        let is_first = self.at.checkpoint == Checkpoint::TrimHorizon;
        let clock = if is_first { self.at.clock } else { before };
        let mark = || Mark { checkpoint: self.at.checkpoint.clone(), clock };
        let touch = |window: &mut Window| {
            window.first.get_or_insert_with(mark);
        };
        let (geometry, clock) = (self.agreed.geometry, self.at.clock);
        let entered = self.book.on_record(&mut self.judge, &decoded.items, &record, clock, touch);
        let (counted, duplicates) = (entered.counted, entered.copies);
        let region = |at: u32| decoded.items[wide(at)].as_ref().ok().map(|bid| (at, bid.region));
        let copy = entered.copy.and_then(region);
        let mut judged = Judged { counted, duplicates, copy, ..Judged::default() };
        for (at, verdict) in entered.others {
            let Verdict::Refused(refused) = verdict else {
                judged.replayed += 1;
                continue;
            };
            let item = &decoded.items[wide(at)];
            let sample = Sample::of(refused, item, at);
            judged.refuse(sample);
            let own = geometry.window_start(item.as_ref().map_or(clock, |bid| bid.event_time));
            count(refusals(&mut self.book, &self.judge, clock, own), &sample, touch);
        }
        self.at.checkpoint = Checkpoint::After(sequence.clone());
        (closed, judged)
    }

    /// The shard was read to its end: its own counts are closed, its open windows are left to its children.
    pub fn on_end(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        if mutant::is(Mutant::EndForgetsCounts) {
            self.book.windows.values_mut().for_each(|window| window.counts.clear());
        }
        for (start, window) in &mut self.book.windows {
            let counts = std::mem::take(&mut window.counts);
            if counts.is_empty() || self.cut.cuts(*start) {
                continue;
            }
            let closer =
                Closer { shard_id: &self.shard_id, agreed: &self.agreed, events: self.events, replay: None };
            let from = self.counted_from.iter().chain(&window.first).reduce(|a, b| a.earlier(b)).cloned();
            self.counted_from = from;
            let ticket = self.progress.close(window, self.at.clock);
            closed.push(closer.close(ticket, *start, &mut Window::of_counts(counts)));
        }
        self.book.windows.retain(|_, window| window.len() > 0);
        closed
    }

    /// What a closed window left is durable.
    pub fn on_written(&mut self, ticket: u64) {
        self.progress.on_written(ticket);
    }

    /// The row with the checkpoint that is safe now; `row` is the one that stands. Counter and owner are not touched.
    #[must_use]
    pub fn checkpoint(&self, row: &Lease) -> Lease {
        self.safe(row, self.counted_from.as_ref())
    }

    fn safe(&self, row: &Lease, counted_from: Option<&Mark>) -> Lease {
        let durable = self.progress.durable_through().filter(|_| !mutant::is(Mutant::CheckpointTooSoon));
        let closed_through = durable.unwrap_or(self.at.clock);
        let mut row = row.clone();
        row.closed_through = if mutant::is(Mutant::ClosedThroughGoesDown) {
            closed_through
        } else {
            row.closed_through.max(closed_through)
        };
        if self.holds() {
            return row;
        }
        let open = self.book.windows.values().filter_map(|window| window.first.as_ref());
        let open = open.filter(|_| !mutant::is(Mutant::CheckpointTooFar));
        let pending = self.progress.marks().filter(|_| !mutant::is(Mutant::CheckpointTooSoon));
        let mark = open.chain(pending).chain(counted_from).fold(&self.at, |a, b| a.earlier(b));
        (row.checkpoint, row.replay_clock) = (mark.checkpoint.clone(), mark.clock);
        (row.beginning, row.tails) = (Beginning::Whole, Vec::new());
        row
    }

    /// The row of a shard that was read to its end, once everything is durable.
    #[must_use]
    pub fn ended(&self, row: &Lease, children: Vec<ShardId>) -> Lease {
        let row = self.safe(row, None);
        let tail_checkpoint = Some(row.checkpoint.clone());
        Lease { checkpoint: Checkpoint::ShardEnd, tail_checkpoint, children, ..row }
    }

    /// Whether reading again must begin where this reader began: an inherited window is open, or one that is cut.
    fn holds(&self) -> bool {
        // Until a row may say that what was cut is closed, a replay would take it for whole.
        let through = self.progress.durable_through().unwrap_or(self.at.clock);
        self.cut.holds(&self.agreed.geometry, through)
            || self.book.windows.values().any(|window| window.inherited)
            || self.progress.holds_inherited()
    }

    fn close_passed(&mut self, before: Millis) -> Vec<Closed> {
        let mut closed = Vec::new();
        while let Some((start, mut window)) = self.book.pop_passed(&self.agreed.geometry, self.at.clock) {
            if !self.cut.cuts(start) {
                let ticket = self.progress.close(&window, before);
                let replay = self.replay(&window);
                closed.push(self.closer(replay.as_ref()).close(ticket, start, &mut window));
            }
            self.book.reuse(window);
        }
        closed
    }

    fn closer<'a>(&'a self, replay: Option<&'a Arc<Replay>>) -> Closer<'a> {
        Closer { shard_id: &self.shard_id, agreed: &self.agreed, events: self.events, replay }
    }

    /// From where a window is read again.
    fn replay(&self, window: &Window) -> Option<Arc<Replay>> {
        if window.inherited {
            return Some(Arc::clone(&self.inherited));
        }
        let Mark { checkpoint, clock } = window.first.clone()?;
        Some(Arc::new(Replay { checkpoint, clock, tails: Vec::new() }))
    }

    /// Whether a window or a count would be closed by a record that arrived now.
    #[must_use]
    pub fn due(&self, now: Millis) -> bool {
        let oldest = self.book.windows.first_key_value();
        oldest.is_some_and(|(start, _)| self.agreed.geometry.passed(*start, now))
    }

    /// Whether everything that was closed is durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.progress.is_clear()
    }

    /// Closed windows that are not durable.
    #[must_use]
    pub fn pending_windows(&self) -> usize {
        self.progress.len()
    }

    /// The shard clock.
    #[must_use]
    pub fn clock(&self) -> Millis {
        self.at.clock
    }

    /// Where the last record taken lies.
    #[must_use]
    pub fn position(&self) -> &Checkpoint {
        &self.at.checkpoint
    }

    /// What it owns.
    #[must_use]
    pub fn range(&self) -> HashRange {
        self.judge.range
    }

    /// Windows that hold bids or counts.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        self.book.windows.len()
    }

    /// Counted bids in memory.
    #[must_use]
    pub fn open_bids(&self) -> usize {
        self.book.open_bids()
    }
}

/// The window that counts a refusal: the one in which the clock stands, none when that was counted before.
fn refusals<'a>(book: &'a mut Book, judge: &Judge, clock: Millis, own: Millis) -> Option<&'a mut Window> {
    if mutant::is(Mutant::RefusedInOwnWindow) {
        return Some(book.windows.entry(own).or_default());
    }
    let start = judge.geometry.window_start(clock);
    if judge.geometry.passed(start, judge.closed_through) {
        return None;
    }
    Some(book.windows.entry(start).or_default())
}

fn count(window: Option<&mut Window>, sample: &Sample, touch: impl FnOnce(&mut Window)) {
    let Some(window) = window else { return };
    if !mutant::is(Mutant::RefusedHoldsNothing) {
        touch(window);
    }
    let counts = window.counts.entry(sample.region).or_default();
    match sample.refused {
        Refused::Rejected => counts.rejected += 1,
        Refused::Stray => counts.stray += 1,
        Refused::Early => counts.early += 1,
        Refused::Late => counts.late += 1,
    }
}

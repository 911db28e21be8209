//! The open windows of a shard, by their start.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::HashRange;
use schemas::record::Rejected;
use schemas::time::Millis;

use super::auction::Offer;
use super::judge::{Judge, Known, Refused, Verdict};
use super::mark::Record;
use super::window::{Spot, Tables, Window};

/// Which single bids are kept for analysts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BidEvents {
    /// None.
    None,
    /// Each region's best in each auction.
    Best,
    /// Every counted bid.
    All,
}

/// What became of a bid, and whether it was the first copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Counted,
    Copy,
    Not(Verdict),
}

/// Bids that are looked at before they are counted: enough for memory to answer many at once, few enough that what
/// was fetched for the first is still there for the last.
pub(super) const BATCH: usize = 32;

/// Where a bid belongs.
#[derive(Clone, Copy, Debug, Default)]
struct Aim {
    start: Millis,
    /// Where in that window, when its slot had an auction there.
    spot: Option<Spot>,
}

/// Open windows.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) windows: BTreeMap<Millis, Window>,
    events: BidEvents,
    /// Tables of the last window that was closed, for the next one that opens.
    spare: Tables,
}

impl Book {
    pub(super) fn new(events: BidEvents) -> Self {
        Self { windows: BTreeMap::new(), events, spare: Tables::default() }
    }

    /// Says where each bid of a batch belongs, and fetches what counting it will touch.
    #[inline]
    fn aim(&self, geometry: &Geometry, bids: &[Result<Bid, Rejected>]) -> [Aim; BATCH] {
        let mut aims = [Aim::default(); BATCH];
        let mut looks = [None; BATCH];
        let (mut start, mut end, mut window, mut looked) = (Millis(0), Millis(0), None, 0_u32);
        for ((aim, look), bid) in aims.iter_mut().zip(&mut looks).zip(bids) {
            let Ok(bid) = bid else { continue };
            // Neighbours lie in the same window, and a division costs more than a comparison.
            if window.is_none() || bid.event_time < start || bid.event_time >= end {
                start = geometry.window_start(bid.event_time);
                end = geometry.window_end(start);
                window = self.windows.get(&start).filter(|window| !window.auctions.is_empty());
            }
            aim.start = start;
            if let Some(window) = window {
                *look = Some((window, window.tags(bid)));
            }
        }
        for (window, tags) in looks.iter().flatten() {
            looked ^= window.touch(tags);
        }
        for ((aim, look), bid) in aims.iter_mut().zip(&looks).zip(bids) {
            if let (Some((window, tags)), Ok(bid)) = (look, bid) {
                aim.spot = window.find(bid, *tags);
            }
        }
        // What is looked at is not used; that it is looked at is the use.
        std::hint::black_box(looked);
        aims
    }

    /// Judges the next bids of a record, at most [`BATCH`], at a clock, and counts those that are in time. The first
    /// has the place `from` in the record. `touched` is called with each window that takes bids.
    #[inline]
    pub(super) fn on_batch(
        &mut self,
        judge: &mut Judge,
        bids: &[Result<Bid, Rejected>],
        (record, from): (&Record<'_>, u32),
        clock: Millis,
        touched: impl Fn(&mut Window),
    ) -> [Entered; BATCH] {
        let geometry = judge.geometry;
        let aims = self.aim(&geometry, bids);
        let mut entered = [Entered::Not(Verdict::Refused(Refused::Rejected)); BATCH];
        let mut open: Option<(Millis, &mut Window)> = None;
        for (((bid, aim), entered), sub_sequence) in bids.iter().zip(&aims).zip(&mut entered).zip(from..) {
            let Ok(bid) = bid else { continue };
            let known = if aim.spot.is_some() { Known::Yes } else { Known::No };
            let verdict = judge.verdict(bid, aim.start, clock, known);
            if verdict != Verdict::Taken {
                *entered = Entered::Not(verdict);
                continue;
            }
            // Neighbours lie in the same window.
            let window = match open {
                Some((start, window)) if start == aim.start => window,
                _ => {
                    let window = self.windows.entry(aim.start);
                    let window = window.or_insert_with(|| Window::with(std::mem::take(&mut self.spare)));
                    touched(window);
                    window
                }
            };
            let spot = aim.spot.unwrap_or_else(|| window.find_or_make(bid, record));
            *entered = Entered::Copy;
            if window.count(&spot, &Offer::new(bid, (record, sub_sequence), &geometry)) {
                *entered = Entered::Counted;
                if self.events == BidEvents::All {
                    window.bids.push(*bid);
                }
            }
            open = Some((aim.start, window));
        }
        entered
    }

    /// Takes out the oldest window that the clock has passed.
    pub(super) fn pop_passed(&mut self, geometry: &Geometry, clock: Millis) -> Option<(Millis, Window)> {
        let oldest = self.windows.first_entry()?;
        if !geometry.passed(*oldest.key(), clock) {
            return None;
        }
        let (start, mut window) = oldest.remove_entry();
        self.spare = window.take_tables();
        Some((start, window))
    }

    /// Takes what parents left in a range, less what this clock has closed.
    pub(super) fn inherit(&mut self, left: Book, geometry: &Geometry, range: HashRange, closed: Millis) {
        for (start, window) in left.windows {
            if geometry.passed(start, closed) {
                continue;
            }
            let own = self.windows.entry(start).or_default();
            own.absorb(window, range);
            own.inherited = true;
        }
        self.windows.retain(|_, window| window.len() > 0 || !window.counts.is_empty());
    }

    /// Counted bids in memory.
    pub(super) fn open_bids(&self) -> usize {
        self.windows.values().map(Window::len).sum()
    }
}

//! The open windows of a shard, by their start.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::HashRange;
use schemas::time::Millis;

use super::judge::{Judge, Known, Verdict};
use super::mark::Record;
use super::window::{Tables, Window};

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

/// What became of a valid bid, and whether it was the first copy.
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
pub(super) struct Aim {
    start: Millis,
    /// The place of its slot's auction in that window, when there was one.
    auction: Option<u32>,
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
    pub(super) fn aim<E>(&self, geometry: &Geometry, bids: &[Result<Bid, E>]) -> [Aim; BATCH] {
        let mut aims = [Aim::default(); BATCH];
        let (mut start, mut end, mut window) = (Millis(0), Millis(0), None);
        for (aim, bid) in aims.iter_mut().zip(bids) {
            let Ok(bid) = bid else { continue };
            // Neighbours lie in the same window, and a division costs more than a comparison.
            if window.is_none() || bid.event_time < start || bid.event_time >= end {
                start = geometry.window_start(bid.event_time);
                end = geometry.window_end(start);
                window = self.windows.get(&start);
            }
            let auction = window.and_then(|window| window.find(&bid.slot_id));
            *aim = Aim { start, auction };
            if let (Some(window), Some(auction)) = (window, auction) {
                window.warm(auction, bid);
            }
        }
        aims
    }

    /// Judges a bid at a clock and counts it when it is in time. `touched` is called with a window that took a bid.
    #[inline]
    pub(super) fn on_bid(
        &mut self,
        judge: &mut Judge,
        (bid, aim): (&Bid, Aim),
        (record, sub_sequence): (&Record<'_>, u32),
        clock: Millis,
        touched: impl FnOnce(&mut Window),
    ) -> Entered {
        let geometry = judge.geometry;
        let start = aim.start;
        let known = if aim.auction.is_some() { Known::Yes } else { Known::No };
        match judge.verdict(bid, start, clock, known) {
            Verdict::Taken => {}
            verdict => return Entered::Not(verdict),
        }
        let window = match self.windows.get_mut(&start) {
            Some(window) => window,
            None => {
                self.windows.entry(start).or_insert_with(|| Window::with(std::mem::take(&mut self.spare)))
            }
        };
        let auction = aim.auction.unwrap_or_else(|| window.find_or_make(bid.slot_id));
        touched(window);
        if !window.count(auction, bid, record, sub_sequence, &geometry) {
            return Entered::Copy;
        }
        if self.events == BidEvents::All {
            window.bids.push(*bid);
        }
        Entered::Counted
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

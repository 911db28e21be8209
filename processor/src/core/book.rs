//! The open windows of a shard, by their start.

use std::collections::BTreeMap;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::HashRange;
use schemas::time::Millis;

use super::judge::{Judge, Known, Verdict};
use super::mark::Record;
use super::window::Window;

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

/// Open windows.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) windows: BTreeMap<Millis, Window>,
    events: BidEvents,
}

impl Book {
    pub(super) fn new(events: BidEvents) -> Self {
        Self { windows: BTreeMap::new(), events }
    }

    /// Judges a bid at a clock and counts it when it is in time. `touched` is called with a window that took a bid.
    #[inline]
    pub(super) fn on_bid(
        &mut self,
        judge: &mut Judge,
        bid: &Bid,
        (record, sub_sequence): (&mut Record<'_>, u32),
        clock: Millis,
        touched: impl FnOnce(&mut Window),
    ) -> Entered {
        let geometry = judge.geometry;
        let start = geometry.window_start(bid.event_time);
        let (window, auction) = match self.windows.get_mut(&start) {
            Some(window) => {
                let found = window.find(&bid.slot_id);
                (Some(window), found)
            }
            None => (None, None),
        };
        let known = if auction.is_some() { Known::Yes } else { Known::No };
        match judge.verdict(bid, start, clock, known) {
            Verdict::Taken => {}
            verdict => return Entered::Not(verdict),
        }
        let window = match window {
            Some(window) => window,
            None => self.windows.entry(start).or_default(),
        };
        let auction = auction.unwrap_or_else(|| window.find_or_make(bid.slot_id));
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
        geometry.passed(*oldest.key(), clock).then(|| oldest.remove_entry())
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

//! The open windows of a shard, by their start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::HashRange;
use schemas::record::Rejected;
use schemas::time::Millis;

use super::auction::Offer;
use super::index::{place, wide};
use super::judge::{Judge, Refused, Verdict};
use super::mark::Record;
use super::window::{Spot, Window};

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

/// What became of the bids of a record: how many were counted, how many were copies of one that was, and each other.
#[derive(Debug, Default)]
pub(super) struct Entered {
    pub(super) counted: u64,
    pub(super) copies: u64,
    /// The place of the first copy.
    pub(super) copy: Option<u32>,
    /// By place in the record, ascending.
    pub(super) others: Vec<(u32, Verdict)>,
}

/// Bids that are looked at before they are counted: enough for memory to answer many at once, few enough that what
/// was fetched for the first is still there for the last.
pub(super) const BATCH: usize = 96;

/// Open windows.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) windows: BTreeMap<Millis, Window>,
    events: BidEvents,
    /// The last window that was closed, empty, for the next one that opens: memory fresh from the system costs more
    /// than most that is done with it.
    spare: Window,
    /// Where the bids under way belong.
    spots: Box<[Spot; BATCH]>,
}

impl Book {
    pub(super) fn new(events: BidEvents) -> Self {
        let spots = Box::new([Spot::default(); BATCH]);
        Self { windows: BTreeMap::new(), events, spare: Window::default(), spots }
    }

    /// Judges the bids of a record at a clock, and counts those that are in time. `touched` is called with each window
    /// that takes bids.
    pub(super) fn on_record(
        &mut self,
        judge: &mut Judge,
        items: &[Result<Bid, Rejected>],
        record: &Record<'_>,
        clock: Millis,
        touched: impl Fn(&mut Window),
    ) -> Entered {
        let geometry = judge.geometry;
        let mut entered = Entered::default();
        let mut from = 0;
        while let Some(first) = items.get(wide(from)) {
            let Ok(first) = first else {
                entered.others.push((from, Verdict::Refused(Refused::Rejected)));
                from += 1;
                continue;
            };
            // Neighbours lie in the same window.
            let start = geometry.window_start(first.event_time);
            let times = start..geometry.window_end(start);
            let same = |item: &&Result<Bid, Rejected>| {
                item.as_ref().is_ok_and(|bid| times.contains(&bid.event_time))
            };
            let rest = &items[wide(from)..];
            let run = rest.iter().take(BATCH).take_while(same).count();
            self.on_run((judge, clock), (start, &rest[..run]), (record, from), &touched, &mut entered);
            from += place(run);
        }
        entered
    }

    /// The next bids of a record, at most [`BATCH`], all valid and all of one window. The first has the place `from`.
    /// In a function of its own, as [`Window::find`] is.
    #[inline(never)]
    fn on_run(
        &mut self,
        (judge, clock): (&mut Judge, Millis),
        (start, mut bids): (Millis, &[Result<Bid, Rejected>]),
        (record, mut from): (&Record<'_>, u32),
        touched: &impl Fn(&mut Window),
        entered: &mut Entered,
    ) {
        let window = match self.windows.entry(start) {
            Entry::Occupied(window) => window.into_mut(),
            Entry::Vacant(free) => {
                // It opens with the first bid that it takes.
                while let Some((Ok(bid), rest)) = bids.split_first() {
                    let verdict = judge.verdict(bid, start, clock, false);
                    if verdict == Verdict::Taken {
                        break;
                    }
                    entered.others.push((from, verdict));
                    (bids, from) = (rest, from + 1);
                }
                if bids.is_empty() {
                    return;
                }
                free.insert(std::mem::take(&mut self.spare))
            }
        };
        let geometry = judge.geometry;
        // What has an auction here and is dated before this is taken: no window that has one is closed, for what the
        // clock passed was taken out, and what was closed before the last checkpoint is not put in again.
        let before = geometry.latest(clock).plus(1);
        let spots = &mut self.spots[..bids.len()];
        window.find(bids, spots);
        for ((bid, spot), at) in bids.iter().zip(&*spots).zip(from..) {
            let Ok(bid) = bid else { continue };
            if !spot.is_known() || bid.event_time >= before {
                let verdict = judge.verdict(bid, start, clock, spot.is_known());
                if verdict != Verdict::Taken {
                    entered.others.push((at, verdict));
                    continue;
                }
            }
            touched(window);
            let offer = Offer::new(bid, (record, at), &geometry);
            let is_counted =
                if spot.is_known() { window.count(spot, &offer) } else { window.count_other(&offer.apart()) };
            if is_counted {
                entered.counted += 1;
                if self.events == BidEvents::All {
                    window.bids.push(*bid);
                }
            } else {
                entered.copies += 1;
                entered.copy.get_or_insert(at);
            }
        }
    }

    /// Takes out the oldest window that the clock has passed.
    pub(super) fn pop_passed(&mut self, geometry: &Geometry, clock: Millis) -> Option<(Millis, Window)> {
        let oldest = self.windows.first_entry()?;
        if !geometry.passed(*oldest.key(), clock) {
            return None;
        }
        Some(oldest.remove_entry())
    }

    /// Takes back the memory of a window that was closed.
    pub(super) fn reuse(&mut self, window: Window) {
        self.spare = window.emptied();
    }

    /// Takes what parents left in a range, less what this clock has closed.
    pub(super) fn inherit(&mut self, left: Book, geometry: &Geometry, range: HashRange, closed: Millis) {
        for (start, window) in left.windows {
            if geometry.passed(start, closed) {
                continue;
            }
            let own = self.windows.entry(start).or_default();
            own.absorb(window, range, geometry);
            own.inherited = true;
        }
        self.windows.retain(|_, window| window.len() > 0 || !window.counts.is_empty());
    }

    /// Counted bids in memory.
    pub(super) fn open_bids(&self) -> usize {
        self.windows.values().map(Window::len).sum()
    }
}

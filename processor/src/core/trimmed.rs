//! Whether records after a place may be gone: because nobody read the shard for a retention period, or because a reader
//! that is far behind was overtaken by retention between two pages.
//!
//! Only how long records have waited is judged, never what the stream still shows there: what is older than retention
//! may go while it is read. The time for it is the service's own, never a reader's wall clock. So the answer errs to the safe side: a cut window is never written, and one that was not
//! whole must not be. A shard in which nothing is written is kept from it by a tick now and then: [`Kept::quiet`].

use schemas::lease::{Beginning, Tail};
use schemas::mutant::{self, Mutant};
use schemas::time::Millis;

use super::lease::Age;

/// A shard in which nothing arrived for so long is given a tick, or for a quarter of retention where that is less.
const QUIET_MS_MAX: u64 = 3_600_000;

/// When a stream was made, and how long it keeps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it was made.
    pub created: Millis,
    /// How long it keeps records, in ms.
    pub retention_ms: u64,
}

impl Kept {
    /// Whether nothing can have been trimmed by `now`.
    #[must_use]
    pub fn age(&self, now: Millis) -> Age {
        if now.since(self.created) < self.retention_ms { Age::Young } else { Age::Old }
    }

    /// What arrived before this may be gone by `now`; 0 while the stream is younger than its retention.
    #[must_use]
    pub fn horizon(&self, now: Millis) -> Millis {
        match self.age(now) {
            Age::Young => Millis(0),
            Age::Old => Millis(now.0.saturating_sub(self.retention_ms)),
        }
    }

    /// What arrived before this arrived long ago at `now`; 0 while the stream itself is not as old.
    #[must_use]
    pub fn quiet(&self, now: Millis) -> Millis {
        let quiet_ms = QUIET_MS_MAX.min(self.retention_ms / 4);
        Millis(if now.since(self.created) < quiet_ms { 0 } else { now.0.saturating_sub(quiet_ms) })
    }
}

/// How a page was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// When it was asked for at the earliest, by the clock of the service.
    pub asked: Millis,
    /// What arrived before this may be gone, as of when the page came, by the same clock; 0 when nothing can be.
    pub horizon: Millis,
    /// A shard in which nothing arrived since then is to be kept known by a tick; 0 when none is.
    pub quiet: Millis,
    /// How far its end was behind the tip, in ms.
    pub behind_ms: u64,
}

impl Read {
    /// A page that was asked for then and came `now`.
    #[must_use]
    pub fn new(kept: &Kept, asked: Millis, now: Millis, behind_ms: u64) -> Self {
        Self { asked, horizon: kept.horizon(now), quiet: kept.quiet(now), behind_ms }
    }
}

/// Since when the oldest record waits that was not read yet, at the earliest. Nothing when the place itself is not known
/// to be whole: then its first record cuts anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    since: Option<Millis>,
    pages: Pages,
}

/// Whether a page came yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pages {
    #[default]
    None,
    Some,
}

impl Unread {
    /// Before the first page from a stored place.
    #[must_use]
    pub fn from(beginning: Beginning, tails: &[Tail], replay_clock: Millis) -> Self {
        let since = (beginning == Beginning::Whole).then(|| left_at(tails, replay_clock));
        Self { since, pages: Pages::None }
    }

    /// A page came. Answers whether records between it and what was read before may be gone: the service goes on
    /// behind them without a word.
    pub fn on_page(&mut self, read: Read) -> bool {
        let is_gap = self.since.is_some_and(|since| since < read.horizon);
        let is_late = self.pages == Pages::Some;
        let unseen = mutant::is(Mutant::TrimmedIsWhole) || is_late && mutant::is(Mutant::GapIsWhole);
        let since = Some(Millis(read.asked.0.saturating_sub(read.behind_ms)));
        *self = Self { since, pages: Pages::Some };
        is_gap && !unseen
    }
}

/// No record after a place lies before the place's own clock or, with tails, before the highest at which its parents
/// ended.
fn left_at(tails: &[Tail], replay_clock: Millis) -> Millis {
    tails.iter().map(|tail| tail.closed_through).max().unwrap_or(replay_clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_retention_overtook_between_two_pages_has_a_gap() {
        let page = |asked, behind_ms, retention_ms| {
            let kept = Kept { created: Millis(0), retention_ms };
            Read::new(&kept, Millis(asked), Millis(asked), behind_ms)
        };
        let mut unread = Unread::from(Beginning::Whole, &[], Millis(1_000));
        assert!(!unread.on_page(page(1_900, 900, 1_000)), "what was left at 1,000 is still kept");
        assert!(!unread.on_page(page(2_000, 950, 1_000)), "so is what arrived at 1,000");
        assert!(unread.on_page(page(2_100, 0, 1_000)), "what arrived at 1,050 may be gone");
        assert!(!unread.on_page(page(3_000, 0, 1_000)), "at the tip there was nothing left to lose");
        assert!(unread.on_page(page(4_100, 0, 1_000)), "a reader that slept for longer than retention");
    }

    #[test]
    fn a_place_that_is_cut_anyway_has_no_gap_before_its_first_page() {
        let mut unread = Unread::from(Beginning::Cut, &[], Millis(0));
        let read = |behind_ms| Read { asked: Millis(9), horizon: Millis(8), behind_ms, ..Read::default() };
        assert!(!unread.on_page(read(5)));
        assert!(unread.on_page(read(0)));
    }

    #[test]
    fn what_arrived_long_ago_is_quiet_long_before_it_may_be_gone() {
        let hour = 3_600_000;
        let day = Kept { created: Millis(hour), retention_ms: 24 * hour };
        let at = |now| (day.age(Millis(now)), day.horizon(Millis(now)), day.quiet(Millis(now)));
        assert_eq!(at(2 * hour - 1), (Age::Young, Millis(0), Millis(0)), "a stream that is new is not quiet");
        assert_eq!(at(2 * hour), (Age::Young, Millis(0), Millis(hour)));
        assert_eq!(at(25 * hour - 1), (Age::Young, Millis(0), Millis(24 * hour - 1)));
        assert_eq!(at(25 * hour), (Age::Old, Millis(hour), Millis(24 * hour)));
        let short = Kept { created: Millis(0), retention_ms: 12_000 };
        assert_eq!(short.quiet(Millis(20_000)), Millis(17_000), "a quarter where that is less");
    }
}

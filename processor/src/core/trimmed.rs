//! Whether records after a place may be gone: because nobody read the shard for a retention period, or because a reader
//! that is far behind was overtaken by retention between two pages.
//!
//! Only how long records have waited is judged, never what the stream still shows there: what is older than retention
//! may go while it is read. So the answer errs to the safe side: a cut window is never written, and one that was not
//! whole must not be.

use schemas::lease::{Beginning, Tail};
use schemas::mutant::{self, Mutant};
use schemas::time::Millis;

/// How a page was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// When it was asked for, by the reader's wall clock.
    pub asked: Millis,
    /// What arrived before this may be gone, as of when the page came, by the same clock; 0 when nothing can be.
    pub horizon: Millis,
    /// How far its end was behind the tip, in ms.
    pub behind_ms: u64,
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
        let page = |asked, behind_ms, retention_ms: u64| Read {
            asked: Millis(asked),
            horizon: Millis(asked.saturating_sub(retention_ms)),
            behind_ms,
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
        assert!(!unread.on_page(Read { asked: Millis(9), horizon: Millis(8), behind_ms: 5 }));
        assert!(unread.on_page(Read { asked: Millis(9), horizon: Millis(8), behind_ms: 0 }));
    }
}

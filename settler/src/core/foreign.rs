//! What lies in the outbox and can be neither settled nor held: remembered, so that it is told once and not read again
//! at every look.
//!
//! What is remembered is read again now and then, for someone may have mended it. Memory and lines of log have a bound,
//! whatever somebody puts into the table: how many entries found no room is not known, for each of them is met again at
//! every look, and so it is only said that there are some.

use std::collections::BTreeMap;
use std::time::Duration;

/// Keys of an item.
type Key = (String, String);

/// Most entries that are remembered: a key has at most 3 KB, so this is 12 MB at worst, and half a megabyte as a rule.
pub const REMEMBERED_MAX: usize = 4_096;
/// After this long an entry is read again: it may have been mended.
pub const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// An entry that was not met for this long has left the outbox.
const GONE_AFTER: Duration = Duration::from_secs(300);
/// Most entries that are told one by one in [`TELL_EVERY`].
const TOLD_MAX: usize = 20;
/// Between two lots of lines.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Between two lines that say that there are entries beyond those that are remembered.
const TELL_BEYOND_EVERY: Duration = Duration::from_secs(60);

/// The entries that are known.
#[derive(Debug, Default)]
pub struct Foreign {
    known: BTreeMap<Key, Known>,
    told_at: Option<Duration>,
    /// Whether an entry found no room since that was told.
    has_beyond: bool,
    beyond_told_at: Option<Duration>,
}

#[derive(Debug)]
struct Known {
    reason: String,
    read_at: Duration,
    is_told: bool,
}

/// What is to be told now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ToTell {
    /// Entries that were never told, with the reason why each is not ours.
    pub entries: Vec<(Key, String)>,
    /// How many more are remembered and were not told yet.
    pub more: usize,
    /// Whether there are entries beyond [`REMEMBERED_MAX`], which nobody counts.
    pub has_beyond: bool,
}

impl Foreign {
    /// Whether this entry was found foreign so short a time ago that it is not read again.
    #[must_use]
    pub fn is_known(&self, key: &Key, now: Duration) -> bool {
        self.known.get(key).is_some_and(|known| now.saturating_sub(known.read_at) < AGAIN_AFTER)
    }

    /// An entry was found foreign; answers whether for the first time.
    pub fn note(&mut self, key: Key, reason: String, now: Duration) -> bool {
        if let Some(known) = self.known.get_mut(&key) {
            known.is_told &= known.reason == reason;
            (known.reason, known.read_at) = (reason, now);
            return false;
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.known.retain(|_, known| now.saturating_sub(known.read_at) < GONE_AFTER);
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.has_beyond = true;
            return false;
        }
        self.known.insert(key, Known { reason, read_at: now, is_told: false });
        true
    }

    /// An entry was found in order.
    pub fn forget(&mut self, key: &Key) {
        self.known.remove(key);
    }

    /// What is told now; none when there is nothing new, or it is too early.
    pub fn to_tell(&mut self, now: Duration) -> Option<ToTell> {
        if self.told_at.is_some_and(|at| now.saturating_sub(at) < TELL_EVERY) {
            return None;
        }
        let mut told = ToTell::default();
        for (key, known) in self.known.iter_mut().filter(|(_, known)| !known.is_told) {
            if told.entries.len() < TOLD_MAX {
                known.is_told = true;
                told.entries.push((key.clone(), known.reason.clone()));
            } else {
                told.more += 1;
            }
        }
        let is_due = self.beyond_told_at.is_none_or(|at| now.saturating_sub(at) >= TELL_BEYOND_EVERY);
        if self.has_beyond && is_due {
            (told.has_beyond, self.has_beyond, self.beyond_told_at) = (true, false, Some(now));
        }
        if told == ToTell::default() {
            return None;
        }
        self.told_at = Some(now);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn key(number: usize) -> Key {
        (format!("OTHER#{number:06}"), "x".to_owned())
    }

    fn noted(foreign: &mut Foreign, numbers: std::ops::Range<usize>, now: Duration) -> usize {
        numbers.filter(|number| foreign.note(key(*number), "no state".to_owned(), now)).count()
    }

    #[test]
    fn what_is_known_is_counted_and_told_once_and_read_again_after_a_minute() {
        let mut foreign = Foreign::default();
        assert_eq!(noted(&mut foreign, 0..1, S), 1);
        assert!(foreign.is_known(&key(0), S * 60) && !foreign.is_known(&key(0), S * 61));
        assert_eq!(foreign.to_tell(S).unwrap().entries, [(key(0), "no state".to_owned())]);
        assert_eq!(noted(&mut foreign, 0..1, S * 61), 0, "it was counted");
        assert!(foreign.is_known(&key(0), S * 62));
        assert_eq!(foreign.to_tell(S * 99), None);
        foreign.forget(&key(0));
        assert!(!foreign.is_known(&key(0), S * 62), "it was mended");
        assert_eq!(noted(&mut foreign, 0..1, S * 63), 1, "and is spoilt again");
    }

    #[test]
    fn another_reason_is_told_too() {
        let mut foreign = Foreign::default();
        noted(&mut foreign, 0..1, S);
        assert!(foreign.to_tell(S).is_some());
        foreign.note(key(0), "its state is SOLD".to_owned(), S * 70);
        assert_eq!(foreign.to_tell(S * 70).unwrap().entries[0].1, "its state is SOLD");
    }

    #[test]
    fn every_entry_is_told_in_its_turn_and_never_many_at_once() {
        let mut foreign = Foreign::default();
        noted(&mut foreign, 0..50, S);
        let mut told = Vec::new();
        for (seconds, more) in [(1, 30), (12, 10), (23, 0)] {
            let lot = foreign.to_tell(S * seconds).unwrap();
            assert!(lot.entries.len() <= TOLD_MAX && lot.more == more, "{lot:?}");
            assert_eq!(foreign.to_tell(S * (seconds + 9)), None, "too early");
            told.extend(lot.entries.into_iter().map(|(key, _)| key));
        }
        assert_eq!(told, (0..50).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn memory_has_a_bound_and_what_left_the_outbox_makes_room() {
        let mut foreign = Foreign::default();
        assert_eq!(noted(&mut foreign, 0..REMEMBERED_MAX + 5, S), REMEMBERED_MAX);
        assert_eq!(foreign.known.len(), REMEMBERED_MAX);
        // Every look meets them again: that makes one entry no more than one.
        for _ in 0..3 {
            assert_eq!(noted(&mut foreign, REMEMBERED_MAX..REMEMBERED_MAX + 5, S), 0);
        }
        let told = foreign.to_tell(S).unwrap();
        assert_eq!((told.more, told.has_beyond), (REMEMBERED_MAX - TOLD_MAX, true), "none is kept quiet");
        noted(&mut foreign, REMEMBERED_MAX..REMEMBERED_MAX + 5, S * 2);
        let told = foreign.to_tell(S * 12).unwrap();
        assert_eq!((told.more, told.has_beyond), (REMEMBERED_MAX - 2 * TOLD_MAX, false), "said a moment ago");
        assert!(foreign.to_tell(S * 70).unwrap().has_beyond, "and said again while it lasts");
        let later = S + GONE_AFTER;
        assert_eq!(noted(&mut foreign, REMEMBERED_MAX..REMEMBERED_MAX + 5, later), 5);
        assert_eq!(foreign.known.len(), 5);
    }
}

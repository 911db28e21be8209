//! Finds few things that are looked for often: by hash, in a table that is mostly empty.
//!
//! Where [`super::index::Index`] spares memory, this spares steps: the first entry is most often the last one looked
//! at. As there, the owner keeps the things in a list and says which are the same.

use super::index::{Put, Tag, wide};

/// Entries per thing, at least.
const ROOM: usize = 4;
/// Entries of the smallest table that holds something; as with all others a power of two.
const ENTRIES_MIN: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: Tag,
    /// The thing's place plus one; 0 when the entry is free.
    after: u32,
}

/// Places by tag.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// As many as a power of two, or none.
    entries: Vec<Entry>,
    /// Things so far, which is the next one's place.
    length: u32,
}

impl Sparse {
    /// The place of the same thing, or the free entry where the search ended.
    #[inline]
    fn search(&self, tag: Tag, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let Some(last) = self.entries.len().checked_sub(1) else { return Err(0) };
        let mut at = tag.low() & last;
        loop {
            let entry = self.entries[at];
            let Some(place) = entry.after.checked_sub(1) else { return Err(at) };
            if entry.tag == tag && same(place) {
                return Ok(place);
            }
            at = (at + 1) & last;
        }
    }

    /// The place of the same thing.
    #[inline]
    pub(super) fn find(&self, tag: Tag, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(tag, same).ok()
    }

    /// The place of the same thing; when there is none, the next place is its own from now on.
    pub(super) fn find_or_put(&mut self, tag: Tag, same: impl Fn(u32) -> bool) -> Put {
        if wide(self.length) * ROOM >= self.entries.len() {
            self.grow();
        }
        match self.search(tag, same) {
            Ok(found) => Put::Found(found),
            Err(free) => {
                self.length = self.length.checked_add(1).expect("a window holds fewer than 2^32 of anything");
                self.entries[free] = Entry { tag, after: self.length };
                Put::New
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let entries = (self.entries.len() * 2).max(ENTRIES_MIN);
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); entries]);
        for entry in old.into_iter().filter(|entry| entry.after != 0) {
            let free = self.search(entry.tag, |_| false).expect_err("nothing is the same");
            self.entries[free] = entry;
        }
    }

    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(mut self) -> Self {
        if !super::index::is_worth_keeping(wide(self.length) * ROOM, self.entries.len()) {
            return Self::default();
        }
        self.entries.fill(Entry::default());
        self.length = 0;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::index::Key;

    #[test]
    fn what_was_put_is_found_through_growth_and_gone_when_emptied() {
        let mut sparse = Sparse::default();
        // Three things share each hash, and neighbours of a full table run over its end.
        let tag = |thing: u32| Key::default().pair(thing / 3, 0).tag();
        assert_eq!(sparse.find(tag(0), |_| true), None);
        for thing in 0..3_000 {
            assert_eq!(sparse.find_or_put(tag(thing), |at| at == thing), Put::New);
            assert_eq!(sparse.find_or_put(tag(thing), |at| at == thing), Put::Found(thing));
        }
        for thing in 0..3_000 {
            assert_eq!(sparse.find(tag(thing), |at| at == thing), Some(thing));
        }
        assert_eq!(sparse.find(tag(7), |_| false), None);
        let mut sparse = sparse.emptied();
        assert!(!sparse.entries.is_empty());
        assert!((0..3_000).all(|thing| sparse.find(tag(thing), |_| true).is_none()));
        sparse.find_or_put(tag(0), |_| false);
        assert!(sparse.emptied().entries.is_empty(), "memory for thousands was kept for one");
    }
}

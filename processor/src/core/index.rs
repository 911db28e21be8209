//! Finds things by hash: where each lies in a list that its owner keeps.
//!
//! An entry is nine bytes whatever the size of the things, and a search most often reads one cache line, all of it at
//! once. The things themselves stand one after another, so a new one is written where the last was. Never compares
//! things itself: a tag only says where to look, and the owner says whether it is the same.

use schemas::ids::{Region, SequenceNumber};

/// Entries that are searched at once: with their marks they fill a cache line.
const WIDTH: usize = 7;
/// Memory that was filled to less than one part in so many is not kept: a burst must not hold it for ever.
const SPARE_PART: usize = 8;
/// Buckets of the smallest index that holds something; as with all others a power of two.
const BUCKETS_MIN: usize = 2;
/// The lowest bit of every byte.
const LOWEST: u64 = u64::from_ne_bytes([1; 8]);
/// The highest bit of every entry's byte.
const HIGHEST: u64 = LOWEST << 7 >> 8;

/// What a thing's hash is cut down to; its highest bits say where a search begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    /// The tag as a number, of which the lowest bits differ as much as all others.
    #[inline]
    pub(super) fn low(self) -> usize {
        wide(self.0)
    }

    /// Eight bits of it, never zero, which marks what is free.
    #[inline]
    fn mark(self) -> u64 {
        u64::from(self.0 & 0xFF | 1)
    }
}

/// What a search for a thing that was to stand in its list came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It stands at this place already.
    Found(u32),
    /// It is to be put at the end of the list.
    New,
}

/// Places by tag; filled from the front.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// One byte for each entry, the first one's lowest.
    marks: u64,
    tags: [u32; WIDTH],
    places: [u32; WIDTH],
}

impl Bucket {
    /// The highest bit of the byte of each entry with this mark, and at times of others behind it. All are compared at
    /// once, so no branch depends on where it stands.
    #[inline]
    fn matching(&self, mark: u64) -> u64 {
        let differ = self.marks ^ (mark * LOWEST);
        differ.wrapping_sub(LOWEST) & !differ & HIGHEST
    }

    /// The place of the same thing.
    #[inline]
    fn find(&self, tag: Tag, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut matching = self.matching(tag.mark());
        while matching != 0 {
            let entry = wide(matching.trailing_zeros() / 8);
            if self.tags[entry] == tag.0 && same(self.places[entry]) {
                return Some(self.places[entry]);
            }
            matching &= matching - 1;
        }
        None
    }

    /// Whether no entry is free.
    #[inline]
    fn is_full(&self) -> bool {
        self.marks > u64::MAX >> 16
    }

    /// Fills the first free entry.
    #[inline]
    fn put(&mut self, tag: Tag, place: u32) {
        let at = self.filled();
        self.marks |= tag.mark() << (8 * at);
        (self.tags[at], self.places[at]) = (tag.0, place);
    }

    /// Entries that are filled.
    #[inline]
    fn filled(&self) -> usize {
        8 - wide(self.marks.leading_zeros() / 8)
    }
}

/// Places by tag, in buckets that are searched upwards when full. On average at most `FILL` of a bucket's entries are
/// filled: most of them where memory is much, fewer where it is little and a second bucket would cost more.
#[derive(Debug, Default)]
pub(super) struct Index<const FILL: usize> {
    /// As many as a power of two, or none.
    buckets: Vec<Bucket>,
    /// Things so far, which is the next one's place.
    length: u32,
    /// Things at which it grows.
    limit: u32,
    /// By how much a tag is shifted to where its search begins.
    shift: u32,
}

/// A place as an index into a list.
#[inline]
pub(super) fn wide(place: u32) -> usize {
    usize::try_from(place).expect("32 bits fit")
}

/// Whether memory for so many is to be kept for the next window, when this one filled it so far.
pub(super) fn is_worth_keeping(filled: usize, capacity: usize) -> bool {
    filled >= capacity / SPARE_PART
}

/// An empty list with memory that is worth keeping. Memory fresh from the system costs more than most that is done
/// with it.
pub(super) fn emptied<T>(mut list: Vec<T>) -> Vec<T> {
    if !is_worth_keeping(list.len(), list.capacity()) {
        return Vec::new();
    }
    list.clear();
    list
}

/// The place behind the last of so many things.
#[inline]
pub(super) fn place(length: usize) -> u32 {
    u32::try_from(length).expect("a window holds fewer than 2^32 of anything")
}

impl<const FILL: usize> Index<FILL> {
    #[inline]
    fn home(&self, tag: Tag) -> usize {
        wide(tag.0.wrapping_shr(self.shift))
    }

    /// The place of the same thing.
    #[inline]
    pub(super) fn find(&self, tag: Tag, same: impl Fn(u32) -> bool) -> Option<u32> {
        let last = self.buckets.len().checked_sub(1)?;
        let mut at = self.home(tag);
        loop {
            let bucket = &self.buckets[at];
            match bucket.find(tag, &same) {
                None if bucket.is_full() => at = (at + 1) & last,
                found => return found,
            }
        }
    }

    /// The place of the same thing; when there is none, the next place is its own from now on.
    #[inline]
    pub(super) fn find_or_put(&mut self, tag: Tag, same: impl Fn(u32) -> bool) -> Put {
        if self.length == self.limit {
            self.grow();
        }
        match self.put_at(tag, self.length, same) {
            Some(found) => Put::Found(found),
            None => {
                self.length += 1;
                Put::New
            }
        }
    }

    /// The place of the same thing; when there is none, this place is put where the search ended.
    #[inline]
    fn put_at(&mut self, tag: Tag, place: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let (last, mut at) = (self.buckets.len().wrapping_sub(1), self.home(tag));
        loop {
            let bucket = &mut self.buckets[at];
            let found = bucket.find(tag, &same);
            if found.is_some() {
                return found;
            }
            if !bucket.is_full() {
                bucket.put(tag, place);
                return None;
            }
            at = (at + 1) & last;
        }
    }

    /// Where a thing most likely is, by its tag alone: the place plus one, 0 when it is most likely nowhere.
    #[inline]
    pub(super) fn guess(&self, tag: Tag) -> u32 {
        let Some(bucket) = self.buckets.get(self.home(tag)) else { return 0 };
        let matching = bucket.matching(tag.mark());
        // A third of all bids have no match: a branch would be foretold wrong too often.
        let place = bucket.places[wide(matching.trailing_zeros() / 8).min(WIDTH - 1)];
        (place + 1) * u32::from(matching != 0)
    }

    /// Reads where a search for a tag begins, so that it is near when it is searched.
    #[inline]
    pub(super) fn touch(&self, tag: Tag) -> u32 {
        self.buckets.get(self.home(tag)).map_or(0, |bucket| bucket.tags[0])
    }

    #[cold]
    fn grow(&mut self) {
        let buckets = (self.buckets.len() * 2).max(BUCKETS_MIN);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        self.shift = u32::BITS - buckets.trailing_zeros();
        self.limit = place(buckets * FILL);
        for bucket in &old {
            for (tag, place) in bucket.tags.into_iter().zip(bucket.places).take(bucket.filled()) {
                self.put_at(Tag(tag), place, |_| false);
            }
        }
    }

    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(mut self) -> Self {
        if !is_worth_keeping(wide(self.length), self.buckets.len() * WIDTH) {
            return Self::default();
        }
        self.buckets.fill(Bucket::default());
        self.length = 0;
        self
    }
}

/// Hashes chained from a slot to its accounts and bids: what is equal hashes alike, and no memory is needed
/// for any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(u64);

/// What hashes are mixed with. Bidders choose their ids, so it is drawn from something that nobody knows before the
/// stream has written it, and that is the same whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// Digits of the golden ratio, of pi and of e: odd, and no pattern in their bits.
const MIXERS: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0x2437_54DF_96E1_8A6D, 0xADF8_5458_A2BB_4A9B];

/// Both halves of a product, one over the other.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

impl Default for Key {
    fn default() -> Self {
        Self(MIXERS[0])
    }
}

impl Key {
    /// A key drawn from a record's number.
    pub(super) fn of(sequence: &SequenceNumber) -> Self {
        let step = |key: u64, digit: u8| fold(key ^ u64::from(digit), MIXERS[1]);
        Self(sequence.as_str().bytes().fold(MIXERS[0], step))
    }

    /// The beginning of a chain: a slot.
    #[inline]
    pub(super) fn begin(self, id: &[u8; 16]) -> Chain {
        Chain(MIXERS[2] ^ self.0.rotate_left(32)).id(id, self)
    }

    /// A region.
    #[inline]
    pub(super) fn region(self, region: &Region) -> Chain {
        let [first, second, third] = region.words();
        Chain(fold(fold(first ^ MIXERS[2], second ^ self.0) ^ third, MIXERS[1]))
    }

    /// Two numbers.
    pub(super) fn pair(self, first: u32, second: u32) -> Chain {
        Chain(fold((u64::from(first) << 32 | u64::from(second)) ^ self.0, MIXERS[1]))
    }
}

impl Chain {
    /// The chain with an id behind it.
    #[inline]
    pub(super) fn id(self, id: &[u8; 16], key: Key) -> Chain {
        let id = u128::from_le_bytes(*id);
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
        Chain(fold(half(id) ^ self.0, half(id >> 64) ^ key.0))
    }

    /// What an index takes.
    #[inline]
    pub(super) fn tag(self) -> Tag {
        Tag(u32::try_from(self.0 >> 32).expect("32 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64, high: u64) -> [u8; 16] {
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }

    #[test]
    fn what_was_put_is_found_through_growth_and_gone_when_cleared() {
        let mut index = Index::<5>::default();
        let things: Vec<u64> = (0..5_000).collect();
        // Every tag is shared by eight things, and the highest run over the end of the entries.
        let tag = |thing: u64| Tag(u32::MAX - u32::try_from(thing / 8).unwrap() * 3);
        assert_eq!(index.find(tag(0), |_| true), None);
        for thing in &things {
            assert_eq!(index.find_or_put(tag(*thing), |at| things[wide(at)] == *thing), Put::New);
        }
        for (place, thing) in (0..).zip(&things) {
            let same = |at: u32| things[wide(at)] == *thing;
            assert_eq!(index.find(tag(*thing), same), Some(place));
            assert_eq!(index.find_or_put(tag(*thing), same), Put::Found(place));
        }
        assert_eq!(index.find(tag(7), |_| false), None);
        let mut index = index.emptied();
        assert!(things.iter().all(|thing| index.find(tag(*thing), |_| true).is_none()));
        assert!(!index.buckets.is_empty());
        index.find_or_put(tag(0), |_| false);
        assert!(index.emptied().buckets.is_empty(), "memory for thousands was kept for one");
    }

    #[test]
    fn ids_that_differ_in_few_bits_spread() {
        let key = Key::of(&"49590338271490256608559692538361571095921575989136588898".parse().unwrap());
        let begin = key.begin(&id(1, 2));
        for stride in [1, 1 << 8, 1 << 32, 1 << 40] {
            for at in [|n: u64| id(n, 0x8000), |n: u64| id(0x4000, n)] {
                let mut homes = vec![0_u32; 1 << 12];
                (0..1 << 12).for_each(|n| homes[wide(begin.id(&at(n * stride), key).tag().0 >> 20)] += 1);
                // Thrown by chance the fullest of as many homes as things has 6 to 9.
                let fullest = homes.into_iter().max().unwrap();
                assert!(fullest <= 12, "{fullest} of stride {stride}");
            }
        }
    }

    #[test]
    fn the_key_is_the_records_and_nobody_elses() {
        let key = |text: &str| Key::of(&text.parse().unwrap());
        assert_eq!(key("495903382714902566"), key("495903382714902566"));
        assert_ne!(key("495903382714902566"), key("495903382714902567"));
        assert_ne!(key("12"), key("21"));
    }
}

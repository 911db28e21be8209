//! Which shard owns a slot: MD5 of the slot's lower-case text against inclusive ranges of 128 bits.
//!
//! Source: Kinesis API reference, `PutRecord` (PartitionKey) and `HashKeyRange`.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

use crate::ids::SlotId;

/// A point in the hash space of a stream; decimal text on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

impl HashKey {
    /// The hash key of a partition key: MD5 of its UTF-8 as a big-endian integer.
    #[must_use]
    pub fn of_partition_key(key: &str) -> Self {
        Self(u128::from_be_bytes(Md5::digest(key.as_bytes()).into()))
    }

    /// The hash key of a slot, whatever partition key its record carried.
    #[must_use]
    pub fn of_slot(slot: &SlotId) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Self::of_partition_key(slot.0.as_hyphenated().encode_lower(&mut text))
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HashKey {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a shard owns; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashRange {
    /// The lowest key, inclusive.
    pub start: HashKey,
    /// The highest key, inclusive.
    pub end: HashKey,
}

impl HashRange {
    /// The whole space.
    pub const ALL: HashRange = HashRange { start: HashKey(0), end: HashKey(u128::MAX) };

    /// Whether the range holds the key.
    #[must_use]
    pub fn owns(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_md5_as_a_big_endian_integer() {
        // `printf a | md5sum` prints 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(HashKey::of_partition_key("a").0, 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
        let slot: SlotId = "AAAAAAAA-0000-4000-8000-000000000001".parse().unwrap();
        assert_eq!(
            HashKey::of_slot(&slot),
            HashKey::of_partition_key("aaaaaaaa-0000-4000-8000-000000000001")
        );
        assert!(HashRange::ALL.owns(HashKey(u128::MAX)));
    }
}

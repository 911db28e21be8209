//! Identifiers that cannot hold a bad value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The sixteen bytes, big-endian, as in RFC 9562.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// An id from its sixteen big-endian bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// An ad slot that is auctioned again and again.
    SlotId
);
uuid_id!(
    /// One offer; unique within its account and auction.
    BidId
);
uuid_id!(
    /// Who pays, or who is paid.
    AccountId
);
uuid_id!(
    /// `UUIDv5(slot, window start)`: see [`crate::settlement`].
    SettlementId
);

/// Longest region code in bytes.
pub const REGION_BYTES_MAX: usize = 24;

/// The region of the edge that took a bid: 1 to 24 bytes of lower-case ASCII letters, digits and `-`, and not `-` alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    bytes: [u8; REGION_BYTES_MAX],
    length: u8,
}

/// Why a text is no region code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a region is 1 to 24 lower-case letters, digits and hyphens")]
pub struct RegionError;

impl Region {
    /// Stands for a region that could not be read.
    pub const UNREADABLE: Region = {
        let mut bytes = [0; REGION_BYTES_MAX];
        bytes[0] = b'-';
        Region { bytes, length: 1 }
    };

    /// Reads what totals are of: a region, [`Region::UNREADABLE`] or [`Region::OTHERS`].
    ///
    /// # Errors
    /// When it is none of these.
    pub fn of_totals(text: &str) -> Result<Region, RegionError> {
        let known = [Self::UNREADABLE, Self::OTHERS].into_iter().find(|known| known.as_str() == text);
        known.map_or_else(|| text.parse(), Ok)
    }

    /// Stands in an aggregate, and among totals, for all regions that are not named.
    pub const OTHERS: Region = {
        let mut bytes = [0; REGION_BYTES_MAX];
        bytes[0] = b'*';
        Region { bytes, length: 1 }
    };

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("only ASCII is ever stored")
    }

    /// The code in numbers, zeros after its end: different codes have different ones. For hashing.
    #[inline]
    #[must_use]
    pub fn words(&self) -> [u64; 3] {
        let (words, _) = self.bytes.as_chunks();
        [0, 1, 2].map(|at| u64::from_le_bytes(words[at]))
    }
}

impl Region {
    /// A region from the bytes of its code.
    ///
    /// # Errors
    /// When they are no code.
    pub fn from_ascii(text: &[u8]) -> Result<Self, RegionError> {
        let mut bytes = [0; REGION_BYTES_MAX];
        let length = u8::try_from(text.len()).map_err(|_| RegionError)?;
        let place = bytes.get_mut(..text.len()).ok_or(RegionError)?;
        match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            // Two halves that may overlap: copies of fixed lengths, where most codes are.
            (Some(first), Some(last)) if text.len() <= 16 => {
                place[..8].copy_from_slice(first);
                place[text.len() - 8..].copy_from_slice(last);
            }
            _ => place.copy_from_slice(text),
        }
        // All places at once, with or without a letter: no branch depends on the length.
        let good = |b: u8| u8::from(b.is_ascii_lowercase() | b.is_ascii_digit() | (b == b'-'));
        let letters = bytes.iter().fold(0, |letters, b| letters + good(*b));
        let is_code = letters == length && length > 0 && text != Self::UNREADABLE.as_str().as_bytes();
        if is_code { Ok(Self { bytes, length }) } else { Err(RegionError) }
    }
}

impl FromStr for Region {
    type Err = RegionError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_ascii(text.as_bytes())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.as_str())
    }
}

/// A shard's name, as the stream gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub String);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record's place in its shard: a decimal integer of about 56 digits.
///
/// Compared as a number, never as text: the digits differ in count between shards of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(String);

/// Why a text is no sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sequence number is 1 to 128 decimal digits")]
pub struct SequenceNumberError;

impl SequenceNumber {
    /// The decimal digits without leading zeros.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SequenceNumber {
    type Err = SequenceNumberError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SequenceNumberError);
        }
        let trimmed = text.trim_start_matches('0');
        Ok(Self(if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }))
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = SequenceNumberError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SequenceNumber> for String {
    fn from(number: SequenceNumber) -> Self {
        number.0
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_compare_as_numbers_not_as_text() {
        let nine: SequenceNumber = "9".parse().unwrap();
        let ten: SequenceNumber = "0010".parse().unwrap();
        assert!(nine < ten);
        assert_eq!(ten.as_str(), "10");
        assert!("".parse::<SequenceNumber>().is_err() && "1a".parse::<SequenceNumber>().is_err());
    }

    #[test]
    fn a_region_is_a_short_lower_case_code() {
        let region: Region = "eu-central-1".parse().unwrap();
        assert_eq!(region.as_str(), "eu-central-1");
        for bad in ["", "-", "EU", "a b", "é", "a\0", "\0", "aaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
        assert_eq!([Region::UNREADABLE.as_str(), Region::OTHERS.as_str()], ["-", "*"]);
        assert!("*".parse::<Region>().is_err(), "no edge can call itself so");
    }
}

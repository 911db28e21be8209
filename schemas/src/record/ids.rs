//! Columns of UUIDs: what is the same in all of them is stored once, what is random is packed.
//!
//! A version 4 UUID has 122 random bits and takes 122; of a version 7 bid id the time is the distance from the bid's
//! event time, which is nothing when the id gave the event its time.

use bincode::{BorrowDecode, Encode};

use super::bits::mask;
use super::column::{Broken, Column};

/// UUIDs as two columns of 64 bits each, big-endian halves; how many stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum Ids<'a> {
    /// Both halves whole.
    Whole { high: Column<'a>, low: Column<'a> },
    /// Version and variant are equal in all: `mark = version << 2 | variant`; `high` has the other 60 bits of its
    /// half, `low` the other 62.
    Marked { mark: u8, high: Column<'a>, low: Column<'a> },
    /// Version 7, variant 2, beside one time per id: `lag` is the zigzag distance from that time to the id's own,
    /// `high` the 12 bits after the version, `low` the 62 after the variant.
    Timed { lag: Column<'a>, high: Column<'a>, low: Column<'a> },
}

const VERSION_7: u8 = 7 << 2 | 2;
const LOW_BITS: u32 = 62;

impl Ids<'_> {
    /// Ids beside which no time stands.
    pub(super) fn of(ids: impl Iterator<Item = [u8; 16]> + Clone) -> Ids<'static> {
        let halves = ids.map(halves);
        match common_mark(halves.clone()) {
            Some(mark) => Ids::Marked {
                mark,
                high: column(halves.clone().map(|(high, _)| unmark(high))),
                low: column(halves.map(|(_, low)| low & mask(LOW_BITS))),
            },
            None => Ids::Whole {
                high: column(halves.clone().map(|(high, _)| high)),
                low: column(halves.map(|(_, low)| low)),
            },
        }
    }

    /// Ids with a time in ms for each.
    pub(super) fn of_timed(ids: impl Iterator<Item = [u8; 16]> + Clone, times: &[u64]) -> Ids<'static> {
        if common_mark(ids.clone().map(halves)) != Some(VERSION_7) {
            return Ids::of(ids);
        }
        let halves = ids.map(halves);
        Ids::Timed {
            lag: column(
                halves.clone().zip(times).map(|((high, _), time)| zigzag((high >> 16).wrapping_sub(*time))),
            ),
            high: column(halves.clone().map(|(high, _)| high & mask(12))),
            low: column(halves.map(|(_, low)| low & mask(LOW_BITS))),
        }
    }

    /// All ids, one for each time; without times there are `count` and none may need one.
    pub(super) fn read(&self, count: usize, times: &[u64]) -> Result<Vec<[u8; 16]>, Broken> {
        let (mark, high, low) = match self {
            Ids::Whole { high, low } => {
                let halves = high.read(count)?.into_iter().zip(low.read(count)?);
                return Ok(halves.map(|(high, low)| joined(high, low)).collect());
            }
            Ids::Marked { mark, high, low } if *mark < 64 => (*mark, high.read(count)?, low.read(count)?),
            Ids::Timed { lag, high, low } if times.len() == count => {
                let (lag, high) = (lag.read(count)?, high.read(count)?);
                let time = |(time, lag): (&u64, u64)| time.wrapping_add(unzigzag(lag)) & mask(48);
                let times = times.iter().zip(lag).map(time);
                let high = times.zip(high).map(|(time, high)| time << 12 | (high & mask(12))).collect();
                (VERSION_7, high, low.read(count)?)
            }
            _ => return Err(Broken("a block's ids are of no known form")),
        };
        let (version, variant) = (u64::from(mark >> 2), u64::from(mark & 3));
        let halves = high.into_iter().zip(low);
        Ok(halves
            .map(|(high, low)| {
                let high = high >> 12 << 16 | version << 12 | (high & mask(12));
                joined(high, variant << LOW_BITS | (low & mask(LOW_BITS)))
            })
            .collect())
    }
}

fn column(values: impl Iterator<Item = u64>) -> Column<'static> {
    Column::of(&values.collect::<Vec<_>>())
}

fn halves(id: [u8; 16]) -> (u64, u64) {
    let id = u128::from_be_bytes(id);
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
    (half(id >> 64), half(id))
}

fn joined(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// A high half without its version.
fn unmark(high: u64) -> u64 {
    high >> 16 << 12 | (high & mask(12))
}

/// Version and variant, when all ids have the same.
fn common_mark(mut halves: impl Iterator<Item = (u64, u64)>) -> Option<u8> {
    let mark =
        |(high, low): (u64, u64)| u8::try_from((high >> 12 & 0xF) << 2 | low >> LOW_BITS).expect("six bits");
    let first = mark(halves.next()?);
    halves.all(|halves| mark(halves) == first).then_some(first)
}

/// A difference in two's complement with its sign in the lowest bit, so that small ones of both signs are small.
fn zigzag(difference: u64) -> u64 {
    let sign = if difference >> 63 == 0 { 0 } else { u64::MAX };
    difference << 1 ^ sign
}

fn unzigzag(coded: u64) -> u64 {
    let sign = if coded & 1 == 0 { 0 } else { u64::MAX };
    coded >> 1 ^ sign
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(ids: &Ids<'_>) -> usize {
        bincode::encode_to_vec(ids, bincode::config::standard()).unwrap().len()
    }

    /// Random-looking bytes with a version.
    fn id(n: u32, version: u8) -> [u8; 16] {
        let mut id = *crate::settlement::settlement_id(
            &crate::ids::SlotId::from_bytes([7; 16]),
            crate::time::Millis(u64::from(n)),
        )
        .as_bytes();
        id[6] = version << 4 | id[6] & 0xF;
        id
    }

    #[test]
    fn the_fixed_bits_of_version_4_cost_nothing() {
        let ids: Vec<_> = (0..1_000).map(|n| id(n, 4)).collect();
        let column = Ids::of(ids.iter().copied());
        assert!(size(&column) <= 1_000 * 122 / 8 + 32, "{}", size(&column));
        assert_eq!(column.read(1_000, &[]).unwrap(), ids);
    }

    #[test]
    fn the_time_in_a_version_7_id_costs_nothing_when_it_is_the_events() {
        let times: Vec<u64> = (0..1_000).map(|n| 1_795_000_000_000 + n % 50).collect();
        let timed = |(n, time): (u32, &u64)| {
            let mut id = id(n, 7);
            id[..6].copy_from_slice(&time.to_be_bytes()[2..]);
            id
        };
        let ids: Vec<_> = (0..).zip(&times).map(timed).collect();
        let column = Ids::of_timed(ids.iter().copied(), &times);
        assert!(size(&column) <= 1_000 * 74 / 8 + 32, "{}", size(&column));
        assert_eq!(column.read(1_000, &times).unwrap(), ids);
        assert_eq!(column.read(1_000, &[]), Err(Broken("a block's ids are of no known form")));
    }

    proptest! {
        #[test]
        fn ids_come_back(
            ids in proptest::collection::vec(any::<[u8; 16]>(), 0..80), version in 0..20_u8, time in any::<u64>(),
        ) {
            let stamp = |mut id: [u8; 16]| {
                if version < 16 {
                    (id[6], id[8]) = (version << 4 | id[6] & 0xF, 0x80 | id[8] & 0x3F);
                }
                id
            };
            let ids: Vec<_> = ids.into_iter().map(stamp).collect();
            let times = vec![time; ids.len()];
            prop_assert_eq!(&Ids::of(ids.iter().copied()).read(ids.len(), &[]).unwrap(), &ids);
            prop_assert_eq!(&Ids::of_timed(ids.iter().copied(), &times).read(ids.len(), &times).unwrap(), &ids);
        }
    }
}

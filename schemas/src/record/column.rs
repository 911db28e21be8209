//! A column of integers in the fewest bytes: constant, packed, or split into byte planes that zstd shrinks.
//!
//! Every value is `base + step * offset`. Offsets are packed when their bits are near random; when some are likelier
//! than others their highest 8 or 16 bits stand in planes of one byte each, so that zstd's entropy coder sees one
//! distribution at a time, and only the rest is packed. Reading allocates `count` values and two planes of `count`
//! bytes, whatever the input says.

use std::borrow::Cow;
use std::cell::RefCell;

use bincode::{BorrowDecode, Encode};
use zstd::bulk::{Compressor, Decompressor};

use super::bits;

/// Columns shorter than this are packed: no table of an entropy coder pays for itself.
const PLANE_VALUES_MIN: usize = 48;
/// Offsets wider than this are ids or hashes, and random.
const PLANE_WIDTH_MAX: u32 = 48;
/// The fast end: the entropy coder does the work, matches are rare in planes.
const ZSTD_LEVEL: i32 = 1;

/// A column as it stands in a block; how many values it has stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum Column<'a> {
    /// Every value is this one.
    Same(u64),
    /// Offsets of `width` bits.
    Packed { base: u64, step: u64, width: u8, offsets: Cow<'a, [u8]> },
    /// `offset = ((high << 8 | middle) << width | low)`, without `<< 8 | middle` when there is no middle plane.
    Split { base: u64, step: u64, width: u8, low: Cow<'a, [u8]>, high: Plane<'a>, middle: Option<Plane<'a>> },
}

/// One byte of every value.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum Plane<'a> {
    /// The bytes themselves.
    Raw(Cow<'a, [u8]>),
    /// One zstd frame of them.
    Zstd(Cow<'a, [u8]>),
}

/// Why a block does not hold together: one fact from a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// A column does not hold what its count promises.
const LENGTH: Broken = Broken("a block's column is not as long as its bids");
/// A plane's frame is none of zstd, or longer than its values.
const FRAME: Broken = Broken("a block's column cannot be decompressed");

impl Column<'_> {
    /// The shortest column of those tried.
    pub(super) fn of(values: &[u64]) -> Column<'static> {
        let min = values.iter().copied().min().unwrap_or_default();
        let max = values.iter().copied().max().unwrap_or_default();
        if min == max {
            return Column::Same(min);
        }
        let step = common_step(values, min);
        let width = bits::width_of((max - min) / step);
        // A base costs up to nine bytes: none when it saves no bit.
        let base = if step == 1 && bits::width_of(max) == width { 0 } else { min };
        let offsets: Vec<u64> = match step {
            1 => values.iter().map(|value| value - base).collect(),
            step => values.iter().map(|value| (value - base) / step).collect(),
        };
        let packed = Column::Packed {
            base,
            step,
            width: narrow(width),
            offsets: Cow::Owned(bits::pack(offsets.iter().copied(), width)),
        };
        if offsets.len() < PLANE_VALUES_MIN || width > PLANE_WIDTH_MAX {
            return packed;
        }
        let one = split(base, step, width.saturating_sub(8), &offsets, Planes::One);
        let two = (width > 8).then(|| split(base, step, width.saturating_sub(16), &offsets, Planes::Two));
        [Some(one), two]
            .into_iter()
            .flatten()
            .fold(packed, |best, next| if next.size() < best.size() { next } else { best })
    }

    /// Bytes of what is stored, near enough to choose by.
    fn size(&self) -> usize {
        match self {
            Column::Same(_) => 0,
            Column::Packed { offsets, .. } => offsets.len(),
            Column::Split { low, high, middle, .. } => {
                6 + low.len() + high.bytes().len() + middle.as_ref().map_or(0, |plane| plane.bytes().len())
            }
        }
    }

    /// All `count` values.
    pub(super) fn read(&self, count: usize) -> Result<Vec<u64>, Broken> {
        let (base, step, values) = match self {
            Column::Same(value) => return Ok(vec![*value; count]),
            Column::Packed { base, step, width, offsets } => {
                let width = checked_width(*width, 64, offsets, count)?;
                (*base, *step, bits::unpack(offsets, width, count))
            }
            Column::Split { base, step, width, low, high, middle } => {
                let width = checked_width(*width, 48, low, count)?;
                let mut values = bits::unpack(low, width, count);
                let planes = [middle.as_ref(), Some(high)].into_iter().flatten();
                for (plane, shift) in planes.zip((width..).step_by(8)) {
                    for (value, byte) in values.iter_mut().zip(plane.read(count)?.iter()) {
                        *value |= u64::from(*byte) << shift;
                    }
                }
                (*base, *step, values)
            }
        };
        Ok(if step == 1 {
            values.into_iter().map(|offset| base.wrapping_add(offset)).collect()
        } else {
            values.into_iter().map(|offset| base.wrapping_add(step.wrapping_mul(offset))).collect()
        })
    }
}

fn narrow(width: u32) -> u8 {
    u8::try_from(width).expect("at most 64 bits")
}

fn checked_width(width: u8, max: u32, bytes: &[u8], count: usize) -> Result<u32, Broken> {
    let width = u32::from(width);
    if width <= max && bytes.len() == bits::bytes_for(count, width) { Ok(width) } else { Err(LENGTH) }
}

/// The greatest common divisor of all distances from the lowest value; at least one is above zero.
fn common_step(values: &[u64], min: u64) -> u64 {
    let mut step = 0;
    for value in values {
        let mut rest = value - min;
        while rest != 0 {
            (step, rest) = (rest, step % rest);
        }
        if step == 1 {
            break;
        }
    }
    step
}

/// How many planes a split has above its packed bits.
#[derive(Clone, Copy)]
enum Planes {
    One,
    Two,
}

fn split(base: u64, step: u64, width: u32, offsets: &[u64], planes: Planes) -> Column<'static> {
    let byte = |shift: u32| {
        let low_byte = |offset: &u64| u8::try_from(offset >> shift & 0xFF).expect("one byte");
        Plane::of(offsets.iter().map(low_byte).collect())
    };
    let (high, middle) = match planes {
        Planes::One => (byte(width), None),
        Planes::Two => (byte(width + 8), Some(byte(width))),
    };
    let low = Cow::Owned(bits::pack(offsets.iter().copied(), width));
    Column::Split { base, step, width: narrow(width), low, high, middle }
}

thread_local! {
    // A context is some hundred kilobytes: made once per thread, it keeps nothing between frames.
    static COMPRESSOR: RefCell<Compressor<'static>> =
        RefCell::new(Compressor::new(ZSTD_LEVEL).expect("zstd knows its own levels"));
    static DECOMPRESSOR: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("without a dictionary nothing can be wrong"));
}

impl Plane<'_> {
    fn of(bytes: Vec<u8>) -> Plane<'static> {
        let frame =
            COMPRESSOR.with_borrow_mut(|zstd| zstd.compress(&bytes)).expect("the buffer is large enough");
        if frame.len() < bytes.len() { Plane::Zstd(Cow::Owned(frame)) } else { Plane::Raw(Cow::Owned(bytes)) }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Plane::Raw(bytes) | Plane::Zstd(bytes) => bytes,
        }
    }

    /// Exactly `count` bytes; a frame of any other length is broken.
    fn read(&self, count: usize) -> Result<Cow<'_, [u8]>, Broken> {
        let bytes = match self {
            Plane::Raw(bytes) => Cow::Borrowed(bytes.as_ref()),
            Plane::Zstd(frame) => {
                let mut bytes = vec![0; count];
                let length = DECOMPRESSOR
                    .with_borrow_mut(|zstd| zstd.decompress_to_buffer(frame, bytes.as_mut_slice()))
                    .map_err(|_| FRAME)?;
                bytes.truncate(length);
                Cow::Owned(bytes)
            }
        };
        if bytes.len() == count { Ok(bytes) } else { Err(LENGTH) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(values: &[u64]) -> Vec<u8> {
        bincode::encode_to_vec(Column::of(values), bincode::config::standard()).unwrap()
    }

    fn read_back(bytes: &[u8], count: usize) -> Vec<u64> {
        let (column, used): (Column<'_>, usize) =
            bincode::borrow_decode_from_slice(bytes, bincode::config::standard()).unwrap();
        assert_eq!(used, bytes.len());
        column.read(count).unwrap()
    }

    #[test]
    fn equal_values_cost_nothing_and_common_factors_are_taken_out() {
        assert_eq!(Column::of(&[7; 1_000]), Column::Same(7));
        let cents: Vec<u64> = (0..16).map(|n| 1_000_000 + n * 100).collect();
        assert!(stored(&cents).len() < 20, "{:?}", Column::of(&cents));
        assert_eq!(read_back(&stored(&cents), 16), cents);
    }

    #[test]
    fn likely_values_cost_less_than_their_width() {
        // One bit each, and one in 64 values is wide.
        let values: Vec<u64> =
            (0..4_096_u64).map(|n| if n % 64 == 63 { n * 7 } else { n * n % 7 % 2 }).collect();
        let bytes = stored(&values);
        assert!(bytes.len() < 4_096 * 3 / 8, "{}", bytes.len());
        assert_eq!(read_back(&bytes, 4_096), values);
    }

    #[test]
    fn a_frame_of_another_length_is_broken() {
        let plane = Plane::of(vec![5; 100]);
        assert!(matches!(plane, Plane::Zstd(_)));
        assert_eq!(plane.read(100).unwrap().len(), 100);
        assert_eq!(plane.read(99), Err(FRAME));
        assert_eq!(plane.read(101), Err(LENGTH));
    }

    proptest! {
        #[test]
        fn a_column_comes_back(width in 0..64_u32, step in 1..1_000_u64, count in 0..300_usize, seed: u64) {
            let mixed = |n: usize| u64::try_from(n).unwrap().wrapping_mul(seed | 1).rotate_left(23);
            let values: Vec<u64> = (0..count).map(|n| (mixed(n) & bits::mask(width)) / step * step).collect();
            prop_assert_eq!(read_back(&stored(&values), count), values);
        }
    }
}

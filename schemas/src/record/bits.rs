//! Integers of one width, packed without gaps: the first value in the lowest bits of the first byte.
//!
//! Never reads past its input and never allocates; the caller has compared the length with [`bytes_for`].

/// Bytes that `count` values of `width` bits take.
pub(super) fn bytes_for(count: usize, width: u32) -> usize {
    (count * usize::try_from(width).expect("at most 64")).div_ceil(8)
}

/// The lowest `width` bits set, 0 to 64.
pub(super) fn mask(width: u32) -> u64 {
    1_u64.checked_shl(width).map_or(u64::MAX, |bit| bit - 1)
}

/// How many bits the value needs.
pub(super) fn width_of(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Packs the lowest `width` bits of each value, 0 to 64.
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_for(values.size_hint().0, width));
    let (mask, mut held, mut bits) = (mask(width), 0_u64, 0);
    for value in values {
        let value = value & mask;
        held |= value << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&held.to_le_bytes());
            bits -= 64;
            // What did not fit: all but the lowest `width - bits` bits, which may be all 64.
            held = value.checked_shr(width - bits).unwrap_or(0);
        }
    }
    let rest = usize::try_from(bits.div_ceil(8)).expect("at most 8");
    out.extend_from_slice(&held.to_le_bytes()[..rest]);
    out
}

/// Calls the reader that was made for a width, so that every shift in it is a constant.
macro_rules! for_width {
    ($width:expr, $bytes:expr, $out:expr; $($known:literal)*) => {
        match $width {
            $($known => groups::<$known>($bytes, $out),)*
            _ => 0,
        }
    };
}

/// As many values of `width` bits, 0 to 64.
pub(super) fn unpack(bytes: &[u8], width: u32, count: usize) -> Vec<u64> {
    let mut out = vec![0; count];
    let done = for_width!(width, bytes, &mut out;
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
    if width > 0 {
        for (out, index) in out[done..].iter_mut().zip(done..) {
            *out = value_at(bytes, width, index);
        }
    }
    out
}

/// Bytes that a value may touch: eight, and one more when it does not begin with a byte.
const TOUCHED: usize = 9;

/// Reads values in groups of eight, which are `WIDTH` bytes, as long as enough bytes follow; answers how many it read.
fn groups<const WIDTH: usize>(bytes: &[u8], out: &mut [u64]) -> usize {
    let mask = mask(u32::try_from(WIDTH).expect("at most 64"));
    let (groups, _) = out.as_chunks_mut::<8>();
    let mut done = 0;
    for (group, at) in groups.iter_mut().zip((0..).step_by(WIDTH)) {
        let Some(bytes) = bytes.get(at..at + WIDTH + TOUCHED) else { break };
        for (value, index) in group.iter_mut().zip(0..) {
            let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
            let (low, rest) = bytes[byte..].split_first_chunk().expect("nine bytes follow");
            let low = u64::from_le_bytes(*low) >> shift;
            // Only a wide value reaches into the ninth.
            let high = if WIDTH + 7 > 64 { u64::from(rest[0]) << 1 << (63 - shift) } else { 0 };
            *value = (low | high) & mask;
        }
        done += 8;
    }
    done
}

/// The value at `index` of values of `width` bits, 1 to 64.
fn value_at(bytes: &[u8], width: u32, index: usize) -> u64 {
    let bit = index * usize::try_from(width).expect("at most 64");
    let value = (u128::from_le_bytes(window(bytes, bit / 8)) >> (bit % 8)) & u128::from(mask(width));
    u64::try_from(value).expect("masked to at most 64 bits")
}

/// Sixteen bytes from `at`, zeros after the end.
fn window(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut padded = [0; 16];
    let rest = bytes.get(at..).unwrap_or_default();
    let length = rest.len().min(16);
    padded[..length].copy_from_slice(&rest[..length]);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_values_come_back(width in 0..=64_u32, values in proptest::collection::vec(any::<u64>(), 0..200)) {
            let packed = pack(values.iter().copied(), width);
            prop_assert_eq!(packed.len(), bytes_for(values.len(), width));
            let expected: Vec<u64> = values.iter().map(|value| value & mask(width)).collect();
            prop_assert_eq!(unpack(&packed, width, values.len()), expected);
        }
    }
}

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

/// Packs the lowest `width` bits of each value.
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_for(values.size_hint().0, width));
    let (mut held, mut bits) = (0_u128, 0);
    for value in values {
        held |= u128::from(value & mask(width)) << bits;
        bits += width;
        if bits >= 64 {
            let low = u64::try_from(held & u128::from(u64::MAX)).expect("64 bits");
            out.extend_from_slice(&low.to_le_bytes());
            held >>= 64;
            bits -= 64;
        }
    }
    let rest = usize::try_from(bits.div_ceil(8)).expect("at most 8");
    out.extend_from_slice(&held.to_le_bytes()[..rest]);
    out
}

/// The value at `index` of values of `width` bits, 0 to 64.
#[inline]
pub(super) fn value_at(bytes: &[u8], width: u32, index: usize) -> u64 {
    let bit = index * usize::try_from(width).expect("at most 64");
    let (byte, shift) = (bit / 8, bit % 8);
    // A value touches at most nine bytes; the last few values of a column have fewer behind them.
    if let Some((low, [ninth])) = bytes.get(byte..byte + 9).and_then(|nine| nine.split_first_chunk()) {
        let high = u64::from(*ninth) << 1 << (63 - shift);
        return (u64::from_le_bytes(*low) >> shift | high) & mask(width);
    }
    let value = (u128::from_le_bytes(window(bytes, byte)) >> shift) & u128::from(mask(width));
    u64::try_from(value).expect("masked to at most 64 bits")
}

/// Sixteen bytes from `at`, zeros after the end.
#[cold]
fn window(bytes: &[u8], at: usize) -> [u8; 16] {
    match bytes.get(at..at + 16).and_then(|exact| exact.try_into().ok()) {
        Some(exact) => exact,
        None => {
            let mut padded = [0; 16];
            let rest = bytes.get(at..).unwrap_or_default();
            let length = rest.len().min(16);
            padded[..length].copy_from_slice(&rest[..length]);
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_values_come_back(width in 0..=64_u32, values in proptest::collection::vec(any::<u64>(), 0..40)) {
            let packed = pack(values.iter().copied(), width);
            prop_assert_eq!(packed.len(), bytes_for(values.len(), width));
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(value_at(&packed, width, index), value & mask(width));
            }
        }
    }
}

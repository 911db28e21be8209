//! All chance of a world: SplitMix64, seeded once and forked by labels.
//!
//! A draw depends on the seed and on what it is for, never on what was drawn elsewhere: when an operation is taken out
//! of a script, the rest of the world keeps its luck, which is what makes shrinking work. The algorithm is written here
//! so that no new version of a library gives old seeds another history.

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A source from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed ^ 0x05EE_D0FA_0A1D) }
    }

    /// A source of its own for what the labels name.
    #[must_use]
    pub fn of(seed: u64, labels: [u64; 3]) -> Self {
        let state = labels.into_iter().fold(mix(seed), |state, label| mix(state ^ mix(label)));
        Self { state }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound.max(1));
        u64::try_from(wide >> 64).expect("the upper half of a product of 64-bit numbers")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A small number below `bound`.
    pub fn index(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("an index fits 64 bits");
        usize::try_from(self.below(bound)).expect("below a bound that fits")
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// Whether something of this probability, in parts of a thousand, happens.
    pub fn happens(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// A number in `[0, 1)`, as the cores want their jitter.
    #[expect(clippy::float_arithmetic, reason = "jitter is chance, not money or time that is kept")]
    pub fn unit(&mut self) -> f64 {
        let top = u32::try_from(self.draw() >> 32).expect("the upper half of a 64-bit number");
        f64::from(top) / 4_294_967_296.0
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_bounds_and_labels_do_not_share_luck() {
        let mut chance = Chance::new(1);
        assert!((0..1_000).all(|_| chance.below(7) < 7));
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&chance.unit())));
        let first = |labels| Chance::of(1, labels).draw();
        assert_ne!(first([1, 2, 3]), first([1, 2, 4]));
        assert_ne!(first([1, 2, 3]), first([2, 1, 3]));
        assert_eq!(first([1, 2, 3]), first([1, 2, 3]));
    }
}

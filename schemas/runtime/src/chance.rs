//! Chance, for edges only; cores take what was drawn as an argument.

/// A number in `[0, 1)`.
#[must_use]
pub fn unit() -> f64 {
    rand::random()
}

/// A seed for what wants its own sequence.
#[must_use]
pub fn seed() -> u64 {
    rand::random()
}

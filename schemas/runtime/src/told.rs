//! What lasts is told again now and then, not with each attempt.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines about the same trouble.
const EVERY: Duration = Duration::from_secs(10);

/// When a trouble was told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<Instant>>);

impl Told {
    /// Whether it is time to tell it; then it counts as told.
    #[must_use]
    pub fn may_tell(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let may = last.is_none_or(|at| at.elapsed() >= EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_at_first() {
        let told = Told::default();
        assert!(told.may_tell() && !told.may_tell() && Told::default().may_tell());
    }
}

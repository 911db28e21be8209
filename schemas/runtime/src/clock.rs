//! The wall clock, for edges only; cores take `now` as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use schemas::time::Millis;

/// The wall clock, 0 before the epoch.
#[must_use]
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

//! What one shard takes, learned from its throttling: additive increase, multiplicative decrease.
//!
//! A shard that never throttled is not paced at all. The first throttled entry sets the pace below what a shard is
//! known to carry; each further one lowers it, and every second in which the pace held records back without one
//! raises it, until it is so far above what a shard carries that nothing limits it any more. Never looks at another
//! shard, so that a hot one slows only itself.

use schemas::limits::{SHARD_WRITE_BYTES_PER_S, SHARD_WRITE_RECORDS_PER_S};

/// What a shard takes a second, in the cost of [`cost`].
const SHARD_COST_PER_S: u64 = widen(SHARD_WRITE_BYTES_PER_S);
/// A record costs at least this: a shard takes only so many records a second.
const RECORD_COST_MIN: u64 = widen(SHARD_WRITE_BYTES_PER_S).div_ceil(widen(SHARD_WRITE_RECORDS_PER_S));
/// Added each second that passes without throttling: a shard's full pace is found again within a dozen seconds.
const RAISE_PER_S: u64 = SHARD_COST_PER_S / 40;
/// Never slower: one probing record of the default size each few seconds.
const PACE_MIN: u64 = SHARD_COST_PER_S / 64;
/// A pace that was held back and never throttled up to here is no limit.
const PACE_MAX: u64 = SHARD_COST_PER_S * 2;
/// Entries of requests sent together are throttled together and are one sign, not many.
const CUT_EVERY_MS: u64 = 500;
/// A shard that refuses has given this second's share away: nothing is tried for a part of what is left of it.
const PAUSE_MS: u64 = 250;
/// What may be sent at once after a pause, as time at the pace.
const BURST_MS: u64 = 200;

/// `u64::from` where a constant is wanted.
const fn widen(value: u32) -> u64 {
    let bytes = value.to_be_bytes();
    u64::from_be_bytes([0, 0, 0, 0, bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// What a record takes of its shard's second.
#[must_use]
pub fn cost(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).max(RECORD_COST_MIN)
}

/// The pace of one shard.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    pace: Option<Pace>,
}

#[derive(Clone, Debug)]
struct Pace {
    per_s: u64,
    /// When the next record may go: each one moves it by its cost.
    free_ms: u64,
    cut_ms: u64,
    raised_ms: u64,
    held_back: bool,
}

impl Pacer {
    /// When the next record may go; 0 when nothing is known against it.
    #[must_use]
    pub fn free_ms(&self) -> u64 {
        self.pace.as_ref().map_or(0, |pace| pace.free_ms)
    }

    /// Whether a record may go now. Saying no is what lets the pace rise.
    pub fn poll(&mut self, now_ms: u64) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        let free = pace.free_ms <= now_ms;
        pace.held_back |= !free;
        free
    }

    /// Takes what was sent into account.
    pub fn on_sent(&mut self, cost: u64, now_ms: u64) {
        let Some(pace) = &mut self.pace else { return };
        let earliest = now_ms.saturating_sub(BURST_MS);
        let takes_ms = cost.saturating_mul(1_000) / pace.per_s;
        pace.free_ms = pace.free_ms.max(earliest).saturating_add(takes_ms);
    }

    /// A record was stored: the pace rises when it held anything back.
    pub fn on_stored(&mut self, now_ms: u64) {
        let Some(pace) = &mut self.pace else { return };
        let passed_ms = now_ms.saturating_sub(pace.raised_ms);
        if passed_ms < BURST_MS {
            return;
        }
        pace.raised_ms = now_ms;
        if std::mem::take(&mut pace.held_back) {
            pace.per_s += RAISE_PER_S * passed_ms.min(1_000) / 1_000;
        }
        if pace.per_s >= PACE_MAX {
            self.pace = None;
        }
    }

    /// The shard refused a record for its rate.
    pub fn on_throttled(&mut self, now_ms: u64) {
        let per_s = match &self.pace {
            Some(pace) if now_ms.saturating_sub(pace.cut_ms) < CUT_EVERY_MS => return,
            Some(pace) => pace.per_s,
            None => SHARD_COST_PER_S,
        };
        let per_s = (per_s * 7 / 10).max(PACE_MIN);
        let free_ms = now_ms.saturating_add(PAUSE_MS);
        self.pace = Some(Pace { per_s, free_ms, cut_ms: now_ms, raised_ms: now_ms, held_back: false });
    }

    /// Cost a second; none while nothing limits it.
    #[must_use]
    pub fn per_s(&self) -> Option<u64> {
        self.pace.as_ref().map(|pace| pace.per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard of a true capacity that throttles what is above it, served for `seconds` by one who has always more.
    fn served(capacity_per_s: u64, seconds: u64) -> (u64, u64, Pacer) {
        let mut pacer = Pacer::default();
        let (mut stored, mut throttled, mut second, mut left) = (0, 0, 0, capacity_per_s);
        for now_ms in 0..seconds * 1_000 {
            if now_ms / 1_000 != second {
                (second, left) = (now_ms / 1_000, capacity_per_s);
            }
            // At most ten tries a millisecond, as requests have an end too.
            for _ in 0..10 {
                if !pacer.poll(now_ms) {
                    break;
                }
                pacer.on_sent(cost(2_000), now_ms);
                if left >= 2_000 {
                    left -= 2_000;
                    stored += 2_000;
                    pacer.on_stored(now_ms);
                } else {
                    throttled += 1;
                    pacer.on_throttled(now_ms);
                }
            }
        }
        (stored, throttled, pacer)
    }

    #[test]
    fn a_limited_shard_is_kept_busy_and_seldom_throttles() {
        for capacity in [SHARD_COST_PER_S, SHARD_COST_PER_S / 3] {
            let (stored, throttled, pacer) = served(capacity, 120);
            assert!(stored * 100 > capacity * 120 * 80, "{stored} of {}", capacity * 120);
            assert!(throttled * 2_000 * 40 < stored, "{throttled} throttled against {stored} bytes");
            assert!(pacer.per_s().unwrap() < capacity * 2);
        }
    }

    #[test]
    fn a_shard_without_limits_is_paced_no_more_after_a_while() {
        let mut pacer = Pacer::default();
        pacer.on_throttled(0);
        assert!(pacer.per_s().is_some());
        let (mut now_ms, mut waited) = (0, 0);
        while pacer.per_s().is_some() {
            if pacer.poll(now_ms) {
                pacer.on_sent(cost(20_000), now_ms);
                pacer.on_stored(now_ms);
            } else {
                now_ms += 1;
                waited += 1;
            }
        }
        assert!(waited < 60_000, "{waited}");
        assert!(pacer.poll(now_ms) && pacer.free_ms() == 0);
    }

    #[test]
    fn entries_throttled_together_are_one_sign() {
        let mut pacer = Pacer::default();
        (0..50).for_each(|_| pacer.on_throttled(7));
        assert_eq!(pacer.per_s(), Some(SHARD_COST_PER_S * 7 / 10));
        pacer.on_throttled(7 + CUT_EVERY_MS);
        assert_eq!(pacer.per_s(), Some(SHARD_COST_PER_S * 7 / 10 * 7 / 10));
    }
}

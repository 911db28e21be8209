//! Changes of a stream's shards: split, merge, and a new count.
//!
//! Each is checked first and carried out afterwards, so that it can be written down in between.

use schemas::hash::{HashKey, HashRange};

use super::shard::{Shard, ShardId};
use super::stream::{Stream, even};
use super::{Limits, Refusal, refuse};

/// Shards one stream may have open: a bound against mistakes (Kinesis developer guide, quotas).
pub(crate) const SHARDS_MAX: u32 = 10_000;
/// Changes of the count in 24 hours (Kinesis API reference, `UpdateShardCount`).
const COUNTS_MAX: usize = 10;
const DAY_MS: u64 = 86_400_000;

/// A change of a stream's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Reshard {
    /// Splits an open shard; `at` becomes the start of the upper child.
    Split {
        /// The shard.
        shard: ShardId,
        /// The lowest key of the upper child.
        at: u128,
    },
    /// Merges two open shards whose ranges touch.
    Merge {
        /// The shard.
        shard: ShardId,
        /// Its neighbour.
        other: ShardId,
    },
    /// Splits and merges until the open shards are this many even ranges.
    Count {
        /// How many.
        target: u32,
    },
}

impl Stream {
    /// Whether a change is possible now.
    ///
    /// # Errors
    /// `InvalidArgumentException`, `ResourceNotFoundException` or `LimitExceededException`, as the service answers.
    pub fn check_reshard(&self, change: Reshard, now_ms: u64, limits: Limits) -> Result<(), Refusal> {
        let grows = match change {
            Reshard::Split { shard, at } => self.check_split(shard, at).map(|()| 1)?,
            Reshard::Merge { shard, other } => self.check_merge(shard, other).map(|()| 0)?,
            Reshard::Count { target } => self.check_count(target, now_ms, limits).map(|()| 0)?,
        };
        if self.open.len() + grows > super::usize_of(SHARDS_MAX) {
            return refuse(
                "LimitExceededException",
                format!("a stream has at most {SHARDS_MAX} open shards"),
            );
        }
        Ok(())
    }

    /// Carries a change out.
    ///
    /// # Errors
    /// As [`Stream::check_reshard`], without limits; then nothing has changed.
    pub fn reshard(&mut self, change: Reshard, now_ms: u64) -> Result<(), Refusal> {
        self.check_reshard(change, now_ms, Limits::Off)?;
        match change {
            Reshard::Split { shard, at } => self.split(shard, HashKey(at), now_ms),
            Reshard::Merge { shard, other } => self.merge(shard, other, now_ms),
            Reshard::Count { target } => self.count(target, now_ms),
        }
        Ok(())
    }

    fn check_open(&self, id: ShardId) -> Result<&Shard, Refusal> {
        let shard = self.shard(id)?;
        if shard.closed.is_some() {
            return refuse(
                "InvalidArgumentException",
                format!("Shard {id} is closed: it was split or merged before"),
            );
        }
        Ok(shard)
    }

    fn check_split(&self, id: ShardId, at: u128) -> Result<(), Refusal> {
        let HashRange { start, end } = self.check_open(id)?.range;
        // The service leaves neither child a single key.
        if at <= start.0.saturating_add(1) || at >= end.0 {
            return refuse(
                "InvalidArgumentException",
                format!(
                    "NewStartingHashKey {at} must be above {} and below {end} in shard {id}",
                    start.0.saturating_add(1)
                ),
            );
        }
        Ok(())
    }

    fn check_merge(&self, id: ShardId, other: ShardId) -> Result<(), Refusal> {
        let (one, two) = (self.check_open(id)?.range, self.check_open(other)?.range);
        let touch = |low: HashRange, high: HashRange| low.end.0.checked_add(1) == Some(high.start.0);
        if !touch(one, two) && !touch(two, one) {
            return refuse("InvalidArgumentException", format!("Shards {id} and {other} are not adjacent"));
        }
        Ok(())
    }

    fn check_count(&self, target: u32, now_ms: u64, limits: Limits) -> Result<(), Refusal> {
        if self.scales_itself() {
            return refuse(
                "InvalidArgumentException",
                "the shards of an on-demand stream are not the caller's",
            );
        }
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        if target == 0 || target > SHARDS_MAX || target > open.saturating_mul(2) || target < open.div_ceil(2)
        {
            return refuse(
                "InvalidArgumentException",
                format!("TargetShardCount {target} must be between half and twice the {open} open shards"),
            );
        }
        let recent = self.counted_ms.iter().filter(|at_ms| now_ms.saturating_sub(**at_ms) < DAY_MS).count();
        if limits == Limits::Aws && recent >= COUNTS_MAX {
            return refuse(
                "LimitExceededException",
                format!("the shard count changes at most {COUNTS_MAX} times in 24 hours"),
            );
        }
        Ok(())
    }

    fn split(&mut self, id: ShardId, at: HashKey, now_ms: u64) {
        let range = self.shards[&id].range;
        self.close(id, now_ms);
        let lower = self.make(HashRange { start: range.start, end: HashKey(at.0 - 1) }, vec![id], now_ms);
        let upper = self.make(HashRange { start: at, end: range.end }, vec![id], now_ms);
        self.beget(id, vec![lower, upper]);
    }

    fn merge(&mut self, id: ShardId, other: ShardId, now_ms: u64) {
        let (one, two) = (self.shards[&id].range, self.shards[&other].range);
        self.close(id, now_ms);
        self.close(other, now_ms);
        let range = HashRange { start: one.start.min(two.start), end: one.end.max(two.end) };
        let child = self.make(range, vec![id, other], now_ms);
        self.beget(id, vec![child]);
        self.beget(other, vec![child]);
    }

    fn beget(&mut self, parent: ShardId, children: Vec<ShardId>) {
        if let Some(parent) = self.shards.get_mut(&parent) {
            parent.children = children;
        }
    }

    /// Cuts at every new border, then merges what lies between two of them.
    fn count(&mut self, target: u32, now_ms: u64) {
        self.counted_ms.retain(|at_ms| now_ms.saturating_sub(*at_ms) < DAY_MS);
        self.counted_ms.push(now_ms);
        for range in even(target) {
            let cut = self.owner(range.start);
            if self.shards[&cut].range.start != range.start {
                self.split(cut, range.start, now_ms);
            }
        }
        for range in even(target) {
            loop {
                let first = self.open.partition_point(|(end, _)| *end < range.start);
                let Some([(end, one), (_, two)]) = self.open.get(first..first + 2) else { break };
                let (end, one, two) = (*end, *one, *two);
                if end >= range.end {
                    break;
                }
                self.merge(one, two, now_ms);
            }
        }
    }
}

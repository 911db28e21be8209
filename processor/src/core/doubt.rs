//! What becomes of a lease row whose place our processor did not write.
//!
//! Such a place may lie behind bids that nobody counted, or its clocks may belong to another place. So it is read from
//! as it stands, with the clock of its first record, and every window that may have begun before is cut. What the
//! stream itself says of a shard, its range and its parents, is taken from the stream.
//!
//! `closedThrough` stays as it is found, but never beyond the stream's clock. Lowering it could write windows again that
//! someone took care to keep unwritten, as `leases forget` does; where it was raised, the windows it passes are not
//! written. Both ways no auction is written from a part of its bids.

use std::collections::BTreeMap;
use std::fmt;

use schemas::ids::ShardId;
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::seal::Seal;
use schemas::time::Millis;

use super::lease::{Age, Listed};
use super::mutant::{self, Mutant};

/// A place that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Whose row it stands in.
    pub shard_id: ShardId,
    /// The checkpoint that was found.
    pub found: Checkpoint,
    /// Why it is not believed.
    pub seal: Seal,
    /// What becomes of the windows there.
    pub beginning: Beginning,
}

impl Doubt {
    /// The doubt about a row as it was found.
    #[must_use]
    pub fn of(row: &Lease, beginning: Beginning) -> Self {
        let (shard_id, found, seal) = (row.shard_id.clone(), row.checkpoint.clone(), row.seal.clone());
        Self { shard_id, found, seal, beginning }
    }
}

impl fmt::Display for Doubt {
    /// What does not agree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.seal.disagrees().unwrap_or_default())
    }
}

/// The rows as they may be believed, and what is not believed as it stands.
#[derive(Clone, Debug, Default)]
pub struct Believed {
    /// All rows, in the order in which they were given.
    pub rows: Vec<Lease>,
    /// The doubts, by shard.
    pub doubts: BTreeMap<ShardId, Doubt>,
}

/// Looks at all rows, beside the shards as the stream lists them.
#[must_use]
pub fn believe(rows: &[Lease], shards: &[Listed], (age, latest): (Age, Millis)) -> Believed {
    let mut believed = Believed::default();
    for row in rows {
        let shard = shards.iter().find(|shard| shard.shard_id == row.shard_id);
        let one = believe_one(row, shard, (age, latest));
        if !row.is_trusted() {
            believed.doubts.insert(row.shard_id.clone(), Doubt::of(row, one.beginning));
        }
        believed.rows.push(one);
    }
    believed
}

/// A row as it may be believed, of a stream of this age whose clock is at most `latest`.
#[must_use]
pub fn believe_one(row: &Lease, shard: Option<&Listed>, (age, latest): (Age, Millis)) -> Lease {
    if !row.is_trusted() {
        // Nothing that is still to come can have been closed.
        let closed_through = row.closed_through.min(latest);
        return Lease { closed_through, ..doubted(row, shard, age) };
    }
    let is_foreign = row.seal == Seal::Foreign && !mutant::is(Mutant::LineageOfTheRow);
    match shard.filter(|_| is_foreign) {
        Some(shard) => unread(row, shard, age),
        None => row.clone(),
    }
}

/// A row that another tool made for a shard of which nothing was read yet, as our processor would have made it. Which
/// shards it comes from is the stream's to say: a child that is read without its parents loses what they left open.
fn unread(row: &Lease, shard: &Listed, age: Age) -> Lease {
    let mut own =
        Lease { range: shard.range, parents: shard.parents.clone(), inherited: false, ..row.clone() };
    own.parents.sort_unstable();
    if own.parents.is_empty() && age == Age::Old {
        own.beginning = Beginning::Cut;
    }
    own
}

/// A row whose place is not believed, as it may be read from. A word such as `LATEST` has it read from the shard's
/// beginning, which is whole where nothing stood before it and nothing is gone.
fn doubted(row: &Lease, shard: Option<&Listed>, age: Age) -> Lease {
    let mut doubted = Lease { beginning: Beginning::Cut, inherited: true, ..row.clone() };
    doubted.tails.clear();
    doubted.replay_clock = Millis(0);
    if let Some(shard) = shard {
        doubted.range = shard.range;
        doubted.parents.clone_from(&shard.parents);
        doubted.parents.sort_unstable();
    }
    if matches!(row.checkpoint, Checkpoint::TrimHorizon | Checkpoint::Latest) {
        doubted.checkpoint = Checkpoint::TrimHorizon;
        if doubted.parents.is_empty() && age == Age::Young {
            doubted.beginning = Beginning::Whole;
        }
    }
    doubted
}

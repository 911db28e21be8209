//! Which leases a worker makes, takes, steals and removes, from what it sees in the table and its own monotonic clock.
//!
//! A row is written over the counter that was seen, so no counter may come back when a row goes and is made again: each
//! row begins far from where others began, at a hash of its maker's name.
//!
//! There is no clock in the table: a lease is expired when its counter stood still for the failover time of whoever
//! watches it. A child is taken only when all its parents have ended; the take copies what they left, and a parent's
//! row goes only after every child has copied it. A lease of a living owner is asked for, not snatched: the owner
//! finishes what it holds, writes its last checkpoint and hands over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::seal::Seal;
use schemas::time::Millis;

use super::doubt::{Believed, Doubt, believe};
use super::mutant::{self, Mutant};

/// A shard as the stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub shard_id: ShardId,
    /// What it owns.
    pub range: HashRange,
    /// Its parents, whether or not the stream still lists them.
    pub parents: Vec<ShardId>,
    /// Whether it takes records.
    pub is_open: bool,
}

/// Whether a shard's oldest record is surely its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The stream is younger than its retention: nothing was trimmed.
    Young,
    /// It is older, or its age is unknown.
    Old,
}

/// How much more a worker may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// Its fair share.
    Share,
    /// Nothing: its memory is in use.
    Nothing,
}

/// What a worker sees when it looks.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// All rows of the lease table.
    pub rows: &'a [Lease],
    /// All shards of the stream.
    pub shards: &'a [Listed],
    /// How old the stream is.
    pub age: Age,
    /// The latest that its clock may stand at.
    pub latest: Millis,
    /// When the stream was made, where it is known: rows are marked with it.
    pub created: Option<Millis>,
    /// Shards that this worker reads now.
    pub held: &'a BTreeSet<ShardId>,
    /// How much more it may take.
    pub appetite: Appetite,
}

/// What to do about the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put a row where none stands.
    Make(Lease),
    /// Put a row over one whose counter is `seen`, then hold it, unless its owner has to hand it over first.
    Take {
        /// The row.
        row: Lease,
        /// The counter that must stand there.
        seen: u64,
        /// What of it, or of what it inherits, was not believed.
        doubts: Vec<Doubt>,
    },
    /// Hold a row that is this worker's already: it was handed over, or the reply to its take was lost.
    Hold(Lease),
    /// Remove a row whose counter is `seen`.
    Remove {
        /// The shard.
        shard_id: ShardId,
        /// The counter that must stand there.
        seen: u64,
        /// Why.
        reason: Removal,
    },
}

/// Why a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It ended, and all its children have copied what it left.
    Inherited,
    /// The stream no longer has the shard, and it was not read to its end: what it held is lost.
    Gone,
}

/// What a worker remembers of the leases it saw.
#[derive(Debug)]
pub struct Watch {
    worker: String,
    failover: Duration,
    seen: BTreeMap<ShardId, (u64, Duration)>,
    /// Rows made so far.
    made: u64,
}

type Rows<'a> = BTreeMap<&'a ShardId, &'a Lease>;
type Doubts = BTreeMap<ShardId, Doubt>;

impl Watch {
    /// A watch that saw nothing yet. `worker` must be a name that no other process ever had or has.
    #[must_use]
    pub fn new(worker: String, failover: Duration) -> Self {
        Self { worker, failover, seen: BTreeMap::new(), made: 0 }
    }

    /// Looks at all leases at `now` of a monotonic clock and answers what to do.
    pub fn on_look(&mut self, look: &Look<'_>, now: Duration) -> Vec<Action> {
        self.remember(look.rows, now);
        let Believed { rows: believed, doubts } = believe(look.rows, look.shards, (look.age, look.latest));
        let look = &Look { rows: &believed, ..*look };
        let rows: Rows<'_> = look.rows.iter().map(|row| (&row.shard_id, row)).collect();
        let mut actions = self.make(look, &rows);
        actions.extend(self.remove(look, &rows, now));
        actions.extend(self.take(look, (&rows, &doubts), now));
        actions
    }

    /// Leases of which nothing was heard for twice the failover time although they could be read.
    #[must_use]
    pub fn unread(&self, rows: &[Lease], now: Duration) -> Vec<ShardId> {
        let by_id: Rows<'_> = rows.iter().map(|row| (&row.shard_id, row)).collect();
        let still = |row: &&Lease| self.still(row, now) >= self.failover * 2;
        let open = rows.iter().filter(|row| row.checkpoint != Checkpoint::ShardEnd);
        open.filter(still)
            .filter(|row| inherit(row, &by_id, &BTreeSet::new()).is_some())
            .map(|r| r.shard_id.clone())
            .collect()
    }

    fn remember(&mut self, rows: &[Lease], now: Duration) {
        let listed: BTreeSet<&ShardId> = rows.iter().map(|row| &row.shard_id).collect();
        self.seen.retain(|shard_id, _| listed.contains(shard_id));
        for row in rows {
            let entry = self.seen.entry(row.shard_id.clone()).or_insert((row.counter, now));
            if entry.0 != row.counter {
                *entry = (row.counter, now);
            }
        }
    }

    fn still(&self, row: &Lease, now: Duration) -> Duration {
        let since = self.seen.get(&row.shard_id).filter(|_| !mutant::is(Mutant::NeverExpires));
        since.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }

    /// Rows for listed shards that have none, and whose children have not all taken over.
    fn make(&mut self, look: &Look<'_>, rows: &Rows<'_>) -> Vec<Action> {
        let missing = look.shards.iter().filter(|shard| !rows.contains_key(&shard.shard_id));
        let needed = missing.filter(|shard| !is_finished(&shard.shard_id, look, rows));
        let make = |shard: &Listed| {
            let mut row = Lease::new(shard.shard_id.clone(), shard.range, shard.parents.clone());
            row.counter = self.first_counter();
            row.stream_created = look.created;
            if shard.parents.is_empty() && look.age == Age::Old {
                row.beginning = Beginning::Cut;
            }
            Action::Make(row)
        };
        needed.map(make).collect()
    }

    /// Where a new row's counter begins: 48 bits of a hash of what no other row has, this worker's name and a number.
    fn first_counter(&mut self) -> u64 {
        self.made += 1;
        let drawn = HashKey::of_partition_key(&format!("{} {}", self.worker, self.made)).0 >> 80;
        u64::try_from(drawn).expect("48 bits")
    }

    fn remove(&self, look: &Look<'_>, rows: &Rows<'_>, now: Duration) -> Vec<Action> {
        let is_listed = |row: &Lease| look.shards.iter().any(|shard| shard.shard_id == row.shard_id);
        let remove = |row: &Lease, reason| {
            let (shard_id, seen) = (row.shard_id.clone(), row.counter);
            Action::Remove { shard_id, seen, reason }
        };
        let mut actions = Vec::new();
        for row in look.rows {
            if row.checkpoint == Checkpoint::ShardEnd {
                let has_heirs = look.rows.iter().any(|heir| heir.parents.contains(&row.shard_id));
                let early = mutant::is(Mutant::ParentRowGoesEarly);
                let waits = |heir: &&Lease| heir.parents.contains(&row.shard_id) && !heir.inherited && !early;
                let all = !look.rows.iter().any(|heir| waits(&heir));
                let done = is_listed(row) && is_finished(&row.shard_id, look, rows);
                if all && (done || (has_heirs && !is_listed(row))) {
                    actions.push(remove(row, Removal::Inherited));
                }
            } else if !is_listed(row) && !look.shards.is_empty() && !look.held.contains(&row.shard_id) {
                let free = row.owner.is_none() || self.still(row, now) >= self.failover;
                if free {
                    actions.push(remove(row, Removal::Gone));
                }
            }
        }
        actions
    }

    fn take(&self, look: &Look<'_>, (rows, doubts): (&Rows<'_>, &Doubts), now: Duration) -> Vec<Action> {
        let listed: BTreeSet<&ShardId> = look.shards.iter().map(|shard| &shard.shard_id).collect();
        let is_open = |row: &&Lease| row.checkpoint != Checkpoint::ShardEnd && listed.contains(&row.shard_id);
        let mut open: Vec<Lease> =
            look.rows.iter().filter(is_open).filter_map(|row| inherit(row, rows, &listed)).collect();
        if !open.is_empty() {
            // Workers begin at different places, so that they do not all reach for the same lease.
            let turn = self.worker.bytes().fold(0_usize, |sum, b| sum.wrapping_mul(31) + usize::from(b));
            let length = open.len();
            open.rotate_left(turn % length);
        }
        let mut held: BTreeMap<&str, Vec<&Lease>> = BTreeMap::from([(self.worker.as_str(), Vec::new())]);
        let (mut free, mut actions) = (Vec::new(), Vec::new());
        let taken = |lease: &Lease, from| self.taken(lease, from, (look, rows, doubts));
        for lease in &open {
            let expired = self.still(lease, now) >= self.failover;
            match lease.owner.as_deref() {
                Some(owner) if owner == self.worker => {
                    held.entry(owner).or_default().push(lease);
                    if look.held.contains(&lease.shard_id) {
                        continue;
                    }
                    match &lease.checkpoint_owner {
                        // What is not believed is sealed first.
                        None if doubts.contains_key(&lease.shard_id) => actions.push(taken(lease, None)),
                        None => actions.push(Action::Hold(lease.clone())),
                        Some(_) if expired => actions.push(taken(lease, None)),
                        Some(_) => {}
                    }
                }
                Some(owner) if !expired => held.entry(owner).or_default().push(lease),
                // What this worker holds it hands over first, even to one that asked for it and stands still since.
                _ if look.held.contains(&lease.shard_id) => {}
                _ => free.push(lease),
            }
        }
        if look.appetite == Appetite::Nothing {
            return actions;
        }
        let mine = held[self.worker.as_str()].len();
        if !free.is_empty() {
            let room = open.len().div_ceil(held.len()).saturating_sub(mine);
            actions.extend(free.into_iter().take(room).map(|lease| taken(lease, None)));
            return actions;
        }
        let busiest = held.values().max_by_key(|leases| leases.len());
        let busiest = busiest.filter(|leases| leases.len() >= mine + 2);
        let asked = busiest.and_then(|leases| leases.iter().find(|lease| lease.checkpoint_owner.is_none()));
        actions.extend(asked.map(|lease| taken(lease, lease.owner.clone())));
        actions
    }

    /// The row as it stands once this worker took it, or asked `from` for it.
    fn taken(
        &self,
        lease: &Lease,
        from: Option<String>,
        (look, rows, doubts): (&Look<'_>, &Rows<'_>, &Doubts),
    ) -> Action {
        let switched = lease.owner.as_deref().is_some_and(|owner| owner != self.worker);
        let row = Lease {
            owner: Some(self.worker.clone()),
            checkpoint_owner: from,
            counter: lease.counter + 1,
            owner_switches: lease.owner_switches + u64::from(switched),
            stream_created: lease.stream_created.or(look.created),
            seal: Seal::Ours,
            ..lease.clone()
        };
        let inherits = rows.get(&lease.shard_id).is_some_and(|row| !row.inherited);
        let parents = lease.parents.iter().filter(|_| inherits);
        let of = parents.chain([&lease.shard_id]).filter_map(|shard_id| doubts.get(shard_id));
        Action::Take { row, seen: lease.counter, doubts: of.cloned().collect() }
    }
}

/// Whether a listed shard has children, and each has copied what it left or is finished itself.
fn is_finished(shard_id: &ShardId, look: &Look<'_>, rows: &Rows<'_>) -> bool {
    let mut children = look.shards.iter().filter(|shard| shard.parents.contains(shard_id)).peekable();
    children.peek().is_some()
        && children.all(|child| match rows.get(&child.shard_id) {
            Some(row) => row.inherited || mutant::is(Mutant::ParentRowGoesEarly),
            None => is_finished(&child.shard_id, look, rows),
        })
}

/// A lease with what its parents left; nothing while one of them has not ended. A parent that neither the table nor
/// the stream knows is lost, and what it left open with it.
fn inherit(lease: &Lease, rows: &Rows<'_>, listed: &BTreeSet<&ShardId>) -> Option<Lease> {
    if lease.inherited {
        return Some(lease.clone());
    }
    let mut child = Lease { inherited: true, tails: Vec::new(), ..lease.clone() };
    for parent in &lease.parents {
        match rows.get(parent) {
            Some(row) if mutant::is(Mutant::ChildTakenEarly) => child.tails.extend(row.tail()),
            Some(_) if mutant::is(Mutant::MergeInheritsOne) && !child.tails.is_empty() => {}
            Some(row) => child.tails.push(row.tail()?),
            None if listed.contains(parent) => return None,
            None => child.beginning = Beginning::Cut,
        }
    }
    Some(child)
}

/// The rows that are of another stream: of one that had the same name, or of one that has another.
pub fn former(rows: &[Lease], created: Option<Millis>) -> impl Iterator<Item = &Lease> {
    let is_other =
        move |row: &&Lease| created.is_some() && row.stream_created.is_some_and(|of| Some(of) != created);
    rows.iter().filter(is_other)
}

/// The parts of the hash space that no row reads: neither one that has not ended, nor one that has and whose children
/// have no rows yet. A row that says of a shard that takes records that it has ended reads nothing. `shards` must have
/// been listed after the rows were read.
#[must_use]
pub fn gaps(rows: &[Lease], shards: &[Listed]) -> Vec<HashRange> {
    let is_open = |row: &Lease| shards.iter().any(|shard| shard.is_open && shard.shard_id == row.shard_id);
    let has_heirs = |row: &Lease| rows.iter().any(|heir| heir.parents.contains(&row.shard_id));
    let waits = |row: &Lease| !has_heirs(row) && !is_open(row);
    let reads = |row: &&Lease| row.checkpoint != Checkpoint::ShardEnd || waits(row);
    let mut ranges: Vec<HashRange> = rows.iter().filter(reads).map(|row| row.range).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut gaps, mut next) = (Vec::new(), Some(0_u128));
    for range in ranges {
        let Some(from) = next else { break };
        if range.start.0 > from {
            gaps.push(HashRange { start: HashKey(from), end: HashKey(range.start.0 - 1) });
        }
        next = range.end.0.checked_add(1).map(|end| end.max(from));
    }
    gaps.extend(next.map(|from| HashRange { start: HashKey(from), end: HashRange::ALL.end }));
    gaps
}

#[cfg(test)]
mod tests;

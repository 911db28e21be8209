//! Rows of the lease table, judged as they are written: nothing that a checkpoint passes may still be open, and a
//! parent's row may go only when nothing needs it any more.

use schemas::ids::ShardId;
use schemas::lease::{Checkpoint, Lease, Tail};

use super::items::Items;
use super::log::{Log, Need};

/// A place in a shard that claims to be safe.
#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    shard_id: &'a ShardId,
    checkpoint: &'a Checkpoint,
    replay_clock: u64,
    closed_through: u64,
    /// Whether the clock of the checkpoint is part of the claim: with tails it is theirs.
    is_clock_own: bool,
}

/// Which windows of a shard may stay unwritten: those whose beginning retention may have taken away, and those that may
/// have begun before a place that another tool wrote.
pub(super) fn may_be_cut(log: &Log, trims: bool, shard: &ShardId, window: u64) -> bool {
    trims && may_be_trimmed(log, shard, window) || log.is_edited(shard) && may_be_skipped(log, shard, window)
}

/// Whether a window may have begun before a place in its shard, or in one that it comes from, that another tool wrote.
fn may_be_skipped(log: &Log, shard: &ShardId, window: u64) -> bool {
    let ahead = log.agreed.geometry.ahead_max_ms;
    let (mut lineage, mut edge) = (vec![shard], 0);
    while let Some(id) = lineage.pop() {
        let Some(one) = log.shards.get(id) else { continue };
        lineage.extend(&one.parents);
        for place in &one.edited {
            let next = one.records.iter().find(|record| record.sequence > *place);
            // Where nothing follows in a parent, its children's first record says how far is cut.
            let first = log.shards.get(shard).and_then(|own| own.records.first());
            match next.or(first.filter(|_| id != shard)) {
                Some(record) => edge = edge.max(record.clock + ahead),
                None => return true,
            }
        }
    }
    window <= edge
}

fn may_be_trimmed(log: &Log, shard: &ShardId, window: u64) -> bool {
    let ahead = log.agreed.geometry.ahead_max_ms;
    let mut lineage = vec![shard];
    let mut edge = 0;
    while let Some(id) = lineage.pop() {
        let Some(one) = log.shards.get(id) else { continue };
        lineage.extend(&one.parents);
        if one.cut_at > 0 {
            edge = edge.max(one.cut_at + ahead);
        }
        match one.records.get(one.trimmed) {
            Some(first) => edge = edge.max(first.clock + ahead),
            // Nothing is left of it, or nothing came yet: who reads it cannot know how far it sees.
            None if id == shard => return true,
            None => {}
        }
    }
    window <= edge
}

/// A row is written over another, or where none stood.
pub(super) fn on_row(
    log: &Log,
    items: &Items,
    trims: bool,
    (before, row): (Option<&Lease>, &Lease),
) -> Result<(), String> {
    let within = |wrong| format!("lease of {}: {wrong}", row.shard_id);
    if let Some(before) = before {
        if row.closed_through < before.closed_through {
            let (from, to) = (before.closed_through.0, row.closed_through.0);
            return Err(within(format!("closedThrough goes down from {from} to {to}")));
        }
        if row.counter <= before.counter {
            return Err(within("its counter does not go up".to_owned()));
        }
        if before.checkpoint == Checkpoint::ShardEnd && row.checkpoint != Checkpoint::ShardEnd {
            return Err(within("it was at its end and is read again".to_owned()));
        }
    }
    let at_end = row.checkpoint == Checkpoint::ShardEnd;
    let own = row.tail_checkpoint.as_ref().filter(|_| at_end).unwrap_or(&row.checkpoint);
    let claim = Claim {
        shard_id: &row.shard_id,
        checkpoint: own,
        replay_clock: row.replay_clock.0,
        closed_through: row.closed_through.0,
        is_clock_own: row.tails.is_empty() && own != &Checkpoint::TrimHorizon,
    };
    judge(log, items, trims, claim).map_err(within)?;
    if at_end {
        ended(log, items, trims, row).map_err(within)?;
    }
    row.tails.iter().try_for_each(|tail| judge_tail(log, items, trims, tail)).map_err(within)
}

/// At a shard's end its counts are durable, whatever window they are of.
fn ended(log: &Log, items: &Items, trims: bool, row: &Lease) -> Result<(), String> {
    let Some(shard) = log.shards.get(&row.shard_id) else {
        return Err("the stream has no such shard".to_owned());
    };
    if !shard.ended {
        return Err("it is at its end and the shard is open".to_owned());
    }
    let needs = shard.records.iter().flat_map(|record| &record.needs);
    let counts = needs.filter(|need| matches!(need, Need::Totals(..)));
    durable(log, items, trims, &row.shard_id, counts)
}

fn judge_tail(log: &Log, items: &Items, trims: bool, tail: &Tail) -> Result<(), String> {
    let claim = Claim {
        shard_id: &tail.shard_id,
        checkpoint: &tail.checkpoint,
        replay_clock: tail.replay_clock.0,
        closed_through: tail.closed_through.0,
        is_clock_own: tail.tails.is_empty() && tail.checkpoint != Checkpoint::TrimHorizon,
    };
    judge(log, items, trims, claim).map_err(|wrong| format!("tail of {}: {wrong}", tail.shard_id))?;
    tail.tails.iter().try_for_each(|own| judge_tail(log, items, trims, own))
}

fn judge(log: &Log, items: &Items, trims: bool, claim: Claim<'_>) -> Result<(), String> {
    let Some(shard) = log.shards.get(claim.shard_id) else {
        return Err("the stream has no such shard".to_owned());
    };
    let passed = match claim.checkpoint {
        Checkpoint::TrimHorizon => 0,
        Checkpoint::After(sequence) => {
            let number =
                sequence.as_str().parse::<u64>().map_err(|_| "its checkpoint is no number".to_owned())?;
            shard.records.partition_point(|record| record.sequence <= number)
        }
        Checkpoint::Latest | Checkpoint::ShardEnd => return Err("its checkpoint is no place".to_owned()),
    };
    let before = &shard.records[..passed];
    let may_differ = trims || log.is_edited(claim.shard_id);
    if let (Some(last), true, false) = (before.last(), claim.is_clock_own, may_differ)
        && last.clock != claim.replay_clock
    {
        return Err(format!("replayClock is {} and the clock there {}", claim.replay_clock, last.clock));
    }
    durable(log, items, trims, claim.shard_id, before.iter().flat_map(|record| &record.needs))?;
    let closed = log
        .closed
        .iter()
        .filter(|((_, window), (by, _))| by == claim.shard_id && log.passed(*window, claim.closed_through))
        .map(|((slot, window), _)| Need::Aggregate(*slot, *window));
    let counted = shard.totals.keys().filter(|(window, _)| log.passed(*window, claim.closed_through));
    let counted = counted.map(|(window, region)| Need::Totals(*region, *window, claim.shard_id.clone()));
    let all: Vec<Need> = closed.chain(counted).collect();
    durable(log, items, trims, claim.shard_id, all.iter()).map_err(|wrong| {
        format!("closedThrough {} passes what is not durable: {wrong}", claim.closed_through)
    })
}

fn durable<'a>(
    log: &Log,
    items: &Items,
    trims: bool,
    shard: &ShardId,
    needs: impl Iterator<Item = &'a Need>,
) -> Result<(), String> {
    for need in needs {
        let window = match need {
            Need::Aggregate(_, window) | Need::Totals(_, window, _) | Need::Hot(window, _) => *window,
        };
        let closer = match need {
            Need::Aggregate(slot, _) => log.closed.get(&(*slot, window)).map_or(shard, |(by, _)| by),
            Need::Totals(..) | Need::Hot(..) => shard,
        };
        if !items.written.contains(need) && !may_be_cut(log, trims, closer, window) {
            return Err(format!("{need:?} is not durable"));
        }
    }
    Ok(())
}

/// A row is deleted: every child must have copied what it needs.
pub(super) fn on_deleted(
    log: &Log,
    shard_id: &ShardId,
    rows: &[Lease],
    ever: &dyn Fn(&ShardId) -> bool,
) -> Result<(), String> {
    // What the stream no longer has is lost to its children whether or not its row stands.
    let Some(shard) = log.shards.get(shard_id).filter(|shard| !shard.expired) else { return Ok(()) };
    for child in &shard.children {
        let row = rows.iter().find(|row| row.shard_id == *child);
        // A row that went in order once may be made again by a worker that slept: then it is read again, and nothing new.
        let edited = log.shards.get(child).is_some_and(|one| !one.edited.is_empty());
        let copied = ever(child) || edited || row.is_some_and(|row| row.inherited);
        if !copied {
            return Err(format!("lease of {shard_id} is deleted before {child} has copied it"));
        }
    }
    if shard.children.is_empty() {
        return Err(format!("lease of {shard_id} is deleted and the shard has no children"));
    }
    Ok(())
}

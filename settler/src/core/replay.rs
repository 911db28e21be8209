//! Auctions of one window read from the log once more, by the rules of the shard machine.
//!
//! The clock is the highest arrival; a bid is judged by the shard its record lies in: stray, early, late, counted before,
//! copy, counted. What parents of the shard left is read first, each tail with its own clock and after those it is
//! preceded by. The reader that wrote the items kept the best of each auction; this one keeps the best bid of every
//! account, and what it finds must agree with the item before it is used.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::bid::Bid;
use schemas::geometry::{Geometry, Ranking};
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{AccountId, BidId, SequenceNumber, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, Replay};
use schemas::lease::{Checkpoint, Tail};
use schemas::money::Money;
use schemas::record::Decoded;
use schemas::time::Millis;

/// What the log holds of one auction.
#[derive(Clone, Debug, Default)]
pub struct Found {
    seen: BTreeSet<(AccountId, BidId)>,
    best: BTreeMap<AccountId, Candidate>,
    amount_sum: i128,
    duplicates: u64,
}

/// One shard to be read.
#[derive(Clone, Debug)]
struct Step {
    shard_id: ShardId,
    from: Checkpoint,
    clock: Millis,
    /// What this clock closed was counted before.
    closed_through: Millis,
    /// What it owns; none for the shard that closed the window, which owns the slots in question.
    range: Option<HashRange>,
    /// How many steps right before it are its own parents.
    parents: usize,
}

/// What a shard left at its end.
#[derive(Debug)]
struct Left {
    clock: Millis,
    found: Vec<Found>,
}

/// Reads the log of some auctions of one window.
#[derive(Debug)]
pub struct Reading {
    geometry: Geometry,
    window: Millis,
    /// By their places among what is found.
    slots: BTreeMap<SlotId, usize>,
    /// Shards to come, the next one last.
    steps: Vec<Step>,
    left: Vec<Left>,
    now: Option<(Step, Left)>,
    /// What was found, once the clock has passed the window.
    closed: Option<Vec<Found>>,
}

impl Reading {
    /// A reading of these slots in the window that starts there, which this shard closed.
    #[must_use]
    pub fn new(
        geometry: Geometry,
        window: Millis,
        (shard_id, replay): (&ShardId, &Replay),
        slots: impl IntoIterator<Item = SlotId>,
    ) -> Self {
        let mut steps = Vec::new();
        replay.tails.iter().for_each(|tail| enlist(tail, &mut steps));
        steps.push(Step {
            shard_id: shard_id.clone(),
            from: replay.checkpoint.clone(),
            clock: if replay.tails.is_empty() { replay.clock } else { Millis(0) },
            closed_through: Millis(0),
            range: None,
            parents: replay.tails.len(),
        });
        steps.reverse();
        let slots: BTreeSet<SlotId> = slots.into_iter().collect();
        let slots = slots.into_iter().zip(0..).collect();
        let mut new = Self { geometry, window, slots, steps, left: Vec::new(), now: None, closed: None };
        new.begin();
        new
    }

    /// The shard to read, and after which record; nothing once the window is closed, or when there is no more to read.
    #[must_use]
    pub fn reading(&self) -> Option<(&ShardId, &Checkpoint)> {
        self.now.as_ref().map(|(step, _)| (&step.shard_id, &step.from))
    }

    /// Takes the next record of the shard under way.
    pub fn on_record(&mut self, arrival: Millis, sequence: &SequenceNumber, decoded: &Decoded) {
        let Some((step, left)) = &mut self.now else { return };
        left.clock = left.clock.max(arrival);
        step.from = Checkpoint::After(sequence.clone());
        if self.geometry.passed(self.window, left.clock) {
            return self.on_passed();
        }
        let latest = self.geometry.latest(left.clock);
        for (sub_sequence, item) in (0..).zip(&decoded.items) {
            let Ok(bid) = item else { continue };
            let Some(place) = self.slots.get(&bid.slot_id) else { continue };
            let is_stray = step.range.is_some_and(|range| !range.owns(HashKey::of_slot(&bid.slot_id)));
            let is_other = self.geometry.window_start(bid.event_time) != self.window;
            let is_replayed = self.geometry.passed(self.window, step.closed_through);
            if is_other || is_stray || bid.event_time > latest || is_replayed {
                continue;
            }
            left.found[*place].add(bid, self.geometry.ranking, (&step.shard_id, sequence, sub_sequence));
        }
    }

    /// The shard under way was read to its end: what it holds is left to its children.
    pub fn on_end(&mut self) {
        if let Some((_, left)) = self.now.take() {
            self.left.push(left);
        }
        self.begin();
    }

    /// What was found of each slot; none before the shard's clock has passed the window.
    #[must_use]
    pub fn finish(self) -> Option<BTreeMap<SlotId, Found>> {
        let mut found = self.closed?;
        let mut take = |place: usize| std::mem::take(&mut found[place]);
        Some(self.slots.iter().map(|(slot, place)| (*slot, take(*place))).collect())
    }

    fn begin(&mut self) {
        let Some(step) = self.steps.pop() else { return };
        let parents = self.left.split_off(self.left.len() - step.parents);
        let mut left = Left { clock: step.clock, found: vec![Found::default(); self.slots.len()] };
        for parent in parents {
            left.clock = left.clock.max(parent.clock);
            for ((slot, place), found) in self.slots.iter().zip(parent.found) {
                let is_owned = step.range.is_none_or(|range| range.owns(HashKey::of_slot(slot)));
                // Two parents own different slots, so at most one of them holds anything of this one.
                if is_owned && !found.seen.is_empty() {
                    left.found[*place] = found;
                }
            }
        }
        let is_passed = self.geometry.passed(self.window, left.clock);
        self.now = Some((step, left));
        if is_passed {
            self.on_passed();
        }
    }

    /// The clock has passed the window: what closes in a tail is its shard's own and dropped, and of the shard that
    /// closed the window it is what is sought.
    fn on_passed(&mut self) {
        let is_last = self.steps.is_empty();
        let Some((_, left)) = &mut self.now else { return };
        let found = std::mem::replace(&mut left.found, vec![Found::default(); self.slots.len()]);
        if is_last {
            self.closed = Some(found);
            self.now = None;
        }
    }
}

fn enlist(tail: &Tail, steps: &mut Vec<Step>) {
    tail.tails.iter().for_each(|own| enlist(own, steps));
    steps.push(Step {
        shard_id: tail.shard_id.clone(),
        from: tail.checkpoint.clone(),
        clock: if tail.tails.is_empty() { tail.replay_clock } else { Millis(0) },
        closed_through: tail.closed_through,
        range: Some(tail.range),
        parents: tail.tails.len(),
    });
}

impl Found {
    /// Whether it is what an item holds; then the best bid of each account that the item does not name, in rank order.
    ///
    /// # Errors
    /// What differs.
    pub fn behind(self, item: &Aggregate, ranking: Ranking) -> Result<Arc<[Candidate]>, String> {
        let count = |length: usize| u64::try_from(length).expect("memory is below 2^64");
        let found = (count(self.seen.len()), count(self.best.len()), Money(self.amount_sum), self.duplicates);
        let wanted = (item.bids, item.bidders, item.amount_sum, item.duplicates);
        if found != wanted {
            let words = |(bids, bidders, sum, duplicates): (u64, u64, Money, u64)| {
                format!("{bids} bids of {bidders} accounts, in all {sum}, and {duplicates} duplicates")
            };
            return Err(format!("the log gives {}, and the item {}", words(found), words(wanted)));
        }
        let mut bids: Vec<Candidate> = self.best.into_values().collect();
        bids.sort_by_cached_key(|bid| bid.rank_key(ranking));
        let behind = bids.split_off(item.candidates.len().min(bids.len()));
        if bids != item.candidates {
            return Err("the log gives other candidates than the item holds".to_owned());
        }
        Ok(behind.into())
    }

    fn add(
        &mut self,
        bid: &Bid,
        ranking: Ranking,
        (shard_id, sequence, sub_sequence): (&ShardId, &SequenceNumber, u32),
    ) {
        if !self.seen.insert((bid.account_id, bid.bid_id)) {
            self.duplicates += 1;
            return;
        }
        self.amount_sum += i128::from(bid.amount.units());
        let candidate = || Candidate {
            bid_id: bid.bid_id,
            account_id: bid.account_id,
            region: bid.region,
            amount: bid.amount,
            quality: bid.quality,
            event_time: bid.event_time,
            shard_id: shard_id.clone(),
            sequence: sequence.clone(),
            sub_sequence,
        };
        match self.best.entry(bid.account_id) {
            Entry::Vacant(free) => drop(free.insert(candidate())),
            Entry::Occupied(mut best) => {
                if bid.rank_key(ranking) < best.get().rank_key(ranking) {
                    best.insert(candidate());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Both tables of a world: conditional writes, the sparse outbox index that lags, and TTL.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::attr::{Attr, Attrs, n, s};
use schemas::ids::ShardId;
use schemas::lease::Lease;

use super::refusals::{Judged, Refusals};
use super::stream::{Moment, Partial};
use crate::sim::call::{Answer, Call, Key, Reply, Trouble, Update};
use crate::sim::checker::Checker;
use crate::sim::coverage::Met;
use crate::sim::script::RefuseOp;
use crate::sim::setting::Setting;
use crate::sim::words::Edit;

/// A change of the index that is not to be seen yet.
#[derive(Clone, Debug)]
struct Change {
    seen_at_ms: u64,
    key: Key,
    /// PK and SK of the index; none when the item left it.
    entry: Option<(String, String)>,
}

/// The table of aggregates and the table of leases.
#[derive(Debug)]
pub struct TableModel {
    items: BTreeMap<Key, Attrs>,
    index: BTreeMap<(String, String, Key), ()>,
    at: BTreeMap<Key, (String, String)>,
    changes: VecDeque<Change>,
    index_lag_ms: u64,
    leases: BTreeMap<ShardId, Attrs>,
    /// Keys of items that TTL deleted.
    expired: BTreeSet<Key>,
    refusals: Refusals,
}

pub(super) fn text(item: &Attrs, name: &str) -> Option<String> {
    match item.get(name) {
        Some(Attr::S(text)) => Some(text.clone()),
        _ => None,
    }
}

fn entry(item: &Attrs) -> Option<(String, String)> {
    Some((text(item, "outbox_pk")?, text(item, "outbox_sk")?))
}

impl TableModel {
    /// Empty tables.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self {
            items: BTreeMap::new(),
            index: BTreeMap::new(),
            at: BTreeMap::new(),
            changes: VecDeque::new(),
            index_lag_ms: setting.index_lag_ms,
            leases: BTreeMap::new(),
            expired: BTreeSet::new(),
            refusals: Refusals::default(),
        }
    }

    /// Carries out a call.
    pub fn on_call(&mut self, call: &Call, moment: &mut Moment<'_>, checker: &mut Checker) -> Reply {
        match call {
            Call::Put(item) => self.put(item, moment, checker),
            Call::Outbox { pk, most } => {
                self.settle_index(moment.now_ms);
                let from = (pk.clone(), String::new(), (String::new(), String::new()));
                let entries = self.index.range(from..).take_while(|((at, ..), ())| at == pk);
                let found = entries.take(*most).map(|((_, sk, key), ())| (sk.clone(), key.clone()));
                Ok(Answer::Outbox(found.collect()))
            }
            Call::Get(keys) => {
                let skip = |chance: &mut crate::sim::chance::Chance| {
                    moment.partial == Partial::Yes && chance.happens(500)
                };
                let mut items = Vec::with_capacity(keys.len());
                for key in keys {
                    if !skip(moment.chance) {
                        items.extend(self.items.get(key).cloned());
                    }
                }
                Ok(Answer::Items(items))
            }
            Call::Item(key) => Ok(Answer::Items(self.items.get(key).cloned().into_iter().collect())),
            Call::Update(update) => Ok(self.update(update, moment, checker)),
            Call::Leases => Ok(Answer::Leases(self.leases.values().map(read).collect())),
            Call::MakeLease(lease) => {
                if self.leases.contains_key(&lease.shard_id) {
                    return Ok(Answer::Stands(None));
                }
                checker.on_lease(None, lease);
                self.leases.insert(lease.shard_id.clone(), lease.to_attrs());
                Ok(Answer::Done)
            }
            Call::WriteLease { lease, seen } => {
                let stands = self.leases.get(&lease.shard_id).map(read);
                if stands.as_ref().is_none_or(|stands| stands.counter != *seen) {
                    return Ok(Answer::Stands(self.leases.get(&lease.shard_id).cloned()));
                }
                checker.on_lease(stands.as_ref(), lease);
                if lease.tails.iter().any(|tail| !tail.tails.is_empty()) {
                    moment.coverage.meet(Met::NestedTail);
                }
                self.leases.insert(lease.shard_id.clone(), lease.to_attrs());
                Ok(Answer::Done)
            }
            Call::DeleteLease { shard_id, seen } => {
                let stands = self.leases.get(shard_id).map(read);
                if stands.is_none_or(|stands| stands.counter != *seen) {
                    return Ok(Answer::Stands(None));
                }
                self.leases.remove(shard_id);
                let rows: Vec<Lease> = self.leases.values().map(read).collect();
                checker.on_lease_deleted(shard_id, &rows);
                Ok(Answer::Done)
            }
            _ => Err(Trouble::Refused("not an operation of the table")),
        }
    }

    /// The next item of a kind is refused for a while.
    pub fn refuse(&mut self, op: RefuseOp, now_ms: u64) {
        self.refusals.add(op, now_ms);
    }

    fn put(&mut self, item: &Attrs, moment: &mut Moment<'_>, checker: &mut Checker) -> Reply {
        let key = (text(item, "PK").unwrap_or_default(), text(item, "SK").unwrap_or_default());
        let stands = self.items.get(&key).cloned();
        if let Some(stands) = stands {
            checker.on_put(item, false);
            return Ok(Answer::Stands(Some(stands)));
        }
        match self.refusals.on_put(&key, item, moment.now_ms) {
            Judged::Taken => {}
            Judged::Refused => {
                moment.coverage.meet(Met::RefusedItem);
                return Err(Trouble::Refused("ValidationException"));
            }
            Judged::Skipped(row) => {
                moment.coverage.meet(Met::SkippedItem);
                checker.on_skipped(item);
                self.items.insert(key, row.clone());
                return Ok(Answer::Stands(Some(row)));
            }
        }
        checker.on_put(item, true);
        if self.expired.contains(&key) {
            moment.coverage.meet(Met::ReplayAfterTtl);
        }
        self.reindex(&key, entry(item), moment);
        self.items.insert(key, item.clone());
        Ok(Answer::Done)
    }

    fn update(&mut self, update: &Update, moment: &mut Moment<'_>, checker: &mut Checker) -> Answer {
        let Some(item) = self.items.get_mut(&update.key) else { return Answer::Stands(None) };
        let state = text(item, "state") == Some(update.state.clone());
        let digest =
            update.digest.as_ref().is_none_or(|digest| text(item, "digest").as_ref() == Some(digest));
        if !state || !digest {
            return Answer::Stands(None);
        }
        item.extend(update.set.clone());
        item.remove("outbox_pk");
        item.remove("outbox_sk");
        checker.on_update(item);
        self.reindex(&update.key, None, moment);
        Answer::Done
    }

    /// The index follows the table after a while, each item's changes in their order.
    fn reindex(&mut self, key: &Key, entry: Option<(String, String)>, moment: &mut Moment<'_>) {
        let lag = moment.chance.below(self.index_lag_ms + 1);
        let before = self.changes.iter().filter(|change| change.key == *key).map(|change| change.seen_at_ms);
        let seen_at_ms = before.max().unwrap_or_default().max(moment.now_ms + lag);
        self.changes.push_back(Change { seen_at_ms, key: key.clone(), entry });
    }

    fn settle_index(&mut self, now_ms: u64) {
        let due: Vec<Change>;
        (due, self.changes) = std::mem::take(&mut self.changes).into_iter().fold(
            (Vec::new(), VecDeque::new()),
            |(mut due, mut later), change| {
                if change.seen_at_ms <= now_ms {
                    due.push(change)
                } else {
                    later.push_back(change)
                }
                (due, later)
            },
        );
        for Change { key, entry, .. } in due {
            if let Some((pk, sk)) = self.at.remove(&key) {
                self.index.remove(&(pk, sk, key.clone()));
            }
            if let Some((pk, sk)) = entry {
                self.index.insert((pk.clone(), sk.clone(), key.clone()), ());
                self.at.insert(key, (pk, sk));
            }
        }
    }

    /// Deletes every item whose TTL is past; answers how many.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let past = |item: &Attrs| matches!(item.get("ttl"), Some(Attr::N(ttl)) if ttl.parse::<u64>().is_ok_and(|ttl| ttl < now_ms / 1_000));
        let gone: Vec<Key> =
            self.items.iter().filter(|(_, item)| past(item)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| drop(self.items.remove(key)));
        let many = gone.len();
        self.expired.extend(gone);
        many
    }

    /// Changes the pending item of this place, and not its digest; answers it.
    pub fn corrupt(&mut self, place: usize) -> Option<Attrs> {
        let is_pending = |item: &&mut Attrs| text(item, "state").as_deref() == Some("PENDING");
        let mut pending: Vec<&mut Attrs> = self.items.values_mut().filter(is_pending).collect();
        let at = place.checked_rem(pending.len())?;
        pending[at].insert("amount_sum".to_owned(), n(1));
        Some(pending[at].clone())
    }

    /// Deletes every row of the lease table; answers how many.
    pub fn lose_leases(&mut self) -> usize {
        std::mem::take(&mut self.leases).len()
    }

    /// The shard of this place among the rows.
    #[must_use]
    pub fn nth_lease(&self, place: usize) -> Option<ShardId> {
        let at = place.checked_rem(self.leases.len())?;
        self.leases.keys().nth(at).cloned()
    }

    /// Another tool changes a shard's row, with the numbers of the records that it may mean; answers after which record
    /// the row is read from then, 0 for the beginning. None when there is nothing to change.
    pub fn edit(&mut self, shard_id: &ShardId, edit: Edit, (numbers, at): (&[u64], usize)) -> Option<u64> {
        let row = self.leases.get_mut(shard_id)?;
        let checkpoint = text(row, "checkpoint")?;
        let is_ended = checkpoint == "SHARD_END";
        if is_ended && edit != Edit::Replaced {
            return None;
        }
        let stands: u64 = checkpoint.parse().unwrap_or_default();
        let may_be = |number: &&u64| match edit {
            Edit::Forward => **number > stands,
            Edit::Backward => **number < stands,
            Edit::Replaced | Edit::Beginning | Edit::Tip | Edit::Anew => true,
        };
        let numbers: Vec<u64> = numbers.iter().filter(may_be).copied().collect();
        let number = at.checked_rem(numbers.len()).map(|at| numbers[at]);
        let word = match edit {
            Edit::Beginning | Edit::Anew => "TRIM_HORIZON".to_owned(),
            Edit::Tip => "LATEST".to_owned(),
            _ if is_ended => checkpoint,
            _ => number?.to_string(),
        };
        if matches!(edit, Edit::Replaced | Edit::Anew) {
            let counter = read(row).counter + 1;
            let own = ["leaseKey", "startingHashKey", "endingHashKey", "parentShardId"];
            let kept = if edit == Edit::Anew { &own[..3] } else { &own[..] };
            row.retain(|name, _| kept.contains(&name.as_str()));
            row.insert("leaseCounter".to_owned(), n(counter));
        }
        row.insert("checkpoint".to_owned(), s(&word));
        Some(word.parse().unwrap_or_default())
    }

    /// The row of a shard.
    #[must_use]
    pub fn lease(&self, shard_id: &ShardId) -> Option<Lease> {
        self.leases.get(shard_id).map(read)
    }

    /// Who a shard's row says reads it.
    #[must_use]
    pub fn owner(&self, shard_id: &ShardId) -> Option<String> {
        self.leases.get(shard_id).and_then(|row| text(row, "leaseOwner"))
    }

    /// The items.
    pub fn items(&self) -> impl Iterator<Item = &Attrs> {
        self.items.values()
    }
}

fn read(item: &Attrs) -> Lease {
    Lease::from_attrs(item).expect("a row that was written by a lease")
}

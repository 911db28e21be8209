//! The items of the table against what the log says: attribute by attribute, digests, TTL, and keys on either side
//! that the other lacks.
//!
//! Pure: takes what was read and adds differences. A decision is judged elsewhere, against the ledger.

use std::collections::{BTreeMap, BTreeSet};

use schemas::attr::{Attr, Attrs, text};
use schemas::ids::{Region, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, HotSlots, RefusedItem, RegionTotals, SkippedItem, State};
use schemas::keys;
use schemas::time::Millis;

use super::difference::{About, Findings, or_nothing};
use super::log::ttl_of;
use super::missing::{Absent, Missing};
use super::recompute::{Recomputed, Verdict};
use crate::output::counted;

/// An aggregate with the attributes that are not in its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAggregate {
    /// The item.
    pub item: Aggregate,
    /// The digest it carries.
    pub digest: String,
    /// Its keys in the outbox, when it has them.
    pub outbox: (Option<String>, Option<String>),
}

/// What stands in the table.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// Aggregates by slot and window.
    pub aggregates: BTreeMap<(SlotId, Millis), FoundAggregate>,
    /// Region totals with their digests.
    pub totals: BTreeMap<(Region, Millis, ShardId), (RegionTotals, String)>,
    /// Hot slots with their digests.
    pub hot: BTreeMap<(Millis, ShardId), (HotSlots, String)>,
    /// Single bids, kept for analysts; they are counted and not judged.
    pub bid_events: u64,
    /// What is known of items that do not stand.
    pub missing: Missing,
    /// What is no item of this pipeline: its key, and why.
    pub unreadable: Vec<(String, String)>,
}

impl Items {
    /// Takes an item as it was read.
    pub fn take(&mut self, attrs: &Attrs) {
        let (pk, sk): (String, String) =
            (text(attrs, "PK").unwrap_or_default(), text(attrs, "SK").unwrap_or_default());
        if let Err(reason) = self.sort((&pk, &sk), attrs) {
            self.unreadable.push((format!("{pk} {sk}"), reason));
        }
    }

    fn sort(&mut self, key: (&str, &str), attrs: &Attrs) -> Result<(), String> {
        let words = |error: schemas::item::ItemError| error.to_string();
        let at_home = |home: (String, String)| {
            if (home.0.as_str(), home.1.as_str()) == key {
                return Ok(());
            }
            Err(format!("its attributes belong to {} {}", home.0, home.1))
        };
        let digest = || Aggregate::stored_digest(attrs).map_err(words);
        if (key.0, key.1) == keys::GEOMETRY {
            return Ok(());
        }
        if SkippedItem::is(attrs) {
            let item = SkippedItem::from_attrs(attrs).map_err(words)?;
            self.missing.skipped.insert(item.key.clone(), item);
            return Ok(());
        }
        if key.0 == keys::REFUSED {
            let item = RefusedItem::from_attrs(attrs).map_err(words)?;
            at_home(item.row_key())?;
            self.missing.refused.insert(item.key.clone(), item);
            return Ok(());
        }
        match (key.0.split('#').next(), key.1.split('#').next()) {
            // What `provision` publishes for producers takes no part in an auction.
            (Some("PIPELINE"), Some("ROSTER" | "NAMES")) => {}
            (Some("SLOT"), Some("REGION")) => self.bid_events += 1,
            (Some("SLOT"), Some("WINDOW")) => {
                let item = Aggregate::from_attrs(attrs).map_err(words)?;
                at_home(item.key())?;
                let outbox = |name| attrs.get(name).map(attr_text);
                let outbox = (outbox("outbox_pk"), outbox("outbox_sk"));
                let found = FoundAggregate { digest: digest()?, outbox, item };
                self.aggregates.insert((found.item.slot_id, found.item.window_start), found);
            }
            (Some("REGION"), _) => {
                let item = RegionTotals::from_attrs(attrs).map_err(words)?;
                at_home(item.key())?;
                self.totals
                    .insert((item.region, item.window_start, item.shard_id.clone()), (item, digest()?));
            }
            (Some("HOT"), _) => {
                let item = HotSlots::from_attrs(attrs).map_err(words)?;
                at_home(item.key())?;
                self.hot.insert((item.window_start, item.shard_id.clone()), (item, digest()?));
            }
            _ => return Err("no item of this pipeline has such a key".to_owned()),
        }
        Ok(())
    }

    /// What processors hold because the table refuses it. A row about an item stays for some minutes after it was taken
    /// or given up.
    pub(super) fn held_by_processors(&self, now: Millis) -> impl Iterator<Item = &RefusedItem> {
        let told = self.missing.refused.values().filter(move |row| row.ttl > now.seconds());
        told.filter(|row| !self.missing.skipped.contains_key(&row.key) && !self.stands(&row.key))
    }

    fn stands(&self, key: &(String, String)) -> bool {
        self.aggregates.values().any(|found| found.item.key() == *key)
            || self.totals.values().any(|(item, _)| item.key() == *key)
            || self.hot.values().any(|(item, _)| item.key() == *key)
    }
}

fn attr_text(value: &Attr) -> String {
    match value {
        Attr::S(text) | Attr::N(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Compares all items. `now` decides which may be gone; `decided` says with which digest the ledger knows an auction.
pub fn compare<'a>(
    log: &Recomputed,
    items: &Items,
    now: Millis,
    decided: impl Fn(&(SlotId, Millis)) -> Option<&'a str>,
    findings: &mut Findings,
) {
    for (key, reason) in &items.unreadable {
        let found = format!("{reason}; put that right, or take the item away");
        findings.add("item", &About::subject(key), "an item of this pipeline", found);
    }
    let unreadable: BTreeSet<&str> = items.unreadable.iter().map(|(key, _)| key.as_str()).collect();
    // Told above: it stands, and what it says is not known.
    let is_unreadable = |(pk, sk): (String, String)| unreadable.contains(format!("{pk} {sk}").as_str());
    let expired = |window| ttl_of(&log.agreed, window) <= now.seconds();
    let missing = |absent: Absent<'_>| items.missing.found(&log.agreed, &absent, now);
    for key in union(&log.aggregates, &items.aggregates) {
        let about = About::auction(key.0, key.1);
        match (log.aggregates.get(&key), items.aggregates.get(&key)) {
            (Some(expected), Some(found)) => aggregate(log, expected, found, &about, findings),
            (Some(expected), None) if is_unreadable(expected.key()) => {}
            (Some(expected), None) => {
                let known = decided(&key);
                if !(expired(key.1) && known == Some(expected.digest().as_str())) {
                    // What was decided was there, so it will not come any more.
                    let found = if known.is_some() {
                        "nothing, and it is decided".to_owned()
                    } else {
                        let (key, shard_id) = (expected.key(), &expected.shard_id);
                        missing(Absent { key, shard_id, window: expected.window_start })
                    };
                    findings.add("aggregate", &about, counted(expected.bids, "bid"), found);
                }
            }
            (None, Some(found)) if log.verdict(&key.0, key.1) == Verdict::Judged => {
                findings.add("aggregate", &about, "nothing", counted(found.item.bids, "bid"));
            }
            _ => {}
        }
    }
    for key in union(&log.totals, &items.totals) {
        let judged = || log.verdict_of_shard(&key.2, key.1) == Verdict::Judged;
        let about = About { window_start: Some(key.1), ..About::subject(format!("{} {}", key.0, key.2)) };
        let (expected, found) = (log.totals.get(&key), items.totals.get(&key));
        let of = |item: &RegionTotals| (totals_facts(item), item.digest());
        let sides =
            Sides { expected: expected.map(of), found: found.map(|(item, digest)| (of(item), digest)) };
        if found.is_none() && is_unreadable(totals_key(&key)) {
            continue;
        }
        let absent = || missing(Absent { key: totals_key(&key), shard_id: &key.2, window: key.1 });
        sides.compare(("region totals", &about), (expired(key.1), judged()), &absent, findings);
    }
    for key in union(&log.hot, &items.hot) {
        let judged = || log.verdict_of_shard(&key.1, key.0) == Verdict::Judged;
        let about = About { window_start: Some(key.0), ..About::subject(&key.1) };
        let (expected, found) = (log.hot.get(&key), items.hot.get(&key));
        let of = |item: &HotSlots| (hot_facts(item), item.digest());
        let sides =
            Sides { expected: expected.map(of), found: found.map(|(item, digest)| (of(item), digest)) };
        let place = (keys::hot_pk(key.0), key.1.to_string());
        if found.is_none() && is_unreadable(place.clone()) {
            continue;
        }
        let absent = || missing(Absent { key: place.clone(), shard_id: &key.1, window: key.0 });
        sides.compare(("hot slots", &about), (expired(key.0), judged()), &absent, findings);
    }
}

fn totals_key((region, window, shard): &(Region, Millis, ShardId)) -> (String, String) {
    (keys::region_pk(region), keys::region_sk(*window, shard))
}

fn union<K: Ord + Clone, A, B>(a: &BTreeMap<K, A>, b: &BTreeMap<K, B>) -> BTreeSet<K> {
    a.keys().chain(b.keys()).cloned().collect()
}

type Facts = BTreeMap<String, String>;

/// An item that is only ever written once, from both sides: its facts, its own digest, and the digest it carries.
struct Sides<'a> {
    expected: Option<(Facts, String)>,
    found: Option<((Facts, String), &'a String)>,
}

impl Sides<'_> {
    fn compare(
        self,
        (what, about): (&str, &About),
        (expired, judged): (bool, bool),
        absent: &dyn Fn() -> String,
        findings: &mut Findings,
    ) {
        match (self.expected, self.found) {
            (Some((facts, digest)), Some(((found, own), stored))) => {
                differing(what, about, (&facts, &found), findings);
                digests(what, about, [&digest, &own, stored], findings);
            }
            (Some((facts, _)), None) if !expired => findings.add(what, about, summary(&facts), absent()),
            (None, Some(((found, _), _))) if judged => findings.add(what, about, "nothing", summary(&found)),
            _ => {}
        }
    }
}

fn summary(facts: &Facts) -> String {
    let facts: Vec<String> = facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    facts.join(", ")
}

/// One difference for each fact that is not the same.
fn differing(what: &str, about: &About, (expected, found): (&Facts, &Facts), findings: &mut Findings) {
    for name in union(expected, found) {
        let (expected, found) = (expected.get(&name), found.get(&name));
        findings.same(&format!("{what} {name}"), about, or_nothing(expected), or_nothing(found));
    }
}

/// The digest an item carries against that of its own attributes, and against the recomputed one.
fn digests(what: &str, about: &About, [recomputed, own, stored]: [&String; 3], findings: &mut Findings) {
    findings.same(&format!("{what} digest"), about, recomputed, stored);
    findings.same(&format!("{what} digest of its own attributes"), about, own, stored);
}

fn aggregate(
    log: &Recomputed,
    expected: &Aggregate,
    found: &FoundAggregate,
    about: &About,
    findings: &mut Findings,
) {
    let item = &found.item;
    differing("aggregate", about, (&aggregate_facts(expected), &aggregate_facts(item)), findings);
    digests("aggregate", about, [&expected.digest(), &item.digest(), &found.digest], findings);
    let decided = matches!(item.state, State::Settled | State::NoSale);
    let ttl = decided.then(|| ttl_of(&log.agreed, item.window_start));
    findings.same("aggregate ttl", about, or_nothing(ttl), or_nothing(item.ttl));
    let first = expected.candidates.first().filter(|_| item.state == State::Pending);
    let outbox_pk = first.map(|first| {
        let bucket = keys::outbox_bucket(&first.account_id, log.agreed.outbox_buckets);
        keys::outbox_pk(bucket, keys::outbox_sub(&expected.slot_id))
    });
    let outbox_sk = first.map(|_| keys::outbox_sk(expected.window_end, &expected.slot_id));
    findings.same("aggregate outbox_pk", about, or_nothing(outbox_pk), or_nothing(found.outbox.0.as_ref()));
    findings.same("aggregate outbox_sk", about, or_nothing(outbox_sk), or_nothing(found.outbox.1.as_ref()));
    if item.state != State::Held {
        findings.same("aggregate held_error", about, "nothing", or_nothing(item.held_error.as_ref()));
    }
}

fn aggregate_facts(item: &Aggregate) -> Facts {
    let mut facts = Facts::from([
        ("window_end".to_owned(), item.window_end.to_string()),
        ("bids".to_owned(), item.bids.to_string()),
        ("bidders".to_owned(), item.bidders.to_string()),
        ("amount_sum".to_owned(), item.amount_sum.to_string()),
        ("amount_min".to_owned(), item.amount_min.to_string()),
        ("amount_max".to_owned(), item.amount_max.to_string()),
        ("duplicates".to_owned(), item.duplicates.to_string()),
        ("next_amount".to_owned(), or_nothing(item.next_amount)),
        ("next_score".to_owned(), or_nothing(item.next_score)),
        ("shard_id".to_owned(), item.shard_id.to_string()),
    ]);
    for (region, stats) in &item.regions {
        let mut add = |name: &str, value: String| facts.insert(format!("regions.{region}.{name}"), value);
        add("bids", stats.bids.to_string());
        add("amount_sum", stats.amount_sum.to_string());
        add("amount_max", stats.amount_max.to_string());
        add("latency_ms_sum", stats.latency_ms_sum.to_string());
        add("latency_ms_max", stats.latency_ms_max.to_string());
        add("best", candidate_fact(&stats.best));
    }
    for (rank, candidate) in item.candidates.iter().enumerate() {
        facts.insert(format!("candidates[{rank}]"), candidate_fact(candidate));
    }
    facts
}

fn candidate_fact(candidate: &Candidate) -> String {
    format!(
        "bid {} of {} in {}: {} at quality {}, made {}, in {} {}.{}",
        candidate.bid_id,
        candidate.account_id,
        candidate.region,
        candidate.amount,
        candidate.quality,
        candidate.event_time,
        candidate.shard_id,
        candidate.sequence,
        candidate.sub_sequence
    )
}

fn totals_facts(item: &RegionTotals) -> Facts {
    [
        ("bids", item.bids),
        ("top_ranked", item.top_ranked),
        ("latency_ms_sum", item.latency_ms_sum),
        ("late", item.late),
        ("early", item.early),
        ("stray", item.stray),
        ("duplicates", item.duplicates),
        ("rejected", item.rejected),
        ("ttl", item.ttl),
    ]
    .iter()
    .map(|(name, count)| ((*name).to_owned(), count.to_string()))
    .chain([
        ("amount_sum".to_owned(), item.amount_sum.to_string()),
        ("amount_max".to_owned(), or_nothing(item.amount_max)),
    ])
    .collect()
}

fn hot_facts(item: &HotSlots) -> Facts {
    let slot = |(place, slot): (usize, &schemas::item::HotSlot)| {
        (
            format!("slots[{place}]"),
            format!("{} with {} bids up to {}", slot.slot_id, slot.bids, slot.amount_max),
        )
    };
    let slots = item.slots.iter().enumerate().map(slot);
    slots.chain([("ttl".to_owned(), item.ttl.to_string())]).collect()
}

#[cfg(test)]
mod tests {
    use schemas::item::{Directory, DirectoryHead, Edition};

    use super::*;

    #[test]
    fn what_is_published_for_producers_is_an_item_of_this_pipeline() {
        let mut items = Items::default();
        for directory in [Directory::Roster, Directory::Names] {
            let edition = Edition { version: 1, digest: directory.digest(b"bytes"), parts: 1 };
            items.take(&directory.part(&edition, 0, b"bytes"));
            let head = DirectoryHead { edition, entries: 1, unbounded: false, before: None };
            items.take(&head.to_attrs(directory));
        }
        assert_eq!(items.unreadable, []);
        items.take(&Attrs::from([("PK".to_owned(), Attr::S("PIPELINE".to_owned()))]));
        assert_eq!(items.unreadable.len(), 1, "another item beside them is none");
    }
}

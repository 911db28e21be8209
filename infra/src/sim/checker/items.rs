//! What is put into the table, compared with the log at the moment of the put: a wrong item is found when it is tried,
//! even where another one stands already.

use std::collections::{BTreeMap, BTreeSet};

use schemas::attr::{Attr, Attrs};
use schemas::ids::{BidId, Region, ShardId, SlotId};
use schemas::item::{Aggregate, HotSlots, RegionTotals, State};

use super::auction::{count, same};
use super::log::{Log, Need, Totals};

/// What was made durable, ever: TTL may have taken it away since.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) written: BTreeSet<Need>,
    /// The digest of each auction as it was first put.
    pub(super) digests: BTreeMap<(SlotId, u64), String>,
    /// Auctions whose item a person gave up: they are never decided.
    pub(super) skipped: BTreeSet<(SlotId, u64)>,
}

fn text<'a>(item: &'a Attrs, name: &str) -> &'a str {
    match item.get(name) {
        Some(Attr::S(text)) => text,
        _ => "",
    }
}

impl Items {
    /// An item is put; `landed` when nothing stood at its key.
    pub(super) fn on_put(&mut self, log: &Log, item: &Attrs, landed: Landed) -> Result<(), String> {
        let (pk, sk) = (text(item, "PK"), text(item, "SK"));
        let (need, digest) = if pk.starts_with("SLOT#") && sk.starts_with("WINDOW#") {
            self.aggregate(log, item)?
        } else if pk.starts_with("REGION#") {
            totals(log, item)?
        } else if pk.starts_with("HOT#") {
            hot(log, item)?
        } else if pk.starts_with("SLOT#") && sk.starts_with("REGION#") {
            return event(log, item);
        } else {
            return Err(format!("no item has the keys {pk} and {sk}"));
        };
        same("the digest of an item", digest.as_str(), text(item, "digest"))
            .map_err(|wrong| format!("{pk} {sk}: {wrong}"))?;
        if landed == Landed::Yes {
            self.written.insert(need);
        }
        Ok(())
    }

    /// A person gave up an item that the table refused: nothing waits for it any more.
    pub(super) fn on_skipped(&mut self, log: &Log, item: &Attrs) -> Result<(), String> {
        self.on_put(log, item, Landed::Yes)?;
        if let Ok(aggregate) = Aggregate::from_attrs(item) {
            self.skipped.insert((aggregate.slot_id, aggregate.window_start.0));
        }
        Ok(())
    }

    fn aggregate(&mut self, log: &Log, item: &Attrs) -> Result<(Need, String), String> {
        let aggregate = Aggregate::from_attrs(item).map_err(|error| error.to_string())?;
        let (slot, start) = (aggregate.slot_id, aggregate.window_start.0);
        let within = |wrong| format!("auction of slot {slot} in window {start}: {wrong}");
        let Some((by, auction)) = log.closed.get(&(slot, start)) else {
            return Err(within("it is put and the log has not closed it".to_owned()));
        };
        auction.compare(&log.agreed.geometry, &aggregate).map_err(within)?;
        same("closing shard", by, &aggregate.shard_id).map_err(within)?;
        same("end", start + log.agreed.geometry.window_ms, aggregate.window_end.0).map_err(within)?;
        same("state", State::Pending, aggregate.state).map_err(within)?;
        same("ttl of a pending auction", None, aggregate.ttl).map_err(within)?;
        let outbox = format!("{}#{slot}", aggregate.window_end);
        same("outbox_sk", outbox.as_str(), text(item, "outbox_sk")).map_err(within)?;
        let digest = text(item, "digest").to_owned();
        let first = self.digests.entry((slot, start)).or_insert_with(|| digest.clone());
        same("digest of every put", &*first, &digest).map_err(within)?;
        Ok((Need::Aggregate(slot, start), aggregate.digest()))
    }
}

/// Whether a put changed the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landed {
    Yes,
    No,
}

fn totals(log: &Log, item: &Attrs) -> Result<(Need, String), String> {
    let totals = RegionTotals::from_attrs(item).map_err(|error| error.to_string())?;
    let (region, start, shard) = (totals.region, totals.window_start.0, totals.shard_id.clone());
    let within = |wrong| format!("totals of {region} in window {start} of {shard}: {wrong}");
    if !log.is_final(&shard, start) {
        return Err(within("they are put and the window is open".to_owned()));
    }
    let have = Totals {
        bids: totals.bids,
        amount_sum: totals.amount_sum.0,
        amount_max: totals.amount_max.map(schemas::money::Price::units),
        top_ranked: totals.top_ranked,
        latency_ms_sum: totals.latency_ms_sum,
        late: totals.late,
        early: totals.early,
        stray: totals.stray,
        duplicates: totals.duplicates,
        rejected: totals.rejected,
    };
    let want = log.shards[&shard].totals.get(&(start, region)).copied().unwrap_or_default();
    same("they", want, have).map_err(within)?;
    Ok((Need::Totals(region, start, shard), totals.digest()))
}

fn hot(log: &Log, item: &Attrs) -> Result<(Need, String), String> {
    let hot = HotSlots::from_attrs(item).map_err(|error| error.to_string())?;
    let (start, shard) = (hot.window_start.0, hot.shard_id.clone());
    let within = |wrong| format!("hot slots of window {start} of {shard}: {wrong}");
    let mut want: Vec<(u64, SlotId, Option<u64>)> = log
        .closed_by(&shard, start)
        .into_iter()
        .map(|(slot, auction)| {
            let most = auction.counted.iter().map(|one| one.bid.amount.units()).max();
            (count(auction.counted.len()), slot, most)
        })
        .collect();
    want.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    want.truncate(10);
    let have: Vec<_> =
        hot.slots.iter().map(|slot| (slot.bids, slot.slot_id, Some(slot.amount_max.units()))).collect();
    same("they", want, have).map_err(within)?;
    Ok((Need::Hot(start, shard), hot.digest()))
}

fn event(log: &Log, item: &Attrs) -> Result<(), String> {
    let (pk, sk) = (text(item, "PK"), text(item, "SK"));
    let unread = || format!("bid event {pk} {sk} cannot be read");
    let slot: SlotId = pk.trim_start_matches("SLOT#").parse().map_err(|_| unread())?;
    let (region, bid) = sk.trim_start_matches("REGION#").split_once("#BID#").ok_or_else(unread)?;
    let region: Region = region.parse().map_err(|_| unread())?;
    let bid: BidId = bid.parse().map_err(|_| unread())?;
    let start: schemas::time::Millis = text(item, "window_start").parse().map_err(|_| unread())?;
    let auction = log.closed.get(&(slot, start.0)).map(|(_, auction)| auction);
    match auction {
        Some(auction) if auction.is_best(&log.agreed.geometry, region, bid) => Ok(()),
        _ => Err(format!("bid event {pk} {sk} is not the best of its region in window {start}")),
    }
}

/// Everything that the log wants written by now, with the shard that must write it.
pub(super) fn wanted(log: &Log) -> Vec<(Need, ShardId, u64)> {
    let mut all = Vec::new();
    for ((slot, start), (by, _)) in &log.closed {
        all.push((Need::Aggregate(*slot, *start), by.clone(), *start));
        all.push((Need::Hot(*start, by.clone()), by.clone(), *start));
    }
    for (id, shard) in &log.shards {
        let due = shard.totals.keys().filter(|(start, _)| log.is_final(id, *start));
        all.extend(
            due.map(|(start, region)| (Need::Totals(*region, *start, id.clone()), id.clone(), *start)),
        );
    }
    all.sort();
    all.dedup();
    all
}

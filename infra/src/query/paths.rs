//! The access paths: which keys are asked, and what a row shows of an item.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use runtime::failure::classify;
use schemas::attr::Attrs;
use schemas::ids::{Region, SlotId};
use schemas::item::{Aggregate, GeometryItem, HotSlots, Outcome, RegionTotals, SkippedItem};
use schemas::keys;
use schemas::money::{Money, Price};
use schemas::time::Millis;
use serde_json::{Value, json};

use super::Between;
use super::damaged::Damaged;
use super::rows::Rows;
use crate::failure::Failure;
use crate::provision::sentence;

/// What sorts behind every start of a window.
const AFTER_ALL: &str = "WINDOW#~";

/// The table of aggregates.
pub(super) struct Table<'a> {
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
    /// Items that were met and cannot be shown.
    pub(super) damaged: Vec<Damaged>,
}

/// An item and its keys.
struct Item {
    pk: String,
    sk: String,
    attrs: Attrs,
}

/// One key condition on the table or on the outbox index.
struct Asked {
    index: Option<&'static str>,
    condition: &'static str,
    values: HashMap<String, AttributeValue>,
}

impl Asked {
    fn all_of(pk: String) -> Self {
        let values = HashMap::from([(":pk".to_owned(), AttributeValue::S(pk))]);
        Self { index: None, condition: "PK = :pk", values }
    }

    /// Windows of a key; `~` behind the last start takes in what follows it, such as a shard.
    fn windows(pk: String, between: Between) -> Self {
        let mut asked = Self::all_of(pk);
        asked.condition = "PK = :pk AND SK BETWEEN :from AND :to";
        let from = between.from.map_or_else(|| "WINDOW#".to_owned(), keys::window_sk);
        let to = between.to.map_or_else(|| AFTER_ALL.to_owned(), |to| format!("{}~", keys::window_sk(to)));
        asked.values.insert(":from".to_owned(), AttributeValue::S(from));
        asked.values.insert(":to".to_owned(), AttributeValue::S(to));
        asked
    }

    fn outbox(pk: String) -> Self {
        Self { index: Some(keys::OUTBOX_INDEX), condition: "outbox_pk = :pk", ..Self::all_of(pk) }
    }
}

impl Table<'_> {
    /// The items of a key that are not past their TTL, in the order of their sort key; damaged ones are left out and
    /// remembered.
    async fn ask(&mut self, asked: Asked) -> anyhow::Result<Vec<Item>> {
        let now_s = runtime::clock::now().seconds();
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let query =
                self.client.query().table_name(self.name).set_index_name(asked.index.map(str::to_owned));
            let query = query.consistent_read(asked.index.is_none()).set_exclusive_start_key(from);
            let query = query.key_condition_expression(asked.condition);
            let page = query.set_expression_attribute_values(Some(asked.values.clone())).send().await;
            let page = page.map_err(|error| {
                sentence(&format!("table {} cannot be read", self.name), &classify(&error))
            })?;
            for item in page.items() {
                let key = |name: &str| item.get(name).and_then(|key| key.as_s().ok()).cloned();
                let (pk, sk) = (key("PK").unwrap_or_default(), key("SK").unwrap_or_default());
                match runtime::attrs::from_sdk(item) {
                    Ok(attrs) => {
                        let ttl = schemas::attr::number::<u64>(&attrs, "ttl");
                        let is_past = ttl.is_ok_and(|ttl| ttl <= now_s);
                        found.extend((!is_past).then_some(Item { pk, sk, attrs }));
                    }
                    Err(error) => self.damaged.push(Damaged { pk, sk, reason: error.to_string() }),
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// The items that were not given up; who gave up the others and why is said on standard error.
    fn written(items: Vec<Item>) -> Vec<Item> {
        let mut written = Vec::with_capacity(items.len());
        for item in items {
            match SkippedItem::from_attrs(&item.attrs) {
                Ok(skipped) => {
                    // Whoever closed standard error does not want to know.
                    let _ = writeln!(std::io::stderr(), "left out: {} {} was {skipped}", item.pk, item.sk);
                }
                Err(_) => written.push(item),
            }
        }
        written
    }

    /// What `read` makes of each item; those that it cannot read are remembered.
    fn readable<T, E: ToString>(
        &mut self,
        items: Vec<Item>,
        read: impl Fn(&Item) -> Result<T, E>,
    ) -> impl Iterator<Item = T> {
        let mut good = Vec::with_capacity(items.len());
        for item in items {
            match read(&item) {
                Ok(one) => good.push(one),
                Err(error) => {
                    self.damaged.push(Damaged { pk: item.pk, sk: item.sk, reason: error.to_string() });
                }
            }
        }
        good.into_iter()
    }

    async fn agreed(&self) -> Result<GeometryItem, Failure> {
        let agreed = runtime::agreed::read(self.client, self.name, None).await;
        agreed.map_err(Failure::from)
    }

    pub(super) async fn windows(&mut self, slot: &SlotId, between: Between) -> anyhow::Result<Rows> {
        let items = self.ask(Asked::windows(keys::slot_pk(slot), between)).await?;
        let rows = self.readable(items, window);
        Ok(Rows { columns: WINDOW, rows: rows.collect() })
    }

    pub(super) async fn regions(&mut self, regions: &[Region], between: Between) -> anyhow::Result<Rows> {
        let mut rows = Vec::new();
        for region in regions {
            let mut windows: BTreeMap<Millis, Totals> = BTreeMap::new();
            let items = Self::written(self.ask(Asked::windows(keys::region_pk(region), between)).await?);
            for one in self.readable(items, |item| RegionTotals::from_attrs(&item.attrs)) {
                windows.entry(one.window_start).or_default().add(&one);
            }
            rows.extend(windows.into_iter().map(|(start, totals)| totals.row(region, start)));
        }
        Ok(Rows { columns: REGION, rows })
    }

    /// Starts of the latest windows that are closed by now.
    pub(super) async fn latest(&self, count: u64) -> anyhow::Result<Vec<Millis>> {
        let geometry = self.agreed().await?.geometry;
        let closed = runtime::clock::now().since(Millis(geometry.window_ms + geometry.grace_ms));
        let newest = geometry.window_start(Millis(closed));
        let back = (0..count).rev().map(|steps| newest.0.checked_sub(steps * geometry.window_ms));
        Ok(back.flatten().map(Millis).collect())
    }

    pub(super) async fn hot(&mut self, windows: &[Millis]) -> anyhow::Result<Rows> {
        let mut rows = Vec::new();
        for start in windows {
            let mut slots = Vec::new();
            let items = Self::written(self.ask(Asked::all_of(keys::hot_pk(*start))).await?);
            for hot in self.readable(items, |item| HotSlots::from_attrs(&item.attrs)) {
                slots.extend(hot.slots.into_iter().map(|slot| (hot.shard_id.clone(), slot)));
            }
            slots.sort_by_key(|(_, slot)| (std::cmp::Reverse(slot.bids), slot.slot_id));
            rows.extend(slots.into_iter().map(|(shard, slot)| {
                let (slot_id, most) = (slot.slot_id.to_string(), slot.amount_max.to_string());
                vec![json!(start.to_string()), json!(slot_id), json!(slot.bids), json!(most), json!(shard.0)]
            }));
        }
        Ok(Rows { columns: HOT, rows })
    }

    /// Says why a window has no hot slots when no window starts then.
    pub(super) async fn why_none(&self, given: Millis) -> Result<(), Failure> {
        let geometry = self.agreed().await?.geometry;
        let start = geometry.window_start(given);
        if start != given {
            let _ = writeln!(
                std::io::stderr(),
                "no window starts at {given}: windows are {} ms long, and that one starts at {start}; give --window {start}",
                geometry.window_ms
            );
        }
        Ok(())
    }

    pub(super) async fn outbox(&mut self) -> anyhow::Result<Rows> {
        let (agreed, now) = (self.agreed().await?, runtime::clock::now());
        let mut rows = Vec::new();
        for pk in keys::outbox_pks(agreed.outbox_buckets) {
            let items = self.ask(Asked::outbox(pk.clone())).await?;
            rows.extend(self.readable(items, waiting).map(|(slot, end)| {
                let waits_ms = now.since(end);
                let row = vec![json!(slot.to_string()), json!(end.to_string()), json!(waits_ms), json!(pk)];
                (waits_ms, row)
            }));
        }
        rows.sort_by_key(|(waits_ms, _)| std::cmp::Reverse(*waits_ms));
        Ok(Rows { columns: OUTBOX, rows: rows.into_iter().map(|(_, row)| row).collect() })
    }
}

/// The auction that an entry of the outbox says it is, by its keys, which must agree.
fn waiting(item: &Item) -> Result<(SlotId, Millis), String> {
    let slot: Option<SlotId> = item.pk.strip_prefix("SLOT#").and_then(|slot| slot.parse().ok());
    let start: Option<Millis> = item.sk.strip_prefix("WINDOW#").and_then(|start| start.parse().ok());
    let (Some(slot), Some(_)) = (slot, start) else {
        return Err("it lies in the outbox, and its key is not SLOT#<slot> and WINDOW#<start>".to_owned());
    };
    let sk: String = schemas::attr::text(&item.attrs, "outbox_sk").map_err(|error| error.to_string())?;
    let end = sk.strip_suffix(&format!("#{slot}")).and_then(|end| end.parse().ok());
    end.map(|end| (slot, end))
        .ok_or_else(|| format!("its outbox_sk is {:?}, and should be <window end>#{slot}", sk))
}

const WINDOW: &[&str] = &[
    "slot_id",
    "window_start",
    "window_end",
    "state",
    "bids",
    "bidders",
    "duplicates",
    "amount_min",
    "amount_max",
    "amount_sum",
    "winner",
    "clearing_price",
    "no_sale_reason",
    "settlement_id",
];
const HOT: &[&str] = &["window_start", "slot_id", "bids", "amount_max", "shard_id"];
const OUTBOX: &[&str] = &["slot_id", "window_end", "waits_ms", "outbox_pk"];
const REGION: &[&str] = &[
    "region",
    "window_start",
    "bids",
    "amount_sum",
    "amount_max",
    "top_ranked",
    "latency_ms_sum",
    "late",
    "early",
    "stray",
    "duplicates",
    "rejected",
];

fn window(item: &Item) -> Result<Vec<Value>, String> {
    if SkippedItem::is(&item.attrs) {
        return skipped(item);
    }
    let one = Aggregate::from_attrs(&item.attrs).map_err(|error| error.to_string())?;
    let (pk, sk) = one.key();
    if (&pk, &sk) != (&item.pk, &item.sk) {
        return Err(format!("its attributes are those of {pk} {sk}"));
    }
    let outcome = one.decision.as_ref().map(|decision| &decision.outcome);
    let (winner, price, reason) = match outcome {
        Some(Outcome::Sale { winner, clearing_price }) => {
            (json!(winner.to_string()), json!(clearing_price.to_string()), Value::Null)
        }
        Some(Outcome::NoSale { reason }) => (Value::Null, Value::Null, json!(reason)),
        None => (Value::Null, Value::Null, Value::Null),
    };
    Ok(vec![
        json!(one.slot_id.to_string()),
        json!(one.window_start.to_string()),
        json!(one.window_end.to_string()),
        json!(one.state.as_str()),
        json!(one.bids),
        json!(one.bidders),
        json!(one.duplicates),
        json!(one.amount_min.to_string()),
        json!(one.amount_max.to_string()),
        json!(one.amount_sum.to_string()),
        winner,
        price,
        reason,
        json!(one.decision.as_ref().map(|decision| decision.settlement_id.to_string())),
    ])
}

/// The row of an auction that was given up: its key, `SKIPPED`, and the reason.
fn skipped(item: &Item) -> Result<Vec<Value>, String> {
    let one = SkippedItem::from_attrs(&item.attrs).map_err(|error| error.to_string())?;
    let (slot, start) = (item.pk.strip_prefix("SLOT#"), item.sk.strip_prefix("WINDOW#"));
    let value = |column: &&str| match *column {
        "slot_id" => json!(slot),
        "window_start" => json!(start),
        "state" => json!("SKIPPED"),
        "no_sale_reason" => json!(one.to_string()),
        _ => Value::Null,
    };
    Ok(WINDOW.iter().map(value).collect())
}

/// One region in one window, its shards together.
#[derive(Default)]
struct Totals {
    counts: [u64; 8],
    amount_sum: Money,
    amount_max: Option<Price>,
}

impl Totals {
    fn add(&mut self, one: &RegionTotals) {
        let counts = [
            one.bids,
            one.top_ranked,
            one.latency_ms_sum,
            one.late,
            one.early,
            one.stray,
            one.duplicates,
            one.rejected,
        ];
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count;
        }
        self.amount_sum.0 += one.amount_sum.0;
        self.amount_max = self.amount_max.max(one.amount_max);
    }

    fn row(&self, region: &Region, start: Millis) -> Vec<Value> {
        let [bids, rest @ ..] = self.counts;
        let mut row = vec![json!(region.as_str()), json!(start.to_string()), json!(bids)];
        row.push(json!(self.amount_sum.to_string()));
        row.push(json!(self.amount_max.map(|price| price.to_string())));
        row.extend(rest.map(Value::from));
        row
    }
}

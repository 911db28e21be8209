//! The outbox: which aggregates await settlement, and the mark that copies a decision to its item.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use runtime::attrs;
use runtime::failure::{Failure, classify};
use schemas::ids::SlotId;
use schemas::item::{Aggregate, GeometryItem, Outcome, State};
use schemas::keys;
use schemas::time::Millis;

use crate::core::rows::{Auction, Decided};

/// Items of one BatchGetItem request (DynamoDB API reference).
pub(crate) const GET_MAX: usize = 100;

/// The table of aggregates and its outbox index.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// The client.
    pub client: Client,
    /// The table.
    pub table: String,
    /// What all stages agreed on.
    pub agreed: GeometryItem,
}

/// Keys of an item.
pub type Key = (String, String);

/// Where a page of the index ended.
pub(crate) type Position = HashMap<String, AttributeValue>;

/// One page of one part of a bucket.
#[derive(Debug)]
pub(crate) struct Page {
    /// Sort keys of the index and keys of the items, oldest windows first.
    pub(crate) entries: Vec<(String, Key)>,
    /// Where the next page begins; none behind the last.
    pub(crate) next: Option<Position>,
}

/// What an entry of the outbox leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An auction that awaits its decision.
    Auction(Arc<Auction>),
    /// A pending item under the key of an aggregate that cannot be decided, and why.
    Unreadable(String),
    /// What no settler wrote here: it never leaves the outbox by itself. Why it is not ours.
    Foreign(String),
    /// It has left the outbox, and the index does not show that yet.
    Left,
}

/// Items of one request.
#[derive(Debug)]
pub(crate) struct Items {
    /// What was read.
    pub(crate) found: Vec<(Key, Found)>,
    /// Whether the service got to all of them; the rest stays in the outbox and is found again.
    pub(crate) is_whole: bool,
}

/// Whether the log may be read for an auction that is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Where its candidates do not suffice.
    Read,
    /// It is decided by its candidates alone.
    Never,
}

/// What became of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It stands, and this call wrote it.
    Now,
    /// It stood already.
    Before,
    /// The item is gone, as after its TTL; a mark never makes one.
    Gone,
    /// The item is held.
    Aside,
    /// The item carries another digest than the row: the row stays, and the item is not marked.
    Differs {
        /// The item's.
        item: String,
    },
}

impl Outbox {
    /// A page of one part of a bucket, at most `limit` entries.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(crate) async fn page(
        &self,
        (bucket, sub): (u32, u32),
        from: Option<Position>,
        limit: u16,
    ) -> Result<Page, Failure> {
        let query = self.client.query().table_name(&self.table).index_name(keys::OUTBOX_INDEX);
        let query = query
            .key_condition_expression("outbox_pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(keys::outbox_pk(bucket, sub)))
            .limit(i32::from(limit));
        let answer = query.set_exclusive_start_key(from).send().await.map_err(|error| classify(&error))?;
        let entry = |item| Some((text(item, "outbox_sk")?, (text(item, "PK")?, text(item, "SK")?)));
        let entries = answer.items().iter().filter_map(entry).collect();
        Ok(Page { entries, next: answer.last_evaluated_key })
    }

    /// What stands under these keys, at most [`GET_MAX`] of them.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(crate) async fn get(&self, keys: &[Key]) -> Result<Items, Failure> {
        let mut items = Items { found: Vec::with_capacity(keys.len()), is_whole: true };
        let mut parts = vec![keys];
        while let Some(part) = parts.pop() {
            match self.get_part(part).await {
                Ok(Items { found, is_whole }) => {
                    items.found.extend(found);
                    items.is_whole &= is_whole;
                }
                Err(failure) if !failure.may_be_of_one_part() => return Err(failure),
                // Perhaps for one key, which must not keep the others from being read.
                Err(_) => match part {
                    [] => {}
                    [key] => items.found.extend(self.get_one(key).await?),
                    keys => {
                        let (first, rest) = keys.split_at(keys.len() / 2);
                        parts.extend([rest, first]);
                    }
                },
            }
        }
        Ok(items)
    }

    /// What stands under a key that a request of this key alone was refused for.
    async fn get_one(&self, key: &Key) -> Result<Option<(Key, Found)>, Failure> {
        match self.item(key).await {
            Ok(item) => Ok(item.as_ref().and_then(read)),
            Err(failure) if failure.may_be_of_one_part() => {
                let why = format!("the table does not let it be read: {failure}");
                Ok(Some((key.clone(), Found::Foreign(why))))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn get_part(&self, keys: &[Key]) -> Result<Items, Failure> {
        let mut wanted = KeysAndAttributes::builder().consistent_read(true);
        for key in keys {
            wanted = wanted.keys(HashMap::from(key_of(key)));
        }
        let wanted = wanted.build().map_err(|error| Failure::Unknown { message: error.to_string() })?;
        let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
        let answer = answer.map_err(|error| classify(&error))?;
        let is_whole = answer.unprocessed_keys().is_none_or(HashMap::is_empty);
        let items = answer.responses.and_then(|mut tables| tables.remove(&self.table)).unwrap_or_default();
        Ok(Items { found: items.iter().filter_map(read).collect(), is_whole })
    }

    /// Copies the row to its item: only to one that is still pending and carries the row's digest, never to a new one.
    ///
    /// # Errors
    /// When the table cannot be written; the mark may then stand or not, and is tried again by whoever finds it.
    pub async fn mark(&self, auction: &Auction, decided: &Decided) -> Result<Marked, Failure> {
        let decision = &decided.decision;
        let s = |text: String| AttributeValue::S(text);
        let (state, fields) = match &decision.outcome {
            Outcome::Sale { winner, clearing_price } => {
                let fields = vec![
                    ("winner", s(winner.to_string())),
                    ("clearing_price", AttributeValue::N(clearing_price.to_string())),
                ];
                (State::Settled, fields)
            }
            Outcome::NoSale { reason } => (State::NoSale, vec![("no_sale_reason", s(reason.clone()))]),
        };
        let mut set = "SET #state = :state, settlement_id = :id, settled_at = :at, #ttl = :ttl".to_owned();
        let key = auction.aggregate.key();
        let ttl = self.agreed.ttl(auction.aggregate.window_end);
        let mut update = self
            .update(&key)
            .condition_expression("attribute_exists(PK) AND #state = :pending AND digest = :digest")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":pending", s(State::Pending.as_str().to_owned()))
            .expression_attribute_values(":digest", s(decided.digest.clone()))
            .expression_attribute_values(":state", s(state.as_str().to_owned()))
            .expression_attribute_values(":id", s(decision.settlement_id.to_string()))
            .expression_attribute_values(":at", s(decision.settled_at.to_string()))
            .expression_attribute_values(":ttl", AttributeValue::N(ttl.to_string()));
        for (name, value) in fields {
            set.push_str(&format!(", {name} = :{name}"));
            update = update.expression_attribute_values(format!(":{name}"), value);
        }
        let update = update.update_expression(format!("{set} REMOVE outbox_pk, outbox_sk"));
        if conditional(update).await? { Ok(Marked::Now) } else { self.why_not(&key, decided).await }
    }

    /// What stands where a mark was refused.
    async fn why_not(&self, key: &Key, decided: &Decided) -> Result<Marked, Failure> {
        let Some(item) = self.item(key).await? else { return Ok(Marked::Gone) };
        Ok(match (text(&item, "digest"), text(&item, "settlement_id")) {
            (Some(digest), _) if digest != decided.digest => Marked::Differs { item: digest },
            (_, Some(id)) if id == decided.decision.settlement_id.to_string() => Marked::Before,
            _ => Marked::Aside,
        })
    }

    /// Sets an item aside with its error: it leaves the outbox until it is released.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn hold(&self, key: &Key, error: &str) -> Result<bool, Failure> {
        let update = self
            .update(key)
            .condition_expression("attribute_exists(PK) AND #state = :pending")
            .expression_attribute_values(":pending", AttributeValue::S(State::Pending.as_str().to_owned()))
            .expression_attribute_values(":held", AttributeValue::S(State::Held.as_str().to_owned()))
            .expression_attribute_values(":error", AttributeValue::S(error.to_owned()))
            .update_expression("SET #state = :held, held_error = :error REMOVE outbox_pk, outbox_sk");
        conditional(update).await
    }

    /// Puts a held item back into the outbox; false when there is none, or it is not held.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn release(&self, slot: &SlotId, window_start: Millis, log: Log) -> Result<bool, Failure> {
        let key = (keys::slot_pk(slot), keys::window_sk(window_start));
        let Some(item) = self.item(&key).await? else { return Ok(false) };
        let aggregate = attrs::from_sdk(&item).ok().and_then(|item| Aggregate::from_attrs(&item).ok());
        // What cannot be read goes to any bucket: every settler walks them all.
        let bucket = aggregate
            .as_ref()
            .and_then(|one| one.candidates.first())
            .map_or(0, |first| keys::outbox_bucket(&first.account_id, self.agreed.outbox_buckets));
        let end = aggregate
            .map_or_else(|| self.agreed.geometry.window_end(window_start), |aggregate| aggregate.window_end);
        let s = |text: String| AttributeValue::S(text);
        let replay = if log == Log::Never { ", replay" } else { "" };
        let set = "SET #state = :pending, outbox_pk = :pk, outbox_sk = :sk REMOVE held_error";
        let update = self
            .update(&key)
            .condition_expression("attribute_exists(PK) AND #state = :held")
            .expression_attribute_values(":held", s(State::Held.as_str().to_owned()))
            .expression_attribute_values(":pending", s(State::Pending.as_str().to_owned()))
            .expression_attribute_values(":pk", s(keys::outbox_pk(bucket, keys::outbox_sub(slot))))
            .expression_attribute_values(":sk", s(keys::outbox_sk(end, slot)))
            .update_expression(format!("{set}{replay}"));
        conditional(update).await
    }

    async fn item(&self, key: &Key) -> Result<Option<HashMap<String, AttributeValue>>, Failure> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let answer = get.set_key(Some(HashMap::from(key_of(key)))).send().await;
        Ok(answer.map_err(|error| classify(&error))?.item)
    }

    fn update(&self, key: &Key) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table);
        update.set_key(Some(HashMap::from(key_of(key)))).expression_attribute_names("#state", "state")
    }
}

async fn conditional(update: UpdateItemFluentBuilder) -> Result<bool, Failure> {
    match update.send().await.map_err(|error| classify(&error)) {
        Ok(_) => Ok(true),
        Err(failure) if failure.code() == "ConditionalCheckFailedException" => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn key_of(key: &Key) -> [(String, AttributeValue); 2] {
    [("PK".to_owned(), AttributeValue::S(key.0.clone())), ("SK".to_owned(), AttributeValue::S(key.1.clone()))]
}

fn text(item: &HashMap<String, AttributeValue>, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

fn read(item: &HashMap<String, AttributeValue>) -> Option<(Key, Found)> {
    let key = (text(item, "PK")?, text(item, "SK")?);
    let found = found(&key, item);
    Some((key, found))
}

fn found(key: &Key, item: &HashMap<String, AttributeValue>) -> Found {
    if !item.contains_key("outbox_pk") {
        return Found::Left;
    }
    if !is_of_an_aggregate(key) {
        return Found::Foreign("its key is not SLOT#<slot> and WINDOW#<start>, as an aggregate's".to_owned());
    }
    match text(item, "state").as_deref() {
        Some("PENDING") => {}
        Some(other) => return Found::Foreign(format!("its state is {other}, and only PENDING is settled")),
        None => return Found::Foreign("it has no state, and only PENDING is settled".to_owned()),
    }
    let plain = attrs::from_sdk(item).map_err(|error| error.to_string());
    match plain.and_then(|item| Auction::read(&item)) {
        Ok(auction) if auction.aggregate.key() == *key => Found::Auction(Arc::new(auction)),
        Ok(auction) => {
            let (pk, sk) = auction.aggregate.key();
            Found::Unreadable(format!("its attributes are those of {pk} {sk}"))
        }
        Err(reason) => Found::Unreadable(reason),
    }
}

/// Whether an aggregate may stand under this key: what is held under it can be released again.
fn is_of_an_aggregate((pk, sk): &Key) -> bool {
    let slot = pk.strip_prefix("SLOT#").and_then(|slot| slot.parse::<SlotId>().ok());
    let start = sk.strip_prefix("WINDOW#").and_then(|start| start.parse::<Millis>().ok());
    slot.is_some_and(|slot| keys::slot_pk(&slot) == *pk)
        && start.is_some_and(|start| keys::window_sk(start) == *sk)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: &str = "SLOT#aaaaaaaa-0000-4000-8000-000000000001";
    const WINDOW: &str = "WINDOW#2026-11-23T21:20:10.000Z";

    fn found_with(pk: &str, sk: &str, attributes: &[(&str, &str)]) -> Found {
        let pairs = [("PK", pk), ("SK", sk), ("outbox_pk", "OUTBOX#0#0"), ("outbox_sk", "0")];
        let pairs = pairs.iter().chain(attributes);
        let item = pairs.map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
        let (_, found) = read(&item.collect()).unwrap();
        found
    }

    #[test]
    fn only_a_pending_item_under_the_key_of_an_aggregate_is_ours() {
        let pending = [("state", "PENDING")];
        for (pk, sk) in [
            (SLOT, "WINDOW#yesterday"),
            (SLOT, "WINDOW#2026-11-23T21:20:10Z"),
            (SLOT, "REGION#eu-1#BID#1"),
            ("SLOT#1", WINDOW),
            ("SLOT#AAAAAAAA-0000-4000-8000-000000000001", WINDOW),
            ("OTHER", ""),
        ] {
            let found = found_with(pk, sk, &pending);
            assert!(matches!(&found, Found::Foreign(why) if why.contains("key")), "{pk} {sk}: {found:?}");
        }
        let sold = found_with(SLOT, WINDOW, &[("state", "SOLD")]);
        assert!(matches!(&sold, Found::Foreign(why) if why.contains("SOLD")), "{sold:?}");
        assert!(matches!(found_with(SLOT, WINDOW, &[]), Found::Foreign(why) if why.contains("no state")));
        let damaged = found_with(SLOT, WINDOW, &pending);
        assert!(matches!(damaged, Found::Unreadable(_)), "it is held, and can be released: {damaged:?}");
    }

    #[test]
    fn what_was_marked_meanwhile_is_not_taken_for_foreign() {
        let key = [("PK", SLOT), ("SK", WINDOW), ("state", "SETTLED")];
        let item = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
        assert_eq!(read(&item.into()).unwrap().1, Found::Left);
    }
}

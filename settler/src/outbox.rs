//! The outbox: which aggregates await settlement, and the mark that copies a decision to its item.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::join_all;
use runtime::attrs;
use runtime::failure::{Failure, classify};
use schemas::attr::AttrError;
use schemas::ids::SlotId;
use schemas::item::{Aggregate, GeometryItem, Outcome, State};
use schemas::keys;
use schemas::limits::OUTBOX_SUBS;
use schemas::time::Millis;

use crate::core::rows::{Auction, Decided};

/// Items of one BatchGetItem request (DynamoDB API reference).
const GET_MAX: usize = 100;

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

/// A pending item: the auction, or why it cannot be one.
pub type Pending = (Key, Result<Auction, String>);

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
    /// Pending items of one bucket, oldest windows first, at most `most`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn bucket(&self, bucket: u32, most: u16) -> Result<Vec<Pending>, Failure> {
        let queries = (0..OUTBOX_SUBS).map(|sub| {
            let query = self.client.query().table_name(&self.table).index_name(keys::OUTBOX_INDEX);
            query
                .key_condition_expression("outbox_pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(keys::outbox_pk(bucket, sub)))
                .limit(i32::from(most))
                .send()
        });
        let mut found: Vec<(String, Key)> = Vec::new();
        for answer in join_all(queries).await {
            let answer = answer.map_err(|error| classify(&error))?;
            let text = |item: &HashMap<String, AttributeValue>, name: &str| {
                item.get(name).and_then(|v| v.as_s().ok()).cloned()
            };
            found.extend(
                answer.items().iter().filter_map(|item| {
                    Some((text(item, "outbox_sk")?, (text(item, "PK")?, text(item, "SK")?)))
                }),
            );
        }
        found.sort_unstable();
        found.truncate(usize::from(most));
        let mut pending = Vec::with_capacity(found.len());
        for keys in found.chunks(GET_MAX) {
            pending.extend(self.get(keys.iter().map(|(_, key)| key)).await?);
        }
        Ok(pending)
    }

    async fn get(&self, keys: impl Iterator<Item = &Key>) -> Result<Vec<Pending>, Failure> {
        let mut wanted = KeysAndAttributes::builder().consistent_read(true);
        for key in keys {
            wanted = wanted.keys(HashMap::from(key_of(key)));
        }
        let wanted = wanted.build().map_err(|error| Failure::Unknown { message: error.to_string() })?;
        let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
        let answer = answer.map_err(|error| classify(&error))?;
        // Keys that the service did not get to stay in the outbox and are found again.
        let items = answer.responses.and_then(|mut tables| tables.remove(&self.table)).unwrap_or_default();
        Ok(items.iter().filter_map(read).collect())
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
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        Ok(match (text("digest"), text("settlement_id")) {
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
    pub async fn release(&self, slot: &SlotId, window_start: Millis) -> Result<bool, Failure> {
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
        let update = self
            .update(&key)
            .condition_expression("attribute_exists(PK) AND #state = :held")
            .expression_attribute_values(":held", s(State::Held.as_str().to_owned()))
            .expression_attribute_values(":pending", s(State::Pending.as_str().to_owned()))
            .expression_attribute_values(":pk", s(keys::outbox_pk(bucket, keys::outbox_sub(slot))))
            .expression_attribute_values(":sk", s(keys::outbox_sk(end, slot)))
            .update_expression("SET #state = :pending, outbox_pk = :pk, outbox_sk = :sk REMOVE held_error");
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

fn read(item: &HashMap<String, AttributeValue>) -> Option<Pending> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let key = (text("PK")?, text("SK")?);
    if text("state").as_deref() != Some("PENDING") {
        return None;
    }
    let plain = attrs::from_sdk(item).map_err(|error| error.to_string());
    let auction = plain.and_then(|item| {
        let aggregate = Aggregate::from_attrs(&item).map_err(|error: AttrError| error.to_string())?;
        let stored = Aggregate::stored_digest(&item).map_err(|error| error.to_string())?;
        let auction = Auction::of(aggregate);
        if stored == auction.digest {
            Ok(auction)
        } else {
            Err(format!("digest {stored} stands in the item, and its attributes give {}", auction.digest))
        }
    });
    Some((key, auction))
}

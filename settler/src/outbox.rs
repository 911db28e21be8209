//! The outbox: which aggregates await settlement, and the mark that copies a decision to its item.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::join_all;
use runtime::attrs;
use runtime::failure::{Failure, classify};
use schemas::attr::AttrError;
use schemas::item::{Aggregate, GeometryItem, Outcome};
use schemas::keys;
use schemas::limits::OUTBOX_SUBS;

use crate::runner::Decided;

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

/// A pending item: the aggregate, or why it cannot be one.
pub type Pending = (Key, Result<Aggregate, String>);

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
    pub async fn mark(&self, aggregate: &Aggregate, decided: &Decided) -> Result<bool, Failure> {
        let decision = &decided.decision;
        let s = |text: String| AttributeValue::S(text);
        let (state, fields) = match &decision.outcome {
            Outcome::Sale { winner, clearing_price } => {
                let fields = vec![
                    ("winner", s(winner.to_string())),
                    ("clearing_price", AttributeValue::N(clearing_price.to_string())),
                ];
                ("SETTLED", fields)
            }
            Outcome::NoSale { reason } => ("NO_SALE", vec![("no_sale_reason", s(reason.clone()))]),
        };
        let mut set = "SET #state = :state, settlement_id = :id, settled_at = :at, #ttl = :ttl".to_owned();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(HashMap::from(key_of(&aggregate.key()))))
            .condition_expression("attribute_exists(PK) AND #state = :pending AND digest = :digest")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":pending", s("PENDING".to_owned()))
            .expression_attribute_values(":digest", s(decided.digest.clone()))
            .expression_attribute_values(":state", s(state.to_owned()))
            .expression_attribute_values(":id", s(decision.settlement_id.to_string()))
            .expression_attribute_values(":at", s(decision.settled_at.to_string()))
            .expression_attribute_values(
                ":ttl",
                AttributeValue::N(self.agreed.ttl(aggregate.window_end).to_string()),
            );
        for (name, value) in fields {
            set.push_str(&format!(", {name} = :{name}"));
            update = update.expression_attribute_values(format!(":{name}"), value);
        }
        self.conditional(update.update_expression(format!("{set} REMOVE outbox_pk, outbox_sk"))).await
    }

    /// Sets an item aside with its error: it leaves the outbox until it is released.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn hold(&self, key: &Key, error: &str) -> Result<bool, Failure> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(HashMap::from(key_of(key))))
            .condition_expression("attribute_exists(PK) AND #state = :pending")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":pending", AttributeValue::S("PENDING".to_owned()))
            .expression_attribute_values(":held", AttributeValue::S("HELD".to_owned()))
            .expression_attribute_values(":error", AttributeValue::S(error.to_owned()))
            .update_expression("SET #state = :held, held_error = :error REMOVE outbox_pk, outbox_sk");
        self.conditional(update).await
    }

    async fn conditional(
        &self,
        update: aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder,
    ) -> Result<bool, Failure> {
        match update.send().await.map_err(|error| classify(&error)) {
            Ok(_) => Ok(true),
            Err(failure) if failure.code() == "ConditionalCheckFailedException" => Ok(false),
            Err(failure) => Err(failure),
        }
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
    let aggregate = plain.and_then(|item| {
        let aggregate = Aggregate::from_attrs(&item).map_err(|error: AttrError| error.to_string())?;
        let stored = Aggregate::stored_digest(&item).map_err(|error| error.to_string())?;
        let own = aggregate.digest();
        if stored == own {
            Ok(aggregate)
        } else {
            Err(format!("digest {stored} stands in the item, and its attributes give {own}"))
        }
    });
    Some((key, aggregate))
}

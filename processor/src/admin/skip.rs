//! `processor leases skip`: a person gives up an item that the table refuses, so that the checkpoint that waits for it
//! may move on. What was given up stays as a row at the item's key.

use std::collections::HashMap;
use std::io::Write;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use runtime::failure::{Failure, classify};
use schemas::item::{RefusedItem, SkippedItem};
use schemas::keys;
use schemas::time::Millis;
use serde_json::json;

use super::call;
use crate::error::Error;

/// The table of aggregates, in which refusals are told and items are given up.
pub(super) struct Table<'a> {
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
}

/// What is given up, by whom and why.
pub(super) struct Asked<'a> {
    pub(super) key: (&'a str, &'a str),
    pub(super) by: &'a str,
    pub(super) reason: &'a str,
}

impl Table<'_> {
    fn told(&self) -> String {
        format!("table {} of aggregates", self.name)
    }

    /// The items that processors hold because the table refuses them, oldest key first. A row about one stays for some
    /// minutes after the item was taken or given up.
    pub(super) async fn refused(&self, now: Millis) -> Result<Vec<RefusedItem>, Error> {
        let mut held = Vec::new();
        for row in self.told_of(now).await? {
            let (pk, sk) = &row.key;
            let get = self.client.get_item().table_name(self.name).consistent_read(true);
            let answer = get.key("PK", s(pk)).key("SK", s(sk)).send().await;
            if answer.map_err(|error| call(&self.told())(classify(&error)))?.item.is_none() {
                held.push(row);
            }
        }
        Ok(held)
    }

    /// What processors told of refused items in the last minutes, oldest key first.
    async fn told_of(&self, now: Millis) -> Result<Vec<RefusedItem>, Error> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let query = self.client.query().table_name(self.name).consistent_read(true);
            let query = query.key_condition_expression("PK = :pk").set_exclusive_start_key(from);
            let query = query.expression_attribute_values(":pk", s(keys::REFUSED));
            let page = query.send().await.map_err(|error| call(&self.told())(classify(&error)))?;
            found.extend(page.items().iter().filter_map(read).filter(|row| row.ttl > now.seconds()));
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// What a processor tells of the item of a key, when it did so lately.
    async fn refusal(&self, (pk, sk): (&str, &str), now: Millis) -> Result<Option<RefusedItem>, Error> {
        let (row_pk, row_sk) = RefusedItem::row_key_of(pk, sk);
        let get = self.client.get_item().table_name(self.name).consistent_read(true);
        let answer = get.key("PK", s(&row_pk)).key("SK", s(&row_sk)).send().await;
        let answer = answer.map_err(|error| call(&self.told())(classify(&error)))?;
        Ok(answer.item().and_then(read).filter(|row| row.ttl > now.seconds()))
    }

    /// Puts the row where nothing stands; returns what stands otherwise.
    async fn put(&self, row: &SkippedItem) -> Result<Option<HashMap<String, AttributeValue>>, Error> {
        let put = self.client.put_item().table_name(self.name);
        let put = put.set_item(Some(runtime::attrs::to_sdk(row.to_attrs())));
        let put = put.condition_expression("attribute_not_exists(PK)");
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(None) };
        if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
            return Ok(Some(failed.item().cloned().unwrap_or_default()));
        }
        let failure: Failure = classify(&error);
        Err(call(&self.told())(failure))
    }
}

fn read(item: &HashMap<String, AttributeValue>) -> Option<RefusedItem> {
    RefusedItem::from_attrs(&runtime::attrs::from_sdk(item).ok()?).ok()
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// Gives an item up. Only one that a processor holds can be: anything else would be lost for nothing.
pub(super) async fn skip(table: &Table<'_>, asked: Asked<'_>, json: bool) -> Result<(), Error> {
    let (now, (pk, sk)) = (runtime::clock::now(), asked.key);
    let Some(refusal) = table.refusal(asked.key, now).await? else {
        return Err(Error::Usage(format!(
            "no processor says that table {} refuses the item {pk} {sk}, so it is not given up; `processor leases` lists the items that are refused",
            table.name
        )));
    };
    let row = SkippedItem {
        key: (pk.to_owned(), sk.to_owned()),
        by: asked.by.to_owned(),
        at: now,
        reason: asked.reason.to_owned(),
        refused: refusal.reason,
        shard_id: refusal.shard_id,
    };
    if let Some(stands) = table.put(&row).await? {
        let skipped =
            runtime::attrs::from_sdk(&stands).ok().and_then(|one| SkippedItem::from_attrs(&one).ok());
        return Err(Error::Usage(match skipped {
            Some(before) => format!("the item {pk} {sk} was given up before: {before}"),
            None => format!("the item {pk} {sk} stands in table {}: there is nothing to give up", table.name),
        }));
    }
    let mut out = std::io::stdout();
    if json {
        let line = json!({ "skipped": { "pk": pk, "sk": sk, "by": row.by, "at": now.to_string(),
            "reason": row.reason, "refused": row.refused, "shard_id": row.shard_id } });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{pk} {sk} is given up; its processor finds that within a minute, and the checkpoint of {} moves on",
        row.shard_id
    )?;
    Ok(())
}

/// An item that is held, in words and as JSON.
pub(super) fn told(one: &RefusedItem) -> (String, serde_json::Value) {
    let RefusedItem { key: (pk, sk), shard_id, reason, since, .. } = one;
    let words = format!(
        "held: the table refuses the item {pk} {sk} since {since}, and the checkpoint of {shard_id} waits for it: {reason}; mend that, or give the item up: `{}`",
        one.command()
    );
    let fields = json!({ "pk": pk, "sk": sk, "shard_id": shard_id, "since": since.to_string(), "reason": reason,
        "command": one.command() });
    (words, json!({ "held": fields }))
}

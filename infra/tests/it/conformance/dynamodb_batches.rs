//! Batches, scans and transactions of the scenario in [`super::dynamodb`].

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    ConditionCheck, KeysAndAttributes, Put, PutRequest, TransactWriteItem, WriteRequest,
};

use super::Record;
use super::dynamodb::{Item, TABLE, item, s, say};

pub(super) async fn batches(client: &Client, record: &mut Record) {
    let write = |count: usize, distinct: usize| {
        let request = |index: usize| {
            let put = PutRequest::builder().set_item(Some(item(
                "REGION#eu",
                &format!("{:02}", index % distinct),
                &[],
            )));
            WriteRequest::builder().put_request(put.build().unwrap()).build()
        };
        client.batch_write_item().request_items(TABLE, (0..count).map(request).collect()).send()
    };
    let unprocessed = |answer: aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput| {
        format!("{} left", answer.unprocessed_items().map_or(0, HashMap::len))
    };
    record.note("write 25", write(25, 25).await, unprocessed);
    record.note("write 26", write(26, 26).await, unprocessed);
    record.note("write one twice", write(2, 1).await, unprocessed);
    record.note(
        "write none",
        client.batch_write_item().request_items(TABLE, Vec::new()).send().await,
        unprocessed,
    );
    let get = |keys: Vec<Item>| {
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build().unwrap();
        client.batch_get_item().request_items(TABLE, keys).send()
    };
    let got = |answer: aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput| {
        let mut items: Vec<String> = answer.responses.unwrap_or_default()[TABLE].iter().map(say).collect();
        items.sort();
        format!("{items:?} {} left", answer.unprocessed_keys.map_or(0, |keys| keys.len()))
    };
    let key = |index: usize| item("REGION#eu", &format!("{index:02}"), &[]);
    record.note("get three of which two are there", get(vec![key(3), key(1), key(77)]).await, got);
    record.note("get one twice", get(vec![key(1), key(1)]).await, got);
    record.note("get 101", get((0..101).map(key).collect()).await, got);
    let (mut seen, mut start, mut pages) = (0, None, 0);
    loop {
        let page = client
            .scan()
            .table_name(TABLE)
            .limit(10)
            .set_exclusive_start_key(start.take())
            .send()
            .await
            .unwrap();
        (seen, pages) = (seen + page.items().len(), pages + 1);
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    record.say("scan", format!("{seen} items in {pages} pages"));
    let filtered = client.scan().table_name(TABLE).filter_expression("begins_with(PK, :pk)");
    let filtered = filtered.expression_attribute_values(":pk", s("REGION#")).send().await;
    record
        .note("scan with a filter", filtered, |page| format!("{} of {}", page.count(), page.scanned_count()));
}

pub(super) async fn transactions(client: &Client, record: &mut Record) {
    let put = |pk: &str, condition: Option<&str>| {
        let put = Put::builder().table_name(TABLE).set_item(Some(item(pk, "t", &[])));
        let put = put.set_condition_expression(condition.map(str::to_owned));
        TransactWriteItem::builder().put(put.build().unwrap()).build()
    };
    let check = |pk: &str| {
        let check = ConditionCheck::builder().table_name(TABLE).set_key(Some(item(pk, "t", &[])));
        let check = check.condition_expression("attribute_exists(PK)");
        TransactWriteItem::builder().condition_check(check.build().unwrap()).build()
    };
    let write = async |items: Vec<TransactWriteItem>| {
        match client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => "written".to_owned(),
            Err(error) => match error.into_service_error() {
                aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
                    cancelled,
                ) => {
                    format!("{:?}", cancelled.cancellation_reasons().iter().map(|one| one.code()).collect::<Vec<_>>())
                }
                other => other.code().unwrap_or_default().to_owned(),
            },
        }
    };
    let absent = Some("attribute_not_exists(PK)");
    record.say("write two together", write(vec![put("T#1", absent), put("T#2", absent)]).await);
    record.say("one stands in the way", write(vec![put("T#3", absent), put("T#2", absent)]).await);
    record.say("a check fails", write(vec![check("T#9"), put("T#4", None)]).await);
    record.say("one item twice", write(vec![put("T#5", None), check("T#5")]).await);
    record.say("101 items", write((0..101).map(|index| put(&format!("M#{index}"), None)).collect()).await);
    let mut there = String::new();
    for pk in ["T#1", "T#2", "T#3", "T#4", "T#5"] {
        let get = client.get_item().table_name(TABLE).set_key(Some(item(pk, "t", &[]))).send().await.unwrap();
        there.push(if get.item.is_some() { '1' } else { '0' });
    }
    record.say("what was written", there);
}

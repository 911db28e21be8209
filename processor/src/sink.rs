//! Makes what a closed window left durable: conditional puts, many at once, tried until they are done.
//!
//! An item is put on the condition that nothing stands at its key. When something does, its digest must be equal: then
//! this is a replay. Unequal digests are a divergence: the first write stays and an error is logged. What the table
//! refuses is held (`refused`) and never left out: a window is durable when each of its items stands, or when a person
//! gave up those that do not. How many puts are under way is bounded for the whole process, and the bound follows the
//! table's throttles.

mod gate;
mod refused;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, PutRequest, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use futures::StreamExt;
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use runtime::told::Told;
use schemas::attr::{Attr, Attrs};
use schemas::ids::ShardId;
use schemas::item::SkippedItem;
use schemas::limits::BATCH_WRITE_ITEMS_MAX;

use self::gate::{Gate, Pass, Went};
use self::refused::{Refused, is_of_the_item};
use crate::core::Closed;
use crate::metrics::{Metrics, add};

/// Puts that one window offers at once; the pace decides how many of them are under way.
const OFFERED: usize = 256;
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(5) };
/// A failure that lasts is logged again after so many attempts.
const LOG_EVERY: u32 = 8;

/// Writes items of one table.
#[derive(Clone, Debug)]
pub struct Sink {
    client: Client,
    table: String,
    buckets: u32,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    told: Arc<Told>,
}

/// An item on its way.
#[derive(Clone, Debug)]
struct Put {
    /// PK and SK.
    key: (String, String),
    /// What tells a replay; none in a bid event, of which any is the same.
    digest: Option<Attr>,
    item: HashMap<String, AttributeValue>,
}

impl Put {
    fn of(item: Attrs) -> Self {
        let key = (word(item.get("PK")).to_owned(), word(item.get("SK")).to_owned());
        Self { key, digest: item.get("digest").cloned(), item: runtime::attrs::to_sdk(item) }
    }

    /// Its key in one text.
    fn words(&self) -> String {
        format!("{} {}", self.key.0, self.key.1)
    }
}

impl Sink {
    /// A sink for one table; clones share their pace.
    #[must_use]
    pub fn new(client: Client, table: String, buckets: u32, metrics: Arc<Metrics>) -> Self {
        Self { client, table, buckets, metrics, gate: Arc::default(), told: Arc::default() }
    }

    /// Writes everything that one window of a shard left: aggregates first, then totals and hot slots, bid events last.
    /// Returns when all of it is durable. `on_refused` hears how many items the table refuses, once the others are
    /// durable.
    pub async fn write(&self, shard_id: &ShardId, closed: Closed, on_refused: impl FnOnce(usize)) {
        let refused = self.write_once(&closed).await;
        drop(closed);
        if !refused.is_empty() {
            on_refused(refused.len());
            self.hold(shard_id, refused).await;
        }
    }

    /// Writes a window, and returns what the table refuses of it.
    async fn write_once(&self, closed: &Closed) -> Vec<Refused> {
        let (aggregates, events) = (closed.aggregates.len(), closed.events.len());
        let mut refused = self.put_all(aggregates, |at| closed.aggregates[at].to_attrs(self.buckets)).await;
        let written = aggregates - refused.len();
        add(&self.metrics.auctions_closed, u64::try_from(written).unwrap_or(u64::MAX));
        let totals = closed.totals.len();
        refused.extend(self.put_all(totals, |at| closed.totals[at].to_attrs()).await);
        if let Some(hot) = &closed.hot {
            refused.extend(self.put(Put::of(hot.to_attrs())).await.err().map(|one| *one));
        }
        let batch = |at: usize| {
            let first = at * BATCH_WRITE_ITEMS_MAX;
            let last = events.min(first + BATCH_WRITE_ITEMS_MAX);
            self.batch(closed.events[first..last].iter().map(|event| Put::of(event.to_attrs())).collect())
        };
        let batches = futures::stream::iter(0..events.div_ceil(BATCH_WRITE_ITEMS_MAX)).map(batch);
        let batches = batches.buffer_unordered(OFFERED / BATCH_WRITE_ITEMS_MAX);
        refused.extend(batches.collect::<Vec<_>>().await.into_iter().flatten());
        refused
    }

    /// Puts so many items, each made when its turn comes; returns those that the table refuses.
    async fn put_all(&self, count: usize, item: impl Fn(usize) -> Attrs) -> Vec<Refused> {
        let puts = futures::stream::iter(0..count).map(|at| self.put(Put::of(item(at))));
        puts.buffer_unordered(OFFERED).filter_map(|done| async { done.err().map(|one| *one) }).collect().await
    }

    /// Puts an item until it stands or the table refuses it.
    async fn put(&self, put: Put) -> Result<(), Box<Refused>> {
        let mut attempt = 0;
        loop {
            let pass = self.gate.enter().await;
            let began = Instant::now();
            let sent = self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(put.item.clone()))
                .condition_expression("attribute_not_exists(PK)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let Err(error) = sent else {
                self.leave(pass, Went::Well);
                self.metrics.table_refuses.store(0, Ordering::Relaxed);
                self.metrics.put_seconds.observe(began.elapsed());
                add(
                    if put.digest.is_some() { &self.metrics.items_written } else { &self.metrics.bid_events },
                    1,
                );
                return Ok(());
            };
            let mut failure = classify(&error);
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                match self.standing(&put, failed.item()).await {
                    Ok(stands) => {
                        self.leave(pass, Went::Well);
                        self.compare(&put, &stands);
                        return Ok(());
                    }
                    Err(unclear) => failure = unclear,
                }
            }
            if is_of_the_item(&failure) {
                self.leave(pass, Went::Well);
                return Err(Box::new(Refused { put, failure }));
            }
            self.pause(pass, &failure, attempt).await;
            attempt += 1;
        }
    }

    /// What stands at the key of an item whose condition failed: as the answer has it, else as the table is asked.
    async fn standing(
        &self,
        put: &Put,
        answered: Option<&HashMap<String, AttributeValue>>,
    ) -> Result<HashMap<String, AttributeValue>, Failure> {
        if let Some(stands) = answered.filter(|item| !item.is_empty()) {
            return Ok(stands.clone());
        }
        let (pk, sk) = put.key.clone();
        let call = self.client.get_item().table_name(&self.table).consistent_read(true);
        let call = call.key("PK", text(pk)).key("SK", text(sk)).send().await;
        let stands = call.map_err(|error| classify(&error))?.item;
        stands.ok_or_else(|| Failure::Unknown {
            message: "the table says that an item stands at this key and shows none".to_owned(),
        })
    }

    /// Puts items without a condition; returns those that the table refuses.
    async fn batch(&self, puts: Vec<Put>) -> Vec<Refused> {
        let request = |put: &Put| {
            let put = PutRequest::builder().set_item(Some(put.item.clone()));
            WriteRequest::builder().put_request(put.build().expect("an item was given")).build()
        };
        let mut left: Vec<WriteRequest> = puts.iter().map(request).collect();
        let mut attempt = 0;
        while !left.is_empty() {
            let pass = self.gate.enter().await;
            let call = self.client.batch_write_item().request_items(&self.table, left.clone());
            let failure = match call.send().await {
                Ok(answer) => {
                    let mut rest = answer.unprocessed_items.unwrap_or_default();
                    let rest = rest.remove(&self.table).unwrap_or_default();
                    let done = left.len().saturating_sub(rest.len());
                    add(&self.metrics.bid_events, u64::try_from(done).unwrap_or(u64::MAX));
                    left = rest;
                    if left.is_empty() {
                        self.leave(pass, Went::Well);
                        break;
                    }
                    Failure::Throttled { code: "UnprocessedItems".to_owned() }
                }
                Err(error) => classify(&error),
            };
            if is_of_the_item(&failure) {
                self.leave(pass, Went::Well);
                // One of them is refused, and the table does not say which: each is put by itself.
                return self.put_apart(puts).await;
            }
            self.pause(pass, &failure, attempt).await;
            attempt += 1;
        }
        Vec::new()
    }

    async fn put_apart(&self, puts: Vec<Put>) -> Vec<Refused> {
        let mut refused = Vec::new();
        for put in puts {
            refused.extend(self.put(put).await.err().map(|one| *one));
        }
        refused
    }

    /// Leaves the gate after a failure and waits before the next attempt.
    async fn pause(&self, pass: Pass<'_>, failure: &Failure, attempt: u32) {
        if matches!(failure, Failure::Throttled { .. }) {
            add(&self.metrics.throttles, 1);
            self.leave(pass, Went::TooFast);
        } else {
            add(&self.metrics.write_faults, 1);
            self.leave(pass, Went::Well);
        }
        if !failure.is_transient() {
            self.metrics.table_refuses.store(1, Ordering::Relaxed);
            if self.told.may_tell() {
                tracing::error!(
                    table = self.table,
                    "{}",
                    failure.told("table refuses writes, they are tried again")
                );
            }
        } else if attempt % LOG_EVERY == LOG_EVERY - 1 {
            tracing::warn!(%failure, attempt, table = self.table, "item cannot be written, tried again");
        }
        tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
    }

    fn leave(&self, pass: Pass<'_>, went: Went) {
        let bound = pass.leave(went);
        self.metrics.writes_bound.store(u64::from(bound), Ordering::Relaxed);
    }

    /// Compares an item with what stands at its key.
    fn compare(&self, put: &Put, stands: &HashMap<String, AttributeValue>) {
        self.metrics.table_refuses.store(0, Ordering::Relaxed);
        add(&self.metrics.conditional_failures, 1);
        let key = put.words();
        let attrs = runtime::attrs::from_sdk(stands).ok();
        if let Some(skipped) = attrs.and_then(|attrs| SkippedItem::from_attrs(&attrs).ok()) {
            add(&self.metrics.items_skipped, 1);
            tracing::warn!(key, %skipped, "item was given up by a person and is not written");
            return;
        }
        let Some(ours) = &put.digest else { return };
        let stands = stands.get("digest").and_then(|value| value.as_s().ok());
        if matches!((ours, stands), (Attr::S(ours), Some(stands)) if ours == stands) {
            add(&self.metrics.replays, 1);
        } else {
            add(&self.metrics.divergence, 1);
            let (ours, stands) = (word(Some(ours)), stands.map_or("-", String::as_str));
            tracing::error!(key, ours, stands, "divergence: another item stands at this key and stays");
        }
    }
}

/// A text as it stands, `-` where there is none.
fn word(attr: Option<&Attr>) -> &str {
    match attr {
        Some(Attr::S(text)) => text,
        _ => "-",
    }
}

/// A text as the client sends it.
fn text(text: String) -> AttributeValue {
    AttributeValue::S(text)
}

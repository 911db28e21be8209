//! Makes what a closed window left durable: conditional puts, many at once, tried until they are done.
//!
//! An item is put on the condition that nothing stands at its key. When something does, its digest must be equal: then
//! this is a replay. Unequal digests are a divergence: the first write stays and an error is logged. How many puts are
//! under way is bounded for the whole process, and the bound follows the table's throttles.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, PutRequest, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use futures::StreamExt;
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use schemas::attr::{Attr, Attrs};
use schemas::limits::BATCH_WRITE_ITEMS_MAX;
use tokio::sync::Notify;

use crate::core::Closed;
use crate::core::pace::Pace;
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
}

/// Who may write now.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(Pace, u32)>,
    freed: Notify,
}

/// A place among the writes under way. A write that is given up with its lease frees it as well.
#[derive(Debug)]
struct Pass<'a>(&'a Gate);

impl Gate {
    fn state(&self) -> MutexGuard<'_, (Pace, u32)> {
        self.state.lock().expect("no holder panics")
    }

    async fn enter(&self) -> Pass<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.1 < state.0.bound() {
                    state.1 += 1;
                    if state.1 < state.0.bound() {
                        // The bound may have grown by more than one went out.
                        self.freed.notify_one();
                    }
                    return Pass(self);
                }
            }
            freed.await;
        }
    }
}

impl Pass<'_> {
    /// Ends the write, and answers the bound from now on.
    fn leave(self, went: Went) -> u32 {
        let mut state = self.0.state();
        let under_way = state.1;
        match went {
            Went::Well => state.0.on_written(),
            Went::TooFast => state.0.on_throttled(under_way),
        }
        state.0.bound()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state().1 -= 1;
        self.0.freed.notify_one();
    }
}

/// What a call says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Well,
    TooFast,
}

impl Sink {
    /// A sink for one table; clones share their pace.
    #[must_use]
    pub fn new(client: Client, table: String, buckets: u32, metrics: Arc<Metrics>) -> Self {
        Self { client, table, buckets, metrics, gate: Arc::default() }
    }

    /// Writes everything that one window left: aggregates first, then totals and hot slots, bid events last. Returns
    /// when all of it is durable.
    pub async fn write(&self, closed: &Closed) {
        let (aggregates, events) = (closed.aggregates.len(), closed.events.len());
        self.put_all(aggregates, |at| closed.aggregates[at].to_attrs(self.buckets)).await;
        add(&self.metrics.auctions_closed, u64::try_from(aggregates).unwrap_or(u64::MAX));
        let totals = closed.totals.len();
        let total = |at: usize| closed.totals[at].to_attrs();
        self.put_all(totals, total).await;
        if let Some(hot) = &closed.hot {
            self.put(hot.to_attrs()).await;
        }
        let batch = |at: usize| {
            let first = at * BATCH_WRITE_ITEMS_MAX;
            let last = events.min(first + BATCH_WRITE_ITEMS_MAX);
            let items =
                closed.events[first..last].iter().map(|event| runtime::attrs::to_sdk(event.to_attrs()));
            self.batch(items.collect())
        };
        let batches = futures::stream::iter(0..events.div_ceil(BATCH_WRITE_ITEMS_MAX)).map(batch);
        batches.buffer_unordered(OFFERED / BATCH_WRITE_ITEMS_MAX).collect::<()>().await;
    }

    /// Puts so many items, each made when its turn comes.
    async fn put_all(&self, count: usize, item: impl Fn(usize) -> Attrs) {
        let puts = futures::stream::iter(0..count).map(|at| self.put(item(at)));
        puts.buffer_unordered(OFFERED).collect::<()>().await;
    }

    async fn put(&self, item: Attrs) {
        let digest = item.get("digest").cloned();
        let key = format!("{} {}", word(item.get("PK")), word(item.get("SK")));
        let item = runtime::attrs::to_sdk(item);
        let mut attempt = 0;
        loop {
            let pass = self.gate.enter().await;
            let began = Instant::now();
            let sent = self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(PK)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let Err(error) = sent else {
                self.leave(pass, Went::Well);
                self.metrics.put_seconds.observe(began.elapsed());
                add(&self.metrics.items_written, 1);
                return;
            };
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                self.leave(pass, Went::Well);
                let stands = failed.item().and_then(|old| old.get("digest"));
                self.compare(&key, digest.as_ref(), stands.and_then(|value| value.as_s().ok()));
                return;
            }
            let failure = classify(&error);
            if failure.code() == "ValidationException" {
                // The table can never hold it; everything else goes on, and someone must act.
                self.leave(pass, Went::Well);
                add(&self.metrics.items_refused, 1);
                tracing::error!(key, %failure, "item can never be written and is left out");
                return;
            }
            self.pause(pass, &failure, attempt).await;
            attempt += 1;
        }
    }

    async fn batch(&self, items: Vec<HashMap<String, AttributeValue>>) {
        let request = |item| {
            let put = PutRequest::builder().set_item(Some(item)).build().expect("an item was given");
            WriteRequest::builder().put_request(put).build()
        };
        let mut left: Vec<WriteRequest> = items.into_iter().map(request).collect();
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
                        return;
                    }
                    Failure::Throttled { code: "UnprocessedItems".to_owned() }
                }
                Err(error) => classify(&error),
            };
            if failure.code() == "ValidationException" {
                self.leave(pass, Went::Well);
                add(&self.metrics.items_refused, u64::try_from(left.len()).unwrap_or(u64::MAX));
                tracing::error!(%failure, items = left.len(), "bid events can never be written and are left out");
                return;
            }
            self.pause(pass, &failure, attempt).await;
            attempt += 1;
        }
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
        if attempt % LOG_EVERY == LOG_EVERY - 1 {
            tracing::warn!(%failure, attempt, table = self.table, "item cannot be written, tried again");
        }
        tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
    }

    fn leave(&self, pass: Pass<'_>, went: Went) {
        let bound = pass.leave(went);
        self.metrics.writes_bound.store(u64::from(bound), std::sync::atomic::Ordering::Relaxed);
    }

    fn compare(&self, key: &str, ours: Option<&Attr>, stands: Option<&String>) {
        add(&self.metrics.conditional_failures, 1);
        if matches!((ours, stands), (Some(Attr::S(ours)), Some(stands)) if ours == stands) {
            add(&self.metrics.replays, 1);
        } else {
            add(&self.metrics.divergence, 1);
            let (ours, stands) = (word(ours), stands.map_or("-", String::as_str));
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_write_that_is_given_up_frees_its_place() {
        let gate = Gate::default();
        let mut under_way = Vec::new();
        while let Some(pass) = gate.enter().now_or_never() {
            under_way.push(pass);
        }
        assert_eq!(under_way.len(), usize::try_from(Pace::default().bound()).unwrap());
        let waits = gate.enter();
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        drop(under_way);
        let under_way = || gate.state().1;
        let pass = waits.now_or_never().expect("a place was freed");
        assert_eq!(under_way(), 1);
        assert_eq!(pass.leave(Went::Well), Pace::default().bound());
        assert_eq!(under_way(), 0);
    }
}

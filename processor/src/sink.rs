//! Makes what a closed window left durable: conditional puts, many at once, tried until they are done.
//!
//! An item is put on the condition that nothing stands at its key. When something does, its digest must be equal: then
//! this is a replay. Unequal digests are a divergence: the first write stays and an error is logged.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use futures::StreamExt;
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use schemas::attr::{Attr, Attrs};
use schemas::item::GeometryItem;

use crate::config::BidEvents;
use crate::core::Closed;
use crate::error::Error;
use crate::metrics::{Metrics, add};

/// Puts in flight at once: enough to hide a round trip, few enough that a throttled table is not flooded.
const IN_FLIGHT: usize = 48;
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(5) };

/// Writes items of one table.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The client.
    pub client: Client,
    /// The table.
    pub table: String,
    /// What all stages agreed on.
    pub agreed: GeometryItem,
    /// Which single bids are written.
    pub bid_events: BidEvents,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl Sink {
    /// Writes everything that one window left: aggregates first, then totals and hot slots, bid events last.
    ///
    /// # Errors
    /// When the service refuses an item for another reason than that one stands there.
    pub async fn write(&self, closed: Closed) -> Result<(), Error> {
        let auctions = u64::try_from(closed.aggregates.len()).unwrap_or(u64::MAX);
        let buckets = self.agreed.outbox_buckets;
        self.put_all(closed.aggregates.iter().map(|aggregate| aggregate.to_attrs(buckets)).collect()).await?;
        add(&self.metrics.auctions_closed, auctions);
        let totals = closed.totals.iter().map(|total| total.to_attrs());
        self.put_all(totals.chain(closed.hot.iter().map(|hot| hot.to_attrs())).collect()).await?;
        if self.bid_events == BidEvents::Best {
            self.put_all(closed.events.iter().map(|event| event.to_attrs()).collect()).await?;
        }
        Ok(())
    }

    async fn put_all(&self, items: Vec<Attrs>) -> Result<(), Error> {
        let mut puts = futures::stream::iter(items).map(|item| self.put(item)).buffer_unordered(IN_FLIGHT);
        while let Some(done) = puts.next().await {
            done?;
        }
        Ok(())
    }

    async fn put(&self, item: Attrs) -> Result<(), Error> {
        let digest = item.get("digest").cloned();
        let key = (item.get("PK").cloned(), item.get("SK").cloned());
        let item = runtime::attrs::to_sdk(item);
        let mut attempt = 0;
        loop {
            let sent = self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(PK)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let Err(error) = sent else { return Ok(()) };
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                let stands =
                    failed.item().and_then(|old| old.get("digest")).and_then(|value| value.as_s().ok());
                self.compare(&key, digest.as_ref(), stands);
                return Ok(());
            }
            match classify(&error) {
                failure @ Failure::Refused { .. } => {
                    return Err(Error::Call {
                        what: format!("item {key:?} of table {}", self.table),
                        failure,
                    });
                }
                failure => {
                    if matches!(failure, Failure::Throttled { .. }) {
                        add(&self.metrics.throttles, 1);
                    }
                    tracing::debug!(%failure, attempt, "put tried again");
                    tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
                    attempt += 1;
                }
            }
        }
    }

    fn compare(&self, key: &(Option<Attr>, Option<Attr>), ours: Option<&Attr>, stands: Option<&String>) {
        let same = match (ours, stands) {
            (Some(Attr::S(ours)), Some(stands)) => ours == stands,
            // A bid event has no digest: its key holds the bid's id, and the first write stays.
            (None, _) => true,
            _ => false,
        };
        if same {
            add(&self.metrics.replays, 1);
        } else {
            add(&self.metrics.divergence, 1);
            tracing::error!(?key, ?ours, ?stands, "divergence: another item stands at this key and stays");
        }
    }
}

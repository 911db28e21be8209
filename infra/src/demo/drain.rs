//! Whether the pipeline has finished what was sent.
//!
//! Asks the tables, not the stages' counters: a worker that takes a shard over reads some of it again and counts it
//! twice, while an item stands in a table once. Region totals are written after the aggregates of their window, so when
//! the totals account for every accepted bid, every aggregate is there; and what is decided has left the outbox.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use runtime::failure::classify;
use schemas::ids::Region;
use schemas::item::RegionTotals;
use schemas::keys;

use crate::failure::Failure;
use crate::provision::sentence;

/// Whether the totals of these regions account for so many bids, and nothing awaits its decision.
pub(super) async fn is_done(client: &Client, regions: &[Region], accepted: u64) -> Result<bool, Failure> {
    let mut accounted = 0;
    for region in regions.iter().chain([&Region::UNREADABLE, &Region::OTHERS]) {
        accounted += of_region(client, region).await?;
    }
    Ok(accounted >= accepted && outbox(client).await? == 0)
}

/// Bids of a region in closed windows, whatever became of them.
async fn of_region(client: &Client, region: &Region) -> Result<u64, Failure> {
    let (mut bids, mut from) = (0, None);
    loop {
        let query = client.query().table_name(keys::TABLE).consistent_read(true);
        let query = query.key_condition_expression("PK = :pk").set_exclusive_start_key(from);
        let pk = AttributeValue::S(keys::region_pk(region));
        let page = query.expression_attribute_values(":pk", pk).send().await;
        let page: QueryOutput =
            page.map_err(|error| sentence("region totals cannot be read", &classify(&error)))?;
        for item in page.items() {
            let totals = runtime::attrs::from_sdk(item).ok();
            let totals = totals.and_then(|attrs| RegionTotals::from_attrs(&attrs).ok());
            let totals =
                totals.ok_or_else(|| Failure::fault(format!("totals of region {region} are unreadable")))?;
            bids += totals.bids + totals.duplicates;
            bids += totals.late + totals.early + totals.stray + totals.rejected;
        }
        from = page.last_evaluated_key;
        if from.is_none() {
            return Ok(bids);
        }
    }
}

/// Auctions that await their decision, as far as one page counts them.
async fn outbox(client: &Client) -> Result<i32, Failure> {
    let scan = client.scan().table_name(keys::TABLE).index_name(keys::OUTBOX_INDEX).select(Select::Count);
    let page = scan.send().await;
    let page = page.map_err(|error| sentence("the outbox cannot be read", &classify(&error)))?;
    Ok(page.count())
}

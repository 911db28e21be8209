//! The lease table: rows are read whole and written on the condition that the counter is the one last seen.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use runtime::attrs;
use runtime::failure::{Failure, classify};
use schemas::lease::Lease;

use crate::reader::Listed;

/// The lease table.
#[derive(Clone, Debug)]
pub struct Leases {
    /// The client.
    pub client: Client,
    /// The table.
    pub table: String,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The row stands as it was meant.
    Done,
    /// Another worker changed the row: the lease is lost.
    Lost,
}

impl Leases {
    /// All rows that can be read; others are logged and left alone.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn all(&self) -> Result<Vec<Lease>, Failure> {
        let (mut leases, mut from) = (Vec::new(), None);
        loop {
            let scan = self
                .client
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .set_exclusive_start_key(from);
            let page = scan.send().await.map_err(|error| classify(&error))?;
            for item in page.items() {
                let read = attrs::from_sdk(item).map_err(|error| error.to_string());
                match read.and_then(|item| Lease::from_attrs(&item).map_err(|error| error.to_string())) {
                    Ok(lease) => leases.push(lease),
                    Err(reason) => {
                        tracing::warn!(table = self.table, reason, "row of the lease table left alone")
                    }
                }
            }
            from = page.last_evaluated_key().cloned();
            if from.is_none() {
                return Ok(leases);
            }
        }
    }

    /// Makes the row of a shard when there is none.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn make(&self, shard: &Listed) -> Result<(), Failure> {
        let lease = Lease::new(shard.shard_id.clone(), shard.range, shard.parents.clone());
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(attrs::to_sdk(lease.to_attrs())));
        match put
            .condition_expression("attribute_not_exists(leaseKey)")
            .send()
            .await
            .map_err(|e| classify(&e))
        {
            Err(failure) if failure.code() != "ConditionalCheckFailedException" => Err(failure),
            _ => Ok(()),
        }
    }

    /// Writes the row on the condition that its counter is `seen`. A reply that never came is found out by reading.
    ///
    /// # Errors
    /// When the table cannot be reached or refuses; the row may then stand or not.
    pub async fn write(&self, lease: &Lease, seen: u64) -> Result<Written, Failure> {
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(attrs::to_sdk(lease.to_attrs())));
        let sent = put
            .condition_expression("leaseCounter = :seen")
            .expression_attribute_values(":seen", AttributeValue::N(seen.to_string()))
            .send()
            .await;
        match sent.map_err(|error| classify(&error)) {
            Ok(_) => Ok(Written::Done),
            Err(failure) if failure.code() == "ConditionalCheckFailedException" => self.find_out(lease).await,
            Err(failure) => Err(failure),
        }
    }

    /// Whether the row is the one that was meant: an earlier attempt was done and its reply lost.
    async fn find_out(&self, lease: &Lease) -> Result<Written, Failure> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let answer = get.key("leaseKey", AttributeValue::S(lease.shard_id.0.clone())).send().await;
        let answer = answer.map_err(|error| classify(&error))?;
        let stands = answer
            .item()
            .and_then(|item| attrs::from_sdk(item).ok())
            .and_then(|item| Lease::from_attrs(&item).ok());
        // Owner and counter together name one attempt of one worker; its row may carry an older checkpoint than this
        // attempt's, which is only more careful, and the next write brings the newer one.
        let ours = stands.is_some_and(|row| row.owner == lease.owner && row.counter == lease.counter);
        Ok(if ours { Written::Done } else { Written::Lost })
    }
}

//! The lease table: rows are read whole and written on the condition that the counter is the one last seen.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use runtime::attrs;
use runtime::failure::{Failure, classify};
use schemas::ids::ShardId;
use schemas::lease::Lease;
use schemas::time::Millis;

use crate::core::holding::Written;

/// Whether a call failed because its table is not there.
pub(crate) fn is_no_table(failure: &Failure) -> bool {
    failure.code() == "ResourceNotFoundException"
}

/// The lease table.
#[derive(Clone, Debug)]
pub struct Leases {
    /// The client.
    pub client: Client,
    /// The table.
    pub table: String,
}

/// What stands in the table.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The leases.
    pub leases: Vec<Lease>,
    /// Rows that are none, in order of their keys.
    pub unreadable: Vec<Unreadable>,
}

/// A row that cannot be read: whoever wrote it, what it says is not lost, and its shard is not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// Its shard.
    pub shard_id: ShardId,
    /// What is wrong with it.
    pub reason: String,
}

/// How far a clock in a row may be ahead of the stream's: far more than clocks differ.
const AHEAD_MAX_MS: u64 = 86_400_000;

/// Refuses a lease that says that what is still to come was closed: nothing of it would ever be written.
fn possible(lease: Lease, now: Millis) -> Result<Lease, String> {
    let clocks = [("closedThrough", lease.closed_through), ("replayClock", lease.replay_clock)];
    match clocks.into_iter().find(|(_, clock)| *clock > now.plus(AHEAD_MAX_MS)) {
        Some((name, clock)) => Err(format!("attribute {name} is {clock}, which is more than a day ahead")),
        None => Ok(lease),
    }
}

impl Leases {
    /// All rows, at `now` of the stream's clock; those that cannot be read are left alone.
    ///
    /// # Errors
    /// When the table cannot be read, or is not a table of leases.
    pub async fn all(&self, now: Millis) -> Result<Rows, Failure> {
        let (mut rows, mut from) = (Rows::default(), None);
        loop {
            let scan = self
                .client
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .set_exclusive_start_key(from);
            let page = scan.send().await.map_err(|error| classify(&error))?;
            for item in page.items() {
                let Some(AttributeValue::S(key)) = item.get("leaseKey") else {
                    return Err(self.is_another());
                };
                let read = attrs::from_sdk(item).map_err(|error| error.to_string());
                let lease = read.and_then(|item| Lease::from_attrs(&item).map_err(|error| error.to_string()));
                match lease.and_then(|lease| possible(lease, now)) {
                    Ok(lease) => rows.leases.push(lease),
                    Err(reason) => {
                        rows.unreadable.push(Unreadable { shard_id: ShardId(key.clone()), reason });
                    }
                }
            }
            from = page.last_evaluated_key().cloned();
            if from.is_none() {
                rows.unreadable.sort_unstable();
                return Ok(rows);
            }
        }
    }

    fn is_another(&self) -> Failure {
        let message = format!(
            "{} is not a table of leases: its items have no leaseKey; name the table of leases with --lease-table",
            self.table
        );
        Failure::Refused { code: "another table".to_owned(), message }
    }

    /// Makes a row where none stands.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn make(&self, lease: &Lease) -> Result<(), Failure> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put.set_item(Some(attrs::to_sdk(lease.to_attrs())));
        let sent = put.condition_expression("attribute_not_exists(leaseKey)").send().await;
        match sent.map_err(|error| classify(&error)) {
            Err(failure) if failure.code() != "ConditionalCheckFailedException" => Err(failure),
            _ => Ok(()),
        }
    }

    /// Puts a row over the one whose counter is `seen`.
    ///
    /// # Errors
    /// When the service says no for another reason than the counter.
    pub async fn write(&self, lease: &Lease, seen: u64) -> Result<Written, Failure> {
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(attrs::to_sdk(lease.to_attrs())));
        let sent = put
            .condition_expression("leaseCounter = :seen")
            .expression_attribute_values(":seen", AttributeValue::N(seen.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        outcome(sent)
    }

    /// Removes the row whose counter is `seen`.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn remove(&self, shard_id: &ShardId, seen: u64) -> Result<(), Failure> {
        let delete = self.client.delete_item().table_name(&self.table);
        let delete = delete.key("leaseKey", AttributeValue::S(shard_id.0.clone()));
        let sent = delete
            .condition_expression("leaseCounter = :seen")
            .expression_attribute_values(":seen", AttributeValue::N(seen.to_string()))
            .send()
            .await;
        match sent.map_err(|error| classify(&error)) {
            Err(failure) if failure.code() != "ConditionalCheckFailedException" => Err(failure),
            _ => Ok(()),
        }
    }
}

fn outcome(sent: Result<PutItemOutput, SdkError<PutItemError>>) -> Result<Written, Failure> {
    let Err(error) = sent else { return Ok(Written::Done) };
    if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
        let stands = failed.item().and_then(|item| attrs::from_sdk(item).ok());
        let stands = stands.and_then(|item| Lease::from_attrs(&item).ok());
        return Ok(Written::Refused(stands.map(Box::new)));
    }
    let failure = classify(&error);
    // Whether it was done or not is what trying again finds out.
    if failure.is_transient() { Ok(Written::Unknown) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use schemas::hash::HashRange;

    use super::*;

    #[test]
    fn a_row_that_has_closed_what_is_still_to_come_is_no_lease() {
        let now = Millis(1_795_000_000_000);
        let row = |closed: u64, replay: u64| Lease {
            closed_through: now.plus(closed),
            replay_clock: now.plus(replay),
            ..Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new())
        };
        assert!(possible(row(AHEAD_MAX_MS, AHEAD_MAX_MS), now).is_ok(), "clocks differ");
        let told = possible(row(AHEAD_MAX_MS + 1, 0), now).unwrap_err();
        assert!(told.starts_with("attribute closedThrough is 20"), "{told}");
        assert!(possible(row(0, AHEAD_MAX_MS + 1), now).unwrap_err().contains("replayClock"));
    }
}

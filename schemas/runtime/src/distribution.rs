//! Whether a stream keeps keys: under service-managed distribution it puts every record into any shard, and the bids of
//! an auction come apart.
//!
//! An on-demand stream is switched by one call, at once (Kinesis API reference, `UpdateStreamRecordDistributionStrategy`).

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{RecordDistributionStrategy, StreamDescriptionSummary};

use crate::failure::{Failure, classify};

/// A stream that ignores the keys of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream {stream} is under service-managed record distribution (AUTO): it ignores the keys of records, so the bids of a slot lie in any shard and do not meet in one auction; switch it back with `aws kinesis update-stream-record-distribution-strategy --stream-arn {stream_arn} --record-distribution-strategy USER_PARTITION_KEY`, then start again"
)]
pub struct ServiceManaged {
    /// Its name.
    pub stream: String,
    /// Its ARN.
    pub stream_arn: String,
}

/// Why a stream is not known to keep keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It does not.
    #[error(transparent)]
    Managed(#[from] ServiceManaged),
    /// It does not say.
    #[error(transparent)]
    Call(#[from] Failure),
}

impl KeysError {
    /// The call that failed, when one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Managed(_) => None,
            Self::Call(failure) => Some(failure),
        }
    }
}

/// What a description says. A service that does not know the setting keeps keys.
///
/// # Errors
/// When the stream ignores keys.
pub fn keys_kept(summary: &StreamDescriptionSummary) -> Result<(), ServiceManaged> {
    match &summary.record_distribution_strategy {
        None | Some(RecordDistributionStrategy::UserPartitionKey) => Ok(()),
        Some(_) => Err(ServiceManaged {
            stream: summary.stream_name.clone(),
            stream_arn: summary.stream_arn.clone(),
        }),
    }
}

/// Asks a stream whether it keeps keys.
///
/// # Errors
/// When it does not, or does not say.
pub async fn check(client: &Client, stream: &str) -> Result<(), KeysError> {
    let answer = client.describe_stream_summary().stream_name(stream).send().await;
    let answer = answer.map_err(|error| classify(&error))?;
    Ok(answer.stream_description_summary.as_ref().map_or(Ok(()), keys_kept)?)
}

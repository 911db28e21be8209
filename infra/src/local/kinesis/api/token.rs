//! Iterators and paging tokens: what the next call has to know, in base64, with the time they were given.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemas::limits;
use serde::{Deserialize, Serialize};

use crate::local::kinesis::model::{Refusal, ShardId, refuse};

/// How long a paging token lives (Kinesis API reference, `ListShards`).
const TOKEN_TTL_MS: u64 = 300_000;

/// Where a shard is read on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Iterator {
    pub(super) stream: String,
    pub(super) created_ms: u64,
    pub(super) shard: u32,
    pub(super) after: u64,
    pub(super) given_ms: u64,
}

/// Where a list is read on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) stream: String,
    pub(super) created_ms: u64,
    /// The last one listed.
    pub(super) after: String,
    /// The filter of the first call, as it was sent.
    pub(super) filter: serde_json::Value,
    pub(super) given_ms: u64,
}

fn encode(token: &impl Serialize) -> String {
    BASE64.encode(serde_json::to_vec(token).unwrap_or_default())
}

fn decode<T: for<'a> Deserialize<'a>>(text: &str, field: &str) -> Result<T, Refusal> {
    let token = BASE64.decode(text).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match token {
        Some(token) => Ok(token),
        None => refuse("InvalidArgumentException", format!("{field} is not one that this engine gave")),
    }
}

impl Iterator {
    pub(super) fn encode(&self) -> String {
        encode(self)
    }

    /// The iterator in a text, when it was given less than five minutes ago.
    pub(super) fn decode(text: &str, now_ms: u64) -> Result<Self, Refusal> {
        let token: Self = decode(text, "ShardIterator")?;
        if now_ms.saturating_sub(token.given_ms) > limits::ITERATOR_TTL_MS {
            return refuse("ExpiredIteratorException", "the iterator is older than 5 minutes");
        }
        Ok(token)
    }

    pub(super) fn shard(&self) -> ShardId {
        ShardId(self.shard)
    }
}

impl Listing {
    pub(super) fn encode(&self) -> String {
        encode(self)
    }

    pub(super) fn decode(text: &str, now_ms: u64) -> Result<Self, Refusal> {
        let token: Self = decode(text, "NextToken")?;
        if now_ms.saturating_sub(token.given_ms) > TOKEN_TTL_MS {
            return refuse("ExpiredNextTokenException", "the token is older than 5 minutes");
        }
        Ok(token)
    }
}

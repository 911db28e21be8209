//! When the shard map is read again: a shard answered that was not predicted, or nothing was heard of the stream for a
//! while. The second is how a producer that nobody gives bids finds out that its stream is gone.

use aws_sdk_kinesis::Client;
use runtime::chance;
use runtime::distribution::KeysError;
use tokio::task::{JoinError, JoinSet};

use crate::core::delivery::BACKOFF;
use crate::core::shard_map::ShardMap;
use crate::shards::{self, Ask};

/// A shard map wanted again so soon after the last one is asked for more slowly.
const YOUNG_MS: u64 = 1_000;
/// After so long without a word of the stream it is asked for its shards, half of the time after which one that does
/// not answer is away. ListShards allows 1,000 calls a second for each stream (Kinesis API reference), enough for
/// thousands of idle producers; DescribeStreamSummary allows an account 20, which processors need.
const QUIET_MS: u64 = 5_000;

/// What a reading came to.
pub(crate) type Listed = Result<Result<ShardMap, KeysError>, JoinError>;

/// Readings of the shard map, at most one at a time.
#[derive(Debug)]
pub(crate) struct Listing {
    client: Client,
    stream: String,
    under_way: JoinSet<Result<ShardMap, KeysError>>,
    /// Readings in a row that were wanted soon after one another.
    in_a_row: u32,
    ended_ms: u64,
    heard_ms: u64,
}

impl Listing {
    /// The map was read just now.
    pub(crate) fn new(client: Client, stream: String) -> Self {
        Self { client, stream, under_way: JoinSet::new(), in_a_row: 0, ended_ms: 0, heard_ms: 0 }
    }

    /// Something was heard of the stream, good or bad.
    pub(crate) fn on_heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// A reading ended, well or not.
    pub(crate) fn on_ended(&mut self, now_ms: u64) {
        (self.ended_ms, self.heard_ms) = (now_ms, now_ms);
    }

    /// When the stream is asked, unless it is heard of before.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.under_way.is_empty().then(|| self.heard_ms.saturating_add(QUIET_MS))
    }

    /// Begins to read, unless that is under way.
    pub(crate) fn begin(&mut self, now_ms: u64, ask: Ask) {
        if !self.under_way.is_empty() {
            return;
        }
        let is_young = now_ms.saturating_sub(self.ended_ms) < YOUNG_MS;
        self.in_a_row = if is_young { self.in_a_row.saturating_add(1) } else { 0 };
        // The first one at once: until it comes, what is sent may go to the wrong shard.
        let unit = if self.in_a_row == 0 { 0.0 } else { chance::unit() };
        let delay = BACKOFF.delay(self.in_a_row, unit);
        let (client, stream) = (self.client.clone(), self.stream.clone());
        self.under_way.spawn(async move {
            tokio::time::sleep(delay).await;
            shards::list(&client, &stream, ask).await
        });
    }

    /// What the reading under way came to; none when there is none. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Option<Listed> {
        self.under_way.join_next().await
    }
}

#[cfg(test)]
mod tests {
    use runtime::clients::Clients;
    use runtime::failure::Failure;

    use super::*;

    #[tokio::test]
    async fn a_quiet_stream_is_asked_once_and_failures_in_a_row_are_spaced() {
        let nowhere = "http://127.0.0.1:1";
        let client = Clients::local(nowhere, nowhere).await.kinesis;
        let mut listing = Listing::new(client, "bids".to_owned());
        assert_eq!(listing.due_ms(), Some(QUIET_MS));
        listing.on_heard(500);
        assert_eq!(listing.due_ms(), Some(500 + QUIET_MS), "what is heard of is not asked");
        let mut rows = Vec::new();
        for now_ms in [20_000, 20_010, 20_020, 30_000] {
            listing.begin(now_ms, Ask::Shards);
            listing.begin(now_ms, Ask::Keys);
            assert_eq!(listing.due_ms(), None, "one is under way");
            let failed = listing.next().await.unwrap().unwrap();
            assert!(matches!(failed, Err(KeysError::Call(Failure::Unreachable { .. }))), "{failed:?}");
            assert!(listing.under_way.is_empty(), "only one was");
            listing.on_ended(now_ms);
            rows.push(listing.in_a_row);
        }
        assert_eq!(rows, [0, 1, 2, 0]);
        assert_eq!(listing.due_ms(), Some(30_000 + QUIET_MS));
    }
}

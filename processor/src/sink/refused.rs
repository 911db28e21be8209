//! Items that the table refuses: each is tried again, slowly and for as long as its lease is held, until the table
//! takes it or a person gives it up. None is ever left out.
//!
//! A refusal is an alarm: an error in the log when it is met, a gauge and a word of `/health` while it lasts, and a row
//! of the table that `processor leases` and the audit read.

use std::time::Duration;

use futures::StreamExt;
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};
use schemas::attr::Attrs;
use schemas::ids::ShardId;
use schemas::item::{RefusedItem, SkippedItem, skip_command};
use schemas::time::Millis;

use super::{Put, Sink};
use crate::metrics::{Metrics, add};

/// Between two tries of an item that the table refuses: an answer that was odd once is soon made good, and one that
/// lasts is waited out at a pace that costs next to nothing.
const REFUSED_BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// How long a row about a refused item is good for after a try: some times the longest wait between two.
const TOLD_FOR_MS: u64 = 10 * 60_000;
/// Rows about refused items that one processor keeps: what a person can look through. The log names every item.
const ROWS_MAX: usize = 1_000;

/// Items of one window that are tried side by side; each waits for the most part. More follow as these are taken.
const HELD_AT_ONCE: usize = 4_096;

/// Error codes by which the table refuses one item and not its caller (DynamoDB developer guide, "Error handling").
const OF_AN_ITEM: [&str; 5] = [
    "ValidationException",
    "ItemCollectionSizeLimitExceededException",
    "SerializationException",
    "Construction",
    "HTTP 413",
];

/// Whether a failure is about the item that was put: the same caller may well put another.
pub(super) fn is_of_the_item(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { code, .. } if OF_AN_ITEM.contains(&code.as_str()))
}

/// An item that the table refuses, and what it said.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) put: Put,
    pub(super) failure: Failure,
}

/// Counts an item as held for as long as this lives.
struct Alarm<'a> {
    metrics: &'a Metrics,
    key: String,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.metrics.set_held(&self.key, None);
    }
}

impl Sink {
    /// Returns once the table has taken each of the items, or a person gave it up.
    pub(super) async fn hold(&self, shard_id: &ShardId, refused: Vec<Refused>) {
        let held = futures::stream::iter(refused).map(|one| self.hold_one(shard_id, one));
        held.buffer_unordered(HELD_AT_ONCE).collect::<()>().await;
    }

    async fn hold_one(&self, shard_id: &ShardId, Refused { put, mut failure }: Refused) {
        let since = runtime::clock::now();
        let (pk, sk) = put.key.clone();
        let command = skip_command(&pk, &sk);
        let alarm = Alarm { metrics: &self.metrics, key: put.words() };
        let mut attempt = 0;
        loop {
            // The table judges an item before the condition of its put: what stands at the key is asked for.
            if let Some(skipped) = self.skipped(&put).await {
                add(&self.metrics.items_skipped, 1);
                tracing::warn!(%shard_id, key = alarm.key, %skipped, "item that the table refuses is given up");
                return;
            }
            if attempt == 0 {
                add(&self.metrics.items_refused, 1);
                tracing::error!(%shard_id, key = alarm.key, %failure, %since, command,
                    "table refuses an item: it is held and tried again, and the checkpoint of its shard waits; mend what the table says, or give the item up by the command");
            }
            if self.metrics.set_held(&alarm.key, Some(failure.to_string())) <= ROWS_MAX {
                self.tell(shard_id, &put, &failure, since).await;
            }
            tokio::time::sleep(REFUSED_BACKOFF.delay(attempt, runtime::chance::unit())).await;
            attempt = attempt.saturating_add(1);
            match self.put(put.clone()).await {
                Ok(()) => {
                    tracing::info!(%shard_id, key = alarm.key, %since, "table takes the item again");
                    return;
                }
                Err(again) => failure = again.failure,
            }
        }
    }

    /// The row by which a person gave an item up, if one did.
    async fn skipped(&self, put: &Put) -> Option<SkippedItem> {
        let (pk, sk) = put.key.clone();
        let call = self.client.get_item().table_name(&self.table).consistent_read(true);
        let call = call.key("PK", super::text(pk)).key("SK", super::text(sk));
        match call.send().await {
            Ok(answer) => {
                let attrs: Option<Attrs> = runtime::attrs::from_sdk(answer.item()?).ok();
                SkippedItem::from_attrs(&attrs?).ok()
            }
            Err(error) => {
                tracing::debug!(failure = %classify(&error), "key of a refused item cannot be read");
                None
            }
        }
    }

    /// Tells of a refused item in a row of the table. Who reads it loses nothing when it cannot be written.
    async fn tell(&self, shard_id: &ShardId, put: &Put, failure: &Failure, since: Millis) {
        let row = RefusedItem {
            key: put.key.clone(),
            shard_id: shard_id.clone(),
            reason: failure.to_string(),
            since,
            ttl: runtime::clock::now().plus(TOLD_FOR_MS).seconds(),
        };
        let call = self.client.put_item().table_name(&self.table);
        let sent = call.set_item(Some(runtime::attrs::to_sdk(row.to_attrs()))).send().await;
        if let Err(failure) = sent.map_err(|error| classify(&error)) {
            tracing::debug!(%failure, "row about a refused item not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_one_item_sets_that_item_aside() {
        let of = |code: &str| Failure::Refused { code: code.to_owned(), message: String::new() };
        assert!(OF_AN_ITEM.iter().all(|code| is_of_the_item(&of(code))));
        for code in
            ["AccessDeniedException", "ResourceNotFoundException", "ExpiredTokenException", "HTTP 400"]
        {
            assert!(!is_of_the_item(&of(code)), "{code} is said of the caller or of the table");
        }
        assert!(!is_of_the_item(&Failure::Throttled { code: "ValidationException".to_owned() }));
    }
}

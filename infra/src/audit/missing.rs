//! Why an item does not stand where the log demands one: given up by a person, held by a processor, passed by a
//! checkpoint, or not written yet. Only the last may be a matter of time.

use std::collections::BTreeMap;

use anyhow::Result;
use aws_sdk_dynamodb::Client;
use schemas::attr::Attrs;
use schemas::ids::ShardId;
use schemas::item::{GeometryItem, RefusedItem, SkippedItem};
use schemas::lease::{Checkpoint, Lease};
use schemas::time::Millis;

use super::log::passed;
use super::table;

/// What is known of items that do not stand, by their PK and SK.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// Items that persons gave up.
    pub skipped: BTreeMap<(String, String), SkippedItem>,
    /// Items that processors hold because the table refuses them.
    pub refused: BTreeMap<(String, String), RefusedItem>,
    /// How far leases that our processor wrote say that everything a shard closed is durable, as it was before the items were read.
    pub closed_through: BTreeMap<ShardId, Millis>,
}

/// Where an item would stand, and what would have written it.
#[derive(Clone, Debug)]
pub(super) struct Absent<'a> {
    pub(super) key: (String, String),
    pub(super) shard_id: &'a ShardId,
    pub(super) window: Millis,
}

impl Missing {
    /// Takes a row of the lease table.
    fn take(&mut self, row: &Lease) {
        // What another tool wrote proves nothing about what our processor made durable.
        if !row.is_trusted() {
            return;
        }
        // What a shard left was durable before its end was written down.
        let ended = row.checkpoint == Checkpoint::ShardEnd;
        let through = if ended { Millis(u64::MAX) } else { row.closed_through };
        self.closed_through.insert(row.shard_id.clone(), through);
    }

    /// Reads what leases say; nothing where they cannot be read.
    pub(super) async fn read_leases(&mut self, client: &Client, lease_table: &str) -> Result<()> {
        let mut rows = Vec::new();
        table::scan(client, lease_table, |attrs: &Attrs| rows.extend(Lease::from_attrs(attrs).ok())).await?;
        rows.iter().for_each(|row| self.take(row));
        Ok(())
    }

    /// What is found in the place of an item: `nothing`, and why it stays so when that is known.
    pub(super) fn found(&self, agreed: &GeometryItem, absent: &Absent<'_>, now: Millis) -> String {
        let refused = self.refused.get(&absent.key).filter(|row| row.ttl > now.seconds());
        let through = self.closed_through.get(absent.shard_id);
        if let Some(skipped) = self.skipped.get(&absent.key) {
            format!("nothing, {skipped}")
        } else if let Some(row) = refused {
            format!(
                "nothing, and a processor holds it since {}: the table says {}; mend that, or give it up: `{}`",
                row.since,
                row.reason,
                row.command()
            )
        } else if through.is_some_and(|through| passed(agreed, absent.window, *through)) {
            format!("nothing, and the checkpoint of {} has passed it", absent.shard_id)
        } else {
            "nothing".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::attr::{n, s};
    use schemas::hash::HashRange;

    use super::*;

    /// How far the row of a shard is believed, once somebody has changed it.
    fn believed(change: impl Fn(&mut Attrs)) -> Option<Millis> {
        let mut row = Lease::new(ShardId("s".to_owned()), HashRange::ALL, Vec::new());
        row.checkpoint = Checkpoint::After("7".parse().unwrap());
        (row.replay_clock, row.closed_through) = (Millis(5), Millis(5));
        let mut attrs = row.to_attrs();
        change(&mut attrs);
        let mut missing = Missing::default();
        missing.take(&Lease::from_attrs(&attrs).unwrap());
        missing.closed_through.into_values().next()
    }

    #[test]
    fn only_a_row_that_our_processor_wrote_says_what_is_durable() {
        assert_eq!(believed(|_| {}), Some(Millis(5)));
        let set = |name: &'static str, value: &dyn Fn() -> schemas::attr::Attr| {
            believed(|attrs| drop(attrs.insert(name.to_owned(), value())))
        };
        assert_eq!(set("leaseCounter", &|| n(9)), Some(Millis(5)), "not of the place");
        assert_eq!(set("closedThrough", &|| n(9_000)), None);
        assert_eq!(set("checkpoint", &|| s("8")), None);
        assert_eq!(set("checkpoint", &|| s("SHARD_END")), None);
        // A row as the Java library writes it.
        let theirs = |attrs: &mut Attrs| {
            for ours in ["replayClock", "closedThrough", "tails", "seal"] {
                attrs.remove(ours);
            }
        };
        assert_eq!(believed(theirs), None);
        assert_eq!(
            believed(|attrs| {
                theirs(attrs);
                attrs.insert("checkpoint".to_owned(), s("SHARD_END"));
            }),
            None
        );
    }
}

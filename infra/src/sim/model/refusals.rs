//! Items that the table of a world refuses with `ValidationException`: for a while, or until a person gives them up.

use schemas::attr::Attrs;
use schemas::ids::ShardId;
use schemas::item::SkippedItem;
use schemas::time::Millis;

use super::table::text;
use crate::sim::call::Key;
use crate::sim::script::RefuseOp;
use crate::sim::words::{Refusable, RefusalEnd};

#[derive(Clone, Debug)]
struct Refusal {
    op: RefuseOp,
    until_ms: u64,
    /// The item that is refused: the first of its kind that is put.
    key: Option<Key>,
}

/// What is refused now.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Vec<Refusal>);

/// What becomes of a put.
#[derive(Clone, Debug)]
pub(super) enum Judged {
    /// The table takes it.
    Taken,
    /// The table refuses it.
    Refused,
    /// A person gave it up: this row stands there from now on.
    Skipped(Attrs),
}

impl Refusals {
    /// The next item of a kind is refused until then.
    pub(super) fn add(&mut self, op: RefuseOp, now_ms: u64) {
        self.0.push(Refusal { op, until_ms: now_ms + op.for_ms, key: None });
    }

    /// Judges the put of an item at whose key nothing stands.
    pub(super) fn on_put(&mut self, key: &Key, item: &Attrs, now_ms: u64) -> Judged {
        let kind = match (key.0.split('#').next(), key.1.split('#').next()) {
            (Some("SLOT"), Some("WINDOW")) => Refusable::Aggregate,
            (Some("REGION"), _) => Refusable::Totals,
            (Some("HOT"), _) => Refusable::Hot,
            _ => return Judged::Taken,
        };
        let concerns = |one: &&mut Refusal| match &one.key {
            Some(own) => own == key,
            None => one.op.item == kind && now_ms < one.until_ms,
        };
        let Some(refusal) = self.0.iter_mut().find(concerns) else { return Judged::Taken };
        refusal.key = Some(key.clone());
        if now_ms < refusal.until_ms {
            return Judged::Refused;
        }
        match refusal.op.end {
            RefusalEnd::Taken => Judged::Taken,
            RefusalEnd::Skipped => Judged::Skipped(skipped(key, item, now_ms)),
        }
    }
}

fn skipped(key: &Key, item: &Attrs, now_ms: u64) -> Attrs {
    let row = SkippedItem {
        key: key.clone(),
        by: "ops".to_owned(),
        at: Millis(now_ms),
        reason: "the world goes on".to_owned(),
        refused: "ValidationException".to_owned(),
        shard_id: ShardId(text(item, "shard_id").unwrap_or_default()),
    };
    row.to_attrs()
}

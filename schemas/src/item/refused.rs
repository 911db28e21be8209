//! What the table refuses to hold: the row by which a processor tells of it, and the row by which a person gives it up.
//!
//! Both are read by the audit. A [`RefusedItem`] is told again with each try and expires soon after the last one. A
//! [`SkippedItem`] stands at the key of the item that it gives up, and for good: it is the only trace of that decision.

use crate::attr::{Attr, AttrError, Attrs, millis, n, number, s, text};
use crate::ids::ShardId;
use crate::keys;
use crate::time::Millis;

/// PK and SK.
type Key = (String, String);

/// The word that stands as `state` in a [`SkippedItem`].
const SKIPPED: &str = "SKIPPED";

/// An item that a processor holds because the table refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedItem {
    /// PK and SK of the item that is refused.
    pub key: (String, String),
    /// The shard whose checkpoint waits for it.
    pub shard_id: ShardId,
    /// What the table says.
    pub reason: String,
    /// Since when the processor that holds it has tried.
    pub since: Millis,
    /// When this row may go, in seconds since the epoch.
    pub ttl: u64,
}

/// An item that a person gave up, at the key where it would stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedItem {
    /// PK and SK.
    pub key: (String, String),
    /// Who gave it up.
    pub by: String,
    /// When.
    pub at: Millis,
    /// Why.
    pub reason: String,
    /// What the table said.
    pub refused: String,
    /// The shard whose checkpoint waited for it.
    pub shard_id: ShardId,
}

impl RefusedItem {
    /// PK and SK of the row itself.
    #[must_use]
    pub fn row_key(&self) -> Key {
        Self::row_key_of(&self.key.0, &self.key.1)
    }

    /// PK and SK of the row that tells of an item.
    #[must_use]
    pub fn row_key_of(pk: &str, sk: &str) -> Key {
        (keys::REFUSED.to_owned(), format!("{pk} {sk}"))
    }

    /// The row as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let (pk, sk) = self.row_key();
        Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("item_pk".to_owned(), s(&self.key.0)),
            ("item_sk".to_owned(), s(&self.key.1)),
            ("shard_id".to_owned(), s(&self.shard_id)),
            ("reason".to_owned(), s(&self.reason)),
            ("since".to_owned(), s(self.since)),
            ("ttl".to_owned(), n(self.ttl)),
        ])
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        Ok(Self {
            key: (text(attrs, "item_pk")?, text(attrs, "item_sk")?),
            shard_id: ShardId(text(attrs, "shard_id")?),
            reason: text(attrs, "reason")?,
            since: millis(attrs, "since")?,
            ttl: number(attrs, "ttl")?,
        })
    }

    /// The command by which a person gives the item up.
    #[must_use]
    pub fn command(&self) -> String {
        skip_command(&self.key.0, &self.key.1)
    }
}

/// The command by which a person gives up the item of a key.
#[must_use]
pub fn skip_command(pk: &str, sk: &str) -> String {
    format!("processor leases skip '{pk}' '{sk}' --reason WHY")
}

impl SkippedItem {
    /// Whether an item is one that was given up.
    #[must_use]
    pub fn is(attrs: &Attrs) -> bool {
        matches!(attrs.get("state"), Some(Attr::S(state)) if state == SKIPPED)
    }

    /// The row as it is written. It has no TTL.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        Attrs::from([
            ("PK".to_owned(), s(&self.key.0)),
            ("SK".to_owned(), s(&self.key.1)),
            ("state".to_owned(), s(SKIPPED)),
            ("skipped_by".to_owned(), s(&self.by)),
            ("skipped_at".to_owned(), s(self.at)),
            ("skip_reason".to_owned(), s(&self.reason)),
            ("refused".to_owned(), s(&self.refused)),
            ("shard_id".to_owned(), s(&self.shard_id)),
        ])
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        if !Self::is(attrs) {
            return Err(AttrError { name: "state".to_owned(), wanted: SKIPPED });
        }
        Ok(Self {
            key: (text(attrs, "PK")?, text(attrs, "SK")?),
            by: text(attrs, "skipped_by")?,
            at: millis(attrs, "skipped_at")?,
            reason: text(attrs, "skip_reason")?,
            refused: text(attrs, "refused")?,
            shard_id: ShardId(text(attrs, "shard_id")?),
        })
    }
}

impl std::fmt::Display for SkippedItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { by, at, reason, refused, .. } = self;
        write!(f, "skipped by {by} at {at} because {reason:?}; the table said: {refused}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_about_refused_items_survive_their_attributes() {
        let refused = RefusedItem {
            key: ("SLOT#1".into(), "WINDOW#2".into()),
            shard_id: ShardId("s".into()),
            reason: "too large".into(),
            since: Millis(1_795_000_000_000),
            ttl: 1_795_000_600,
        };
        assert_eq!(RefusedItem::from_attrs(&refused.to_attrs()), Ok(refused.clone()));
        assert_eq!(refused.row_key(), ("REFUSED".into(), "SLOT#1 WINDOW#2".into()));
        let skipped = SkippedItem {
            key: refused.key.clone(),
            by: "ops".into(),
            at: Millis(1_795_000_000_001),
            reason: "agreed with finance".into(),
            refused: refused.reason.clone(),
            shard_id: refused.shard_id.clone(),
        };
        let attrs = skipped.to_attrs();
        assert!(SkippedItem::is(&attrs) && !SkippedItem::is(&refused.to_attrs()));
        assert!(!attrs.contains_key("ttl") && !attrs.contains_key("digest"), "it is evidence, and no item");
        assert_eq!(SkippedItem::from_attrs(&attrs), Ok(skipped));
        assert!(SkippedItem::from_attrs(&refused.to_attrs()).is_err());
    }
}

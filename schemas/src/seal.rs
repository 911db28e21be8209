//! The seal of a lease row: it shows that our processor wrote this checkpoint with these clocks.
//!
//! A checkpoint is safe only together with the clocks, the tails and the range that were written with it. Tools that
//! know the lease table change one of them and leave the others, or replace the row without ours. The seal is a digest
//! over all of them, so such a row is told from one of ours. It is no secret: it does not stop whoever can write to
//! the table and wants to forge a row.
//!
//! Owner, counter, switches, children and `checkpointOwner` are not sealed: tools and hand-offs change them.

use sha2::{Digest, Sha256};

use crate::attr::{Attr, Attrs};
use crate::lease::{Beginning, Checkpoint, Lease, Tail};
use crate::mutant::{self, Mutant};

/// The attribute that holds the seal.
pub const ATTRIBUTE: &str = "seal";
/// What a seal of this form begins with.
const VERSION: &str = "1";
/// Bytes of the digest that tells whether a row is ours.
const WHOLE_BYTES: usize = 16;
/// Bytes of each digest that tells what of a row was changed.
const PART_BYTES: usize = 3;
/// Attributes that only our processors write, in every release.
const OURS: [&str; 3] = ["replayClock", "closedThrough", "tails"];

/// What the seal of a row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seal {
    /// The row is as our processor wrote it.
    #[default]
    Ours,
    /// It has no seal and all of our attributes: our processor of a release before seals wrote it.
    Earlier,
    /// It has no seal and lacks our attributes: another tool wrote it.
    Foreign,
    /// It has a seal of another row: these parts of it were changed since.
    Broken(Vec<&'static str>),
}

impl Seal {
    /// The seal of a row, for its attribute.
    #[must_use]
    pub fn of(row: &Lease) -> String {
        let parts = parts(row);
        let mut whole = Sha256::new();
        parts.iter().for_each(|digest| whole.update(digest));
        let mut text = format!("{VERSION}:{}", hex(&whole.finalize(), WHOLE_BYTES));
        for digest in &parts {
            text.push_str(&format!(":{}", hex(digest, PART_BYTES)));
        }
        text
    }

    /// What the seal in an item says of the row that was read from it.
    #[must_use]
    pub fn read(attrs: &Attrs, row: &Lease) -> Self {
        if mutant::is(Mutant::SealIgnored) {
            return Self::Ours;
        }
        match attrs.get(ATTRIBUTE) {
            None if OURS.iter().all(|name| attrs.contains_key(*name)) => Self::Earlier,
            None => Self::Foreign,
            Some(Attr::S(found)) => {
                let own = Self::of(row);
                if *found == own { Self::Ours } else { Self::Broken(changed(found, &own)) }
            }
            Some(_) => Self::Broken(vec![ATTRIBUTE]),
        }
    }

    /// One word for a line of a table.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Earlier => "earlier",
            Self::Foreign => "foreign",
            Self::Broken(_) => "edited",
        }
    }

    /// What does not agree, for a sentence; none when all does.
    #[must_use]
    pub fn disagrees(&self) -> Option<String> {
        match self {
            Self::Ours | Self::Earlier => None,
            Self::Foreign => {
                Some("another tool wrote the row: it has no seal and no clocks of ours".to_owned())
            }
            Self::Broken(parts) => Some(format!("changed since it was sealed: {}", parts.join(", "))),
        }
    }
}

/// The parts whose digests differ; the seal itself when none does.
fn changed(found: &str, own: &str) -> Vec<&'static str> {
    let digests = |seal: &str| seal.split(':').skip(2).map(str::to_owned).collect::<Vec<_>>();
    let is_known = found.split(':').next() == Some(VERSION);
    let (found, own) = (digests(found), digests(own));
    if !is_known || found.len() != own.len() {
        return vec![ATTRIBUTE];
    }
    let pairs = NAMES.iter().zip(found.iter().zip(&own));
    let parts: Vec<&str> = pairs.filter(|(_, (found, own))| found != own).map(|(name, _)| *name).collect();
    if parts.is_empty() { vec![ATTRIBUTE] } else { parts }
}

/// The parts of a row that are sealed, as they are called in messages.
const NAMES: [&str; 4] = ["checkpoint", "clocks", "inheritance", "shard"];

/// The digests of the parts, in the order of [`NAMES`]. Each belongs to its shard.
fn parts(row: &Lease) -> [[u8; 32]; 4] {
    let [checkpoint, clocks, inheritance, shard] = NAMES.map(|name| Fields::new(name).with(&row.shard_id));
    let mut parents: Vec<&str> = row.parents.iter().map(|parent| parent.0.as_str()).collect();
    parents.sort_unstable();
    let created = row.stream_created.map(|created| created.0.to_string()).unwrap_or_default();
    let ended = row.tail_checkpoint.as_ref().map_or("", Checkpoint::as_text);
    let is_cut = row.beginning == Beginning::Cut;
    let shard = shard.with(row.range.start).with(row.range.end).with(created);
    [
        checkpoint.with(row.checkpoint.as_text()).with(ended).with(is_cut).end(),
        clocks.with(row.replay_clock.0).with(row.closed_through.0).end(),
        inheritance.with(row.inherited).with_tails(&row.tails).end(),
        parents.into_iter().fold(shard, Fields::with).end(),
    ]
}

/// Fields, each with its length, so that no two lists of fields give the same bytes.
struct Fields(Sha256);

impl Fields {
    fn new(kind: &str) -> Self {
        Self(Sha256::new()).with(kind)
    }

    fn with(mut self, field: impl ToString) -> Self {
        let text = field.to_string();
        self.0.update(u64::try_from(text.len()).expect("a field fits memory").to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn with_tails(self, tails: &[Tail]) -> Self {
        let one = |fields: Self, tail: &Tail| {
            let fields = fields.with(&tail.shard_id).with(tail.range.start).with(tail.range.end);
            let fields = fields.with(tail.checkpoint.as_text()).with(tail.replay_clock.0);
            let is_cut = tail.beginning == Beginning::Cut;
            fields.with(tail.closed_through.0).with(is_cut).with_tails(&tail.tails)
        };
        tails.iter().fold(self.with(tails.len()), one)
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{n, s};
    use crate::hash::HashRange;
    use crate::ids::ShardId;
    use crate::time::Millis;

    fn row() -> Lease {
        let tail = Tail {
            shard_id: ShardId("p".into()),
            range: HashRange::ALL,
            checkpoint: Checkpoint::After("4".parse().unwrap()),
            replay_clock: Millis(3),
            closed_through: Millis(5),
            beginning: Beginning::Whole,
            tails: Vec::new(),
        };
        Lease {
            checkpoint: Checkpoint::After("42".parse().unwrap()),
            replay_clock: Millis(7),
            closed_through: Millis(9),
            tails: vec![Tail { tails: vec![tail.clone()], ..tail }],
            inherited: true,
            stream_created: Some(Millis(1)),
            ..Lease::new(ShardId("s".into()), HashRange::ALL, vec![ShardId("p".into())])
        }
    }

    fn read(attrs: &Attrs) -> Seal {
        Lease::from_attrs(attrs).unwrap().seal
    }

    /// The form of the seal is a contract: rows of this release are read by later ones.
    #[test]
    fn a_seal_has_its_golden_form() {
        assert_eq!(Seal::of(&row()), "1:7c1da5eba2397a7a48381621b35d616b:850d19:e84a35:543bdb:4afa9e");
    }

    #[test]
    fn what_tools_and_hand_offs_change_breaks_no_seal() {
        let mut attrs = row().to_attrs();
        assert_eq!(read(&attrs), Seal::Ours);
        attrs.insert("leaseOwner".to_owned(), s("other"));
        attrs.insert("checkpointOwner".to_owned(), s("me"));
        attrs.insert("leaseCounter".to_owned(), n(99));
        attrs.insert("ownerSwitchesSinceCheckpoint".to_owned(), n(3));
        attrs.insert("childShardIds".to_owned(), Attr::Ss(vec!["a".to_owned()]));
        attrs.insert("throughputKBps".to_owned(), n(3));
        assert_eq!(read(&attrs), Seal::Ours);
    }

    #[test]
    fn each_change_of_a_sealed_attribute_is_told_by_its_part() {
        let changes = [
            ("checkpoint", s("43"), "checkpoint"),
            ("checkpoint", s("41"), "checkpoint"),
            ("checkpoint", s("TRIM_HORIZON"), "checkpoint"),
            ("checkpoint", s("LATEST"), "checkpoint"),
            ("tailCheckpoint", s("42"), "checkpoint"),
            ("beginning", s("CUT"), "checkpoint"),
            ("replayClock", n(8), "clocks"),
            ("closedThrough", n(10), "clocks"),
            ("tails", Attr::L(Vec::new()), "inheritance"),
            ("inherited", Attr::Bool(false), "inheritance"),
            ("startingHashKey", s(1), "shard"),
            ("parentShardId", Attr::Ss(vec!["q".to_owned()]), "shard"),
            ("streamCreated", n(2), "shard"),
            ("seal", s("1:0"), "seal"),
            ("seal", s("2:0:1:2:3:4"), "seal"),
            ("seal", n(1), "seal"),
        ];
        for (name, value, part) in changes {
            let mut attrs = row().to_attrs();
            attrs.insert(name.to_owned(), value);
            assert_eq!(read(&attrs), Seal::Broken(vec![part]), "{name}");
        }
        let mut of_another = row().to_attrs();
        of_another.insert("leaseKey".to_owned(), s("t"));
        assert_eq!(read(&of_another), Seal::Broken(NAMES.to_vec()), "each part belongs to its shard");
    }

    #[test]
    fn a_row_without_a_seal_is_of_an_earlier_release_or_of_another_tool() {
        let mut attrs = row().to_attrs();
        attrs.remove(ATTRIBUTE);
        assert_eq!(read(&attrs), Seal::Earlier);
        for name in OURS {
            let mut attrs = attrs.clone();
            attrs.remove(name);
            assert_eq!(read(&attrs), Seal::Foreign, "{name}");
        }
    }
}

//! The lease item of a shard, in the names of the KCL 3 lease table, with eight attributes of our own.
//!
//! `replayClock`, `closedThrough`, `tailCheckpoint`, `tails`, `beginning`, `inherited`, `streamCreated` and `seal`
//! are ours; tools that know the table ignore them.

use std::str::FromStr;

use crate::attr::{Attr, AttrError, Attrs, maps, millis, n, number, s, text};
use crate::hash::HashRange;
use crate::ids::{SequenceNumber, ShardId};
use crate::mutant::{self, Mutant};
use crate::seal::{self, Seal};
use crate::time::Millis;

/// From where a shard would be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// From its oldest record.
    TrimHorizon,
    /// From its tip; other tools write it, ours never do.
    Latest,
    /// After this record: it and everything before it is durable.
    After(SequenceNumber),
    /// It is finished.
    ShardEnd,
}

impl Checkpoint {
    /// The word or the number in the item.
    #[must_use]
    pub fn as_text(&self) -> &str {
        match self {
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::After(sequence) => sequence.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }
}

impl FromStr for Checkpoint {
    type Err = crate::ids::SequenceNumberError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "SHARD_END" => Self::ShardEnd,
            number => Self::After(number.parse()?),
        })
    }
}

/// Whether reading from a checkpoint sees every window whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Beginning {
    /// It is the shard's true beginning, or was reached by reading from there.
    #[default]
    Whole,
    /// It is anywhere else: windows that may have begun before it are counted and never written.
    Cut,
}

/// What a child reads again of a parent that ended with open windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The parent.
    pub shard_id: ShardId,
    /// What it owned.
    pub range: HashRange,
    /// From where it is read again.
    pub checkpoint: Checkpoint,
    /// Its clock there.
    pub replay_clock: Millis,
    /// The clock up to which it wrote everything.
    pub closed_through: Millis,
    /// Whether windows are cut at its checkpoint.
    pub beginning: Beginning,
    /// Its own tails, when it still had some.
    pub tails: Vec<Tail>,
}

/// Who reads a shard, and from where it would be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard_id: ShardId,
    /// Its reader, none when it is free.
    pub owner: Option<String>,
    /// Raised by every change; a lease whose counter stands still is expired.
    pub counter: u64,
    /// Changes of owner since the last checkpoint.
    pub owner_switches: u64,
    /// From where it would be read again.
    pub checkpoint: Checkpoint,
    /// Its parents.
    pub parents: Vec<ShardId>,
    /// Its children, once it has ended.
    pub children: Vec<ShardId>,
    /// What it owns.
    pub range: HashRange,
    /// Who may still checkpoint during a graceful hand-off.
    pub checkpoint_owner: Option<String>,
    /// The shard clock at the checkpoint.
    pub replay_clock: Millis,
    /// The clock up to which everything that it closes is durable; never goes down.
    pub closed_through: Millis,
    /// Where its own tail begins, once it has ended.
    pub tail_checkpoint: Option<Checkpoint>,
    /// Whether windows are cut at its checkpoint.
    pub beginning: Beginning,
    /// Whether it has copied what its parents left: only then may their rows go.
    pub inherited: bool,
    /// What it inherited and has not finished.
    pub tails: Vec<Tail>,
    /// When the stream was made that the shard is of: another stream of the same name has shards of the same names.
    pub stream_created: Option<Millis>,
    /// What its seal said when it was read; a row that is written is sealed as it stands, whatever this says.
    pub seal: Seal,
}

impl Lease {
    /// A free lease of a shard that was never read.
    #[must_use]
    pub fn new(shard_id: ShardId, range: HashRange, mut parents: Vec<ShardId>) -> Self {
        parents.sort_unstable();
        Self {
            shard_id,
            owner: None,
            counter: 0,
            owner_switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            parents,
            children: Vec::new(),
            range,
            checkpoint_owner: None,
            replay_clock: Millis(0),
            closed_through: Millis(0),
            tail_checkpoint: None,
            beginning: Beginning::Whole,
            inherited: false,
            tails: Vec::new(),
            stream_created: None,
            seal: Seal::Ours,
        }
    }

    /// Whether its place may be believed: our processor wrote it, or nobody ever read from it and it says so.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        match self.seal {
            Seal::Ours | Seal::Earlier => true,
            Seal::Broken(_) => false,
            Seal::Foreign => {
                let clocks = self.replay_clock.max(self.closed_through);
                self.checkpoint == Checkpoint::TrimHorizon && clocks == Millis(0) && self.tails.is_empty()
            }
        }
    }

    /// Whether another tool wrote the row, or a part of it.
    #[must_use]
    pub fn is_altered(&self) -> bool {
        matches!(self.seal, Seal::Foreign | Seal::Broken(_))
    }

    /// What its children read again, once it has ended.
    #[must_use]
    pub fn tail(&self) -> Option<Tail> {
        (self.checkpoint == Checkpoint::ShardEnd).then(|| Tail {
            shard_id: self.shard_id.clone(),
            range: self.range,
            checkpoint: self.tail_checkpoint.clone().unwrap_or(Checkpoint::TrimHorizon),
            replay_clock: self.replay_clock,
            closed_through: self.closed_through,
            beginning: self.beginning,
            tails: if mutant::is(Mutant::NestedTailsDropped) { Vec::new() } else { self.tails.clone() },
        })
    }

    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([
            ("leaseKey".to_owned(), s(&self.shard_id)),
            ("leaseCounter".to_owned(), n(self.counter)),
            ("ownerSwitchesSinceCheckpoint".to_owned(), n(self.owner_switches)),
            ("checkpoint".to_owned(), s(self.checkpoint.as_text())),
            ("checkpointSubSequenceNumber".to_owned(), n(0)),
            ("startingHashKey".to_owned(), s(self.range.start)),
            ("endingHashKey".to_owned(), s(self.range.end)),
            ("replayClock".to_owned(), n(self.replay_clock.0)),
            ("closedThrough".to_owned(), n(self.closed_through.0)),
            ("tails".to_owned(), tails_to_attr(&self.tails)),
            (seal::ATTRIBUTE.to_owned(), s(Seal::of(self))),
        ]);
        let mut optional =
            |name: &str, value: Option<Attr>| value.map(|value| attrs.insert(name.to_owned(), value));
        let set = |ids: &[ShardId]| {
            (!ids.is_empty()).then(|| Attr::Ss(ids.iter().map(ToString::to_string).collect()))
        };
        optional("leaseOwner", self.owner.as_ref().map(s));
        optional("checkpointOwner", self.checkpoint_owner.as_ref().map(s));
        optional("parentShardId", set(&self.parents));
        optional("childShardIds", set(&self.children));
        optional("beginning", cut_to_attr(self.beginning));
        optional("streamCreated", self.stream_created.map(|created| n(created.0)));
        optional("inherited", self.inherited.then_some(Attr::Bool(true)));
        optional("tailCheckpoint", self.tail_checkpoint.as_ref().map(|checkpoint| s(checkpoint.as_text())));
        attrs
    }

    /// Reads an item; rows that other tools made lack our own attributes, which then are empty.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let has = |name: &str| attrs.contains_key(name);
        let ids = |name: &str| match attrs.get(name) {
            // A set comes back in any order.
            Some(Attr::Ss(ids)) => {
                let sorted: std::collections::BTreeSet<&String> = ids.iter().collect();
                sorted.into_iter().cloned().map(ShardId).collect()
            }
            _ => Vec::new(),
        };
        let moment =
            |name: &str| if has(name) { number(attrs, name).map(|ms| Some(Millis(ms))) } else { Ok(None) };
        // Counters are counted on: one at the end of its range, which only another tool writes, could not be.
        let counter = |name: &str| match number(attrs, name)? {
            counter if counter > COUNTER_MAX => {
                Err(AttrError { name: name.to_owned(), wanted: "a counter of at most 2^62" })
            }
            counter => Ok(counter),
        };
        let clock = |name: &str| moment(name).map(Option::unwrap_or_default);
        let maybe = |name: &str| if has(name) { text(attrs, name).map(Some) } else { Ok(None) };
        let row = Self {
            shard_id: ShardId(text(attrs, "leaseKey")?),
            owner: maybe("leaseOwner")?,
            counter: counter("leaseCounter")?,
            owner_switches: if has("ownerSwitchesSinceCheckpoint") {
                counter("ownerSwitchesSinceCheckpoint")?
            } else {
                0
            },
            checkpoint: text(attrs, "checkpoint")?,
            parents: ids("parentShardId"),
            children: ids("childShardIds"),
            range: HashRange { start: text(attrs, "startingHashKey")?, end: text(attrs, "endingHashKey")? },
            checkpoint_owner: maybe("checkpointOwner")?,
            replay_clock: clock("replayClock")?,
            closed_through: clock("closedThrough")?,
            tail_checkpoint: if has("tailCheckpoint") { Some(text(attrs, "tailCheckpoint")?) } else { None },
            beginning: cut_from_attr(attrs),
            inherited: attrs.get("inherited") == Some(&Attr::Bool(true)),
            tails: if has("tails") { tails_from_attr(attrs)? } else { Vec::new() },
            stream_created: moment("streamCreated")?,
            seal: Seal::Ours,
        };
        Ok(Self { seal: Seal::read(attrs, &row), ..row })
    }
}

/// The largest counter that is counted on.
const COUNTER_MAX: u64 = 1 << 62;

/// The word for a beginning that cuts windows; without it a beginning is whole.
const CUT: &str = "CUT";

fn cut_to_attr(beginning: Beginning) -> Option<Attr> {
    (beginning == Beginning::Cut).then(|| s(CUT))
}

fn cut_from_attr(attrs: &Attrs) -> Beginning {
    match attrs.get("beginning") {
        Some(Attr::S(word)) if word == CUT => Beginning::Cut,
        _ => Beginning::Whole,
    }
}

pub(crate) fn tails_to_attr(tails: &[Tail]) -> Attr {
    let one = |tail: &Tail| {
        let mut attrs = Attrs::from([
            ("shard".to_owned(), s(&tail.shard_id)),
            ("startingHashKey".to_owned(), s(tail.range.start)),
            ("endingHashKey".to_owned(), s(tail.range.end)),
            ("checkpoint".to_owned(), s(tail.checkpoint.as_text())),
            ("replayClock".to_owned(), s(tail.replay_clock)),
            ("closedThrough".to_owned(), s(tail.closed_through)),
            ("tails".to_owned(), tails_to_attr(&tail.tails)),
        ]);
        attrs.extend(cut_to_attr(tail.beginning).map(|word| ("beginning".to_owned(), word)));
        Attr::M(attrs)
    };
    Attr::L(tails.iter().map(one).collect())
}

pub(crate) fn tails_from_attr(attrs: &Attrs) -> Result<Vec<Tail>, AttrError> {
    let one = |attrs: &Attrs| {
        Ok(Tail {
            shard_id: ShardId(text(attrs, "shard")?),
            range: HashRange { start: text(attrs, "startingHashKey")?, end: text(attrs, "endingHashKey")? },
            checkpoint: text(attrs, "checkpoint")?,
            replay_clock: millis(attrs, "replayClock")?,
            closed_through: millis(attrs, "closedThrough")?,
            beginning: cut_from_attr(attrs),
            tails: tails_from_attr(attrs)?,
        })
    };
    maps(attrs, "tails")?.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_with_nested_tails_survives_its_item() {
        let tail = |tails| Tail {
            shard_id: ShardId("shardId-000000000001".to_owned()),
            range: HashRange::ALL,
            checkpoint: Checkpoint::After("42".parse().unwrap()),
            replay_clock: Millis(7),
            closed_through: Millis(8),
            beginning: Beginning::Cut,
            tails,
        };
        let mut lease =
            Lease::new(ShardId("shardId-000000000002".to_owned()), HashRange::ALL, vec![ShardId("p".into())]);
        lease.tails = vec![tail(vec![tail(Vec::new())])];
        lease.owner = Some("worker".to_owned());
        lease.beginning = Beginning::Cut;
        lease.inherited = true;
        lease.stream_created = Some(Millis(9));
        lease.children = vec![ShardId("a".into()), ShardId("b".into())];
        lease.tail_checkpoint = Some(Checkpoint::TrimHorizon);
        assert_eq!(Lease::from_attrs(&lease.to_attrs()), Ok(lease));
    }

    #[test]
    fn a_counter_that_cannot_be_counted_on_is_named() {
        let row = |name: &str, value: u64| {
            let mut attrs = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new()).to_attrs();
            attrs.insert(name.to_owned(), n(value));
            Lease::from_attrs(&attrs)
        };
        for name in ["leaseCounter", "ownerSwitchesSinceCheckpoint"] {
            assert!(row(name, COUNTER_MAX).is_ok());
            for value in [COUNTER_MAX + 1, u64::MAX] {
                assert_eq!(row(name, value).unwrap_err().name, name, "{value}");
            }
        }
    }
}

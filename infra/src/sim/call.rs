//! What processes ask of services and what they hear: the few operations that the stages use, as values.

use std::sync::Arc;

use producer::core::packer::Entry;
use schemas::attr::Attrs;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;
use schemas::lease::{Checkpoint, Lease};
use settler::core::rows::{Reads, Snapshot, Writes};

use super::script::Actor;
use super::words::{Fate, Service};
use crate::local::kinesis::model::Distribution;

/// One life of a process, from its start to its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Whose.
    pub actor: Actor,
    /// Which, from 0.
    pub number: u32,
}

impl std::fmt::Display for Life {
    /// The name of a worker: no two lives share one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.actor, self.number)
    }
}

/// PK and SK.
pub type Key = (String, String);

/// A request.
#[derive(Clone, Debug)]
pub enum Call {
    /// PutRecords.
    PutRecords(Vec<Arc<Entry>>),
    /// PutRecord of a tick at a hash key.
    Tick(HashKey),
    /// ListShards: all that are listed, and which are open.
    Shards,
    /// GetShardIterator.
    Iterator {
        /// Of this shard.
        shard_id: ShardId,
        /// From here.
        from: Checkpoint,
    },
    /// GetRecords.
    Records {
        /// Of this shard.
        shard_id: ShardId,
        /// After this number, which is what an iterator stands for.
        after: u64,
    },
    /// PutItem where nothing stands.
    Put(Attrs),
    /// Query of one key of the outbox index.
    Outbox {
        /// The key.
        pk: String,
        /// At most so many.
        most: usize,
    },
    /// BatchGetItem.
    Get(Vec<Key>),
    /// GetItem.
    Item(Key),
    /// UpdateItem on a condition.
    Update(Update),
    /// Scan of the lease table.
    Leases,
    /// PutItem of a lease where none stands.
    MakeLease(Lease),
    /// PutItem of a lease on the condition of its counter.
    WriteLease {
        /// The row.
        lease: Lease,
        /// The counter that must stand.
        seen: u64,
    },
    /// DeleteItem of a lease on the condition of its counter.
    DeleteLease {
        /// Whose.
        shard_id: ShardId,
        /// The counter that must stand.
        seen: u64,
    },
    /// Begins a transaction and reads.
    Read(Reads),
    /// Writes and commits.
    Write(Writes),
}

/// A conditional update of an aggregate.
#[derive(Clone, Debug)]
pub struct Update {
    /// Its key.
    pub key: Key,
    /// The digest that must stand, when one is demanded.
    pub digest: Option<String>,
    /// The state that must stand.
    pub state: String,
    /// Attributes to set.
    pub set: Attrs,
}

/// A shard as the stream lists it.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// What it owns.
    pub range: HashRange,
    /// Its parents.
    pub parents: Vec<ShardId>,
    /// Whether it takes records.
    pub open: bool,
}

/// One page of a shard.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Arrival, number and bytes of each record.
    pub records: Vec<(u64, u64, Vec<u8>)>,
    /// Where the next page begins; none at the end of a closed shard.
    pub next: Option<u64>,
    /// How far its end is behind the tip, in ms.
    pub behind_ms: u64,
    /// The shard's children, at its end.
    pub children: Vec<ShardId>,
}

/// The service's word on one entry of PutRecords.
#[derive(Clone, Debug)]
pub enum Entered {
    /// Stored here.
    Stored(ShardId, u64),
    /// Refused for its rate.
    Throttled,
    /// `InternalFailure`, which says nothing.
    Failed,
}

/// A reply that is no failure.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of PutRecords.
    Entered(Vec<Entered>),
    /// Of ListShards and DescribeStreamSummary: the shards, and who decides where records go.
    Shards(Vec<Shard>, Distribution),
    /// Of GetShardIterator.
    Iterator(u64),
    /// Of GetRecords.
    Page(Page),
    /// It was done.
    Done,
    /// The condition did not hold; what stands there.
    Stands(Option<Attrs>),
    /// Of the outbox: sort key and key of the item.
    Outbox(Vec<(String, Key)>),
    /// Of BatchGetItem and of GetItem.
    Items(Vec<Attrs>),
    /// Of the lease table.
    Leases(Vec<Lease>),
    /// Of a transaction's reads.
    Seen(Snapshot),
}

/// A reply that is a failure, or that never comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer in time, or one that says nothing.
    Unknown,
    /// No connection could be made.
    Unreachable,
    /// Refused for its rate.
    Throttled,
    /// The iterator is too old.
    Expired,
    /// The service says no.
    Refused(&'static str),
    /// The ledger says no: SQLSTATE and text.
    Sql(&'static str, &'static str),
}

/// What a caller hears.
pub type Reply = Result<Answer, Trouble>;

impl Call {
    /// Who is asked.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::PutRecords(_)
            | Self::Tick(_)
            | Self::Shards
            | Self::Iterator { .. }
            | Self::Records { .. } => Service::Stream,
            Self::Read(_) | Self::Write(_) => Service::Ledger,
            _ => Service::Table,
        }
    }

    /// Whether a fate can meet this call.
    #[must_use]
    pub fn can_meet(&self, fate: Fate) -> bool {
        match fate {
            Fate::Partial => matches!(self, Self::PutRecords(_) | Self::Get(_)),
            Fate::Expired => matches!(self, Self::Records { .. }),
            Fate::Conflict => matches!(self, Self::Write(_)),
            // A transaction lives on its connection: what was delayed finds it gone, and nothing sends it twice.
            // Nor are credentials asked for on one.
            Fate::Delayed | Fate::Twice | Fate::Unauthorized => self.service() != Service::Ledger,
            _ => true,
        }
    }

    /// What a history says of the call beside its name.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Iterator { shard_id, from } => format!(" {shard_id} {}", from.as_text()),
            Self::Records { shard_id, after } => format!(" {shard_id} {after}"),
            Self::MakeLease(lease) => format!(" {}", lease.shard_id),
            Self::WriteLease { lease, seen } => {
                let owner = lease.owner.as_deref().unwrap_or("no one");
                let tail = lease.tail_checkpoint.as_ref().map_or("", |checkpoint| checkpoint.as_text());
                let (at, through) = (lease.checkpoint.as_text(), lease.closed_through);
                format!(" {} over {seen}: {owner} {at} {tail} through {through}", lease.shard_id)
            }
            _ => String::new(),
        }
    }

    /// The operation's name in a history.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PutRecords(_) => "put-records",
            Self::Tick(_) => "tick",
            Self::Shards => "shards",
            Self::Iterator { .. } => "iterator",
            Self::Records { .. } => "records",
            Self::Put(_) => "put",
            Self::Outbox { .. } => "outbox",
            Self::Get(_) => "get",
            Self::Item(_) => "item",
            Self::Update(_) => "update",
            Self::Leases => "leases",
            Self::MakeLease(_) => "make-lease",
            Self::WriteLease { .. } => "write-lease",
            Self::DeleteLease { .. } => "delete-lease",
            Self::Read(_) => "read",
            Self::Write(_) => "write",
        }
    }
}

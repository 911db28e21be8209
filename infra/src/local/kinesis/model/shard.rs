//! One shard: its range, its lineage, and the records it holds.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use schemas::hash::{HashKey, HashRange};
use schemas::limits;

use super::meter::Meter;
use super::{Limits, Refusal, refuse, usize_of};

/// The number of a shard in its stream; `shardId-000000000007` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

impl FromStr for ShardId {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let digits = text.strip_prefix("shardId-").filter(|digits| digits.len() == 12);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Self(number)),
            None => refuse("ResourceNotFoundException", format!("Could not find shard {text}")),
        }
    }
}

/// A record on its way in: its partition key and payload in one piece of memory, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where in the hash space it belongs.
    pub hash: HashKey,
    pub(crate) bytes: Bytes,
    pub(crate) key_bytes: u16,
}

impl Record {
    /// A record under `key`, placed by `explicit` or else by the key's MD5.
    ///
    /// # Panics
    /// When the key has more than 65,535 bytes; a partition key has at most 1,024.
    #[must_use]
    pub fn new(key: &str, data: &[u8], explicit: Option<HashKey>) -> Self {
        let hash = explicit.unwrap_or_else(|| HashKey::of_partition_key(key));
        let key_bytes = u16::try_from(key.len()).expect("a partition key has at most 256 characters");
        Self { hash, bytes: [key.as_bytes(), data].concat().into(), key_bytes }
    }

    /// The bytes that count against limits: partition key and payload.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// One record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of the record in its stream.
    pub sequence: u64,
    /// When the stream stored it, in ms since the epoch.
    pub arrival_ms: u64,
    pub(crate) bytes: Bytes,
    pub(crate) key_bytes: u16,
}

impl Stored {
    /// The partition key.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        let key = self.bytes.get(..usize::from(self.key_bytes)).unwrap_or_default();
        std::str::from_utf8(key).unwrap_or_default()
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(usize::from(self.key_bytes)..).unwrap_or_default()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// The end of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Closing {
    /// The number at which it was closed.
    pub sequence: u64,
    /// When, in ms since the epoch.
    pub at_ms: u64,
}

/// What one read gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, oldest first.
    pub records: Vec<Stored>,
    /// The number after which the next page begins; none at the end of a closed shard.
    pub next_after: Option<u64>,
    /// How far the page's end is behind the tip, in ms.
    pub behind_ms: u64,
    /// The children, at the end of a closed shard.
    pub children: Vec<ShardId>,
}

/// One shard and its records.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// What it owns.
    pub range: HashRange,
    /// The parent, and the adjacent parent after a merge.
    pub parents: Vec<ShardId>,
    /// What came of it, once it is closed.
    pub children: Vec<ShardId>,
    /// The number before its first record.
    pub first: u64,
    /// When it was opened, in ms since the epoch.
    pub opened_ms: u64,
    /// Its end, when it is closed.
    pub closed: Option<Closing>,
    /// The number of the last record that retention removed.
    pub trimmed: u64,
    pub(super) records: VecDeque<Stored>,
    /// Whether no record arrived before its predecessor; a wall clock that was set back makes it false.
    ordered: bool,
    pub(super) written: Meter,
    read: Meter,
}

impl Shard {
    pub(super) fn new(id: ShardId, range: HashRange, parents: Vec<ShardId>, first: u64, now_ms: u64) -> Self {
        Self {
            id,
            range,
            parents,
            children: Vec::new(),
            first,
            opened_ms: now_ms,
            closed: None,
            trimmed: first,
            records: VecDeque::new(),
            ordered: true,
            written: Meter::default(),
            read: Meter::default(),
        }
    }

    /// What it holds, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Stored> {
        self.records.iter()
    }

    pub(crate) fn store(&mut self, record: Stored) {
        self.ordered &= self.records.back().is_none_or(|last| last.arrival_ms <= record.arrival_ms);
        self.records.push_back(record);
    }

    /// The number of the newest record.
    pub(super) fn newest(&self) -> u64 {
        self.records.back().map_or(self.trimmed, |record| record.sequence)
    }

    /// The number before the first record stored at or after a time; the newest when there is none.
    pub(super) fn before_time(&self, ms: u64) -> u64 {
        let index = if self.ordered {
            self.records.partition_point(|record| record.arrival_ms < ms)
        } else {
            self.records.iter().position(|record| record.arrival_ms >= ms).unwrap_or(self.records.len())
        };
        index
            .checked_sub(1)
            .and_then(|last| self.records.get(last))
            .map_or(self.trimmed, |record| record.sequence)
    }

    /// The page after a number, without a look at limits of speed: at most so many records and bytes, but always one.
    #[must_use]
    pub fn peek(&self, after: u64, records_max: usize, bytes_max: usize, now_ms: u64) -> Page {
        let from = self.records.partition_point(|record| record.sequence <= after);
        let mut bytes = 0;
        let fits = |record: &&Stored| {
            let first = bytes == 0;
            bytes += record.size();
            first || bytes <= bytes_max
        };
        let records: Vec<Stored> =
            self.records.range(from..).take(records_max).take_while(fits).cloned().collect();
        let last = records.last().map_or(after, |record| record.sequence);
        let ahead = self.records.get(from + records.len());
        let ended = ahead.is_none() && self.closed.is_some();
        let behind_ms = ahead.map_or(0, |next| now_ms.saturating_sub(next.arrival_ms));
        let children = if ended { self.children.clone() } else { Vec::new() };
        Page { records, next_after: (!ended).then_some(last), behind_ms, children }
    }

    /// Reads a page within the limits of `GetRecords`: 5 calls and 2 MiB a second. A longer page is given whole, and
    /// what it took too much is waited for by the calls that follow.
    pub(super) fn read(&mut self, after: u64, most: usize, now_ms: u64, limits: Limits) -> Option<Page> {
        let (calls, share) = (limits::SHARD_READ_CALLS_PER_S, usize_of(limits::SHARD_READ_BYTES_PER_S));
        if limits == Limits::Aws && !self.read.open(now_ms, calls, share) {
            return None;
        }
        let page = self.peek(after, most, limits::GET_RECORDS_BYTES_MAX, now_ms);
        self.read.count(page.records.iter().map(Stored::size).sum());
        Some(page)
    }

    /// Removes what arrived before the horizon; answers how many bytes that were.
    pub(super) fn trim(&mut self, horizon_ms: u64) -> usize {
        let mut bytes = 0;
        while let Some(record) = self.records.front().filter(|record| record.arrival_ms < horizon_ms) {
            (self.trimmed, bytes) = (record.sequence, bytes + record.size());
            self.records.pop_front();
        }
        if self.records.capacity() > 1_024 && self.records.len() < self.records.capacity() / 4 {
            self.records.shrink_to(self.records.len() * 2);
        }
        bytes
    }

    /// Whether retention has passed it whole: closed before the horizon and empty.
    pub(super) fn expired(&self, horizon_ms: u64) -> bool {
        self.records.is_empty() && self.closed.is_some_and(|closing| closing.at_ms < horizon_ms)
    }
}

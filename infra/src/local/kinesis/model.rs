//! The stream as a value: shards, hash ranges, sequence numbers, iterators, limits and retention.
//!
//! No clock and no chance: `now` is an argument. A sequence number is allotted and its record appended in one step, so
//! a reader at the tip never sees a later record before an earlier one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemas::hash::{HashKey, HashRange};
use schemas::limits;

/// What the model refuses, in the service's own words for kinds of errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The service's error code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

pub(crate) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// One record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of the record in its stream.
    pub sequence: u64,
    /// When the stream stored it, in ms since the epoch.
    pub arrival_ms: u64,
    /// The partition key.
    pub partition_key: String,
    /// The payload.
    pub data: Arc<[u8]>,
}

/// A window of one second that counts what a shard gave or took.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    second: u64,
    calls: u32,
    bytes: usize,
}

impl Meter {
    /// Counts one call of `bytes` when it is within the bounds of this second.
    fn take(&mut self, now_ms: u64, bytes: usize, calls_max: u32, bytes_max: usize) -> bool {
        let second = now_ms / 1_000;
        if self.second != second {
            *self = Self { second, calls: 0, bytes: 0 };
        }
        if self.calls >= calls_max || (self.bytes > 0 && self.bytes + bytes > bytes_max) {
            return false;
        }
        self.calls += 1;
        self.bytes += bytes;
        true
    }
}

/// One shard and its records.
#[derive(Debug)]
pub struct Shard {
    /// Its name.
    pub id: String,
    /// What it owns.
    pub range: HashRange,
    /// The parent, and the adjacent parent after a merge.
    pub parents: Vec<String>,
    /// What came of it, once it is closed.
    pub children: Vec<String>,
    /// The number before its first record.
    pub first: u64,
    /// The number at which it was closed.
    pub closed: Option<u64>,
    /// The number of the last record that retention removed.
    pub trimmed: u64,
    records: VecDeque<Stored>,
    written: Meter,
    read: Meter,
    clock: u64,
}

impl Shard {
    fn new(id: String, range: HashRange, parents: Vec<String>, first: u64) -> Self {
        Self {
            id,
            range,
            parents,
            children: Vec::new(),
            first,
            closed: None,
            trimmed: first,
            records: VecDeque::new(),
            written: Meter::default(),
            read: Meter::default(),
            clock: 0,
        }
    }
}

/// A stream: its shards by name.
#[derive(Debug)]
pub struct Stream {
    /// Shards in the order of their making.
    pub shards: BTreeMap<String, Shard>,
    /// When it was made, in ms since the epoch.
    pub created_ms: u64,
    /// How long records are kept, in hours.
    pub retention_hours: u32,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    sequence: u64,
    made: u32,
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record kept.
    TrimHorizon,
    /// After the newest record.
    Latest,
    /// At this record.
    At(u64),
    /// After this record.
    After(u64),
    /// At the first record stored at or after this time, in ms.
    Time(u64),
}

/// What one read gave.
#[derive(Debug, Default)]
pub struct Page {
    /// The records, oldest first.
    pub records: Vec<Stored>,
    /// The number after which the next page begins; none at the end of a closed shard.
    pub next_after: Option<u64>,
    /// How far the page's end is behind the tip, in ms.
    pub behind_ms: u64,
    /// The children with parents and ranges, at the end of a closed shard.
    pub children: Vec<String>,
}

/// Whether the limits of AWS hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Per shard: 1,000 records and 1 MiB written, 5 calls and 2 MiB read, each second.
    Aws,
    /// None.
    Off,
}

impl Stream {
    /// A stream of `count` shards that share the hash space evenly.
    #[must_use]
    pub fn new(count: u32, now_ms: u64) -> Self {
        let (shards, tags) = (BTreeMap::new(), BTreeMap::new());
        let mut stream = Self { shards, created_ms: now_ms, retention_hours: 24, tags, sequence: 0, made: 0 };
        for range in even(count) {
            stream.make(range, Vec::new());
        }
        stream
    }

    fn make(&mut self, range: HashRange, parents: Vec<String>) -> String {
        let id = format!("shardId-{:012}", self.made);
        self.made += 1;
        self.sequence += 1;
        self.shards.insert(id.clone(), Shard::new(id.clone(), range, parents, self.sequence));
        id
    }

    /// Appends one record to the open shard that owns its key; answers the shard and the number.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException` when the shard has taken its share of this second.
    pub fn append(
        &mut self,
        record: (String, Arc<[u8]>),
        hash: Option<HashKey>,
        now_ms: u64,
        limits: Limits,
    ) -> Result<(String, u64), Refusal> {
        let (partition_key, data) = record;
        let hash = hash.unwrap_or_else(|| HashKey::of_partition_key(&partition_key));
        let open = self.shards.values_mut().find(|shard| shard.closed.is_none() && shard.range.owns(hash));
        let shard = open.expect("open shards cover the whole hash space");
        let bytes = data.len() + partition_key.len();
        let (calls, most) = (limits::SHARD_WRITE_RECORDS_PER_S, usize_of(limits::SHARD_WRITE_BYTES_PER_S));
        if limits == Limits::Aws && !shard.written.take(now_ms, bytes, calls, most) {
            return refuse(
                "ProvisionedThroughputExceededException",
                format!("Rate exceeded for shard {}", shard.id),
            );
        }
        self.sequence += 1;
        shard.clock = shard.clock.max(now_ms);
        shard.records.push_back(Stored { sequence: self.sequence, arrival_ms: now_ms, partition_key, data });
        Ok((shard.id.clone(), self.sequence))
    }

    /// The number after which a reader with this start begins.
    ///
    /// # Errors
    /// When the shard is unknown.
    pub fn position(&self, shard: &str, start: &Start) -> Result<u64, Refusal> {
        let shard = self.shard(shard)?;
        Ok(match start {
            Start::TrimHorizon => shard.trimmed,
            Start::Latest => shard.records.back().map_or(shard.trimmed, |record| record.sequence),
            Start::At(sequence) => sequence.saturating_sub(1).max(shard.trimmed),
            Start::After(sequence) => (*sequence).max(shard.trimmed),
            Start::Time(ms) => shard.records.iter().find(|record| record.arrival_ms >= *ms).map_or_else(
                || shard.records.back().map_or(shard.trimmed, |last| last.sequence),
                |r| r.sequence - 1,
            ),
        })
    }

    /// A shard by its name.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when there is none.
    pub fn shard(&self, id: &str) -> Result<&Shard, Refusal> {
        match self.shards.get(id) {
            Some(shard) => Ok(shard),
            None => refuse("ResourceNotFoundException", format!("Could not find shard {id}")),
        }
    }

    /// Reads the page after a number: at most `most` records and 10 MiB.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException` beyond 5 calls or 2 MiB in this second; an unknown shard.
    pub fn read(
        &mut self,
        id: &str,
        after: u64,
        most: usize,
        now_ms: u64,
        limits: Limits,
    ) -> Result<Page, Refusal> {
        self.shard(id)?;
        let shard = self.shards.get_mut(id).expect("looked up above");
        let from = shard.records.partition_point(|record| record.sequence <= after);
        let mut bytes = 0;
        let fits = |record: &&Stored| {
            bytes += record.data.len() + record.partition_key.len();
            bytes <= limits::PUT_RECORDS_BYTES_MAX
        };
        let records: Vec<Stored> = shard.records.range(from..).take(most).take_while(fits).cloned().collect();
        let (calls, most) = (limits::SHARD_READ_CALLS_PER_S, usize_of(limits::SHARD_READ_BYTES_PER_S));
        if limits == Limits::Aws && !shard.read.take(now_ms, bytes, calls, most) {
            return refuse("ProvisionedThroughputExceededException", format!("Rate exceeded for shard {id}"));
        }
        let last = records.last().map_or(after, |record| record.sequence);
        let rest = shard.records.partition_point(|record| record.sequence <= last);
        let ahead = shard.records.get(rest);
        let ended = ahead.is_none() && shard.closed.is_some();
        let behind_ms = ahead.map_or(0, |next| now_ms.saturating_sub(next.arrival_ms));
        let children = if ended { shard.children.clone() } else { Vec::new() };
        Ok(Page { records, next_after: (!ended).then_some(last), behind_ms, children })
    }

    fn close(&mut self, id: &str) {
        self.sequence += 1;
        let shard = self.shards.get_mut(id).expect("checked by the caller");
        shard.closed = Some(self.sequence);
    }

    fn open(&self, id: &str) -> Result<HashRange, Refusal> {
        let shard = self.shard(id)?;
        if shard.closed.is_some() {
            return refuse("ResourceInUseException", format!("Shard {id} is closed"));
        }
        Ok(shard.range)
    }

    /// Splits an open shard; `at` becomes the start of the upper child.
    ///
    /// # Errors
    /// When the shard is unknown or closed, or the key is not inside its range.
    pub fn split(&mut self, id: &str, at: HashKey) -> Result<(), Refusal> {
        let range = self.open(id)?;
        if at <= range.start || at > range.end {
            return refuse(
                "InvalidArgumentException",
                format!("NewStartingHashKey {at} is not inside shard {id}"),
            );
        }
        self.close(id);
        let lower = self.make(HashRange { start: range.start, end: HashKey(at.0 - 1) }, vec![id.to_owned()]);
        let upper = self.make(HashRange { start: at, end: range.end }, vec![id.to_owned()]);
        self.shards.get_mut(id).expect("open above").children = vec![lower, upper];
        Ok(())
    }

    /// Merges two open shards whose ranges touch.
    ///
    /// # Errors
    /// When one is unknown or closed, or they do not touch.
    pub fn merge(&mut self, id: &str, other: &str) -> Result<(), Refusal> {
        let (one, two) = (self.open(id)?, self.open(other)?);
        let touch = |low: HashRange, high: HashRange| low.end.0.checked_add(1) == Some(high.start.0);
        if !touch(one, two) && !touch(two, one) {
            return refuse("InvalidArgumentException", format!("Shards {id} and {other} are not adjacent"));
        }
        self.close(id);
        self.close(other);
        let range = HashRange { start: one.start.min(two.start), end: one.end.max(two.end) };
        let child = self.make(range, vec![id.to_owned(), other.to_owned()]);
        for parent in [id, other] {
            self.shards.get_mut(parent).expect("open above").children = vec![child.clone()];
        }
        Ok(())
    }

    /// Splits or merges until the open shards are `count` even ranges.
    ///
    /// # Errors
    /// When the count is not between half and twice of what is open.
    pub fn update_shard_count(&mut self, count: u32) -> Result<(), Refusal> {
        let open: u32 = u32::try_from(self.open_shards().count()).unwrap_or(u32::MAX);
        if count == 0 || count > open * 2 || count < open.div_ceil(2) {
            return refuse(
                "InvalidArgumentException",
                "TargetShardCount must be between half and twice the open shards",
            );
        }
        for range in even(count) {
            if range.start.0 > 0 {
                let cut = self
                    .open_shards()
                    .find(|shard| shard.range.owns(range.start))
                    .map(|shard| (shard.id.clone(), shard.range));
                if let Some((id, old)) = cut.filter(|(_, old)| old.start != range.start) {
                    debug_assert!(old.owns(range.start));
                    self.split(&id, range.start)?;
                }
            }
        }
        for range in even(count) {
            loop {
                let inside: Vec<String> = {
                    let mut shards: Vec<&Shard> =
                        self.open_shards().filter(|s| range.owns(s.range.start)).collect();
                    shards.sort_by_key(|shard| shard.range.start);
                    shards.into_iter().map(|shard| shard.id.clone()).collect()
                };
                let [first, second, ..] = inside.as_slice() else { break };
                self.merge(first, second)?;
            }
        }
        Ok(())
    }

    /// Shards that take records.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.closed.is_none())
    }

    /// Removes what is older than the retention period, and closed shards that hold nothing any more.
    pub fn trim(&mut self, now_ms: u64) {
        let horizon = now_ms.saturating_sub(u64::from(self.retention_hours) * 3_600_000);
        for shard in self.shards.values_mut() {
            while shard.records.front().is_some_and(|record| record.arrival_ms < horizon) {
                shard.trimmed = shard.records.pop_front().map_or(shard.trimmed, |record| record.sequence);
            }
        }
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

/// The hash space cut into `count` even ranges.
fn even(count: u32) -> impl Iterator<Item = HashRange> {
    let count = u128::from(count.max(1));
    let width = u128::MAX / count;
    (0..count).map(move |index| HashRange {
        start: HashKey(if index == 0 { 0 } else { index * width + 1 }),
        end: HashKey(if index + 1 == count { u128::MAX } else { (index + 1) * width }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str) -> (String, Arc<[u8]>) {
        (key.to_owned(), Arc::from(key.as_bytes()))
    }

    #[test]
    fn even_ranges_cover_the_space_without_gap_or_overlap() {
        for count in 1..50 {
            let ranges: Vec<HashRange> = even(count).collect();
            assert_eq!((ranges[0].start.0, ranges[ranges.len() - 1].end.0), (0, u128::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].end.0 + 1 == pair[1].start.0));
        }
    }

    #[test]
    fn a_parent_is_read_to_its_end_and_names_its_children() {
        let mut stream = Stream::new(1, 0);
        stream.append(record("a"), None, 5, Limits::Off).unwrap();
        stream.split("shardId-000000000000", HashKey(u128::MAX / 2)).unwrap();
        let after = stream.position("shardId-000000000000", &Start::TrimHorizon).unwrap();
        let page = stream.read("shardId-000000000000", after, 10, 6, Limits::Off).unwrap();
        assert_eq!((page.records.len(), page.next_after, page.children.len()), (1, None, 2));
        let (shard, _) = stream.append(record("a"), None, 7, Limits::Off).unwrap();
        assert!(page.children.contains(&shard), "new records go to a child");
    }

    #[test]
    fn a_shard_takes_a_thousand_records_a_second_and_refuses_the_next() {
        let mut stream = Stream::new(1, 0);
        for _ in 0..1_000 {
            stream.append(record("a"), None, 10, Limits::Aws).unwrap();
        }
        assert_eq!(
            stream.append(record("a"), None, 999, Limits::Aws).unwrap_err().code,
            "ProvisionedThroughputExceededException"
        );
        assert!(stream.append(record("a"), None, 1_000, Limits::Aws).is_ok());
    }

    #[test]
    fn update_shard_count_ends_with_even_ranges() {
        let mut stream = Stream::new(4, 0);
        stream.update_shard_count(6).unwrap();
        let mut ranges: Vec<(u128, u128)> =
            stream.open_shards().map(|s| (s.range.start.0, s.range.end.0)).collect();
        ranges.sort_unstable();
        assert_eq!(ranges, even(6).map(|range| (range.start.0, range.end.0)).collect::<Vec<_>>());
    }

    #[test]
    fn the_tip_is_not_behind_and_the_middle_is() {
        let mut stream = Stream::new(1, 0);
        for at in [10, 20, 30] {
            stream.append(record("a"), None, at, Limits::Off).unwrap();
        }
        let id = "shardId-000000000000";
        let start = stream.position(id, &Start::Time(20)).unwrap();
        let page = stream.read(id, start, 1, 40, Limits::Off).unwrap();
        assert_eq!((page.records[0].arrival_ms, page.behind_ms), (20, 10));
        let page = stream.read(id, page.next_after.unwrap(), 1, 40, Limits::Off).unwrap();
        assert_eq!(page.behind_ms, 0);
    }
}

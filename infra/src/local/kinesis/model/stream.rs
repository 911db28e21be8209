//! A stream: its shards by number, what may be written to them, and where a reader begins.

use std::collections::BTreeMap;

use schemas::hash::{HashKey, HashRange};
use schemas::limits;

use super::consumers::Consumer;
use super::meter::Meter;
use super::settings::{Distribution, Mode, Status};
use super::shard::{Closing, Page, Record, Shard, ShardId, Stored};
use super::{Limits, Refusal, refuse, usize_of};

/// Ms of an hour.
const HOUR_MS: u64 = 3_600_000;
/// How often retention is carried out while a stream is in use.
const TRIM_EVERY_MS: u64 = 1_000;
/// How long a new stream keeps records (Kinesis developer guide, retention).
const RETENTION_HOURS: u32 = 24;
/// Dry runs of one stream in a second, of all operations together (Kinesis developer guide, kds-dryrun-validation).
const DRY_RUNS_PER_S: u32 = 1;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A stream and its shards.
#[derive(Clone, Debug)]
pub struct Stream {
    /// When it was made, in ms since the epoch.
    pub created_ms: u64,
    /// How it is paid for.
    pub mode: Mode,
    /// Who decides in which shard a record is put.
    pub distribution: Distribution,
    /// How long records are kept, in hours.
    pub retention_hours: u32,
    /// The largest record it takes, in KiB.
    pub record_kib_max: u32,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Consumers with a share of their own, by name.
    pub consumers: BTreeMap<String, Consumer>,
    /// Shards in the order of their making; those that retention passed are gone.
    pub shards: BTreeMap<ShardId, Shard>,
    /// The open shards by the highest key each owns, in that order: together they own every key.
    pub(super) open: Vec<(HashKey, ShardId)>,
    pub(super) sequence: u64,
    pub(super) made: u32,
    /// When the shard count was changed, for the limit of ten a day.
    pub(super) counted_ms: Vec<u64>,
    busy: Option<(Status, u64)>,
    trim_due_ms: u64,
    held_bytes: usize,
    dry_runs: Meter,
    /// Records that were put without regard to their keys.
    spread: usize,
}

/// What a stream is without its records, as the log's snapshot keeps it.
#[derive(Debug, bincode::Encode, bincode::Decode)]
pub(crate) struct Image {
    created_ms: u64,
    mode: Mode,
    retention_hours: u32,
    record_kib_max: u32,
    tags: BTreeMap<String, String>,
    consumers: BTreeMap<String, u64>,
    shards: Vec<ShardImage>,
    sequence: u64,
    made: u32,
    counted_ms: Vec<u64>,
}

#[derive(Debug, bincode::Encode, bincode::Decode)]
struct ShardImage {
    id: ShardId,
    range: (u128, u128),
    parents: Vec<ShardId>,
    children: Vec<ShardId>,
    first: u64,
    opened_ms: u64,
    closed: Option<Closing>,
    trimmed: u64,
}

impl Stream {
    /// A stream of `count` shards that share the hash space evenly.
    #[must_use]
    pub fn new(count: u32, now_ms: u64) -> Self {
        let mut stream = Self::empty(now_ms);
        for range in even(count) {
            stream.make(range, Vec::new(), now_ms);
        }
        stream
    }

    fn empty(now_ms: u64) -> Self {
        Self {
            created_ms: now_ms,
            mode: Mode::Provisioned,
            distribution: Distribution::default(),
            retention_hours: RETENTION_HOURS,
            record_kib_max: u32::try_from(limits::RECORD_BYTES_MAX / 1_024).unwrap_or(u32::MAX),
            tags: BTreeMap::new(),
            consumers: BTreeMap::new(),
            shards: BTreeMap::new(),
            open: Vec::new(),
            sequence: 0,
            made: 0,
            counted_ms: Vec::new(),
            busy: None,
            trim_due_ms: 0,
            held_bytes: 0,
            dry_runs: Meter::default(),
            spread: 0,
        }
    }

    /// Whether it can be used at this time.
    #[must_use]
    pub fn status(&self, now_ms: u64) -> Status {
        self.busy.filter(|(_, until_ms)| now_ms < *until_ms).map_or(Status::Active, |(status, _)| status)
    }

    /// Shows a status for a while; a stream of which `Deleting` has run out is to be removed.
    pub fn keep_busy(&mut self, status: Status, until_ms: u64) {
        self.busy = Some((status, until_ms));
    }

    pub(crate) fn gone(&self, now_ms: u64) -> bool {
        self.busy.is_some_and(|(status, until_ms)| status == Status::Deleting && now_ms >= until_ms)
    }

    /// Bytes of the records it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The highest number allotted so far.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.sequence
    }

    /// The shard that takes a key.
    #[must_use]
    pub fn owner(&self, hash: HashKey) -> ShardId {
        let index = self.open.partition_point(|(end, _)| *end < hash);
        self.open.get(index).expect("open shards cover the whole hash space").1
    }

    /// What a dry run is answered whose checks were all passed: as the service has it, an error that says so.
    pub fn dry_run(&mut self, now_ms: u64, limits: Limits) -> Refusal {
        let (code, message) = match limits == Limits::Off || self.dry_runs.take(now_ms, 0, DRY_RUNS_PER_S, 1)
        {
            true => ("DryRunOperationException", "the request would have succeeded; nothing was done"),
            false => ("ThrottlingException", "Rate exceeded: one dry run a second and stream"),
        };
        Refusal { code, message: message.to_owned() }
    }

    /// Counts a record against its shard's share of this second; answers the shard. One that is put without regard to its
    /// key gets another key, of the shard it goes to: so it lies there again when the log is carried out again.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException` when the share is used up.
    pub fn admit(&mut self, record: &mut Record, now_ms: u64, limits: Limits) -> Result<ShardId, Refusal> {
        if self.distribution == Distribution::Auto {
            let (_, next) = self.open[self.spread % self.open.len()];
            record.hash = self.shards[&next].range.start;
            self.spread += 1;
        }
        let id = self.owner(record.hash);
        let (calls, share) = (limits::SHARD_WRITE_RECORDS_PER_S, usize_of(limits::SHARD_WRITE_BYTES_PER_S));
        let shard = self.shards.get_mut(&id).expect("an open shard is there");
        if limits == Limits::Aws && !shard.written.take(now_ms, record.size(), calls, share) {
            return refuse("ProvisionedThroughputExceededException", format!("Rate exceeded for shard {id}"));
        }
        Ok(id)
    }

    /// Stores an admitted record and answers its number.
    pub fn store(&mut self, record: Record, shard: ShardId, now_ms: u64) -> u64 {
        self.sequence += 1;
        self.held_bytes += record.size();
        let Record { bytes, key_bytes, .. } = record;
        let stored = Stored { sequence: self.sequence, arrival_ms: now_ms, bytes, key_bytes };
        self.shards.get_mut(&shard).expect("an open shard is there").store(stored);
        self.sequence
    }

    /// Admits and stores one record; answers the shard and the number.
    ///
    /// # Errors
    /// As [`Stream::admit`].
    pub fn append(
        &mut self,
        mut record: Record,
        now_ms: u64,
        limits: Limits,
    ) -> Result<(ShardId, u64), Refusal> {
        let shard = self.admit(&mut record, now_ms, limits)?;
        Ok((shard, self.store(record, shard, now_ms)))
    }

    /// The number after which a reader with this start begins.
    ///
    /// # Errors
    /// An unknown shard, a number that the shard cannot have, a time that has not come.
    pub fn position(&self, id: ShardId, start: Start, now_ms: u64) -> Result<u64, Refusal> {
        let shard = self.shard(id)?;
        let known = |sequence: u64| {
            let last = shard.closed.map_or(self.sequence, |closing| closing.sequence);
            if (shard.first..=last).contains(&sequence) {
                return Ok(sequence);
            }
            refuse("InvalidArgumentException", format!("StartingSequenceNumber is not one of shard {id}"))
        };
        Ok(match start {
            Start::TrimHorizon => shard.trimmed,
            Start::Latest => shard.newest(),
            Start::At(sequence) => known(sequence)?.saturating_sub(1).max(shard.trimmed),
            Start::After(sequence) => known(sequence)?.max(shard.trimmed),
            Start::Time(ms) if ms > now_ms => {
                return refuse("InvalidArgumentException", "Timestamp must not be in the future");
            }
            Start::Time(ms) => shard.before_time(ms),
        })
    }

    /// A shard by its name.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when there is none.
    pub fn shard(&self, id: ShardId) -> Result<&Shard, Refusal> {
        match self.shards.get(&id) {
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
        id: ShardId,
        after: u64,
        most: usize,
        (now_ms, limits): (u64, Limits),
    ) -> Result<Page, Refusal> {
        let Some(shard) = self.shards.get_mut(&id) else {
            return refuse("ResourceNotFoundException", format!("Could not find shard {id}"));
        };
        match shard.read(after, most, now_ms, limits) {
            Some(page) => Ok(page),
            None => refuse("ProvisionedThroughputExceededException", format!("Rate exceeded for shard {id}")),
        }
    }

    /// Shards that take records.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.closed.is_none())
    }

    /// The time before which nothing is kept; never before the stream was made.
    #[must_use]
    pub fn horizon_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.retention_hours) * HOUR_MS).max(self.created_ms)
    }

    /// Removes what is older than the retention period, and closed shards that hold nothing any more.
    pub fn trim(&mut self, now_ms: u64) {
        let horizon_ms = self.horizon_ms(now_ms);
        for shard in self.shards.values_mut() {
            self.held_bytes -= shard.trim(horizon_ms);
        }
        self.shards.retain(|_, shard| !shard.expired(horizon_ms));
        self.trim_due_ms = now_ms + TRIM_EVERY_MS;
    }

    /// The same, at most once a second.
    pub fn trim_when_due(&mut self, now_ms: u64) {
        // A due time far ahead comes of a wall clock that was set back.
        if now_ms >= self.trim_due_ms || self.trim_due_ms > now_ms + TRIM_EVERY_MS {
            self.trim(now_ms);
        }
    }

    pub(super) fn make(&mut self, range: HashRange, parents: Vec<ShardId>, now_ms: u64) -> ShardId {
        let id = ShardId(self.made);
        self.made += 1;
        self.sequence += 1;
        self.shards.insert(id, Shard::new(id, range, parents, self.sequence, now_ms));
        let index = self.open.partition_point(|(end, _)| *end < range.end);
        self.open.insert(index, (range.end, id));
        id
    }

    pub(super) fn close(&mut self, id: ShardId, now_ms: u64) {
        self.sequence += 1;
        self.open.retain(|(_, open)| *open != id);
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.closed = Some(Closing { sequence: self.sequence, at_ms: now_ms });
        }
    }

    pub(crate) fn image(&self) -> Image {
        let shard = |shard: &Shard| ShardImage {
            id: shard.id,
            range: (shard.range.start.0, shard.range.end.0),
            parents: shard.parents.clone(),
            children: shard.children.clone(),
            first: shard.first,
            opened_ms: shard.opened_ms,
            closed: shard.closed,
            trimmed: shard.trimmed,
        };
        Image {
            created_ms: self.created_ms,
            mode: self.mode,
            retention_hours: self.retention_hours,
            record_kib_max: self.record_kib_max,
            tags: self.tags.clone(),
            consumers: self.consumers.iter().map(|(name, one)| (name.clone(), one.created_ms)).collect(),
            shards: self.shards.values().map(shard).collect(),
            sequence: self.sequence,
            made: self.made,
            counted_ms: self.counted_ms.clone(),
        }
    }

    pub(crate) fn of_image(image: Image) -> Self {
        let mut stream = Self::empty(image.created_ms);
        for one in image.shards {
            let range = HashRange { start: HashKey(one.range.0), end: HashKey(one.range.1) };
            let mut shard = Shard::new(one.id, range, one.parents, one.first, one.opened_ms);
            (shard.children, shard.closed, shard.trimmed) = (one.children, one.closed, one.trimmed);
            if shard.closed.is_none() {
                stream.open.push((range.end, one.id));
            }
            stream.shards.insert(one.id, shard);
        }
        stream.open.sort_unstable();
        (stream.mode, stream.retention_hours) = (image.mode, image.retention_hours);
        (stream.record_kib_max, stream.tags) = (image.record_kib_max, image.tags);
        let consumers = image.consumers.into_iter();
        stream.consumers = consumers.map(|(name, created_ms)| (name, Consumer { created_ms })).collect();
        (stream.sequence, stream.made, stream.counted_ms) = (image.sequence, image.made, image.counted_ms);
        stream
    }

    /// Puts a record back that a snapshot kept, with the number and time it had.
    pub(crate) fn put_back(&mut self, shard: ShardId, stored: Stored) {
        if let Some(shard) = self.shards.get_mut(&shard) {
            self.held_bytes += stored.size();
            shard.store(stored);
        }
    }
}

/// The hash space cut into `count` even ranges.
pub(super) fn even(count: u32) -> impl Iterator<Item = HashRange> {
    let count = u128::from(count.max(1));
    let width = u128::MAX / count;
    (0..count).map(move |index| HashRange {
        start: HashKey(if index == 0 { 0 } else { index * width + 1 }),
        end: HashKey(if index + 1 == count { u128::MAX } else { (index + 1) * width }),
    })
}

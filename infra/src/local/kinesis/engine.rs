//! Streams by name, and the log that makes them durable.
//!
//! Every change is checked, then written down, then carried out: what cannot be written down has not happened, and is
//! answered as failed. The model is pure, so carrying the log out again gives the same streams.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::frame::{self, Head, Kept, Op, Row, Unreadable};
use super::journal::{Damage, Journal};
use super::model::{Distribution, Limits, Mode, Record, Refusal, ShardId, Status, Stored, Stream, refuse};
use super::subscriptions::Subscriptions;

/// Streams one engine holds: a bound against mistakes.
const STREAMS_MAX: usize = 500;
/// Bytes of records one engine holds: they are in memory, and a day of retention is long.
const HELD_BYTES_MAX: usize = 12 * 1_073_741_824;
/// A log is written anew when it is this much longer than twice what it has to keep.
const SLACK_BYTES: u64 = 64 * 1_048_576;
/// Bytes of records in one frame of a snapshot.
const REFILL_BYTES: usize = 4 * 1_048_576;
/// What a record costs in the log beside its bytes.
const RECORD_COST_BYTES: u64 = 40;

/// What became of one entry.
pub(crate) type Placed = Result<(ShardId, u64), Refusal>;

/// All streams and their log.
#[derive(Debug)]
pub(crate) struct Engine {
    streams: BTreeMap<String, Stream>,
    limits: Limits,
    settle_ms: u64,
    journal: Option<Journal>,
    /// Whether the last write to the log failed: told once, not with each record.
    log_failed: bool,
    pub(crate) subscriptions: Subscriptions,
}

impl Engine {
    /// Opens the log in the folder and carries it out; without a folder nothing is kept. A change of a stream shows as
    /// CREATING, UPDATING or DELETING for `settle_ms`.
    pub(crate) fn open(dir: Option<&Path>, limits: Limits, settle_ms: u64) -> Result<Self, Damage> {
        // What was taken before is taken again: neither limits nor waiting apply to it.
        let mut engine = Self {
            streams: BTreeMap::new(),
            limits: Limits::Off,
            settle_ms: 0,
            journal: None,
            log_failed: false,
            subscriptions: Subscriptions::default(),
        };
        if let Some(dir) = dir {
            engine.journal = Some(Journal::open(dir, &mut |body| engine.replay(&body))?);
            engine.renew();
        }
        (engine.limits, engine.settle_ms) = (limits, settle_ms);
        Ok(engine)
    }

    /// Writes a log of an earlier release anew in this one's format. When that fails the log goes on as it is.
    fn renew(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_of_earlier_release()) else {
            return;
        };
        match journal.replace(|write| snapshot(&self.streams, write)) {
            Ok(()) => {
                tracing::info!(path = %journal.path().display(), "stream log written in a newer format")
            }
            Err(error) => {
                tracing::warn!(%error, "stream log not written in a newer format, goes on in its own")
            }
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn replay(&mut self, body: &Bytes) -> Result<(), Unreadable> {
        let (head, bytes) = frame::decode(body)?;
        match head {
            Head::Change { now_ms, stream, op } => self.change(&stream, op, now_ms),
            Head::Put { now_ms, stream, rows } => {
                let target = self.streams.get_mut(&stream).ok_or(Unreadable)?;
                for record in frame::records(&rows, bytes)? {
                    let shard = target.owner(record.hash);
                    target.store(record, shard, now_ms);
                }
            }
            Head::Restore { stream, image } => drop(self.streams.insert(stream, Stream::of_image(image))),
            Head::Refill { stream, shard, rows } => {
                let target = self.streams.get_mut(&stream).ok_or(Unreadable)?;
                frame::kept(&rows, bytes)?.into_iter().for_each(|stored| target.put_back(shard, stored));
            }
        }
        Ok(())
    }

    /// A stream that is there, with what retention passed removed.
    pub(crate) fn stream(&mut self, name: &str, now_ms: u64) -> Result<&mut Stream, Refusal> {
        self.streams.retain(|_, stream| !stream.gone(now_ms));
        match self.streams.get_mut(name) {
            Some(stream) => {
                stream.trim_when_due(now_ms);
                Ok(stream)
            }
            None => not_found(name),
        }
    }

    /// A stream that takes and gives records.
    pub(crate) fn live(&mut self, name: &str, now_ms: u64) -> Result<&mut Stream, Refusal> {
        let stream = self.stream(name, now_ms)?;
        match stream.status(now_ms) {
            Status::Active | Status::Updating => Ok(stream),
            Status::Creating | Status::Deleting => not_found(name),
        }
    }

    /// All streams by name.
    pub(crate) fn streams(&mut self, now_ms: u64) -> &BTreeMap<String, Stream> {
        self.streams.retain(|_, stream| !stream.gone(now_ms));
        &self.streams
    }

    /// Checks one change, writes it down and carries it out.
    pub(crate) fn apply(&mut self, stream: &str, op: Op, now_ms: u64) -> Result<(), Refusal> {
        self.check(stream, &op, now_ms)?;
        let head = Head::Change { now_ms, stream: stream.to_owned(), op };
        self.write(&head, &[])?;
        let Head::Change { op, .. } = head else { return Ok(()) };
        self.change(stream, op, now_ms);
        Ok(())
    }

    fn check(&mut self, name: &str, op: &Op, now_ms: u64) -> Result<(), Refusal> {
        let limits = self.limits;
        if let Op::Create { .. } = op {
            if self.streams(now_ms).contains_key(name) {
                return refuse("ResourceInUseException", format!("Stream {name} already exists"));
            }
            if self.streams.len() >= STREAMS_MAX {
                return refuse("LimitExceededException", format!("at most {STREAMS_MAX} streams"));
            }
            return Ok(());
        }
        let stream = self.stream(name, now_ms)?;
        let status = stream.status(now_ms);
        // A stream that is made with a distribution is told of it while it is being made.
        let is_early = matches!(op, Op::Distribute { .. }) && status == Status::Creating;
        if status != Status::Active && !is_early && !matches!(op, Op::Delete | Op::Deregister { .. }) {
            return refuse(
                "ResourceInUseException",
                format!("Stream {name} is not ACTIVE but {}", status.as_str()),
            );
        }
        match op {
            Op::Reshard(change) => stream.check_reshard(*change, now_ms, limits),
            Op::Register { consumer } => stream.check_register(consumer),
            Op::Deregister { consumer } => stream.consumer(consumer, None).map(drop),
            Op::Distribute { distribution: Distribution::Auto } if stream.mode == Mode::Provisioned => {
                refuse(
                    "InvalidArgumentException",
                    format!("Stream {name} is PROVISIONED, and AUTO is for on-demand streams"),
                )
            }
            Op::Create { .. }
            | Op::Delete
            | Op::Tags { .. }
            | Op::Retention { .. }
            | Op::RecordSize { .. }
            | Op::Distribute { .. } => Ok(()),
        }
    }

    /// Carries out what was checked.
    fn change(&mut self, name: &str, op: Op, now_ms: u64) {
        let until_ms = now_ms + self.settle_ms;
        if let Op::Create { shards, mode, record_kib_max, tags } = op {
            let mut stream = Stream::new(shards, now_ms);
            (stream.mode, stream.record_kib_max, stream.tags) = (mode, record_kib_max, tags);
            stream.keep_busy(Status::Creating, until_ms);
            self.streams.insert(name.to_owned(), stream);
            return;
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        match op {
            Op::Create { .. } => {}
            Op::Delete if self.settle_ms == 0 => drop(self.streams.remove(name)),
            Op::Delete => stream.keep_busy(Status::Deleting, until_ms),
            Op::Reshard(change) => {
                let done = stream.reshard(change, now_ms);
                debug_assert!(done.is_ok(), "checked before: {done:?}");
                stream.keep_busy(Status::Updating, until_ms);
            }
            Op::Tags { add, remove } => {
                stream.tags.extend(add);
                stream.tags.retain(|key, _| !remove.contains(key));
            }
            Op::Retention { hours } => {
                stream.retention_hours = hours;
                stream.trim(now_ms);
                stream.keep_busy(Status::Updating, until_ms);
            }
            Op::Register { consumer } => {
                stream.consumers.insert(consumer, super::model::Consumer { created_ms: now_ms });
            }
            Op::Deregister { consumer } => drop(stream.consumers.remove(&consumer)),
            Op::RecordSize { kib } => {
                stream.record_kib_max = kib;
                stream.keep_busy(Status::Updating, until_ms);
            }
            // At once: it shows no other status meanwhile.
            Op::Distribute { distribution } => stream.distribution = distribution,
        }
    }

    /// Whether these records can be taken, limits of speed aside.
    fn check_put(&mut self, name: &str, records: &[Record], now_ms: u64) -> Result<(), Refusal> {
        self.check_room(records)?;
        let stream = self.live(name, now_ms)?;
        let record_bytes_max = super::model::usize_of(stream.record_kib_max) * 1_024;
        match records.iter().find(|record| record.size() > record_bytes_max) {
            None => Ok(()),
            Some(long) => {
                let bytes = long.size();
                refuse(
                    "ValidationException",
                    format!(
                        "a record of stream {name} has at most {record_bytes_max} bytes and one has {bytes}"
                    ),
                )
            }
        }
    }

    /// What a put is answered that is only tried.
    pub(crate) fn dry_put(&mut self, name: &str, records: &[Record], now_ms: u64) -> Refusal {
        match self.check_put(name, records, now_ms) {
            Ok(()) => self.dry_run(name, now_ms),
            Err(refusal) => refusal,
        }
    }

    /// What a dry run is answered whose checks were all passed.
    pub(crate) fn dry_run(&mut self, name: &str, now_ms: u64) -> Refusal {
        let limits = self.limits;
        match self.live(name, now_ms) {
            Ok(stream) => stream.dry_run(now_ms, limits),
            Err(refusal) => refusal,
        }
    }

    /// Takes the records that the limits allow, writes them down and stores them; answers each. `fails` says with what
    /// code the next one fails on purpose.
    pub(crate) fn put(
        &mut self,
        name: &str,
        mut records: Vec<Record>,
        now_ms: u64,
        fails: &mut dyn FnMut() -> Option<&'static str>,
    ) -> Result<Vec<Placed>, Refusal> {
        let limits = self.limits;
        self.check_put(name, &records, now_ms)?;
        let stream = self.live(name, now_ms)?;
        let mut admit = |record: &mut Record| match fails() {
            Some(code) => refuse(code, "failed on purpose"),
            None => stream.admit(record, now_ms, limits),
        };
        let admitted: Vec<Result<ShardId, Refusal>> = records.iter_mut().map(&mut admit).collect();
        if self.journal.is_some() {
            let taken =
                || records.iter().zip(&admitted).filter(|(_, shard)| shard.is_ok()).map(|(one, _)| one);
            let rows: Vec<Row> = taken().map(Row::of).collect();
            let bytes: Vec<&Bytes> = taken().map(|record| &record.bytes).collect();
            if !rows.is_empty() {
                self.write(&Head::Put { now_ms, stream: name.to_owned(), rows }, &bytes)?;
            }
        }
        let Some(stream) = self.streams.get_mut(name) else { return not_found(name) };
        let store = |(record, shard): (Record, Result<ShardId, Refusal>)| {
            shard.map(|shard| (shard, stream.store(record, shard, now_ms)))
        };
        Ok(records.into_iter().zip(admitted).map(store).collect())
    }

    fn check_room(&self, records: &[Record]) -> Result<(), Refusal> {
        let held: usize = self.streams.values().map(Stream::held_bytes).sum();
        let more: usize = records.iter().map(Record::size).sum();
        if held + more > HELD_BYTES_MAX {
            return refuse(
                "InternalFailure",
                format!("the local engine holds {held} bytes in memory, its bound; delete a stream"),
            );
        }
        Ok(())
    }

    fn write(&mut self, head: &Head, pieces: &[&Bytes]) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let mut body = Vec::with_capacity(1_024 + pieces.iter().map(|piece| piece.len() + 32).sum::<usize>());
        let written = frame::encode(head, &mut body).and_then(|()| {
            pieces.iter().for_each(|piece| body.extend_from_slice(piece));
            journal.append(&body)
        });
        let path = journal.path().display();
        let error = match written {
            Ok(()) => {
                if std::mem::take(&mut self.log_failed) {
                    tracing::info!(%path, "stream log written again");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => "put it back, or stop and start the engine to begin without it",
            _ => "make room there",
        };
        if !std::mem::replace(&mut self.log_failed, true) {
            tracing::error!(%path, %error, advice, "stream log not written, changes are refused until it can be");
        }
        refuse("InternalFailure", format!("the stream log {path} cannot be written: {error}; {advice}"))
    }

    /// What is due as time passes: retention, and a shorter log when much of it is of no use any more.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.streams.retain(|_, stream| !stream.gone(now_ms));
        self.streams.values_mut().for_each(|stream| stream.trim(now_ms));
        let Some(journal) = &mut self.journal else { return };
        let kept = |stream: &Stream| -> u64 {
            let records: usize = stream.shards.values().map(|shard| shard.records().count()).sum();
            let bytes = u64::try_from(stream.held_bytes()).unwrap_or(u64::MAX);
            bytes.saturating_add(u64::try_from(records).unwrap_or(u64::MAX).saturating_mul(RECORD_COST_BYTES))
        };
        let kept: u64 = self.streams.values().map(kept).sum();
        let before = journal.bytes();
        if before <= kept.saturating_mul(2).saturating_add(SLACK_BYTES) {
            return;
        }
        match journal.replace(|write| snapshot(&self.streams, write)) {
            Ok(()) => tracing::info!(before, after = journal.bytes(), "stream log shortened"),
            Err(error) => tracing::warn!(%error, "stream log not shortened"),
        }
    }
}

fn not_found<T>(name: &str) -> Result<T, Refusal> {
    refuse("ResourceNotFoundException", format!("Stream {name} under account 000000000000 not found."))
}

/// Writes all streams down as they are.
fn snapshot(
    streams: &BTreeMap<String, Stream>,
    write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut body = Vec::new();
    for (name, stream) in streams {
        body.clear();
        frame::encode(&Head::Restore { stream: name.clone(), image: stream.image() }, &mut body)?;
        write(&body)?;
        if stream.distribution != Distribution::default() {
            body.clear();
            let (stream, op) = (name.clone(), Op::Distribute { distribution: stream.distribution });
            frame::encode(&Head::Change { now_ms: 0, stream, op }, &mut body)?;
            write(&body)?;
        }
        for shard in stream.shards.values() {
            let records: Vec<&Stored> = shard.records().collect();
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let mut bytes = 0;
                let fits = |stored: &&&Stored| {
                    bytes += stored.bytes.len();
                    bytes <= REFILL_BYTES
                };
                let count = rest.iter().take_while(fits).count().max(1);
                let (these, others) = rest.split_at(count);
                rest = others;
                let rows: Vec<Kept> = these.iter().map(|stored| Kept::of(stored)).collect();
                body.clear();
                frame::encode(&Head::Refill { stream: name.clone(), shard: shard.id, rows }, &mut body)?;
                these.iter().for_each(|stored| body.extend_from_slice(&stored.bytes));
                write(&body)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

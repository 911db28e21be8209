//! Streams by name behind one lock, and the log that makes them durable.
//!
//! Every change is an [`Op`] with the time at which it happened; the model is pure, so writing the operations down and
//! applying them again gives the same streams. An answer goes out only after its operation was handed to the kernel,
//! so kill -9 of this process loses nothing that was acknowledged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use schemas::hash::HashKey;
use serde::{Deserialize, Serialize};

use super::model::{Limits, Refusal, Stream, refuse};

/// One change of the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    Create { stream: String, shards: u32 },
    Delete { stream: String },
    Put { stream: String, entries: Vec<Entry> },
    Split { stream: String, shard: String, at: u128 },
    Merge { stream: String, shard: String, other: String },
    Count { stream: String, shards: u32 },
    Tags { stream: String, add: BTreeMap<String, String>, remove: Vec<String> },
    Retention { stream: String, hours: u32 },
}

/// One record on its way in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) hash: Option<u128>,
    pub(crate) data: Arc<[u8]>,
}

/// What became of one entry.
pub(crate) type Placed = Result<(String, u64), Refusal>;

/// All streams and their log.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) streams: BTreeMap<String, Stream>,
    pub(crate) limits: Limits,
    log: Option<File>,
    log_bytes: u64,
}

/// Streams one engine holds: a bound against mistakes.
const STREAMS_MAX: usize = 500;

impl Engine {
    /// Opens the log in the folder and applies it; without a folder nothing is kept.
    pub(crate) fn open(dir: Option<&Path>, limits: Limits) -> std::io::Result<Self> {
        let mut engine = Self { streams: BTreeMap::new(), limits: Limits::Off, log: None, log_bytes: 0 };
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir)?;
            let path = dir.join("operations.log");
            let mut file = File::options().read(true).append(true).create(true).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let good = engine.replay(&bytes);
            if good < bytes.len() {
                tracing::warn!(kept = good, cut = bytes.len() - good, "torn end of the stream log cut off");
                file.set_len(u64::try_from(good).unwrap_or(u64::MAX))?;
            }
            engine.log_bytes = u64::try_from(good).unwrap_or(u64::MAX);
            engine.log = Some(file);
        }
        engine.limits = limits;
        Ok(engine)
    }

    /// Applies the frames `length | crc32 | now, op` and answers how many bytes were whole.
    fn replay(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0;
        while let Some(head) = bytes.get(good..good + 8) {
            let number = |part: &[u8]| u32::from_le_bytes(part.try_into().expect("four bytes"));
            let length = usize::try_from(number(&head[..4])).unwrap_or(usize::MAX);
            let Some(body) = good.checked_add(8 + length).and_then(|end| bytes.get(good + 8..end)) else {
                break;
            };
            if crc32fast::hash(body) != number(&head[4..]) {
                break;
            }
            let Ok(((now_ms, op), _)) =
                bincode::serde::decode_from_slice::<(u64, Op), _>(body, bincode::config::standard())
            else {
                break;
            };
            // What the service refused is not in the log; what is in it succeeds again.
            let _ = self.change(&op, now_ms);
            good += 8 + length;
        }
        good
    }

    /// Applies one change and writes it down.
    pub(crate) fn apply(&mut self, op: &Op, now_ms: u64) -> Result<(), Refusal> {
        self.change(op, now_ms)?;
        self.write(op, now_ms)
    }

    /// Appends the entries that the limits allow and writes them down; answers each.
    pub(crate) fn put(
        &mut self,
        stream: &str,
        entries: Vec<Entry>,
        now_ms: u64,
        fails: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Placed>, Refusal> {
        let (limits, durable) = (self.limits, self.log.is_some());
        let target = self.stream_mut(stream)?;
        let mut placed = Vec::with_capacity(entries.len());
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            if fails() {
                placed.push(refuse("InternalFailure", "failed on purpose"));
                continue;
            }
            let record = (entry.key.clone(), Arc::clone(&entry.data));
            let outcome = target.append(record, entry.hash.map(HashKey), now_ms, limits);
            if outcome.is_ok() && durable {
                taken.push(entry);
            }
            placed.push(outcome);
        }
        if !taken.is_empty() {
            self.write(&Op::Put { stream: stream.to_owned(), entries: taken }, now_ms)?;
        }
        Ok(placed)
    }

    pub(crate) fn stream_mut(&mut self, name: &str) -> Result<&mut Stream, Refusal> {
        match self.streams.get_mut(name) {
            Some(stream) => Ok(stream),
            None => refuse(
                "ResourceNotFoundException",
                format!("Stream {name} under account 000000000000 not found."),
            ),
        }
    }

    fn change(&mut self, op: &Op, now_ms: u64) -> Result<(), Refusal> {
        match op {
            Op::Create { stream, .. } if self.streams.contains_key(stream) => refuse(
                "ResourceInUseException",
                format!("Stream {stream} under account 000000000000 already exists."),
            ),
            Op::Create { .. } if self.streams.len() >= STREAMS_MAX => {
                refuse("LimitExceededException", "too many streams")
            }
            Op::Create { stream, shards } => {
                self.streams.insert(stream.clone(), Stream::new(*shards, now_ms));
                Ok(())
            }
            Op::Delete { stream } => {
                self.stream_mut(stream).map(|_| ()).map(|()| drop(self.streams.remove(stream)))
            }
            Op::Put { stream, entries } => {
                let target = self.stream_mut(stream)?;
                for entry in entries {
                    let record = (entry.key.clone(), Arc::clone(&entry.data));
                    target.append(record, entry.hash.map(HashKey), now_ms, Limits::Off)?;
                }
                Ok(())
            }
            Op::Split { stream, shard, at } => self.stream_mut(stream)?.split(shard, HashKey(*at)),
            Op::Merge { stream, shard, other } => self.stream_mut(stream)?.merge(shard, other),
            Op::Count { stream, shards } => self.stream_mut(stream)?.update_shard_count(*shards),
            Op::Tags { stream, add, remove } => {
                let tags = &mut self.stream_mut(stream)?.tags;
                tags.extend(add.clone());
                tags.retain(|name, _| !remove.contains(name));
                Ok(())
            }
            Op::Retention { stream, hours } => {
                let stream = self.stream_mut(stream)?;
                stream.retention_hours = *hours;
                stream.trim(now_ms);
                Ok(())
            }
        }
    }

    fn write(&mut self, op: &Op, now_ms: u64) -> Result<(), Refusal> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let failed = |error: &dyn std::fmt::Display| Refusal {
            code: "InternalFailure",
            message: format!("the stream log cannot be written: {error}"),
        };
        let body = bincode::serde::encode_to_vec((now_ms, op), bincode::config::standard())
            .map_err(|e| failed(&e))?;
        let length = u32::try_from(body.len()).map_err(|error| failed(&error))?;
        let mut frame = Vec::with_capacity(body.len() + 8);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        frame.extend_from_slice(&body);
        if let Err(error) = log.write_all(&frame) {
            // A full disk may leave half a frame; what follows it would be unreadable.
            let _ = log.set_len(self.log_bytes);
            return Err(failed(&error));
        }
        self.log_bytes += u64::try_from(frame.len()).unwrap_or(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_there_after_a_crash_and_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Engine::open(Some(dir.path()), Limits::Off).unwrap();
        engine.apply(&Op::Create { stream: "s".into(), shards: 2 }, 1).unwrap();
        for index in 0..100_u32 {
            let data = Arc::from(index.to_le_bytes().as_slice());
            let entry = Entry { key: index.to_string(), hash: None, data };
            assert!(engine.put("s", vec![entry], 2, &mut || false).unwrap()[0].is_ok());
        }
        engine
            .apply(&Op::Split { stream: "s".into(), shard: "shardId-000000000000".into(), at: 77 }, 3)
            .unwrap();
        let before = format!("{:?}", engine.streams);
        drop(engine);
        let mut file = File::options().append(true).open(dir.path().join("operations.log")).unwrap();
        file.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
        let again = Engine::open(Some(dir.path()), Limits::Off).unwrap();
        assert_eq!(format!("{:?}", again.streams), before);
    }
}

//! The stream of a world: the engine's own model, with arrivals that may go back a little and pages that are short.

use schemas::hash::{HashKey, HashRange};
use schemas::ids::ShardId;
use schemas::lease::Checkpoint;
use schemas::record::{Decoded, decode_into, tick};

use crate::local::kinesis::model::{self, Distribution, Limits, Record, Reshard, Start, Stream};
use crate::sim::call::{Answer, Call, Entered, Page, Reply, Shard, Trouble};
use crate::sim::chance::Chance;
use crate::sim::checker::Checker;
use crate::sim::coverage::{Coverage, Met};
use crate::sim::setting::Setting;

/// How much later than its retention says the stream really removes records. A reader that has just made sure that its
/// place is kept has this long to catch up.
pub const TRIMS_LATE_MS: u64 = 15_000;

/// The stream.
#[derive(Debug)]
pub struct StreamModel {
    stream: Stream,
    decoded: Decoded,
    arrival_jitter_ms: u64,
    page_max: usize,
    retention_ms: u64,
    last_arrival_ms: u64,
    /// Until when the stream ignores keys.
    auto_until_ms: u64,
}

/// When and with which luck a call is carried out.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The true time.
    pub now_ms: u64,
    /// This call's chance.
    pub chance: &'a mut Chance,
    /// Whether some of its entries are refused.
    pub partial: Partial,
    /// What is met.
    pub coverage: &'a mut Coverage,
}

/// Whether some entries or keys of a call are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// None is.
    No,
    /// Some may be.
    Yes,
}

impl StreamModel {
    /// A stream without records.
    #[must_use]
    pub fn new(setting: &Setting, now_ms: u64, checker: &mut Checker) -> Self {
        // Before any arrival, however far back it may lie.
        let stream = Stream::new(setting.shards, now_ms - 1_000);
        for shard in stream.shards.values() {
            checker.on_shard(&name(shard.id), bounds(shard.range), &[]);
        }
        let Setting { arrival_jitter_ms, page_max, retention_ms, .. } = *setting;
        let decoded = Decoded::default();
        Self {
            stream,
            decoded,
            arrival_jitter_ms,
            page_max,
            retention_ms,
            last_arrival_ms: 0,
            auto_until_ms: 0,
        }
    }

    /// Carries out a call.
    pub fn on_call(&mut self, call: &Call, moment: &mut Moment<'_>, checker: &mut Checker) -> Reply {
        match call {
            Call::PutRecords(entries) => {
                let mut all = Vec::with_capacity(entries.len());
                for entry in entries {
                    let refused = moment.partial == Partial::Yes && moment.chance.happens(500);
                    let throttled = moment.chance.happens(500);
                    // `InternalFailure` does not promise that nothing was stored.
                    let stored = !refused || (!throttled && moment.chance.happens(300));
                    let at = stored.then(|| {
                        let record = (entry.partition_key.as_str(), entry.data.as_slice());
                        self.append(record, entry.explicit_hash_key, moment, checker)
                    });
                    all.push(match (refused, throttled, at) {
                        (false, _, Some((shard, sequence))) => Entered::Stored(shard, sequence),
                        (_, true, _) => Entered::Throttled,
                        _ => Entered::Failed,
                    });
                }
                Ok(Answer::Entered(all))
            }
            Call::Tick(hash) => {
                self.append(("a", &tick()), Some(*hash), moment, checker);
                Ok(Answer::Done)
            }
            Call::Shards => Ok(Answer::Shards(self.shards(), self.distribution(moment.now_ms))),
            Call::Iterator { shard_id, from } => {
                let start = match from {
                    Checkpoint::After(sequence) => {
                        Start::After(sequence.as_str().parse().map_err(|_| Trouble::Refused("number"))?)
                    }
                    _ => Start::TrimHorizon,
                };
                let position = self.stream.position(number(shard_id)?, start, moment.now_ms);
                position.map(Answer::Iterator).map_err(|refusal| Trouble::Refused(refusal.code))
            }
            Call::Records { shard_id, after } => self.read(shard_id, *after, moment.now_ms),
            _ => Err(Trouble::Refused("not an operation of the stream")),
        }
    }

    fn read(&mut self, shard_id: &ShardId, after: u64, now_ms: u64) -> Reply {
        let page = self.stream.read(number(shard_id)?, after, self.page_max, (now_ms, Limits::Off));
        let page = page.map_err(|refusal| Trouble::Refused(refusal.code))?;
        let records = page.records.iter().map(|one| (one.arrival_ms, one.sequence, one.data().to_vec()));
        Ok(Answer::Page(Page {
            records: records.collect(),
            next: page.next_after,
            behind_ms: page.behind_ms,
            children: page.children.into_iter().map(name).collect(),
        }))
    }

    /// Stores a record; answers the shard and the number.
    pub fn append(
        &mut self,
        (key, data): (&str, &[u8]),
        hash: Option<HashKey>,
        moment: &mut Moment<'_>,
        checker: &mut Checker,
    ) -> (ShardId, u64) {
        let arrival = moment.now_ms - moment.chance.below(self.arrival_jitter_ms + 1);
        if arrival < self.last_arrival_ms {
            moment.coverage.meet(Met::ArrivalBack);
        }
        self.last_arrival_ms = arrival;
        self.stream.distribution = self.distribution(moment.now_ms);
        if self.stream.distribution == Distribution::Auto {
            moment.coverage.meet(Met::ServiceManaged);
        }
        let stored = self.stream.append(Record::new(key, data, hash), arrival, Limits::Off);
        let (shard, sequence) = stored.expect("a stream without limits takes every record");
        decode_into(data, &mut self.decoded);
        let shard = name(shard);
        checker.on_record(&shard, (sequence, arrival), &self.decoded.items);
        (shard, sequence)
    }

    /// Someone switches the stream to service-managed distribution, and back then.
    pub fn manage(&mut self, until_ms: u64) {
        self.auto_until_ms = self.auto_until_ms.max(until_ms);
    }

    fn distribution(&self, now_ms: u64) -> Distribution {
        if now_ms < self.auto_until_ms { Distribution::Auto } else { Distribution::UserPartitionKey }
    }

    /// All shards.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        self.stream.shards.values().map(listed).collect()
    }

    /// The numbers of the records that a shard still holds.
    #[must_use]
    pub fn numbers(&self, id: &ShardId) -> Vec<u64> {
        let shard = id.0.parse().ok().and_then(|id: model::ShardId| self.stream.shards.get(&id));
        shard.into_iter().flat_map(model::Shard::records).map(|record| record.sequence).collect()
    }

    fn open(&self) -> Vec<&model::Shard> {
        let mut open: Vec<&model::Shard> = self.stream.open_shards().collect();
        open.sort_by_key(|shard| shard.range.start);
        open
    }

    /// The open shard of this place.
    #[must_use]
    pub fn nth_open(&self, place: usize) -> Shard {
        let open = self.open();
        listed(open[place % open.len()])
    }

    /// Splits the open shard of this place at this 256th of its range; answers whether it was wide enough.
    pub fn split(&mut self, place: usize, at: u8, now_ms: u64, checker: &mut Checker) -> bool {
        let open = self.open();
        let (shard, range) = (open[place % open.len()].id, open[place % open.len()].range);
        let width = range.end.0 - range.start.0;
        let at = range.start.0 + width / 256 * u128::from(at) + 1;
        let done = self.stream.reshard(Reshard::Split { shard, at }, now_ms).is_ok();
        self.tell(&[shard], checker);
        done
    }

    /// Merges the open shard of this place with its upper neighbour; answers whether there is one.
    pub fn merge(&mut self, place: usize, now_ms: u64, checker: &mut Checker) -> bool {
        let open = self.open();
        let at = place % open.len();
        let Some(other) = open.get(at + 1).map(|other| other.id) else { return false };
        let shard = open[at].id;
        let done = self.stream.reshard(Reshard::Merge { shard, other }, now_ms).is_ok();
        self.tell(&[shard, other], checker);
        done
    }

    /// Tells the checker of the children of shards that were just closed.
    fn tell(&self, parents: &[model::ShardId], checker: &mut Checker) {
        let ids: Vec<ShardId> = parents.iter().map(|id| name(*id)).collect();
        let children = self.stream.shards.get(&parents[0]).map(|shard| shard.children.as_slice());
        for child in children.unwrap_or_default() {
            checker.on_shard(&name(*child), bounds(self.stream.shards[child].range), &ids);
        }
    }

    /// Removes what is older than the retention, shards that are over included; answers whether anything went.
    pub fn trim(&mut self, now_ms: u64, checker: &mut Checker) -> bool {
        let kept_ms = u64::from(self.stream.retention_hours) * 3_600_000;
        let before: Vec<model::ShardId> = self.stream.shards.keys().copied().collect();
        self.stream.trim((now_ms + kept_ms).saturating_sub(self.retention_ms + TRIMS_LATE_MS));
        let mut any = false;
        for id in before {
            let trimmed =
                self.stream.shards.get(&id).map(|shard| (shard.trimmed, shard.trimmed > shard.first));
            any |= trimmed.is_none_or(|(_, any)| any);
            checker.on_trim(&name(id), trimmed.map_or(u64::MAX, |(through, _)| through));
        }
        any
    }
}

fn bounds(range: HashRange) -> (u128, u128) {
    (range.start.0, range.end.0)
}

fn name(id: model::ShardId) -> ShardId {
    ShardId(id.to_string())
}

fn number(id: &ShardId) -> Result<model::ShardId, Trouble> {
    id.0.parse().map_err(|_| Trouble::Refused("ResourceNotFoundException"))
}

fn listed(shard: &model::Shard) -> Shard {
    Shard {
        id: name(shard.id),
        range: shard.range,
        parents: shard.parents.iter().copied().map(name).collect(),
        open: shard.closed.is_none(),
    }
}

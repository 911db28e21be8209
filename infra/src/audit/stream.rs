//! Reads the whole stream: every shard from its oldest record to its tip or end, parents before children.
//!
//! Holds one page in memory and hands each record to the recomputation. Never writes, ticks or leases anything, and
//! stays a polite reader: it slows down when the shard says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record as Stored, Shard as Listed, ShardIteratorType};
use runtime::distribution::{ServiceManaged, keys_kept};
use runtime::failure::Failure;
use runtime::service_clock::ServiceClock;
use runtime::shard_end::ShardEnd;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::limits::GET_RECORDS_MAX;
use schemas::record;
use schemas::time::Millis;

use super::log::{Record, Shard};
use super::recompute::{Reading, Recomputed};
use super::retry;
use crate::provision::sentence;

/// Between two lines about how far the reading is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Answers in a row that may say falsely that a shard has ended.
const ODD_ENDS_MAX: u32 = 16;
/// Between two of them; a shard gives five reads a second.
const BETWEEN_ENDS: Duration = Duration::from_millis(200);

/// The stream to read.
pub(super) struct Stream<'a> {
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
    /// The service's clock. What arrived after the audit began by it need not be read to the last record: a stream that
    /// is written to has no end.
    pub(super) clock: &'a ServiceClock,
}

/// What was read.
pub(super) struct Read {
    /// When the stream was made.
    pub(super) made: Millis,
    /// How many records it gave.
    pub(super) records: u64,
    /// That it ignores the keys of records now.
    pub(super) managed: Option<ServiceManaged>,
}

/// What a stream says of itself.
struct Summary {
    made: Millis,
    /// Whether its first shards may have lost their beginnings.
    oldest: bool,
    managed: Option<ServiceManaged>,
    now: Millis,
}

impl Stream<'_> {
    /// Reads everything into the recomputation.
    pub(super) async fn read(&self, all: &mut Recomputed) -> anyhow::Result<Read> {
        let Summary { made, oldest, managed, now: until } = self.summary().await?;
        let (mut done, mut records) = (BTreeSet::new(), 0);
        // Shards may split while others are read: list again until none is new.
        loop {
            let listed = self.shards(oldest).await?;
            let order = parents_first(listed);
            let new: Vec<&Shard> = order.iter().filter(|shard| !done.contains(&shard.id)).collect();
            if new.is_empty() {
                return Ok(Read { made, records, managed });
            }
            for shard in new {
                records += self.shard(shard, until, all).await?;
                done.insert(shard.id.clone());
            }
        }
    }

    /// When the stream was made, whether it is older than what it keeps, so that its first shards may have lost their
    /// beginnings, whether it ignores keys, and what time it is there.
    async fn summary(&self) -> anyhow::Result<Summary> {
        let answer =
            retry::read(|| self.client.describe_stream_summary().stream_name(self.name).send()).await;
        let answer = answer.map_err(|failure| self.sentence(&failure))?;
        let summary = answer.stream_description_summary().context("a stream without a summary")?;
        let made = u64::try_from(summary.stream_creation_timestamp().to_millis()?).unwrap_or(0);
        let kept = u64::try_from(summary.retention_period_hours()).unwrap_or(0) * 3_600_000;
        let now = self.clock.span().context("replies of the stream have no Date")?.latest;
        let (oldest, managed) = (made.saturating_add(kept) <= now.0, keys_kept(summary).err());
        Ok(Summary { made: Millis(made), oldest, managed, now })
    }

    async fn shards(&self, trimmed: bool) -> anyhow::Result<Vec<Shard>> {
        let (mut listed, mut next): (Vec<Listed>, Option<String>) = (Vec::new(), None);
        loop {
            let page = retry::read(|| {
                let call = self.client.list_shards();
                match &next {
                    Some(token) => call.next_token(token),
                    None => call.stream_name(self.name),
                }
                .send()
            });
            let page = page.await.map_err(|failure| self.sentence(&failure))?;
            listed.extend_from_slice(page.shards());
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        listed.iter().map(|shard| shard_of(shard, trimmed)).collect()
    }

    async fn shard(&self, shard: &Shard, until: Millis, all: &mut Recomputed) -> anyhow::Result<u64> {
        let mut reading = all.begin(shard);
        let mut last: Option<SequenceNumber> = None;
        let mut iterator = self.iterator(shard, last.as_ref()).await?;
        let (mut records, mut told) = (0, Instant::now());
        let (mut end, mut odd_ends) = (ShardEnd::default(), 0);
        while let Some(token) = iterator {
            let call = || self.client.get_records().shard_iterator(&token).limit(GET_RECORDS_MAX).send();
            let page = match retry::read(call).await {
                Ok(page) => page,
                Err(failure) if failure.code() == "ExpiredIteratorException" => {
                    iterator = self.iterator(shard, last.as_ref()).await?;
                    continue;
                }
                Err(failure) => return Err(self.sentence(&failure)),
            };
            for stored in page.records() {
                let record = record_of(stored)?;
                reading.read(all, &record);
                last = Some(record.sequence);
            }
            records += page.records().len();
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let behind_ms = page.millis_behind_latest();
                tracing::info!(shard_id = %shard.id, records, behind_ms, "reading the stream");
            }
            if is_tip(&page, until) {
                return self.left(shard, reading, all, (records, false));
            }
            iterator = match page.next_shard_iterator {
                Some(next) => {
                    (end, odd_ends) = (ShardEnd::default(), 0);
                    Some(next)
                }
                None => {
                    odd_ends += 1;
                    let children = page.child_shards.unwrap_or_default().len();
                    match end.on_end(self.client, self.name, (&shard.id, children)).await {
                        Ok(()) => None,
                        Err(failure) => self.beyond(shard, (last.as_ref(), odd_ends), &failure).await?,
                    }
                }
            };
        }
        self.left(shard, reading, all, (records, true))
    }

    /// Where reading goes on after an answer that says falsely, or not surely, that the shard has ended.
    async fn beyond(
        &self,
        shard: &Shard,
        (last, odd_ends): (Option<&SequenceNumber>, u32),
        failure: &Failure,
    ) -> anyhow::Result<Option<String>> {
        if !failure.is_transient() || odd_ends >= ODD_ENDS_MAX {
            return Err(self.sentence(failure));
        }
        tracing::warn!(shard_id = %shard.id, %failure, "shard is read on from its last record");
        tokio::time::sleep(BETWEEN_ENDS).await;
        self.iterator(shard, last).await
    }

    fn left(
        &self,
        shard: &Shard,
        reading: Reading,
        all: &mut Recomputed,
        (records, ended): (usize, bool),
    ) -> anyhow::Result<u64> {
        tracing::debug!(shard_id = %shard.id, records, ended, "shard read");
        reading.end(all, ended);
        Ok(u64::try_from(records)?)
    }

    async fn iterator(
        &self,
        shard: &Shard,
        after: Option<&SequenceNumber>,
    ) -> anyhow::Result<Option<String>> {
        let answer = retry::read(|| {
            let call = self.client.get_shard_iterator().stream_name(self.name).shard_id(&shard.id.0);
            match after {
                Some(sequence) => call
                    .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                    .starting_sequence_number(sequence.as_str()),
                None => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            }
            .send()
        });
        Ok(answer.await.map_err(|failure| self.sentence(&failure))?.shard_iterator)
    }

    fn sentence(&self, failure: &Failure) -> anyhow::Error {
        sentence(&format!("stream {} cannot be read", self.name), failure).into()
    }
}

/// Whether a page is the last that matters: empty at the tip, or past the time at which the audit began.
fn is_tip(page: &GetRecordsOutput, until: Millis) -> bool {
    let at_tip = page.millis_behind_latest() == Some(0) && page.next_shard_iterator().is_some();
    let arrival = |stored: &Stored| stored.approximate_arrival_timestamp().and_then(|at| at.to_millis().ok());
    let until = i64::try_from(until.0).unwrap_or(i64::MAX);
    at_tip && page.records().last().is_none_or(|last| arrival(last).is_some_and(|at| at > until))
}

fn shard_of(listed: &Listed, trimmed: bool) -> anyhow::Result<Shard> {
    let range = listed.hash_key_range().context("a shard without a hash key range")?;
    let parents = [listed.parent_shard_id(), listed.adjacent_parent_shard_id()];
    let parents: Vec<ShardId> = parents.into_iter().flatten().map(|id| ShardId(id.to_owned())).collect();
    Ok(Shard {
        id: ShardId(listed.shard_id().to_owned()),
        first: range.starting_hash_key().parse().context("a hash key range without a number")?,
        last: range.ending_hash_key().parse().context("a hash key range without a number")?,
        trimmed: trimmed && parents.is_empty(),
        parents,
    })
}

/// Shards in an order in which each follows those of its parents that are listed.
fn parents_first(shards: Vec<Shard>) -> Vec<Shard> {
    let mut waiting: BTreeMap<ShardId, Shard> =
        shards.into_iter().map(|shard| (shard.id.clone(), shard)).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_ready = |shard: &&Shard| !shard.parents.iter().any(|parent| waiting.contains_key(parent));
        let ready: Vec<ShardId> = waiting.values().filter(is_ready).map(|shard| shard.id.clone()).collect();
        // A stream's shards cannot be their own ancestors; were they, the rest is taken as it comes.
        let ready = if ready.is_empty() { waiting.keys().cloned().collect() } else { ready };
        order.extend(ready.iter().filter_map(|id| waiting.remove(id)));
    }
    order
}

fn record_of(stored: &Stored) -> anyhow::Result<Record> {
    let arrival =
        stored.approximate_arrival_timestamp().context("a record without an arrival")?.to_millis()?;
    Ok(Record {
        sequence: stored.sequence_number().parse()?,
        arrival: Millis(u64::try_from(arrival)?),
        bytes: u64::try_from(stored.data().as_ref().len())?,
        items: record::decode(stored.data().as_ref()).items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children_whatever_their_names() {
        let shard = |id: &str, parents: &[&str]| Shard {
            id: ShardId(id.to_owned()),
            first: 0,
            last: 1,
            parents: parents.iter().map(|parent| ShardId((*parent).to_owned())).collect(),
            trimmed: false,
        };
        let order = parents_first(vec![shard("a", &["c"]), shard("b", &["a", "gone"]), shard("c", &[])]);
        let order: Vec<&str> = order.iter().map(|shard| shard.id.0.as_str()).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}

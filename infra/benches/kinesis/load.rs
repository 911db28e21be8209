//! The loads: writing alone, reading back, and reading at the tip while it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use runtime::clients::Clients;

use super::process::Engine;

/// Bytes of a record.
const RECORD_BYTES: usize = 100;
/// Records of a batch.
const BATCH: u64 = 500;
/// Writers at once. The other engine stops for good with sixteen on two threads.
const WRITERS: u64 = 4;
/// Shards of a stream.
const SHARDS: i32 = 4;
/// Pause between two batches of the paced writer: 25,000 records/s.
const PACE: Duration = Duration::from_millis(20);
/// Batches of the paced writer.
const PACED: u64 = 150;

const WRITE: &str = "write";
const READ_BACK: &str = "read back";
const TIP: &str = "read at the tip, flat out";
const PACED_TIP: &str = "read at the tip, paced";
/// All loads, in the order of the table.
pub(crate) const LOADS: [&str; 4] = [WRITE, READ_BACK, TIP, PACED_TIP];

/// One load on one engine.
pub(crate) struct Measured {
    pub(crate) load: &'static str,
    pub(crate) per_second: u64,
    /// What the engine's process used of a core, in ms for a million records.
    pub(crate) engine_ms: u64,
    pub(crate) notes: String,
}

/// What a reader saw: how many records, and how old each was in µs when it was read.
#[derive(Default)]
struct Seen {
    records: u64,
    ages_us: Vec<u64>,
}

/// All loads on one engine, each added as it is done.
pub(crate) async fn run(engine: &Engine, records: u64, measured: &mut Vec<Measured>) -> anyhow::Result<()> {
    let client = Clients::local(&engine.endpoint_url, &engine.endpoint_url).await.kinesis;
    let began = Instant::now();

    create(&client, "write").await?;
    let batches = records / BATCH / WRITERS;
    let written = batches * BATCH * WRITERS;
    let (taken, used) = timed(engine, write_all(&client, "write", batches, began)).await?;
    measured.push(rate(WRITE, written, taken, used));

    let ended = Arc::new(AtomicBool::new(true));
    let (taken, used, seen) = read_all(engine, &client, "write", &ended, began).await?;
    let mut read = rate(READ_BACK, seen.records, taken, used);
    read.notes = format!("{} of {written} found", seen.records);
    measured.push(read);

    create(&client, "tip").await?;
    let batches = records / BATCH / WRITERS / 2;
    let written = batches * BATCH * WRITERS;
    let writing = write_all(&client, "tip", batches, began);
    measured.push(at_the_tip(engine, &client, "tip", (TIP, written), writing, began).await?);

    create(&client, "paced").await?;
    let writing = write_paced(&client, "paced", began);
    measured.push(at_the_tip(engine, &client, "paced", (PACED_TIP, PACED * BATCH), writing, began).await?);
    Ok(())
}

fn rate(load: &'static str, records: u64, taken: Duration, used_ms: u64) -> Measured {
    let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX).max(1);
    let per_second = records.saturating_mul(1_000_000) / micros;
    let engine_ms = used_ms.saturating_mul(1_000_000) / records.max(1);
    Measured { load, per_second, engine_ms, notes: String::new() }
}

async fn timed(
    engine: &Engine,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<(Duration, u64)> {
    let (began, before) = (Instant::now(), engine.used_ms()?);
    work.await?;
    Ok((began.elapsed(), engine.used_ms()?.saturating_sub(before)))
}

async fn create(client: &Client, stream: &str) -> anyhow::Result<()> {
    client.create_stream().stream_name(stream).shard_count(SHARDS).send().await?;
    loop {
        let answer = client.describe_stream_summary().stream_name(stream).send().await?;
        let summary = answer.stream_description_summary.context("no summary")?;
        if summary.stream_status == StreamStatus::Active {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn put(client: &Client, stream: &str, first: u64, began: Instant) -> anyhow::Result<()> {
    let entry = |number: u64| {
        let mut data = vec![0; RECORD_BYTES];
        let sent_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        data[..8].copy_from_slice(&sent_us.to_be_bytes());
        PutRecordsRequestEntry::builder().partition_key(number.to_string()).data(Blob::new(data)).build()
    };
    let entries = (first..first + BATCH).map(entry).collect::<Result<Vec<_>, _>>()?;
    let answer = client.put_records().stream_name(stream).set_records(Some(entries)).send().await?;
    ensure!(answer.failed_record_count().unwrap_or(0) == 0, "records were refused");
    Ok(())
}

async fn write_all(
    client: &Client,
    stream: &'static str,
    batches: u64,
    began: Instant,
) -> anyhow::Result<()> {
    let writer = |writer: u64| {
        let client = client.clone();
        tokio::spawn(async move {
            for batch in 0..batches {
                put(&client, stream, (writer * batches + batch) * BATCH, began).await?;
            }
            anyhow::Ok(())
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

async fn write_paced(client: &Client, stream: &'static str, began: Instant) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(PACE);
    for batch in 0..PACED {
        ticks.tick().await;
        put(client, stream, batch * BATCH, began).await?;
    }
    Ok(())
}

async fn shards(client: &Client, stream: &str) -> anyhow::Result<Vec<String>> {
    let answer = client.list_shards().stream_name(stream).send().await?;
    Ok(answer.shards().iter().map(|shard| shard.shard_id().to_owned()).collect())
}

async fn tail(
    client: Client,
    (stream, shard): (&'static str, String),
    ended: Arc<AtomicBool>,
    began: Instant,
) -> anyhow::Result<Seen> {
    let iterator = client.get_shard_iterator().stream_name(stream).shard_id(&shard);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let mut next = iterator.shard_iterator;
    let mut seen = Seen::default();
    loop {
        let last = ended.load(Ordering::SeqCst);
        let page = client.get_records().set_shard_iterator(next).send().await?;
        let now_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        for record in page.records() {
            let sent = record.data().as_ref().first_chunk().context("a short record")?;
            seen.ages_us.push(now_us.saturating_sub(u64::from_be_bytes(*sent)));
        }
        seen.records += u64::try_from(page.records().len())?;
        if last && page.records().is_empty() {
            return Ok(seen);
        }
        next = page.next_shard_iterator;
        if !last {
            // A reader that never rests would be measured against the writers and not against the engine.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn tails(
    client: &Client,
    stream: &'static str,
    ended: &Arc<AtomicBool>,
    began: Instant,
) -> anyhow::Result<Vec<tokio::task::JoinHandle<anyhow::Result<Seen>>>> {
    let shards = shards(client, stream).await?;
    let tail = |shard| tokio::spawn(tail(client.clone(), (stream, shard), Arc::clone(ended), began));
    Ok(shards.into_iter().map(tail).collect())
}

async fn joined(readers: Vec<tokio::task::JoinHandle<anyhow::Result<Seen>>>) -> anyhow::Result<Seen> {
    let mut all = Seen::default();
    for reader in readers {
        let seen = reader.await??;
        all.records += seen.records;
        all.ages_us.extend(seen.ages_us);
    }
    all.ages_us.sort_unstable();
    Ok(all)
}

async fn read_all(
    engine: &Engine,
    client: &Client,
    stream: &'static str,
    ended: &Arc<AtomicBool>,
    began: Instant,
) -> anyhow::Result<(Duration, u64, Seen)> {
    let (start, before) = (Instant::now(), engine.used_ms()?);
    let seen = joined(tails(client, stream, ended, began).await?).await?;
    Ok((start.elapsed(), engine.used_ms()?.saturating_sub(before), seen))
}

async fn at_the_tip(
    engine: &Engine,
    client: &Client,
    stream: &'static str,
    (load, written): (&'static str, u64),
    writing: impl Future<Output = anyhow::Result<()>>,
    began: Instant,
) -> anyhow::Result<Measured> {
    let ended = Arc::new(AtomicBool::new(false));
    let (start, before) = (Instant::now(), engine.used_ms()?);
    let readers = tails(client, stream, &ended, began).await?;
    writing.await?;
    ended.store(true, Ordering::SeqCst);
    let seen = joined(readers).await?;
    let used = engine.used_ms()?.saturating_sub(before);
    let mut measured = rate(load, seen.records, start.elapsed(), used);
    let at = |part: usize| seen.ages_us.get(seen.ages_us.len() * part / 100).copied().unwrap_or(0);
    let lost = written.saturating_sub(seen.records);
    measured.notes = format!("{lost} lost, age p50 {} us, p99 {} us", at(50), at(99));
    Ok(measured)
}

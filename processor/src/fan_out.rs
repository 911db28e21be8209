//! Enhanced fan-out: records are pushed, 2 MB a second and shard for this consumer alone.
//!
//! A subscription lives five minutes and is made again from where it ended. One that another reader of the same
//! consumer still holds is refused for some seconds; that is tried again like a fault.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use runtime::failure::{Failure, classify};
use schemas::ids::ShardId;
use schemas::lease::Checkpoint;
use tokio::sync::mpsc;

use crate::reader::{Next, PERMIT_BYTES, Page, Reader};

/// Between two looks at whether a new consumer is active.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a consumer may take to become active.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);
/// The largest event (Kinesis developer guide: 2 MB a second and shard), in permits; more waits in the connection.
const EVENT_PERMITS_MAX: usize = 10 * 1_024;

/// How long an event may have been on its way: longer than a connection takes to deliver or to break.
const ON_THE_WAY: Duration = Duration::from_secs(60);

/// The ARN of the stream's consumer of this name, which is made when there is none.
///
/// # Errors
/// When the service refuses, cannot be reached, or the consumer does not become active in time.
pub async fn consumer(client: &Client, stream: &str, name: &str) -> Result<String, Failure> {
    let summary = client.describe_stream_summary().stream_name(stream).send().await;
    let summary = summary.map_err(|error| classify(&error))?.stream_description_summary;
    let stream_arn = summary.map(|summary| summary.stream_arn).unwrap_or_default();
    let made = client.register_stream_consumer().stream_arn(&stream_arn).consumer_name(name).send().await;
    match made.map_err(|error| classify(&error)) {
        Err(failure) if failure.code() != "ResourceInUseException" => return Err(failure),
        _ => {}
    }
    let began = tokio::time::Instant::now();
    while began.elapsed() < ACTIVE_WITHIN {
        let call = client.describe_stream_consumer().stream_arn(&stream_arn).consumer_name(name).send().await;
        let found = call.map_err(|error| classify(&error))?.consumer_description;
        if let Some(found) = found.filter(|found| found.consumer_status == ConsumerStatus::Active) {
            return Ok(found.consumer_arn);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let message = format!("consumer {name} of stream {stream} did not become active");
    Err(Failure::Unknown { message })
}

/// Reads a shard until its end, or until nobody takes its pages.
pub(crate) async fn run(mut reader: Reader, pages: mpsc::Sender<Page>) {
    loop {
        match subscription(&mut reader, &pages).await {
            Ok(Over::Expired) => {}
            Ok(Over::Done) => return,
            Err(failure) if reader.is_gone(&failure).await => {
                let _ = pages.send(reader.last(Next::Gone)).await;
                return;
            }
            Err(Failure::Refused { code, .. }) if code == "ResourceInUseException" => {
                reader.pause(&Failure::Throttled { code }).await;
            }
            Err(failure) => reader.pause(&failure).await,
        }
    }
}

/// How a subscription ended.
enum Over {
    /// It lived its time: another one follows.
    Expired,
    /// The shard ended, or nobody takes pages any more.
    Done,
}

async fn subscription(reader: &mut Reader, pages: &mpsc::Sender<Page>) -> Result<Over, Failure> {
    let position = match &reader.from {
        Checkpoint::After(sequence) => StartingPosition::builder()
            .r#type(ShardIteratorType::AfterSequenceNumber)
            .sequence_number(sequence.as_str()),
        _ => StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon),
    };
    let position = position.build().map_err(|error| Failure::Unknown { message: error.to_string() })?;
    let call = reader.source.client.subscribe_to_shard();
    let call = call.set_consumer_arn(reader.source.consumer_arn.clone()).shard_id(&reader.shard_id.0);
    let mut answer = call.starting_position(position).send().await.map_err(|error| classify(&error))?;
    loop {
        let event = match answer.event_stream.recv().await {
            Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => event,
            Ok(Some(_)) => continue,
            Ok(None) => return Ok(Over::Expired),
            Err(error) => return Err(Failure::Unknown { message: error.to_string() }),
        };
        let (page, stuck) = page(reader, event).await;
        let ended = matches!(page.next, Next::End(_));
        if pages.send(page).await.is_err() || ended {
            return Ok(Over::Done);
        }
        match stuck {
            // Another subscription begins after the last record that was read.
            Some(failure) => return Err(failure),
            None => reader.went_well(),
        }
    }
}

/// A page, and why it ends before the event does, if so.
async fn page(reader: &mut Reader, event: SubscribeToShardEvent) -> (Page, Option<Failure>) {
    let now = Instant::now();
    let sent = now.checked_sub(ON_THE_WAY).unwrap_or(now);
    let read = reader.read(sent, event.millis_behind_latest).await;
    let children = event.child_shards.unwrap_or_default();
    let children: Vec<ShardId> = children.into_iter().map(|child| ShardId(child.shard_id)).collect();
    // At a shard's end the continuation is empty and the children are named.
    let ended = event.continuation_sequence_number.is_empty() || !children.is_empty();
    let mut not_ended = None;
    let next = if ended {
        not_ended = reader.confirm_end(&children).await.err();
        Next::End(children)
    } else if read.behind_ms == 0 && event.records.is_empty() {
        Next::Tip
    } else {
        Next::More
    };
    let (records, stuck) = reader.unpack(event.records);
    let stuck = stuck.or(not_ended);
    let next = if stuck.is_some() { Next::More } else { next };
    let bytes: usize = records.iter().map(|raw| raw.data.len()).sum();
    let permits = u32::try_from((bytes / PERMIT_BYTES + 1).min(EVENT_PERMITS_MAX)).unwrap_or(1);
    let _memory = reader.reserve(permits).await;
    (Page { records, next, read, _memory }, stuck)
}

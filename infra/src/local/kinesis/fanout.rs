//! A subscription to a shard: its records as events, as soon as they are there, for five minutes.
//!
//! Frames are those of the AWS event stream encoding. A subscription ends with its time, with the end of its shard, with
//! its consumer or stream, and when a newer call takes its seat.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use schemas::limits;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::api::{self, sequence, write_children, write_records};
use super::model::{Limits, Page, Refusal, Stored, refuse, usize_of};
use super::shared::Shared;
use super::subscriptions::Seat;

/// Events that wait for a slow client.
const WAITING_MAX: usize = 4;
/// Bytes of records in one event.
const EVENT_BYTES_MAX: usize = 512 * 1_024;
/// Records in one event.
const EVENT_RECORDS_MAX: usize = 10_000;
/// How often an event without records says how far behind the tip the subscription is.
const HEARTBEAT: Duration = Duration::from_secs(5);

type Answered = fn(Bytes) -> Result<Frame<Bytes>, Infallible>;

/// The body of an answer that goes on.
pub(crate) type Events = StreamBody<tokio_stream::adapters::Map<ReceiverStream<Bytes>, Answered>>;

/// One running subscription.
struct Subscription {
    shared: Arc<Shared>,
    seat: Seat,
    number: u64,
    after: u64,
    made_ms: u64,
    until_ms: u64,
    to: mpsc::Sender<Bytes>,
}

/// Begins a subscription and answers the body that carries it.
pub(crate) fn subscribe(
    shared: &Arc<Shared>,
    body: &[u8],
    stop: CancellationToken,
) -> Result<Events, Refusal> {
    let (seat, number, (after, made_ms)) = api::subscribe(shared, body)?;
    let (to, from) = mpsc::channel(WAITING_MAX);
    let lasts_ms = u64::try_from(shared.subscription.as_millis()).unwrap_or(u64::MAX);
    let until_ms = shared.now_ms().saturating_add(lasts_ms);
    let client = to.clone();
    let mut subscription =
        Subscription { shared: Arc::clone(shared), seat, number, after, made_ms, until_ms, to };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = client.closed() => {}
            () = subscription.run() => {}
        }
        subscription.shared.engine().subscriptions.end(&subscription.seat, subscription.number);
    });
    let framed: Answered = |bytes| Ok(Frame::data(bytes));
    Ok(StreamBody::new(ReceiverStream::new(from).map(framed)))
}

/// What one look at the shard gave: the page, and the field with its children.
type Seen = (Page, Vec<u8>);

impl Subscription {
    async fn run(&mut self) {
        let mut changes = self.shared.changes();
        if self.to.send(message("event", "initial-response", Bytes::from_static(b"{}"))).await.is_err() {
            return;
        }
        let mut quiet_until = Instant::now();
        loop {
            changes.borrow_and_update();
            let now_ms = self.shared.now_ms();
            if now_ms >= self.until_ms {
                return;
            }
            let (page, children) = match self.look(now_ms) {
                Ok(seen) => seen,
                Err(refusal) => {
                    let body = serde_json::json!({ "message": refusal.message });
                    let _ = self.to.send(message("exception", refusal.code, body.to_string().into())).await;
                    return;
                }
            };
            let ended = page.next_after.is_none();
            if page.records.is_empty() && !ended && Instant::now() < quiet_until {
                let end = Instant::now() + Duration::from_millis(self.until_ms - now_ms);
                // The end is by the engine's clock, which can be moved ahead; that counts as a change.
                let _ = tokio::time::timeout_at(quiet_until.min(end), changes.changed()).await;
                continue;
            }
            quiet_until = Instant::now() + HEARTBEAT;
            let bytes: usize = page.records.iter().map(Stored::size).sum();
            self.after = page.next_after.unwrap_or(self.after);
            if self.to.send(event(&page, &children, self.made_ms)).await.is_err() || ended {
                return;
            }
            self.pace(bytes).await;
        }
    }

    /// What lies behind the position, as long as the seat, the consumer and the shard are there.
    fn look(&self, now_ms: u64) -> Result<Seen, Refusal> {
        let mut engine = self.shared.engine();
        if !engine.subscriptions.holds(&self.seat, self.number) {
            return refuse("ResourceInUseException", "a newer call took over this subscription");
        }
        let stream = engine.live(&self.seat.stream, now_ms)?;
        stream.consumer(&self.seat.consumer, None)?;
        let shard = stream.shard(self.seat.shard)?;
        let page = shard.peek(self.after, EVENT_RECORDS_MAX, EVENT_BYTES_MAX, now_ms);
        let children = write_children(stream, &page.children);
        Ok((page, children))
    }

    /// Waits as long as these bytes take at 2 MiB a second.
    async fn pace(&self, bytes: usize) {
        if self.shared.engine().limits() == Limits::Off {
            return;
        }
        let share = usize_of(limits::SHARD_READ_BYTES_PER_S);
        let micros = u64::try_from(bytes.saturating_mul(1_000_000) / share).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

fn event(page: &Page, children: &[u8], made_ms: u64) -> Bytes {
    let mut out = write_records(&page.records, made_ms);
    if let Some(after) = page.next_after {
        out.extend_from_slice(
            format!(r#","ContinuationSequenceNumber":"{}""#, sequence(after, made_ms)).as_bytes(),
        );
    }
    out.extend_from_slice(format!(r#","MillisBehindLatest":{}"#, page.behind_ms).as_bytes());
    out.extend_from_slice(children);
    out.push(b'}');
    message("event", "SubscribeToShardEvent", out.into())
}

/// One frame: `event` or `exception`, which one, and its JSON.
fn message(kind: &'static str, name: &'static str, payload: Bytes) -> Bytes {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let named = if kind == "event" { ":event-type" } else { ":exception-type" };
    let headers = vec![
        Header::new(":message-type", text(kind)),
        Header::new(named, text(name)),
        Header::new(":content-type", text("application/x-amz-json-1.1")),
    ];
    let mut frame = Vec::with_capacity(payload.len() + 256);
    match write_message_to(&Message::new_from_parts(headers, payload), &mut frame) {
        Ok(()) => frame.into(),
        Err(error) => {
            tracing::error!(%error, "event not encoded");
            Bytes::new()
        }
    }
}

//! One request to one answer.

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use runtime::health::Detail;
use runtime::{bearer, connection};
use schemas::intake::openrtb::{self, Context};
use schemas::intake::{self, BYTE_ORDER_MARK, IntakeRules, OfferedBid, Refusal};
use schemas::time::Millis;

use super::Door;
use super::answer::{Answered, Problem, Report, RoundedTold, Told, typed};
use super::body::{self, Coding};
use crate::input;
use crate::metrics::refusals::Reason;
use crate::metrics::{Metrics, Way, export};
use crate::room::shares_of;
use crate::show;

/// Most bids of one request, good and bad: 16,384 lines of 250 bytes are 4 MiB.
const BIDS_MAX: usize = 16_384;

/// When the edge got a bid response whose bids say no time.
const EVENT_TIME: &str = "x-event-time";

/// What a request holds.
#[derive(Default)]
struct Sorted {
    /// Bids with their places.
    bids: Vec<(String, OfferedBid)>,
    refused: Vec<Told>,
    passed_over: Vec<Refusal>,
}

pub(super) async fn answer(door: Arc<Door>, request: Request<Incoming>) -> Answered {
    let way = match request.uri().path() {
        "/v1/bids" => Way::Bids,
        "/v1/openrtb" => Way::OpenRtb,
        "/health" => Way::Health,
        "/metrics" => Way::Metrics,
        _ => Way::Other,
    };
    let answered = route(&door, way, request).await.unwrap_or_else(Problem::answer);
    door.metrics.series.on_request(way, answered.status().as_u16());
    answered
}

async fn route(door: &Door, way: Way, request: Request<Incoming>) -> Result<Answered, Problem> {
    door.reach.check(&request).map_err(|reason| Problem::new(StatusCode::FORBIDDEN, reason))?;
    let allowed = match way {
        Way::Bids | Way::OpenRtb => "POST",
        // What HEAD would bring is left out by the connection.
        Way::Health | Way::Metrics => "GET, HEAD",
        Way::Other => {
            let there =
                "no such path; there are POST /v1/bids, POST /v1/openrtb, GET /health and GET /metrics";
            return Err(Problem::new(StatusCode::NOT_FOUND, there));
        }
    };
    if !allowed.split(", ").any(|method| method == request.method().as_str()) {
        let mut answer =
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} is taken here")).answer();
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return Ok(answer);
    }
    let may_see = door.token.as_ref().is_none_or(|token| token.is_in(request.headers()));
    if may_see && door.token.is_some() {
        connection::on_token(&request);
    }
    // A balancer asks for health without a token, and learns nothing but that.
    if way != Way::Health && !may_see {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, bearer::WANTED));
    }
    match way {
        Way::Health => {
            let detail = if may_see { Detail::All } else { Detail::Status };
            Ok(show::health(door.metrics.health()).answer(detail))
        }
        Way::Metrics => {
            let kind = HeaderValue::from_static(export::CONTENT_TYPE);
            Ok(typed(StatusCode::OK, door.exporter.text(), kind))
        }
        _ => take(door, way, request).await,
    }
}

async fn take(door: &Door, way: Way, request: Request<Incoming>) -> Result<Answered, Problem> {
    media_type(&request, way)?;
    let coding = Coding::of(request.headers())?;
    let received = received(request.headers())?;
    let body = request.into_body();
    let room = door.handle.room();
    let full = || Problem::new(StatusCode::TOO_MANY_REQUESTS, "the buffer is full; send it again later");
    // The body's bytes are held in the bids' own memory, so that all of them together stay within it.
    let bound = shares_of(body::bytes_bound(&body, coding, door.body_bytes_max)?);
    let held = room.take(bound.clamp(1, room.shares())).ok_or_else(full)?;
    let bytes = body::read(body, coding, door.body_bytes_max, door.patience.body).await?;
    let bids_max = BIDS_MAX.min(room.shares());
    let names = Arc::clone(&door.names.borrow());
    let context = Context { rules: door.rules, names: &names, received, bids_max };
    let Sorted { bids, refused, passed_over } = sort(&bytes, way, &context)?;
    drop(bytes);
    drop(held);
    // What is said of a refused bid takes memory as a bid does.
    let held = room.take(bids.len() + refused.len()).ok_or_else(full)?;
    for told in &refused {
        Metrics::add(&door.metrics.sent);
        door.metrics.on_refused(door.rules.region, Reason::of_field(told.field.as_deref().unwrap_or("line")));
    }
    let rounded = bids.iter().filter_map(|(at, read)| rounded(at, read)).collect();
    let (places, bids): (Vec<String>, Vec<OfferedBid>) = bids.into_iter().unzip();
    let ids: Vec<_> = bids.iter().map(|read| read.bid().bid_id).collect();
    let answers = door.handle.call(bids, held).await;
    let mut report = Report { accepted: 0, not_accepted: refused, rounded, passed_over };
    for ((at, bid_id), answer) in places.into_iter().zip(ids).zip(answers) {
        match answer {
            Ok(_) => report.accepted += 1,
            Err(error) => report.not_accepted.push(Told::failed(at, bid_id, error)),
        }
    }
    Ok(report.answer())
}

fn rounded(at: &str, read: &OfferedBid) -> Option<RoundedTold> {
    let (at, bid) = (at.to_owned(), read.bid());
    let offered = read.offered()?.to_owned();
    Some(RoundedTold { at, bid_id: bid.bid_id, offered, amount: bid.amount.to_string() })
}

/// The time of a bid response, when the edge says one.
fn received(headers: &HeaderMap) -> Result<Option<Millis>, Problem> {
    let Some(value) = headers.get(EVENT_TIME) else { return Ok(None) };
    let time = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let bad = || {
        let reason = format!(
            "{EVENT_TIME} is no time; give an RFC 3339 time between 1970 and 9999, such as 2026-11-23T21:20:10.123Z"
        );
        Problem::new(StatusCode::BAD_REQUEST, reason)
    };
    time.map(Some).ok_or_else(bad)
}

/// A media type that no web page can send elsewhere without being asked, so that a browser on this machine cannot be
/// made to bid on loopback.
fn media_type(request: &Request<Incoming>, way: Way) -> Result<(), Problem> {
    let given = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    // A no-bid may come without a body, and what is not there has no type.
    if way == Way::OpenRtb && given.is_none() && request.body().size_hint().exact() == Some(0) {
        return Ok(());
    }
    let given = given.unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
    if given == "application/json" || (way == Way::Bids && lines.contains(&given.as_str())) {
        return Ok(());
    }
    let reason = match way {
        Way::Bids => "content-type must be application/x-ndjson or application/json",
        _ => "content-type must be application/json",
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason))
}

fn sort(bytes: &[u8], way: Way, context: &Context<'_>) -> Result<Sorted, Problem> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let unreadable = |refusal: Refusal| Problem::new(StatusCode::BAD_REQUEST, refusal.to_string());
    let many = |count: usize| {
        let reason = format!("more than {} bids in one request; send them in parts", context.bids_max);
        if count > context.bids_max {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, reason))
        } else {
            Ok(())
        }
    };
    let mut sorted = Sorted::default();
    match way {
        Way::OpenRtb => {
            let read = openrtb::read(bytes, context).map_err(unreadable)?;
            many(read.bids.len())?;
            read.bids.into_iter().for_each(|one| sorted.on_bid(one.place, one.bid));
            sorted.passed_over = read.passed_over;
        }
        _ if bytes.trim_ascii_start().starts_with(b"[") => {
            let elements = intake::elements(bytes).map_err(unreadable)?;
            many(elements.len())?;
            for (at, element) in elements.into_iter().enumerate() {
                sorted.on_bid(format!("[{at}]"), bounded(element, context.rules));
            }
        }
        _ => {
            many(bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count())?;
            for (number, line) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
                if !line.trim_ascii().is_empty() {
                    sorted.on_bid(number.to_string(), bounded(line, context.rules));
                }
            }
        }
    }
    Ok(sorted)
}

impl Sorted {
    fn on_bid(&mut self, at: String, read: Result<OfferedBid, Refusal>) {
        match read {
            Ok(read) => self.bids.push((at, read)),
            Err(Refusal { field, reason }) => {
                self.refused.push(Told { at, bid_id: None, answer: "refused", field: Some(field), reason });
            }
        }
    }
}

/// A line or element within the bound that lines have everywhere.
fn bounded(text: &[u8], rules: IntakeRules) -> Result<OfferedBid, Refusal> {
    let text = text.trim_ascii();
    if text.len() > input::LINE_BYTES_MAX {
        return Err(input::too_long());
    }
    intake::read_line(text, rules)
}

//! The door for real clients: AWS JSON 1.1 over HTTP/1.1, and over HTTP/2 with prior knowledge.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, DATE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fanout::{self, Events};
use super::faults::{Fate, Faults};
use super::model::Refusal;
use super::shared::Shared;
use super::{Control, api};
use crate::local::front::{self, Speaks, Unread};

/// Most bytes of a request body: 10 MiB of records in base64, and their keys.
const BODY_BYTES_MAX: usize = 24 * 1_048_576;
/// How long a shutdown waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(2);
/// How often retention is carried out and the length of the log looked at.
const TICK_EVERY: Duration = Duration::from_secs(10);
/// What an operation's name follows in `X-Amz-Target`.
const TARGET: &str = "Kinesis_20131202.";

type Body = Either<Full<Bytes>, Events>;

/// The answer never leaves: the connection is dropped.
#[derive(Debug, thiserror::Error)]
#[error("reply lost on purpose")]
struct Lost;

/// Serves connections until the stop, then waits a little for those under way.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let ticks = tokio::spawn(tick(Arc::clone(&shared), stop.clone()));
    let until = stop.clone();
    let answers = move || {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        move |request| dated(request, Arc::clone(&shared), stop.clone())
    };
    let mut under_way = front::run(listener, Speaks::Http2Too, answers, until).await;
    let ended = async { while under_way.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::debug!(open = under_way.len(), "connections cut off");
    }
    let _ = ticks.await;
}

async fn tick(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shared = Arc::clone(&shared);
        // A log that is written anew keeps the engine for a while, which no worker of the runtime should wait out.
        let done = tokio::task::spawn_blocking(move || {
            let now_ms = shared.now_ms();
            shared.engine().tick(now_ms);
        });
        let _ = done.await;
    }
}

/// An answer with the engine's own time in its `Date`, which may be ahead of this machine's.
async fn dated(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> Result<Response<Body>, Lost> {
    let mut response = answer(request, Arc::clone(&shared), stop).await?;
    let seconds = i64::try_from(shared.now_ms() / 1_000).unwrap_or(i64::MAX);
    let date = DateTime::from_secs(seconds).fmt(Format::HttpDate);
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> Result<Response<Body>, Lost> {
    if let Err(reason) = runtime::origin::check(&request) {
        let mut refused = reply(&refusal("AccessDeniedException", &reason));
        *refused.status_mut() = StatusCode::FORBIDDEN;
        return Ok(refused);
    }
    if request.uri().path() == "/_faults" && shared.control == Control::Open {
        return Ok(set_faults(request, &shared).await);
    }
    let operation = match operation(&request) {
        Ok(operation) => operation,
        Err((status, refused)) => {
            let mut refused = reply(&refused);
            *refused.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            return Ok(refused);
        }
    };
    let (fate, wait) = {
        let mut dice = shared.dice();
        (dice.fate(&operation), dice.wait())
    };
    if fate == Fate::LostRequest {
        return Err(Lost);
    }
    let body = match front::body(request.into_body(), BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(unread) => return Ok(not_read(unread)),
    };
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    let outcome = match fate {
        Fate::ServerError => Err(refusal("InternalFailure", "failed on purpose")),
        Fate::Throttled => Err(refusal("ProvisionedThroughputExceededException", "throttled on purpose")),
        Fate::ExpiredIterator => Err(refusal("ExpiredIteratorException", "expired on purpose")),
        Fate::Served | Fate::LostReply | Fate::LostRequest if operation == "SubscribeToShard" => {
            fanout::subscribe(&shared, &body, stop).map(events)
        }
        Fate::Served | Fate::LostReply | Fate::LostRequest => {
            api::call(&shared, &operation, &body).map(|body| response(StatusCode::OK, body.into()))
        }
    };
    if fate == Fate::LostReply {
        return Err(Lost);
    }
    Ok(outcome.unwrap_or_else(|refusal| reply(&refusal)))
}

/// The operation that a request asks for, or what is answered to one that asks for none.
fn operation(request: &Request<Incoming>) -> Result<String, (StatusCode, Refusal)> {
    let unknown = |message: &str| refusal("UnknownOperationException", message);
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, unknown("this engine answers POST alone")));
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = header("content-type").unwrap_or_default();
    if !kind.is_empty() && !kind.contains("json") {
        let message = format!(
            "content type {kind} is not spoken here, application/x-amz-json-1.1 alone is; clients that prefer CBOR \
             are told so by AWS_CBOR_DISABLE=true or -Daws.cborEnabled=false"
        );
        let refused = refusal("UnsupportedMediaTypeException", &message);
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, refused));
    }
    match header("x-amz-target").and_then(|target| target.strip_prefix(TARGET)) {
        Some(operation) => Ok(operation.to_owned()),
        None => {
            let refused = unknown("the header X-Amz-Target must be Kinesis_20131202.<operation>");
            Err((StatusCode::BAD_REQUEST, refused))
        }
    }
}

/// Sets what goes wrong from now on: the body is JSON, its fields those of [`Faults`].
async fn set_faults(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    if request.method() != Method::POST {
        return response(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
    }
    let body = match front::body(request.into_body(), 65_536).await {
        Ok(body) => body,
        Err(unread) => return not_read(unread),
    };
    match Faults::parse(&body) {
        Ok(faults) => {
            shared.set_faults(faults);
            response(StatusCode::OK, Bytes::from_static(b"{}"))
        }
        Err(message) => reply(&refusal("ValidationException", &message)),
    }
}

fn not_read(unread: Unread) -> Response<Body> {
    let (status, code, message) = unread.refusal();
    let mut refused = reply(&refusal(code, &message));
    *refused.status_mut() = status;
    refused
}

fn refusal(code: &'static str, message: &str) -> Refusal {
    Refusal { code, message: message.to_owned() }
}

fn reply(refusal: &Refusal) -> Response<Body> {
    let status = if refusal.code == "InternalFailure" {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::BAD_REQUEST
    };
    let body = json!({ "__type": refusal.code, "message": refusal.message });
    response(status, Bytes::from(body.to_string()))
}

fn response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn events(events: Events) -> Response<Body> {
    let mut response = Response::new(Either::Right(events));
    let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

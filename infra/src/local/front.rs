//! What stands before each local engine that speaks HTTP: connections with bounds, bodies in time, and an id of each
//! request in its answer.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use runtime::connection::{self, Connection, Patience};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once; of more, a newcomer gets the place of the one that asked nothing for longest.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a client may take over a request's head, and before its first one.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Over a request's body: the longest, of 24 MiB, at 0.8 MiB/s.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may lie idle: longer than the pools of the SDKs keep one (Rust 90 s, Java 60 s), so that none is
/// closed while a request is on its way.
const IDLE: Duration = Duration::from_secs(300);
/// Without taking a byte of an answer; a consumer that works on an event meanwhile needs more than a scraper.
const TAKES_WITHIN: Duration = Duration::from_secs(60);
/// For taking an answer of known length whole: one of 14 MB at 0.1 MB/s.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// How long a connection of HTTP/2 lives before it is told to end: there a client can let an answer wait for ever.
const HTTP2_LIFE: Duration = Duration::from_secs(900);
/// How long its answers may take then: as long as a subscription lasts, and a little.
const HTTP2_REST: Duration = Duration::from_secs(330);
/// Bytes of one read or write: bodies of megabytes come in few pieces.
const BUFFER_BYTES: usize = 256 * 1_024;
/// How a client begins HTTP/2 without having agreed on it.
const PREFACE: &[u8; 3] = b"PRI";
/// Bytes behind the second id of a request, which says which host answered.
const SECOND_ID_BYTES: usize = 57;

/// An error of a request's future, which ends its connection.
type Ended = Box<dyn std::error::Error + Send + Sync>;

/// What is spoken beside HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Nothing.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2Too,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It did not come in time.
    Slow,
    /// It is too long, or its connection broke.
    Long,
}

/// Serves connections until the stop, each with an answer of its own; returns those that are under way then.
pub(super) async fn run<M, A, R, B, E>(
    listener: TcpListener,
    speaks: Speaks,
    answers: M,
    stop: CancellationToken,
) -> JoinSet<()>
where
    M: Fn() -> A,
    A: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Ended>,
    E: Into<Ended> + Send + 'static,
{
    let until = stop.clone();
    let serve = move |connection| {
        let (answer, stop) = (Arc::new(answers()), stop.clone());
        let identified = move |request| {
            let answered = answer(request);
            async move { answered.await.map(identified) }
        };
        one(connection, speaks, identified, stop)
    };
    connection::accept(listener, CONNECTIONS_MAX, until.cancelled(), serve).await
}

async fn one<A, R, B, E>(connection: Connection, speaks: Speaks, answer: A, stop: CancellationToken)
where
    A: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Ended>,
    E: Into<Ended> + Send + 'static,
{
    let patience =
        Patience { takes: TAKES_WITHIN, answer: ANSWER_WITHIN, ..Patience::new(HEAD_WITHIN, IDLE) };
    let mut first = [0; PREFACE.len()];
    let peeked = tokio::select! {
        peeked = connection.peek(&mut first, HEAD_WITHIN) => peeked,
        () = stop.cancelled() => return,
    };
    let served = if peeked == 0 {
        return;
    } else if speaks == Speaks::Http2Too && first == *PREFACE {
        // A later call of HTTP/1.1 cannot begin so: no method has that name.
        let until = async {
            let _ = tokio::time::timeout(HTTP2_LIFE, stop.cancelled()).await;
        };
        let served = connection::serve_http2(connection, patience, answer, until);
        tokio::time::timeout(HTTP2_LIFE + HTTP2_REST, served).await.unwrap_or(Ok(()))
    } else {
        connection::serve(connection.with_buffer(BUFFER_BYTES), patience, answer, stop.cancelled()).await
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection of a local engine ended");
    }
}

/// Reads a request's body of at most so many bytes.
pub(super) async fn body(body: Incoming, bytes_max: usize) -> Result<Bytes, Unread> {
    let read = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(BODY_WITHIN, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Unread::Long),
        Err(_) => Err(Unread::Slow),
    }
}

impl Unread {
    /// Status, code and message with which it is refused.
    pub(super) fn refusal(self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Slow => {
                let within = BODY_WITHIN.as_secs();
                let message = format!("the body did not come within {within} s; send it again, faster");
                (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", message)
            }
            Self::Long => {
                let message = "the body cannot be read or is too long".to_owned();
                (StatusCode::BAD_REQUEST, "ValidationException", message)
            }
        }
    }
}

/// Gives an answer the ids that the services give, by which clients name a request in their errors and logs. One that
/// has an id keeps it.
fn identified<B>(mut response: Response<B>) -> Response<B> {
    const ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
    const SECOND_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
    let headers: &mut HeaderMap = response.headers_mut();
    if !headers.contains_key(&ID) {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        headers.extend(HeaderValue::try_from(id).ok().map(|id| (ID, id)));
    }
    let id = BASE64.encode(rand::random::<[u8; SECOND_ID_BYTES]>());
    headers.extend(HeaderValue::try_from(id).ok().map(|id| (SECOND_ID, id)));
    response
}

//! One connection from its first request to its end, over HTTP/1.1 or HTTP/2.

use std::error::Error as StdError;
use std::sync::Arc;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::bound::{Bound, Length, Next, Protocol};
use super::watched::{Answer, Socket};
use super::{Connection, Patience};

/// Tells a client how long an idle connection stays open, so that it sends nothing into one that is being closed.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Answers requests over HTTP/1.1 until the client, its silence or a newcomer ends the connection. After `stop` the
/// request under way is the last. An error of `answer` ends the connection without an answer.
///
/// # Errors
/// When the connection broke, or what came is no HTTP/1.1.
pub async fn serve<A, R, B, E>(
    connection: Connection,
    patience: Patience,
    answer: A,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    A: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let Connection { socket, place, buffer_bytes } = connection;
    let bound = &place.bound;
    // Without Nagle's delay a small answer leaves at once; failing to set it costs only time.
    let _ = socket.set_nodelay(true);
    let io = TokioIo::new(Socket { socket, bound: Arc::clone(bound) });
    let kept = HeaderValue::from_str(&format!("timeout={}", patience.keep_alive.as_secs()));
    let kept = kept.expect("digits are a header's value");
    let service = service_fn(|request| {
        let answer = answer(began(request, bound));
        let (answered, kept) = (answered(answer, Arc::clone(bound)), kept.clone());
        async move {
            let (mut response, next) = answered.await?;
            match next {
                Next::Last => response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close")),
                Next::Kept => response.headers_mut().insert(KEEP_ALIVE, kept),
            };
            Ok::<_, E>(response)
        }
    });
    let mut builder = http1::Builder::new();
    // Its own bound does not tell a head from silence.
    builder.header_read_timeout(None).max_buf_size(buffer_bytes);
    let served = builder.serve_connection(io, service);
    tokio::pin!(served, stop);
    tokio::select! {
        ended = served.as_mut() => return ended,
        () = bound.ends(&patience) => return Ok(()),
        () = stop => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        ended = served.as_mut() => ended,
        () = bound.ends(&patience) => Ok(()),
    }
}

/// [`serve`] over HTTP/2 whose preface was seen. A client may let an answer wait in its own window for as long as the
/// connection lives, so that `stop` has to bound this.
///
/// # Errors
/// When the connection broke, or what came is no HTTP/2.
pub async fn serve_http2<A, R, B, E>(
    connection: Connection,
    patience: Patience,
    answer: A,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    A: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    E: Into<Box<dyn StdError + Send + Sync>> + Send + 'static,
{
    let Connection { socket, place, .. } = connection;
    let bound = &place.bound;
    bound.speaks(Protocol::Http2);
    let _ = socket.set_nodelay(true);
    let io = TokioIo::new(Socket { socket, bound: Arc::clone(bound) });
    let service = service_fn(|request| {
        let answered = answered(answer(began(request, bound)), Arc::clone(bound));
        async move { answered.await.map(|(response, _)| response) }
    });
    let served = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
    tokio::pin!(served, stop);
    tokio::select! {
        ended = served.as_mut() => return ended,
        () = bound.ends(&patience) => return Ok(()),
        () = stop => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        ended = served.as_mut() => ended,
        () = bound.ends(&patience) => Ok(()),
    }
}

/// A request of which its connection was told, and which can tell it of a token.
fn began(mut request: Request<Incoming>, bound: &Arc<Bound>) -> Request<Incoming> {
    bound.on_request(request.body().size_hint().exact());
    request.extensions_mut().insert(Arc::clone(bound));
    request
}

/// One answer, whose body tells the connection when it is on its way whole, and what becomes of the connection.
async fn answered<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    bound: Arc<Bound>,
) -> Result<(Response<Answer<B>>, Next), E>
where
    B: Body,
{
    let response = answer.await?;
    let length = if response.body().size_hint().exact().is_some() { Length::Known } else { Length::Open };
    let next = bound.on_answer(length);
    Ok((response.map(|body| Answer { body, bound }), next))
}

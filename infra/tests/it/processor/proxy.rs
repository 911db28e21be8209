//! A door before a local engine that throttles requests, loses replies and leaves items of batches unprocessed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What goes wrong, in percent of all requests.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    throttled: AtomicU32,
    reply_lost: AtomicU32,
    count: AtomicU32,
    /// Whether the table takes only the first half of a batch, and how many items it did not take.
    halves: AtomicBool,
    unprocessed: AtomicUsize,
    /// A text of answers and what stands in its place.
    altered: Mutex<Option<(String, String)>>,
    /// The code and the PK of items whose writes are refused.
    refused: Mutex<Option<(String, String)>>,
}

/// A running proxy.
pub(super) struct Proxy {
    address: SocketAddr,
    wrong: Arc<Wrong>,
    task: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("reply lost on purpose")]
struct Lost;

impl Proxy {
    pub(super) async fn start(upstream: &str) -> Self {
        let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, wrong) = (listener.local_addr().unwrap(), Arc::new(Wrong::default()));
        let task = tokio::spawn(serve(listener, upstream, Arc::clone(&wrong)));
        Self { address, wrong, task }
    }

    pub(super) fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so many of a hundred requests are throttled, and so many replies are lost.
    pub(super) fn set(&self, throttled: u32, reply_lost: u32) {
        self.wrong.throttled.store(throttled, Ordering::SeqCst);
        self.wrong.reply_lost.store(reply_lost, Ordering::SeqCst);
    }

    /// From now on the table takes only the first half of each batch of writes, or all of it.
    pub(super) fn set_halves(&self, halves: bool) {
        self.wrong.halves.store(halves, Ordering::SeqCst);
    }

    /// From now on each write of an item of this PK is refused with this code, or none is.
    pub(super) fn set_refused(&self, refused: Option<(&str, &str)>) {
        let refused = refused.map(|(code, pk)| (code.to_owned(), pk.to_owned()));
        *self.wrong.refused.lock().unwrap() = refused;
    }

    /// From now on another text stands in the place of this one in every answer, or none does.
    pub(super) fn set_altered(&self, altered: Option<(&str, &str)>) {
        let altered = altered.map(|(text, other)| (text.to_owned(), other.to_owned()));
        *self.wrong.altered.lock().unwrap() = altered;
    }

    /// Items that were left unprocessed so far.
    pub(super) fn unprocessed(&self) -> usize {
        self.wrong.unprocessed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, wrong: Arc<Wrong>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let wrong = Arc::clone(&wrong);
        let service = service_fn(move |request| answer(request, upstream, Arc::clone(&wrong)));
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::spawn(served);
    }
}

async fn answer(
    request: Request<Incoming>,
    upstream: SocketAddr,
    wrong: Arc<Wrong>,
) -> Result<Response<Full<Bytes>>, Lost> {
    // A low-discrepancy walk through 0 to 99: every share of requests is met.
    let draw = wrong.count.fetch_add(61, Ordering::SeqCst) % 100;
    if draw < wrong.throttled.load(Ordering::SeqCst) {
        let _ = request.into_body().collect().await;
        let body =
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"on purpose"}"#;
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.split('.').nth(1)).unwrap_or_default().to_owned();
    let is_batch = operation == "BatchWriteItem";
    let refused = wrong.refused.lock().unwrap().clone();
    if let Some((code, pk)) = refused.filter(|_| is_batch || operation == "PutItem") {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        if String::from_utf8_lossy(&body).contains(&format!(r#""PK":{{"S":"{pk}"}}"#)) {
            let body =
                format!(r#"{{"__type":"com.amazon.coral.validate#{code}","message":"odd on purpose"}}"#);
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        }
        let sent = Request::from_parts(head, Full::new(body));
        return send(sent, upstream).await.map_err(|_| Lost);
    }
    let response = if is_batch && wrong.halves.load(Ordering::SeqCst) {
        half(request, upstream, &wrong).await
    } else {
        forward(request, upstream).await
    };
    let response = alter(response.map_err(|_| Lost)?, &wrong).await;
    if draw >= 100 - wrong.reply_lost.load(Ordering::SeqCst) {
        return Err(Lost);
    }
    Ok(response)
}

/// An answer with another text in the place of one.
async fn alter(response: Response<Full<Bytes>>, wrong: &Wrong) -> Response<Full<Bytes>> {
    let Some((text, other)) = wrong.altered.lock().unwrap().clone() else { return response };
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = String::from_utf8_lossy(&body.to_bytes()).replace(&text, &other);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Full::from(body))
}

/// Sends the first half of a batch on and answers that the rest is unprocessed.
async fn half(
    request: Request<Incoming>,
    upstream: SocketAddr,
    wrong: &Wrong,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    let mut body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let mut rest = Map::new();
    for (table, writes) in body["RequestItems"].as_object_mut().context("tables")? {
        let writes = writes.as_array_mut().context("writes")?;
        let left = writes.split_off(writes.len().div_ceil(2));
        wrong.unprocessed.fetch_add(left.len(), Ordering::SeqCst);
        if !left.is_empty() {
            rest.insert(table.clone(), Value::Array(left));
        }
    }
    head.headers.remove(CONTENT_LENGTH);
    let taken = Request::from_parts(head, Full::new(Bytes::from(body.to_string())));
    let (mut head, body) = send(taken, upstream).await?.into_parts();
    if !head.status.is_success() {
        return Ok(Response::from_parts(head, body));
    }
    let mut answer: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    answer["UnprocessedItems"] = Value::Object(rest);
    head.headers.remove(CONTENT_LENGTH);
    // The engine's checksum is of another body.
    head.headers.remove("x-amz-crc32");
    Ok(Response::from_parts(head, Full::new(Bytes::from(answer.to_string()))))
}

async fn forward(request: Request<Incoming>, upstream: SocketAddr) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Full::new(body.collect().await?.to_bytes());
    send(Request::from_parts(head, body), upstream).await
}

async fn send(request: Request<Full<Bytes>>, upstream: SocketAddr) -> anyhow::Result<Response<Full<Bytes>>> {
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let mut response = Response::from_parts(head, Full::new(body.collect().await?.to_bytes()));
    response.headers_mut().remove(TRANSFER_ENCODING);
    Ok(response)
}

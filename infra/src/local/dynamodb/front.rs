//! The door before the engine: refuses pages of a browser, and changes while the database's file is not in its place.
//!
//! The engine itself answers every origin and looks at no `Host`, so it listens where a page cannot guess it. Each
//! connection from a client has one to the engine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, ORIGIN};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::local::front::{self, Speaks};
use crate::local::inode::Inode;

/// Most bytes of a request's body: 16 MB (DynamoDB API reference, `BatchWriteItem`), and what text adds.
const BODY_BYTES_MAX: usize = 24 * 1_048_576;
/// A connection to the engine that lay idle for longer is not used again: the engine may just be closing it.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Operations that change nothing.
const READS: [&str; 6] = ["Get", "BatchGet", "TransactGet", "Query", "Scan", "Describe"];
/// The sum of an answer's bytes, which some clients check.
const CRC32: HeaderName = HeaderName::from_static("x-amz-crc32");
/// What an operation's name follows in `X-Amz-Target`.
const TARGET: &str = "DynamoDB_20120810.";

/// Whole, so that head and body leave in one piece: in two they wake a client twice.
type Body = Full<Bytes>;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Front {
    /// Where the engine listens.
    engine: SocketAddr,
    /// The database's file, when there is one.
    file: Option<Inode>,
    /// Whether it was told that the file is not in its place.
    is_told: AtomicBool,
}

/// An address of loopback that a page cannot find by trying: one of 16 million and a port.
pub(super) fn hidden_address() -> SocketAddr {
    let [second, third, fourth, _] = rand::random::<u32>().to_be_bytes();
    // Elsewhere than on Linux loopback is 127.0.0.1 alone.
    let ip = match cfg!(target_os = "linux") {
        true => Ipv4Addr::new(127, second, third, fourth.clamp(1, 254)),
        false => Ipv4Addr::LOCALHOST,
    };
    SocketAddr::from((ip, 0))
}

impl Front {
    /// A door before the engine at this address, with its database's file when there is one.
    pub(super) fn new(engine: SocketAddr, file: Option<Inode>) -> Self {
        Self { engine, file, is_told: AtomicBool::new(false) }
    }

    /// Serves connections until the stop, then waits for those under way.
    pub(super) async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let shared = Arc::new(self);
        let answers = move || {
            let (shared, engine) = (Arc::clone(&shared), Arc::new(Mutex::new(Engine::default())));
            move |request| answer(request, Arc::clone(&shared), Arc::clone(&engine))
        };
        let mut under_way = front::run(listener, Speaks::Http1, answers, stop).await;
        while under_way.join_next().await.is_some() {}
    }

    /// Refuses a change while what it would write to is not where it was opened. Tells of it once.
    fn lost_file(&self) -> Option<Response<Body>> {
        let file = self.file.as_ref()?;
        let Err(error) = file.check() else {
            self.is_told.store(false, Ordering::Relaxed);
            return None;
        };
        let path = file.path().display();
        let reason = format!(
            "the database {path} cannot be written: {error}; put it back, or stop and start the engine"
        );
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::error!(%path, %error, "changes of the local dynamodb are refused until its database is back");
        }
        Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", &reason))
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Front>,
    engine: Arc<Mutex<Engine>>,
) -> io::Result<Response<Body>> {
    if let Err(reason) = runtime::origin::check(&request) {
        return Ok(refusal(StatusCode::FORBIDDEN, "AccessDeniedException", &reason));
    }
    let changes = changes(&request);
    if changes && let Some(refused) = shared.lost_file() {
        return Ok(refused);
    }
    let (mut head, incoming) = request.into_parts();
    let body = match front::body(incoming, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(unread) => {
            let (status, code, reason) = unread.refusal();
            return Ok(refusal(status, code, &reason));
        }
    };
    // The engine would let the page's origin read the answer, and the client has had its "continue" from here.
    head.headers.remove(ORIGIN);
    head.headers.remove(EXPECT);
    let request = Request::from_parts(head, Body::new(body));
    let response = engine.lock().await.send(request, shared.engine).await?;
    // What was removed while it was written is lost.
    let lost = if changes { shared.lost_file() } else { None };
    Ok(lost.unwrap_or(response))
}

/// Whether a request asks for an operation that may change something.
fn changes(request: &Request<Incoming>) -> bool {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET)).unwrap_or_default();
    !operation.is_empty()
        && !operation.starts_with("List")
        && !READS.iter().any(|read| operation.starts_with(read))
}

fn refusal(status: StatusCode, code: &str, reason: &str) -> Response<Body> {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": reason });
    let body = body.to_string();
    let sum = HeaderValue::from(crc32fast::hash(body.as_bytes()));
    let mut response = Response::new(Body::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CRC32, sum);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}

/// One connection to the engine.
#[derive(Debug, Default)]
struct Engine {
    open: Option<(SendRequest<Body>, Instant)>,
}

impl Engine {
    async fn send(&mut self, request: Request<Body>, address: SocketAddr) -> io::Result<Response<Body>> {
        let mut sender = match self.open.take() {
            Some((sender, used)) if used.elapsed() < IDLE_MAX => sender,
            _ => connect(address).await?,
        };
        if sender.ready().await.is_err() {
            sender = connect(address).await?;
        }
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.open = Some((sender, Instant::now()));
        Ok(Response::from_parts(head, Body::new(body)))
    }
}

async fn connect(address: SocketAddr) -> io::Result<SendRequest<Body>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, driven) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    // Ends with the sender.
    tokio::spawn(driven);
    Ok(sender)
}

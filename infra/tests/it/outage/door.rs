//! A door before a local engine that replaces some replies with each odd one in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// What a reply is replaced with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odd {
    /// An error code with status 400; nothing is done.
    Code(&'static str, &'static str),
    /// A status without a body; nothing is done.
    Status(u16),
    /// A page of HTML with this status; nothing is done.
    Page(u16),
    /// The first half of the reply to what was done.
    Cut,
    /// Nothing of the reply to what was done.
    Empty,
    /// The connection is closed on what was done.
    Closed,
}

/// Each of them.
pub(super) const ALL: [Odd; 15] = [
    Odd::Code("ExpiredTokenException", "The security token included in the request is expired"),
    Odd::Code("InvalidSignatureException", "Signature expired: 20261130T000000Z is now earlier than"),
    Odd::Code("AccessDeniedException", "User is not authorized to perform this action"),
    Odd::Code("UnrecognizedClientException", "The security token included in the request is invalid"),
    Odd::Code("InternalServerError", "try again"),
    Odd::Code("NobodyWroteThisDown", "a code of next year"),
    Odd::Status(408),
    Odd::Status(429),
    Odd::Status(404),
    Odd::Status(503),
    Odd::Page(200),
    Odd::Page(403),
    Odd::Cut,
    Odd::Empty,
    Odd::Closed,
];

/// How often replies are replaced, and how often each odd one was given.
#[derive(Debug, Default)]
struct Share {
    /// One of so many; 0 for none.
    one_of: AtomicU64,
    calls: AtomicU64,
    given: AtomicU64,
}

/// A running door.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    share: Arc<Share>,
}

#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

impl Door {
    pub(super) async fn open(upstream: &str) -> Self {
        let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, share) = (listener.local_addr().unwrap(), Arc::new(Share::default()));
        let shared = Arc::clone(&share);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let share = Arc::clone(&shared);
                let service = service_fn(move |request| answer(request, upstream, Arc::clone(&share)));
                let io = TokioIo::new(socket);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { address, share }
    }

    pub(super) fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on one reply of so many is odd; none with 0.
    pub(super) fn set(&self, one_of: u64) {
        self.share.one_of.store(one_of, Ordering::SeqCst);
    }

    /// How many odd replies were given.
    pub(super) fn given(&self) -> u64 {
        self.share.given.load(Ordering::SeqCst)
    }

    /// How many calls were made.
    pub(super) fn calls(&self) -> u64 {
        self.share.calls.load(Ordering::SeqCst)
    }
}

async fn answer(
    request: Request<Incoming>,
    upstream: SocketAddr,
    share: Arc<Share>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let call = share.calls.fetch_add(1, Ordering::SeqCst);
    let one_of = share.one_of.load(Ordering::SeqCst);
    if one_of == 0 || !call.is_multiple_of(one_of) {
        return forward(request, upstream).await.map_err(|_| Closed);
    }
    let given = share.given.fetch_add(1, Ordering::SeqCst);
    let odd = ALL[usize::try_from(given).unwrap() % ALL.len()];
    let said = |status: u16, body: String| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    if !matches!(odd, Odd::Cut | Odd::Empty | Odd::Closed) {
        let _ = request.into_body().collect().await;
        return Ok(match odd {
            Odd::Code(code, words) => said(400, format!("{{\"__type\":\"{code}\",\"message\":\"{words}\"}}")),
            Odd::Status(status) => said(status, String::new()),
            _ => {
                let Odd::Page(status) = odd else { unreachable!("the others are done") };
                let mut page = said(status, "<html><body>Please log in</body></html>".to_owned());
                page.headers_mut().insert(CONTENT_TYPE, "text/html".parse().unwrap());
                page
            }
        });
    }
    let (mut head, body) = forward(request, upstream).await.map_err(|_| Closed)?.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    head.headers.remove(CONTENT_LENGTH);
    // The engine's checksum is of another body.
    head.headers.remove("x-amz-crc32");
    match odd {
        Odd::Cut => Ok(Response::from_parts(head, Full::new(body.slice(..body.len() / 2)))),
        Odd::Empty => Ok(Response::from_parts(head, Full::default())),
        _ => Err(Closed),
    }
}

/// The engine's answer to a request.
pub(crate) async fn forward<B>(
    request: Request<B>,
    upstream: SocketAddr,
) -> anyhow::Result<Response<Full<Bytes>>>
where
    B: BodyExt<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, Full::new(body.collect().await?.to_bytes()));
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let mut response = Response::from_parts(head, Full::new(body.collect().await?.to_bytes()));
    response.headers_mut().remove(TRANSFER_ENCODING);
    Ok(response)
}

//! One HTTP/1.1 connection with its bounds: a request's head comes in time, an answer is taken in time, silence between
//! requests ends, and so does a connection of very many requests.
//!
//! The two are told apart, which hyper does not do: a head that comes byte by byte holds a connection for seconds, while
//! a balancer may keep one that is idle for a minute. What happens to a request is the caller's; so is the time for its
//! body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of a request's head; hyper allows no less.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Tells a client how long an idle connection stays open, so that it sends nothing into one that is being closed.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// How long balancers keep an idle connection that nobody configured: 60 s (Elastic Load Balancing user guides, "idle
/// timeout"; nginx, `keepalive_timeout` of an upstream). Whoever keeps it longer never closes one in which a request is
/// on its way, so this is longer.
pub const KEEP_ALIVE_S: u32 = 75;

/// How long a client may take no byte of its answers, unless told otherwise.
pub const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// Requests of one connection; the answer to the last says so. Callers that connect anew now and then also come to a
/// producer that was started beside others behind a balancer.
const REQUESTS_MAX: u32 = 10_000;

/// How long a client may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request's head to its end; for the first request, from the connection's beginning.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// Without taking a byte of an answer that is there for it.
    pub takes: Duration,
}

/// Answers requests until the client or its silence ends the connection. After `stop` the request under way is the last.
///
/// # Errors
/// When the connection broke, or what came is no HTTP/1.1.
pub async fn serve<A, R>(
    socket: TcpStream,
    patience: Patience,
    answer: A,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    A: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Full<Bytes>>>,
{
    // Without Nagle's delay a small answer leaves at once; failing to set it costs only time.
    let _ = socket.set_nodelay(true);
    let bound = Arc::new(Bound::new(patience));
    let io = TokioIo::new(Watched { socket, bound: Arc::clone(&bound) });
    let over = Arc::clone(&bound);
    let kept = HeaderValue::from_str(&format!("timeout={}", patience.keep_alive.as_secs()));
    let kept = kept.expect("digits are a header's value");
    let service = service_fn(move |request| {
        bound.enter(Phase::Request);
        let (answered, bound, kept) = (answer(request), Arc::clone(&bound), kept.clone());
        let is_last = bound.requests.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX;
        async move {
            let mut response = answered.await;
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            } else {
                response.headers_mut().insert(KEEP_ALIVE, kept);
            }
            bound.enter(Phase::Idle);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    // Its own bound does not tell a head from silence.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    let served = builder.serve_connection(io, service);
    tokio::pin!(served, stop);
    tokio::select! {
        ended = served.as_mut() => return ended,
        () = over.ends() => return Ok(()),
        () = stop => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        ended = served.as_mut() => ended,
        () = over.ends() => Ok(()),
    }
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request's head is on its way.
    Head,
    /// A request is answered.
    Request,
    /// The last request was answered.
    Idle,
}

/// When the phase of a connection ends it.
#[derive(Debug)]
struct Bound {
    patience: Patience,
    now: Mutex<(Phase, Instant)>,
    /// Since when the client takes nothing of what it asked for.
    stalled: Mutex<Option<Instant>>,
    changed: Notify,
    requests: AtomicU32,
}

impl Bound {
    fn new(patience: Patience) -> Self {
        let now = Mutex::new((Phase::Head, Instant::now()));
        let (stalled, requests) = (Mutex::default(), AtomicU32::default());
        Self { patience, now, stalled, changed: Notify::new(), requests }
    }

    fn enter(&self, phase: Phase) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
        self.changed.notify_one();
    }

    /// Takes into account that bytes came.
    fn on_bytes(&self) {
        let phase = self.now.lock().unwrap_or_else(PoisonError::into_inner).0;
        if phase == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Takes into account what became of an attempt to write.
    fn on_write<T>(&self, written: &Poll<T>) {
        let mut stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_ready() {
            *stalled = None;
        } else if stalled.is_none() {
            *stalled = Some(Instant::now());
            self.changed.notify_one();
        }
    }

    /// When the connection ends, as things are.
    fn due(&self) -> Option<Instant> {
        let (phase, since) = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = match phase {
            Phase::Head => Some(since + self.patience.head),
            Phase::Idle => Some(since + self.patience.keep_alive),
            Phase::Request => None,
        };
        let stalled = *self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        silent.into_iter().chain(stalled.map(|since| since + self.patience.takes)).min()
    }

    /// Waits until the client has been silent, or has taken nothing, for too long.
    async fn ends(&self) {
        loop {
            let Some(due) = self.due() else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.changed.notified() => {}
                // It may have been put off meanwhile.
                () = tokio::time::sleep_until(due) => if self.due().is_some_and(|due| due <= Instant::now()) {
                    return;
                },
            }
        }
    }
}

/// A socket that tells when bytes come, and when none can be sent.
#[derive(Debug)]
struct Watched {
    socket: TcpStream,
    bound: Arc<Bound>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = bytes.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, bytes);
        if bytes.filled().len() > before {
            self.bound.on_bytes();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.bound.on_write(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.bound.on_write(&written);
        written
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    /// When a test gives up.
    const DEADLINE: Duration = Duration::from_secs(60);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: it\r\n\r\n";

    /// As patient as it gets.
    const LONG: Patience = Patience {
        head: DEADLINE.saturating_mul(2),
        keep_alive: DEADLINE.saturating_mul(2),
        takes: DEADLINE.saturating_mul(2),
    };

    async fn connected(patience: Patience) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        // Meanwhile more is read from the connection, as while a producer asks its stream.
        let answer = async |request: Request<Incoming>| {
            tokio::task::yield_now().await;
            Response::new(match request.uri().path() {
                "/large" => Full::from(vec![b'x'; 65_536]),
                _ => Full::from("ok"),
            })
        };
        tokio::spawn(async move { serve(socket, patience, answer, std::future::pending()).await });
        client
    }

    async fn answered(client: &mut TcpStream) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\nok") {
            let mut part = [0; 512];
            let read = tokio::time::timeout(DEADLINE, client.read(&mut part)).await;
            let count = read.expect("an answer in time").unwrap();
            assert!(count > 0, "the connection was ended: {text}");
            text.push_str(std::str::from_utf8(&part[..count]).unwrap());
        }
        text.to_ascii_lowercase()
    }

    async fn ended(client: &mut TcpStream) {
        let read = tokio::time::timeout(DEADLINE, client.read(&mut [0; 512])).await;
        assert!(matches!(read.expect("the connection is ended in time"), Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn silence_between_requests_may_be_longer_than_a_head_takes() {
        let mut client = connected(Patience { head: SHORT, ..LONG }).await;
        for _ in 0..3 {
            client.write_all(REQUEST).await.unwrap();
            let answer = answered(&mut client).await;
            assert!(answer.contains("\r\nkeep-alive: timeout=120\r\n"), "{answer}");
            tokio::time::sleep(SHORT * 3).await;
        }
    }

    #[tokio::test]
    async fn silence_ends_a_connection_after_its_time() {
        let mut client = connected(Patience { keep_alive: SHORT, ..LONG }).await;
        client.write_all(REQUEST).await.unwrap();
        answered(&mut client).await;
        ended(&mut client).await;
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_ends_its_connection_however_long_silence_may_be() {
        for answered_before in [0, 1] {
            let mut client = connected(Patience { head: SHORT * 4, ..LONG }).await;
            for _ in 0..answered_before {
                client.write_all(REQUEST).await.unwrap();
                answered(&mut client).await;
            }
            let (mut reads, mut writes) = client.into_split();
            let dribbles = tokio::spawn(async move {
                let mut head = b"GET / HTTP/1.1\r\nx: ".to_vec();
                head.resize(4_096, b'a');
                for byte in head {
                    if writes.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(SHORT / 2).await;
                }
            });
            let read = tokio::time::timeout(DEADLINE, reads.read(&mut [0; 512])).await;
            assert!(matches!(read.expect("the connection is ended in time"), Ok(0) | Err(_)));
            dribbles.abort();
        }
    }

    #[tokio::test]
    async fn who_asks_and_never_takes_the_answers_is_cut() {
        let client = connected(Patience { takes: SHORT * 4, ..LONG }).await;
        let (mut reads, mut writes) = client.into_split();
        let asks = async {
            let large = b"GET /large HTTP/1.1\r\nhost: it\r\n\r\n".repeat(1_000);
            while writes.write_all(&large).await.is_ok() {}
        };
        tokio::time::timeout(DEADLINE, asks).await.expect("the connection is ended in time");
        // What was in the buffers comes, then no more.
        let mut left = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, reads.read_to_end(&mut left)).await.expect("an end");
        assert!(left.len() < 1_000 * 65_536, "{} bytes of answers came", left.len());
    }

    #[tokio::test]
    async fn who_takes_its_answers_slowly_is_not() {
        let mut client = connected(Patience { takes: SHORT * 4, ..LONG }).await;
        for _ in 0..3 {
            client.write_all(&REQUEST.repeat(50)).await.unwrap();
            tokio::time::sleep(SHORT * 6).await;
            let mut taken = 0;
            while taken < 50 {
                let mut part = [0; 1_024];
                let count = tokio::time::timeout(DEADLINE, client.read(&mut part)).await.unwrap().unwrap();
                assert!(count > 0, "the connection was ended");
                taken += part[..count].windows(6).filter(|window| *window == b"\r\n\r\nok").count();
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_connection_of_very_many_requests_is_told_to_end() {
        let mut client = connected(LONG).await;
        for request in 1..=REQUESTS_MAX {
            client.write_all(REQUEST).await.unwrap();
            let answer = answered(&mut client).await;
            assert_eq!(answer.contains("connection: close"), request == REQUESTS_MAX, "{request}: {answer}");
        }
        ended(&mut client).await;
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_at_all_has_the_time_of_a_head() {
        let mut client = connected(Patience { head: SHORT, ..LONG }).await;
        ended(&mut client).await;
    }
}

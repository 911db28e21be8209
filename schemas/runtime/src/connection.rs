//! Connections of a listener with their bounds: how many there are, how long each may be silent or take over what it
//! sends and takes, and how many requests it brings.
//!
//! A head and the silence between requests have bounds of their own, which hyper does not tell apart: a head that comes
//! byte by byte holds a connection for seconds, while a balancer may keep one that is idle for a minute. When all places
//! are taken, a newcomer gets the place of the connection that has asked nothing for longest; those that brought the
//! listener's token are the last to go. What happens to a request is the caller's; so is the time for its body.

mod bound;
mod framing;
mod places;
mod serve;
#[cfg(test)]
mod tests;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use self::serve::{serve, serve_http2};

use self::bound::Bound;
use self::places::{Place, Places};

/// How long balancers keep an idle connection that nobody configured: 60 s (Elastic Load Balancing user guides, "idle
/// timeout"; nginx, `keepalive_timeout` of an upstream). Whoever keeps it longer never closes one in which a request is
/// on its way, so this is longer.
pub const KEEP_ALIVE_S: u32 = 75;
/// Bytes of a request's head; hyper allows no less.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// How long a client may take no byte of its answers, unless told otherwise.
const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take over all answers that are there for it, unless told otherwise: the longest, of some 3 MB,
/// at 50 kB/s.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The pause after a connection could not be accepted: there are no files left, and trying at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request's head to its end; for the first request, from the connection's beginning.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// Without taking a byte of an answer that is there for it.
    pub takes: Duration,
    /// From when answers wait for it until it has taken all of them. An answer without an end known before is not held
    /// to this.
    pub answer: Duration,
}

impl Patience {
    /// With the usual time for taking answers.
    #[must_use]
    pub fn new(head: Duration, keep_alive: Duration) -> Self {
        Self { head, keep_alive, takes: TAKES_WITHIN, answer: ANSWER_WITHIN }
    }
}

/// A connection that was accepted and has a place.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    place: Place,
    buffer_bytes: usize,
}

impl Connection {
    /// With room for so many bytes of what is read and written, in place of 16 KiB: for long bodies. A head has no more.
    #[must_use]
    pub fn with_buffer(self, buffer_bytes: usize) -> Self {
        Self { buffer_bytes, ..self }
    }

    /// Looks at the first bytes without taking them, as soon as there are any. Returns how many there are: none when
    /// the client sends nothing within this time, or its place goes to another.
    pub async fn peek(&self, bytes: &mut [u8], within: Duration) -> usize {
        tokio::select! {
            peeked = self.socket.peek(bytes) => peeked.unwrap_or_default(),
            () = self.place.bound.is_given_up() => 0,
            () = tokio::time::sleep(within) => 0,
        }
    }
}

/// Accepts connections until `stop`, at most this many at once, and serves each on a task of its own. Returns the tasks
/// that are under way then; dropping them ends them.
pub async fn accept<F>(
    listener: TcpListener,
    connections_max: usize,
    stop: impl Future<Output = ()>,
    serve: impl Fn(Connection) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(connections_max);
    let mut under_way = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = next(&listener, &places);
        tokio::pin!(next);
        let accepted = loop {
            tokio::select! {
                () = stop.as_mut() => return under_way,
                Some(_) = under_way.join_next() => {}
                accepted = next.as_mut() => break accepted,
            }
        };
        match accepted {
            Ok(connection) => drop(under_way.spawn(serve(connection))),
            Err(error) => {
                let address = listener.local_addr().ok();
                tracing::warn!(%error, ?address, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One at a time is without a place; the rest wait in the listener's own queue.
async fn next(listener: &TcpListener, places: &Arc<Places>) -> std::io::Result<Connection> {
    let (socket, _) = listener.accept().await?;
    Ok(Connection { socket, place: places.take().await, buffer_bytes: HEAD_BYTES_MAX })
}

/// Takes into account that a request brought the listener's token: its connection is the last to lose its place.
pub fn on_token<B>(request: &Request<B>) {
    if let Some(bound) = request.extensions().get::<Arc<Bound>>() {
        bound.on_token();
    }
}

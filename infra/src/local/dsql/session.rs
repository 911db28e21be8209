//! One connection: the client's requests judged and passed on, PostgreSQL's answers made DSQL's.
//!
//! Owns the order of things on a connection. One request is in flight at a time; what a client sends
//! ahead waits in its socket. A refusal is not faked: PostgreSQL gets a text it cannot parse in the
//! statement's place, so that its own state follows, and its error is replaced by ours. Changes outside
//! a transaction are put into one of the proxy's own, so that their implicit commit can be judged too.
//!
//! Nobody is trusted before the log-in: it has a deadline, and its frames are small.
//!
//! Absent: TLS, function calls.

mod copy;
mod doomed;
mod exchange;
mod extended;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use self::transaction::{Bounds, Transaction};
use super::Limits;
use super::frame::{self, Frame, Frames, put_ready, take_text};
use super::inject::Dice;
use super::reply::Refusal;
use super::statement::{Kind, judge, split};
use crate::local::inode::Inode;

/// What a client may ask before it says who it is (PostgreSQL manual, "Message Formats").
const CANCEL_REQUEST: u32 = 80_877_102;
const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// Requests gathered before their `Sync`.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Longest packet before the log-in is under way; PostgreSQL takes as many (`MAX_STARTUP_PACKET_LENGTH`).
const STARTUP_BYTES_MAX: usize = 10_000;
/// Longest frame of a log-in; PostgreSQL takes as many (`PG_MAX_AUTH_TOKEN_LENGTH`).
const LOGIN_BYTES_MAX: usize = 65_535;
/// Longest frame of a client that is known: beyond any statement or row of ours.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What a connection may do and how long it may live.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    /// Whether there were too many new connections lately.
    pub(super) is_refused: bool,
    /// Set once the client has logged in.
    pub(super) is_known: Arc<AtomicBool>,
    /// What must be in its place for a commit to be acknowledged.
    pub(super) files: Arc<[Inode]>,
}

/// Serves one client until either side ends, or its time is over.
pub(super) async fn run(client: TcpStream, upstream: SocketAddr, dice: Dice, terms: Terms) -> io::Result<()> {
    let is_known = Arc::clone(&terms.is_known);
    let Limits { login_age, connection_age, .. } = terms.limits;
    let Ok(entered) = tokio::time::timeout(login_age, enter(client, upstream, dice, terms)).await else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no log-in in time"));
    };
    let Some(mut session) = entered? else { return Ok(()) };
    is_known.store(true, Ordering::Relaxed);
    // An age beyond any clock is none.
    session.serve(Instant::now().checked_add(connection_age)).await
}

/// From the first packet to the end of the log-in; none when it was refused or the client wanted something else.
async fn enter(
    client: TcpStream,
    upstream: SocketAddr,
    dice: Dice,
    terms: Terms,
) -> io::Result<Option<Session>> {
    client.set_nodelay(true)?;
    let (read, mut client_out) = client.into_split();
    let mut client = Frames::new(read, STARTUP_BYTES_MAX);
    let startup = loop {
        let packet = client.untyped().await?;
        match packet.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes"))) {
            Some(TLS_REQUEST | GSS_REQUEST) => client_out.write_all(b"N").await?,
            Some(CANCEL_REQUEST) => {
                TcpStream::connect(upstream).await?.write_all(&packet).await?;
                return Ok(None);
            }
            _ => break packet,
        }
    };
    if terms.is_refused {
        let mut out = BytesMut::new();
        Refusal::too_many_connections().write_to(&mut out);
        client_out.write_all(&out).await?;
        return Ok(None);
    }
    let Limits { transaction_bytes, transaction_age, .. } = terms.limits;
    let server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    let (read, server_out) = server.into_split();
    let mut session = Session {
        client,
        client_out,
        server: Frames::new(read, FRAME_BYTES_MAX),
        server_out,
        dice,
        tx: Transaction::new(Bounds { bytes_max: transaction_bytes, age_max: transaction_age }),
        statements: HashMap::new(),
        portals: HashMap::new(),
        out: BytesMut::new(),
        own: None,
        is_skipping: false,
        has_copied: false,
        files: terms.files,
    };
    session.client.take_up_to(LOGIN_BYTES_MAX);
    let is_in = session.log_in(&startup).await?;
    session.client.take_up_to(FRAME_BYTES_MAX);
    Ok(is_in.then_some(session))
}

struct Session {
    client: Frames<OwnedReadHalf>,
    client_out: OwnedWriteHalf,
    server: Frames<OwnedReadHalf>,
    server_out: OwnedWriteHalf,
    dice: Dice,
    tx: Transaction,
    /// Kinds of the client's prepared statements and open portals, by name.
    statements: HashMap<String, Kind>,
    portals: HashMap<String, Kind>,
    /// Answers not yet passed on.
    out: BytesMut,
    /// Where the answers begin that a transaction of the proxy's own has not committed yet, while there is one.
    own: Option<usize>,
    /// Whether an error was told, so that everything up to the next `Sync` is passed over.
    is_skipping: bool,
    /// Whether the frames answered last copied rows in, which made the `Sync` behind them meaningless.
    has_copied: bool,
    /// What must be in its place for a commit to be acknowledged.
    files: Arc<[Inode]>,
}

/// What goes to PostgreSQL in one piece and is answered by one "ready".
#[derive(Default)]
struct Request {
    bytes: BytesMut,
    /// What it runs, in order.
    kinds: Vec<Kind>,
    /// What it asks to be described, in order; a simple query describes unasked.
    describes: VecDeque<Kind>,
    is_simple: bool,
    /// Whether it prepares anything.
    prepares: bool,
    /// Bytes that its changes bring.
    changed_bytes: u64,
    refusal: Option<Refusal>,
}

impl Session {
    /// Passes the log-in through. False when it was refused.
    async fn log_in(&mut self, startup: &Bytes) -> io::Result<bool> {
        self.server_out.write_all(startup).await?;
        loop {
            let frame = self.server.next().await?;
            if frame.tag == b'Z' {
                break;
            }
            frame.write_to(&mut self.out);
            self.flush().await?;
            match (frame.tag, frame.body.get(..4)) {
                (b'E', _) => return Ok(false),
                // Clear text, MD5, SASL and its continuation wait for the client's word.
                (b'R', Some([0, 0, 0, 3 | 5 | 10 | 11])) => {
                    let mut answer = BytesMut::new();
                    self.client.next().await?.write_to(&mut answer);
                    self.server_out.write_all(&answer).await?;
                }
                _ => {}
            }
        }
        self.prepare_own().await?;
        self.finish().await?;
        Ok(true)
    }

    async fn serve(&mut self, closes_at: Option<Instant>) -> io::Result<()> {
        let mut pending: Vec<Frame> = Vec::new();
        let mut pending_bytes = 0;
        let mut over = pin!(async {
            match closes_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        loop {
            let frame = tokio::select! {
                frame = self.client.next() => frame?,
                // Without a word, as DSQL does it.
                () = &mut over => return Ok(()),
                frame = self.server.next() => {
                    // Unasked: a notice, or the end.
                    frame?.write_to(&mut self.out);
                    self.flush().await?;
                    continue;
                }
            };
            match frame.tag {
                b'X' => return Ok(()),
                b'S' => {
                    pending_bytes = 0;
                    self.sync(std::mem::take(&mut pending)).await?;
                }
                b'H' => {
                    pending_bytes = 0;
                    self.answer_now(std::mem::take(&mut pending)).await?;
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    pending_bytes += frame.body.len();
                    if pending_bytes > REQUEST_BYTES_MAX {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "request too large"));
                    }
                    pending.push(frame);
                }
                // Rows sent without waiting for the word.
                b'd' | b'c' | b'f' if !pending.is_empty() => {
                    pending_bytes = 0;
                    self.client.unread(frame);
                    self.answer_now(std::mem::take(&mut pending)).await?;
                }
                // What is left of a COPY that has failed.
                b'd' | b'c' | b'f' => {}
                b'Q' | b'F' if self.is_skipping => {}
                b'Q' => self.simple(frame).await?,
                b'F' => {
                    Refusal::unsupported("function calls are not supported").write_to(&mut self.out);
                    self.finish().await?;
                }
                tag => {
                    Refusal::protocol(char::from(tag)).write_to(&mut self.out);
                    return self.flush().await;
                }
            }
        }
    }

    /// A simple query, statement by statement: each is judged in the state that the one before it left.
    async fn simple(&mut self, frame: Frame) -> io::Result<()> {
        self.maybe_lose_request()?;
        self.end_series().await?;
        let sql = take_text(&mut frame.body.clone()).unwrap_or_default();
        let texts = split(&sql);
        if texts.is_empty() {
            let request = Request { bytes: frame::query("").into(), is_simple: true, ..Request::default() };
            self.exchange(request).await?;
        }
        let is_text = texts.len() > 1;
        let mut is_ok = true;
        for text in texts {
            let judged = judge(text);
            let kind = judged.as_ref().map_or(Kind::Other, |statement| statement.kind);
            let is_control = matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback);
            if is_control && self.own.is_some() {
                is_ok = self.commit_own().await?;
                if !is_ok {
                    break;
                }
            }
            // A text of many statements is one transaction even without the word.
            if (kind.writes() || is_text) && !is_control && self.tx.is_idle() {
                self.begin_own().await?;
            }
            let refusal = judged.as_ref().err().cloned().or_else(|| self.tx.refuses(kind));
            let sql = judged.as_ref().map_or(text, |statement| &statement.sql);
            let request = Request {
                bytes: frame::query(sql).into(),
                kinds: vec![kind],
                is_simple: true,
                refusal,
                changed_bytes: if kind.changes() { length(sql.len()) } else { 0 },
                ..Request::default()
            };
            is_ok = match self.tx.is_doomed() {
                true => self.doomed_simple(request, kind).await?,
                false => self.exchange(request).await?,
            };
            if !is_ok {
                break;
            }
        }
        self.end_own(is_ok).await?;
        self.finish().await
    }

    /// Ends a request: the client may send the next.
    async fn finish(&mut self) -> io::Result<()> {
        if self.tx.is_idle() {
            self.tx.reset();
            self.portals.clear();
        }
        put_ready(&mut self.out, self.tx.status());
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.client_out.write_all(&self.out).await?;
        self.out.clear();
        self.own = self.own.map(|_| 0);
        Ok(())
    }

    fn maybe_lose_request(&mut self) -> io::Result<()> {
        if self.dice.loses_request() { Err(lost("request")) } else { Ok(()) }
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Ends the connection on purpose.
fn lost(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("injected: a {what} is lost"))
}

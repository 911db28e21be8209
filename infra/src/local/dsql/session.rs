//! One connection: the client's requests judged and passed on, PostgreSQL's answers made DSQL's.
//!
//! Owns the order of things on a connection. One request is in flight at a time; what a client sends
//! ahead waits in its socket. A refusal is not faked: PostgreSQL gets a text it cannot parse in the
//! statement's place, so that its own state follows, and its error is replaced by ours. Changes outside
//! a transaction are put into one of the proxy's own, so that their implicit commit can be judged too.
//!
//! Absent: TLS, `Flush` without `Sync`, COPY.

mod doomed;
mod exchange;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use self::doomed::is_rollback;
use self::transaction::{Bounds, Transaction};
use super::Limits;
use super::frame::{self, Frame, Frames, put_parse, put_ready, put_sync, take_text};
use super::inject::Dice;
use super::reply::Refusal;
use super::statement::{Kind, judge, split};

/// What a client may ask before it says who it is (PostgreSQL manual, "Message Formats").
const CANCEL_REQUEST: u32 = 80_877_102;
const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// Requests gathered before their `Sync`.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// What a connection may do and how long it may live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    /// Whether there were too many new connections lately.
    pub(super) is_refused: bool,
}

/// Serves one client until either side ends, or its time is over.
pub(super) async fn run(client: TcpStream, upstream: SocketAddr, dice: Dice, terms: Terms) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (read, mut client_out) = client.into_split();
    let mut client = Frames::new(read);
    let startup = loop {
        let packet = client.untyped().await?;
        match packet.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes"))) {
            Some(TLS_REQUEST | GSS_REQUEST) => client_out.write_all(b"N").await?,
            Some(CANCEL_REQUEST) => return TcpStream::connect(upstream).await?.write_all(&packet).await,
            _ => break packet,
        }
    };
    if terms.is_refused {
        let mut out = BytesMut::new();
        Refusal::too_many_connections().write_to(&mut out);
        return client_out.write_all(&out).await;
    }
    let Limits { transaction_bytes, transaction_age, connection_age, .. } = terms.limits;
    let server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    let (read, server_out) = server.into_split();
    let mut session = Session {
        client,
        client_out,
        server: Frames::new(read),
        server_out,
        dice,
        tx: Transaction::new(Bounds { bytes_max: transaction_bytes, age_max: transaction_age }),
        statements: HashMap::new(),
        portals: HashMap::new(),
        out: BytesMut::new(),
    };
    // An age beyond any clock is none.
    let closes_at = Instant::now().checked_add(connection_age);
    if session.log_in(&startup).await? { session.serve(closes_at).await } else { Ok(()) }
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
                b'Q' => self.simple(frame).await?,
                b'S' => {
                    pending_bytes = 0;
                    self.extended(std::mem::take(&mut pending)).await?;
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    pending_bytes += frame.body.len();
                    if pending_bytes > REQUEST_BYTES_MAX {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "request too large"));
                    }
                    pending.push(frame);
                }
                b'X' => return Ok(()),
                tag => {
                    Refusal::unsupported(format!("message {:?} is not supported", char::from(tag)))
                        .write_to(&mut self.out);
                    return self.flush().await;
                }
            }
        }
    }

    /// A simple query, statement by statement: each is judged in the state that the one before it left.
    async fn simple(&mut self, frame: Frame) -> io::Result<()> {
        self.maybe_lose_request()?;
        let sql = take_text(&mut frame.body.clone()).unwrap_or_default();
        let texts = split(&sql);
        if texts.is_empty() {
            let request = Request { bytes: frame::query("").into(), is_simple: true, ..Request::default() };
            self.exchange(request, false).await?;
        }
        let is_text = texts.len() > 1;
        let mut own_begin = None;
        let mut is_ok = true;
        for text in texts {
            let judged = judge(text);
            let kind = judged.as_ref().map_or(Kind::Other, |statement| statement.kind);
            let is_control = matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback);
            if is_control && let Some(begin) = own_begin.take() {
                is_ok = self.commit_own(begin).await?;
                if !is_ok {
                    break;
                }
            }
            // A text of many statements is one transaction even without the word.
            if (kind.changes() || is_text) && !is_control && self.tx.is_idle() {
                own_begin = Some(self.begin_own().await?);
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
                false => self.exchange(request, own_begin.is_some()).await?,
            };
            if !is_ok {
                break;
            }
        }
        self.end_own(own_begin, is_ok).await?;
        self.finish().await
    }

    /// What came up to a `Sync`.
    async fn extended(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        self.maybe_lose_request()?;
        if self.tx.is_doomed() && !is_rollback(&frames, &self.statements) {
            self.doomed_extended(frames).await?;
            return self.finish().await;
        }
        let mut request = Request::default();
        for frame in frames {
            if let Err(refusal) = self.add(&mut request, frame) {
                request.refusal = Some(refusal);
                break;
            }
        }
        put_sync(&mut request.bytes);
        let changes = request.refusal.is_none() && request.kinds.iter().any(|kind| kind.changes());
        let own_begin = match changes && self.tx.is_idle() && !request.kinds.contains(&Kind::Begin) {
            true => Some(self.begin_own().await?),
            false => None,
        };
        let is_ok = self.exchange(request, own_begin.is_some()).await?;
        self.end_own(own_begin, is_ok).await?;
        self.finish().await
    }

    /// Adds one frame to a request, or says why not.
    fn add(&mut self, request: &mut Request, frame: Frame) -> Result<(), Refusal> {
        let mut body = frame.body.clone();
        let mut text = || take_text(&mut body).unwrap_or_default();
        match frame.tag {
            b'P' => {
                let (name, sql) = (text(), text());
                let statement = judge(&sql)?;
                request.prepares = true;
                put_parse(&mut request.bytes, &name, &statement.sql, &body);
                self.statements.insert(name, statement.kind);
                return Ok(());
            }
            b'B' => {
                let (portal, name) = (text(), text());
                let kind = self.statements.get(&name).copied().unwrap_or(Kind::Other);
                if kind.changes() {
                    request.changed_bytes += length(frame.body.len());
                }
                self.portals.insert(portal, kind);
            }
            b'D' | b'C' => {
                let name = text();
                let (of, name) = name.split_at(name.len().min(1));
                let known = if of == "S" { &mut self.statements } else { &mut self.portals };
                if frame.tag == b'C' {
                    known.remove(name);
                } else {
                    request.describes.push_back(known.get(name).copied().unwrap_or(Kind::Other));
                }
            }
            b'E' => {
                let kind = self.portals.get(&text()).copied().unwrap_or(Kind::Other);
                if let Some(refusal) = self.tx.refuses(kind) {
                    return Err(refusal);
                }
                request.kinds.push(kind);
            }
            _ => {}
        }
        frame.write_to(&mut request.bytes);
        Ok(())
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

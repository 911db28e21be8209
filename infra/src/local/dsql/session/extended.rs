//! The extended protocol: what a client sends up to a `Flush` or a `Sync`.
//!
//! PostgreSQL gets a `Sync` either way, because it says where the answers end; after a `Flush` its "ready" is kept from
//! the client. What that `Sync` would end, portals and the transaction around them, is kept by a transaction of the
//! proxy's own until the client's `Sync`. After an error everything up to that one is passed over, as PostgreSQL does.

use std::io;

use super::super::frame::{Frame, put_parse, put_sync, take_text};
use super::super::reply::Refusal;
use super::super::statement::{Kind, judge};
use super::doomed::is_rollback;
use super::{Request, Session, length};

/// What a client ended a series of frames with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Flush,
    Sync,
}

impl Session {
    /// What came up to a `Flush`: answered, and the series goes on.
    pub(super) async fn answer_now(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        self.series(frames, End::Flush).await?;
        self.flush().await
    }

    /// What came up to a `Sync`.
    pub(super) async fn sync(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        self.series(frames, End::Sync).await?;
        if std::mem::take(&mut self.has_copied) {
            // This one was sent ahead of the rows, where it means nothing; the one behind them counts.
            return self.flush().await;
        }
        self.end_series().await?;
        self.finish().await
    }

    /// Ends the proxy's own transaction around a series, and the series.
    pub(super) async fn end_series(&mut self) -> io::Result<()> {
        let is_ok = !std::mem::take(&mut self.is_skipping);
        self.end_own(is_ok).await
    }

    async fn series(&mut self, frames: Vec<Frame>, end: End) -> io::Result<()> {
        self.has_copied = false;
        if self.is_skipping || frames.is_empty() {
            return Ok(());
        }
        self.maybe_lose_request()?;
        if self.tx.is_doomed() && !is_rollback(&frames, &self.statements) {
            self.is_skipping = !self.doomed_extended(frames).await?;
            return Ok(());
        }
        let has_portal = frames.iter().any(|frame| frame.tag == b'B');
        let mut request = Request::default();
        for frame in frames {
            if let Err(refusal) = self.add(&mut request, frame) {
                request.refusal = Some(refusal);
                break;
            }
        }
        put_sync(&mut request.bytes);
        let changes = request.refusal.is_none() && request.kinds.iter().any(|kind| kind.writes());
        let goes_on = end == End::Flush && has_portal;
        if request.kinds.contains(&Kind::Begin) {
            // From here on the transaction is the client's.
            self.own = None;
        } else if (changes || goes_on) && self.tx.is_idle() {
            self.begin_own().await?;
        }
        self.is_skipping = !self.exchange(request).await?;
        Ok(())
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
}

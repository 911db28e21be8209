//! A transaction that met a conflict and does not know it yet: on DSQL nothing blocks or fails before the COMMIT.
//!
//! PostgreSQL fails the change at once and takes nothing more. The client is told that its changes are done, until it
//! commits, and then 40001. What this cannot hide: a read after the conflict cannot be answered, and is told 40001
//! itself; the number of rows that a doomed change is said to have changed is 1, whatever it was.

use std::collections::HashMap;
use std::io;

use super::super::frame::{Frame, put, take_text};
use super::super::reply::{Refusal, put_changed};
use super::super::statement::Kind;
use super::{Request, Session};

impl Session {
    /// A statement of a simple query in a doomed transaction. False after an error.
    pub(super) async fn doomed_simple(&mut self, request: Request, kind: Kind) -> io::Result<bool> {
        match (request.refusal, kind) {
            (Some(refusal), _) => {
                self.tx.undoom();
                refusal.write_to(&mut self.out);
                Ok(false)
            }
            (None, Kind::Change(verb)) => {
                put_changed(&mut self.out, verb);
                Ok(true)
            }
            (None, Kind::Rollback) => {
                self.tx.undoom();
                let request = Request { refusal: None, ..request };
                self.exchange(request).await
            }
            (None, kind) => self.tell(kind).await,
        }
    }

    /// What came up to a `Flush` or a `Sync` in a doomed transaction. False after an error.
    pub(super) async fn doomed_extended(&mut self, frames: Vec<Frame>) -> io::Result<bool> {
        for frame in frames {
            let mut body = frame.body.clone();
            let mut text = || take_text(&mut body).unwrap_or_default();
            match frame.tag {
                b'B' => {
                    let (portal, name) = (text(), text());
                    self.portals.insert(portal, self.statements.get(&name).copied().unwrap_or(Kind::Other));
                    put(&mut self.out, b'2', |_| {});
                }
                b'C' => put(&mut self.out, b'3', |_| {}),
                b'E' => match self.portals.get(&text()).copied().unwrap_or(Kind::Other) {
                    Kind::Change(verb) => put_changed(&mut self.out, verb),
                    kind => return self.tell(kind).await,
                },
                // To prepare or describe anything, PostgreSQL would have to be asked.
                _ => return self.tell(Kind::Other).await,
            }
        }
        Ok(true)
    }

    /// Tells of the conflict, and gives false. A COMMIT that is refused ends its transaction; anything else fails it.
    async fn tell(&mut self, kind: Kind) -> io::Result<bool> {
        self.tx.undoom();
        if kind == Kind::Commit {
            self.roll_back().await?;
        }
        Refusal::conflict().write_to(&mut self.out);
        Ok(false)
    }
}

/// Whether these frames only roll back, which PostgreSQL itself can do.
pub(super) fn is_rollback(frames: &[Frame], statements: &HashMap<String, Kind>) -> bool {
    let name = |frame: &Frame| {
        let mut body = frame.body.clone();
        take_text(&mut body).and(take_text(&mut body)).unwrap_or_default()
    };
    let bound = frames.iter().filter(|frame| frame.tag == b'B');
    let kinds: Vec<Kind> = bound.filter_map(|frame| statements.get(&name(frame)).copied()).collect();
    kinds == [Kind::Rollback]
}

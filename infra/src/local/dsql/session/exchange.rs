//! One request to PostgreSQL and its answers, and the proxy's own transactions around it.
//!
//! Owns what becomes of each answer: errors worded as DSQL's, rows counted, jobs answered, the fate of a
//! COMMIT carried out.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::super::frame::{self, Frame, put_parse, put_run, put_sync, take_text};
use super::super::inject::Fate;
use super::super::reply::{
    Refusal, changed_rows, code_and_message, put_changed, put_job_columns, put_job_row,
};
use super::super::statement::Kind;
use super::transaction::IDLE;
use super::{Request, Session, lost};

/// Answers are passed on once this much has gathered, unless a COMMIT must first succeed.
const FLUSH_BYTES: usize = 64 << 10;
/// Stands in for a refused statement; no statement begins with it.
const POISON: &str = "exchange_proxy_refuses_this";
/// The proxy's own prepared statements. Preparing them ahead keeps the client's unnamed statement alive,
/// which a simple query would end.
const BEGIN: &str = "exchange_proxy_begin";
const COMMIT: &str = "exchange_proxy_commit";
const ROLLBACK: &str = "exchange_proxy_rollback";

/// What PostgreSQL calls a conflict. Locks do not exist on DSQL: what they end in here is a conflict there.
const CONFLICTS: [&str; 3] = ["40001", "40P01", "55P03"];

fn is_conflict(frame: &Frame) -> bool {
    CONFLICTS.contains(&code_and_message(&frame.body).0.as_str())
}

impl Session {
    /// Prepares the proxy's own statements.
    pub(super) async fn prepare_own(&mut self) -> io::Result<()> {
        let mut prepare = BytesMut::new();
        for (name, sql) in [(BEGIN, "BEGIN"), (COMMIT, "COMMIT"), (ROLLBACK, "ROLLBACK")] {
            put_parse(&mut prepare, name, sql, &[0, 0]);
        }
        put_sync(&mut prepare);
        self.own(&prepare).await.map(|_| ())
    }

    /// Sends a request and gathers its answers, without the "ready" at their end. False after an error.
    pub(super) async fn exchange(&mut self, mut request: Request) -> io::Result<bool> {
        let holds = request.is_simple || request.kinds.iter().any(|kind| kind.writes());
        let hold = holds && self.own.is_some();
        let begin = self.out.len();
        let commits = request.kinds.contains(&Kind::Commit) && self.tx.has_changes_to_commit();
        if commits && request.refusal.is_none() {
            request.refusal = self.tx.refuses_commit();
        }
        let fate = if commits && request.refusal.is_none() { self.dice.fate() } else { Fate::Done };
        let ends = request.kinds.contains(&Kind::Commit) && request.refusal.is_some();
        match fate {
            Fate::Conflict => request.refusal = Some(Refusal::conflict().injected()),
            Fate::SchemaConflict => request.refusal = Some(Refusal::schema_conflict().injected()),
            Fate::UnavailableUndone => request.refusal = Some(Refusal::unavailable().injected()),
            Fate::Done | Fate::LostReply | Fate::UnavailableDone => {}
        }
        if request.refusal.is_some() {
            request.bytes = poisoned(request.is_simple);
        }
        self.server_out.write_all(&request.bytes).await?;

        self.tx.add_bytes(request.changed_bytes);
        let is_ok = self.answers(request, hold || fate != Fate::Done).await?;
        match fate {
            Fate::Done if ends => self.run_own(ROLLBACK).await.map(|_| false),
            Fate::Done => match self.lost_files().filter(|_| commits && is_ok) {
                Some(lost) => {
                    self.answer_instead(begin, &lost);
                    Ok(false)
                }
                None => Ok(is_ok),
            },
            Fate::LostReply => Err(lost("reply")),
            // On DSQL a refused COMMIT ends its transaction.
            Fate::Conflict | Fate::SchemaConflict | Fate::UnavailableUndone => {
                self.run_own(ROLLBACK).await.map(|_| false)
            }
            Fate::UnavailableDone => {
                self.answer_instead(begin, &Refusal::unavailable().injected());
                Ok(false)
            }
        }
    }

    /// Gathers the answers to one request. False after an error.
    async fn answers(&mut self, mut request: Request, hold: bool) -> io::Result<bool> {
        // A change by itself in a transaction that goes on: its conflict is for the COMMIT to tell.
        let dooms = match request.kinds[..] {
            [Kind::Change(verb)] if self.tx.is_open() && !request.prepares && !hold => Some(verb),
            _ => None,
        };
        let mut kinds = request.kinds.into_iter();
        let mut is_ok = true;
        let mut is_over = false;
        loop {
            let frame = self.server.next().await?;
            match frame.tag {
                b'Z' => {
                    self.tx.set_status(frame.body.first().copied().unwrap_or(IDLE));
                    break;
                }
                // The limit was passed: what follows was never answered on DSQL.
                _ if is_over => continue,
                b'E' => {
                    match dooms.filter(|_| is_conflict(&frame)) {
                        Some(verb) => {
                            self.tx.doom();
                            put_changed(&mut self.out, verb);
                        }
                        None => {
                            is_ok = false;
                            self.put_error(&frame, request.refusal.as_ref());
                        }
                    }
                    continue;
                }
                b'C' => {
                    let kind = kinds.next().unwrap_or(Kind::Other);
                    let tag = take_text(&mut frame.body.clone()).unwrap_or_default();
                    if let Err(refusal) = self.tx.on_complete(kind, changed_rows(&tag)) {
                        (is_ok, is_over) = (false, true);
                        refusal.write_to(&mut self.out);
                        continue;
                    }
                    if kind == Kind::IndexAsync {
                        if request.is_simple {
                            put_job_columns(&mut self.out);
                        }
                        let job_id = self.dice.job_id();
                        put_job_row(&mut self.out, &job_id);
                    }
                }
                b'I' | b's' => {
                    kinds.next();
                }
                b'n' if request.describes.pop_front() == Some(Kind::IndexAsync) => {
                    put_job_columns(&mut self.out);
                    continue;
                }
                b'T' => {
                    request.describes.pop_front();
                }
                b'G' => {
                    frame.write_to(&mut self.out);
                    self.flush().await?;
                    self.copy_in().await?;
                    if !request.is_simple {
                        // PostgreSQL has read the request's own among the rows and passed it over.
                        self.has_copied = true;
                        let mut sync = BytesMut::new();
                        put_sync(&mut sync);
                        self.server_out.write_all(&sync).await?;
                    }
                    continue;
                }
                _ => {}
            }
            frame.write_to(&mut self.out);
            if !hold && self.out.len() > FLUSH_BYTES {
                self.flush().await?;
            }
        }
        if is_over {
            self.fail_transaction().await?;
        }
        Ok(is_ok)
    }

    fn put_error(&mut self, frame: &Frame, refusal: Option<&Refusal>) {
        let (code, message) = code_and_message(&frame.body);
        match refusal {
            Some(refusal) if message.contains(POISON) => refusal.write_to(&mut self.out),
            _ if CONFLICTS.contains(&code.as_str()) => Refusal::conflict().write_to(&mut self.out),
            _ => frame.write_to(&mut self.out),
        }
    }

    /// Begins a transaction of the proxy's own.
    pub(super) async fn begin_own(&mut self) -> io::Result<()> {
        self.run_own(BEGIN).await?;
        self.own = Some(self.out.len());
        Ok(())
    }

    /// Ends the proxy's own transaction, if there is one.
    pub(super) async fn end_own(&mut self, is_ok: bool) -> io::Result<()> {
        if self.own.is_none() {
            return Ok(());
        }
        if is_ok {
            return self.commit_own().await.map(|_| ());
        }
        self.own = None;
        self.roll_back().await
    }

    /// Ends PostgreSQL's transaction without a word to the client.
    pub(super) async fn roll_back(&mut self) -> io::Result<()> {
        self.run_own(ROLLBACK).await.map(|_| ())
    }

    /// Commits the proxy's own transaction. False when that failed, and then the answers say so.
    pub(super) async fn commit_own(&mut self) -> io::Result<bool> {
        let begin = self.own.take().unwrap_or(self.out.len());
        if let Some(refusal) = self.tx.refuses_commit() {
            self.roll_back().await?;
            self.answer_instead(begin, &refusal);
            return Ok(false);
        }
        let changes = self.tx.has_changes_to_commit();
        let fate = if changes { self.dice.fate() } else { Fate::Done };
        let does = matches!(fate, Fate::Done | Fate::LostReply | Fate::UnavailableDone);
        let error = self.run_own(if does { COMMIT } else { ROLLBACK }).await?;
        match (fate, error) {
            (Fate::LostReply, _) => return Err(lost("reply")),
            (Fate::Conflict, _) => self.answer_instead(begin, &Refusal::conflict().injected()),
            (Fate::SchemaConflict, _) => self.answer_instead(begin, &Refusal::schema_conflict().injected()),
            (Fate::UnavailableDone | Fate::UnavailableUndone, _) => {
                self.answer_instead(begin, &Refusal::unavailable().injected());
            }
            (Fate::Done, None) => match self.lost_files().filter(|_| changes) {
                Some(lost) => self.answer_instead(begin, &lost),
                None => return Ok(true),
            },
            (Fate::Done, Some(error)) => {
                self.out.truncate(begin);
                self.put_error(&error, None);
            }
        }
        Ok(false)
    }

    /// Why a commit that PostgreSQL has done will not last. Looked at after it: a removal before would be missed else.
    fn lost_files(&self) -> Option<Refusal> {
        let (file, error) = self.files.iter().find_map(|file| Some((file, file.check().err()?)))?;
        let path = file.path().display();
        tracing::error!(%path, %error, "commit of the local dsql not acknowledged");
        Some(Refusal::data_lost(&path, &error))
    }

    /// Replaces the answers from `begin` on by an error.
    fn answer_instead(&mut self, begin: usize, refusal: &Refusal) {
        self.out.truncate(begin);
        refusal.write_to(&mut self.out);
    }

    /// Brings an open transaction into the state in which only a rollback helps.
    async fn fail_transaction(&mut self) -> io::Result<()> {
        if self.tx.is_idle() {
            return Ok(());
        }
        self.own(&frame::query(POISON)).await.map(|_| ())
    }

    /// Runs one of the proxy's own statements; gives the error it ended in.
    async fn run_own(&mut self, name: &str) -> io::Result<Option<Frame>> {
        let mut bytes = BytesMut::new();
        put_run(&mut bytes, name);
        let error = self.own(&bytes).await?;
        if self.tx.is_idle() {
            self.tx.reset();
        }
        Ok(error)
    }

    /// Sends a request of the proxy's own and swallows what comes back, but for an error.
    async fn own(&mut self, bytes: &[u8]) -> io::Result<Option<Frame>> {
        self.server_out.write_all(bytes).await?;
        let mut error = None;
        loop {
            let frame = self.server.next().await?;
            match frame.tag {
                b'Z' => {
                    self.tx.set_status(frame.body.first().copied().unwrap_or(IDLE));
                    return Ok(error);
                }
                b'E' => error = Some(frame),
                _ => {}
            }
        }
    }
}

/// A request that PostgreSQL cannot parse.
fn poisoned(is_simple: bool) -> BytesMut {
    if is_simple {
        return frame::query(POISON).into();
    }
    let mut bytes = BytesMut::new();
    put_parse(&mut bytes, "", POISON, &[0, 0]);
    put_sync(&mut bytes);
    bytes
}

//! NDJSON, line by line, with a bound on the line. Reading and parsing happen on a thread of their own, because a
//! read from a pipe cannot be cancelled and must not keep the process from stopping.
//!
//! Nothing that was read is dropped without a word: a line of which only a part was read before a stop, or before the
//! input failed, is refused as such.

mod split;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::intake::{IntakeRules, OfferedBid, Refusal, read_line};
use tokio::sync::mpsc;

use self::split::{Cut, Splitter};

/// Longest line, in bytes: a bid has some 250.
pub const LINE_BYTES_MAX: usize = 16 * 1_024;
/// Lines handed over at once, and how many such hand-overs may wait: the reader stays that far ahead at most.
const CHUNK_LINES_MAX: usize = 512;
const CHUNKS_MAX: usize = 8;
const READ_BYTES: usize = 256 * 1_024;
/// Bytes of a refused line that are repeated.
const TEXT_BYTES_MAX: usize = 1_024;

/// One line's worth: what it was and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// The bid, or why it is none.
    pub content: Result<OfferedBid, RefusedLine>,
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLine {
    /// The field, or `line` when the line is no JSON object.
    pub field: String,
    /// Why, and what to do.
    pub reason: String,
    /// The line as far as it is repeated.
    pub text: String,
}

/// Lines in the order of the input; the last message may be the reason why reading failed.
#[derive(Debug)]
pub struct Lines {
    chunks: mpsc::Receiver<Chunk>,
    desk: Arc<Desk>,
}

type Chunk = std::io::Result<Vec<Line>>;

impl Lines {
    /// The next lines; none at the end. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<std::io::Result<Vec<Line>>> {
        self.chunks.recv().await
    }

    /// Reads no more; what has been read still comes.
    pub fn stop(&self) {
        self.desk.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the reading, and gives all that was read and not handed over yet: also a line of which only a part came.
    /// Never waits for the input.
    pub async fn rest(&mut self) -> Rest {
        self.stop();
        let mut rest = Rest::default();
        loop {
            if let Some(last) = self.desk.close() {
                while let Ok(chunk) = self.chunks.try_recv() {
                    rest.extend(chunk);
                }
                rest.lines.extend(last);
                return rest;
            }
            // The reader holds lines that it has read; it sends them, or it has ended.
            match self.chunks.recv().await {
                Some(chunk) => rest.extend(chunk),
                None => return rest,
            }
        }
    }
}

/// What was read before the reading ended.
#[derive(Debug, Default)]
pub struct Rest {
    /// In the order of the input.
    pub lines: Vec<Line>,
    /// Why reading had failed, when it had.
    pub failure: Option<std::io::Error>,
}

impl Rest {
    fn extend(&mut self, chunk: Chunk) {
        match chunk {
            Ok(lines) => self.lines.extend(lines),
            Err(failure) => self.failure = Some(failure),
        }
    }
}

/// What the reading thread and whoever stops it share.
#[derive(Debug, Default)]
struct Desk {
    stop: AtomicBool,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    splitter: Splitter,
    /// Whether the reader holds lines that are not all sent yet.
    hands_over: bool,
    /// Whether nothing that is read from now on is taken.
    is_closed: bool,
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is taken; gives the line that is cut by that, if one is. Nothing while the reader holds lines
    /// that it has to send.
    fn close(&self) -> Option<Option<Line>> {
        let mut work = self.work();
        if work.hands_over {
            return None;
        }
        work.is_closed = true;
        Some(work.splitter.on_cut(Cut::Stop))
    }

    /// The last line that the reader sends, made by `last` of what is left.
    fn last(&self, last: impl FnOnce(&mut Splitter) -> Option<Line>) -> Vec<Line> {
        let mut work = self.work();
        work.hands_over = true;
        last(&mut work.splitter).into_iter().collect()
    }
}

/// Reads lines until the input ends or nobody wants them any more.
///
/// # Errors
/// When no thread can be started.
pub fn read<R: Read + Send + 'static>(reader: R, rules: IntakeRules) -> std::io::Result<Lines> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let desk = Arc::new(Desk::default());
    let shared = Arc::clone(&desk);
    let run = move || read_all(BufReader::with_capacity(READ_BYTES, reader), rules, &sender, &shared);
    std::thread::Builder::new().name("input".to_owned()).spawn(run)?;
    Ok(Lines { chunks, desk })
}

fn read_all<R: Read>(mut reader: BufReader<R>, rules: IntakeRules, to: &mpsc::Sender<Chunk>, desk: &Desk) {
    // Whether somebody still takes lines.
    let send = |lines: Vec<Line>| lines.is_empty() || to.blocking_send(Ok(lines)).is_ok();
    while !desk.stop.load(Ordering::Relaxed) {
        let taken = match reader.fill_buf() {
            Ok([]) => {
                send(desk.last(|splitter| splitter.on_end(rules)));
                return;
            }
            Ok(bytes) => {
                let mut rest = bytes;
                // What was read is handed over before the next read, which may wait for long.
                while !rest.is_empty() {
                    let Some(lines) = desk.split(&mut rest, rules) else { return };
                    if !send(lines) {
                        return;
                    }
                }
                desk.work().hands_over = false;
                bytes.len()
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                send(desk.last(|splitter| splitter.on_cut(Cut::Failure)));
                let _ = to.blocking_send(Err(error));
                return;
            }
        };
        reader.consume(taken);
    }
    // Part of a line was read and cannot be put back.
    send(desk.last(|splitter| splitter.on_cut(Cut::Stop)));
}

impl Desk {
    /// Takes lines off the beginning of what was read, as many as are handed over at once; none when nothing is taken
    /// any more.
    fn split(&self, bytes: &mut &[u8], rules: IntakeRules) -> Option<Vec<Line>> {
        let mut work = self.work();
        if work.is_closed {
            return None;
        }
        work.hands_over = true;
        let mut lines = Vec::new();
        let mut taken = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            taken += piece.len();
            lines.extend(work.splitter.on_piece(piece, rules));
            if lines.len() >= CHUNK_LINES_MAX {
                break;
            }
        }
        *bytes = &bytes[taken..];
        Some(lines)
    }
}

/// What a line beyond [`LINE_BYTES_MAX`] is answered.
pub(crate) fn too_long() -> Refusal {
    let reason = format!("is longer than {LINE_BYTES_MAX} bytes; write one bid per line");
    Refusal { field: "line".to_owned(), reason }
}

/// Reads one line; a blank one is nothing.
#[must_use]
pub fn line(number: u64, bytes: &[u8], rules: IntakeRules) -> Option<Line> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return None;
    }
    let content = read_line(text, rules);
    Some(Line { number, content: content.map_err(|refusal| refused(refusal.field, refusal.reason, text)) })
}

fn refused(field: String, reason: String, text: &[u8]) -> RefusedLine {
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned();
    RefusedLine { field, reason, text }
}

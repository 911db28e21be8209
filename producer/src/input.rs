//! NDJSON, line by line, with a bound on the line. Reading and parsing happen on a thread of their own, because a
//! read from a pipe cannot be cancelled and must not keep the process from stopping.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::bid::Bid;
use schemas::ids::Region;
use schemas::intake::{Refusal, parse_line};
use tokio::sync::mpsc;

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
    pub content: Result<Bid, RefusedLine>,
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
    stop: Arc<AtomicBool>,
}

type Chunk = std::io::Result<Vec<Line>>;

impl Lines {
    /// The next lines; none at the end. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<std::io::Result<Vec<Line>>> {
        self.chunks.recv().await
    }

    /// Reads no more; what has been read still comes.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads lines until the input ends or nobody wants them any more.
///
/// # Errors
/// When no thread can be started.
pub fn read<R: Read + Send + 'static>(reader: R, region: Region) -> std::io::Result<Lines> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let run = move || read_all(BufReader::with_capacity(READ_BYTES, reader), region, &sender, &stopped);
    std::thread::Builder::new().name("input".to_owned()).spawn(run)?;
    Ok(Lines { chunks, stop })
}

fn read_all<R: Read>(
    mut reader: BufReader<R>,
    region: Region,
    to: &mpsc::Sender<Chunk>,
    stopped: &AtomicBool,
) {
    let mut splitter = Splitter::default();
    while !stopped.load(Ordering::Relaxed) {
        let bytes = match reader.fill_buf() {
            Ok([]) => {
                if let Some(last) = splitter.on_end(region) {
                    let _ = to.blocking_send(Ok(vec![last]));
                }
                return;
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = to.blocking_send(Err(error));
                return;
            }
        };
        let taken = bytes.len();
        let mut chunk = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            chunk.extend(splitter.on_piece(piece, region));
            if chunk.len() >= CHUNK_LINES_MAX && to.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                return;
            }
        }
        // What was read is handed over before the next read, which may wait for long.
        if !chunk.is_empty() && to.blocking_send(Ok(chunk)).is_err() {
            return;
        }
        reader.consume(taken);
    }
    // Half a line was read and cannot be put back.
    if let Some(last) = splitter.on_cut() {
        let _ = to.blocking_send(Ok(vec![last]));
    }
}

/// Puts lines together from what each read gave.
#[derive(Debug, Default)]
struct Splitter {
    partial: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Splitter {
    /// Takes bytes up to and including a newline, or to where the read ended.
    fn on_piece(&mut self, piece: &[u8], region: Region) -> Option<Line> {
        let Some(end) = piece.strip_suffix(b"\n") else {
            self.keep(piece);
            return None;
        };
        if self.partial.is_empty() && !self.too_long && end.len() <= LINE_BYTES_MAX {
            self.number += 1;
            return line(self.number, end, region);
        }
        self.keep(end);
        self.on_end(region)
    }

    /// Takes the end of a line, if there is anything of one.
    fn on_end(&mut self, region: Region) -> Option<Line> {
        let bytes = std::mem::take(&mut self.partial);
        if bytes.is_empty() && !self.too_long {
            return None;
        }
        self.number += 1;
        if std::mem::take(&mut self.too_long) {
            let Refusal { field, reason } = too_long();
            return Some(Line { number: self.number, content: Err(refused(field, reason, &bytes)) });
        }
        line(self.number, &bytes, region)
    }

    /// Takes a request to stop in the midst of a line, if it is one.
    fn on_cut(&mut self) -> Option<Line> {
        if self.partial.is_empty() {
            return None;
        }
        self.number += 1;
        let reason = "was cut by a request to stop; send it again".to_owned();
        Some(Line { number: self.number, content: Err(refused("line".to_owned(), reason, &self.partial)) })
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX - self.partial.len();
        self.too_long |= piece.len() > room;
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// What a line beyond [`LINE_BYTES_MAX`] is answered.
pub(crate) fn too_long() -> Refusal {
    let reason = format!("is longer than {LINE_BYTES_MAX} bytes; write one bid per line");
    Refusal { field: "line".to_owned(), reason }
}

/// Reads one line; a blank one is nothing.
#[must_use]
pub fn line(number: u64, bytes: &[u8], region: Region) -> Option<Line> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return None;
    }
    let content = parse_line(text, region);
    Some(Line { number, content: content.map_err(|refusal| refused(refusal.field, refusal.reason, text)) })
}

fn refused(field: String, reason: String, text: &[u8]) -> RefusedLine {
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned();
    RefusedLine { field, reason, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"{"bid_id":"0190a000-0000-7000-8000-000000000001","slot_id":"aaaaaaaa-0000-4000-8000-000000000001","account_id":"bbbbbbbb-0000-4000-8000-000000000001","amount":"5.4000","latency_ms":42,"quality_score":0.93}"#;

    /// A reader that gives as many bytes as it is told, again and again.
    struct Trickle {
        bytes: Vec<u8>,
        at: usize,
        step: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let end = (self.at + self.step.min(out.len())).min(self.bytes.len());
            let count = end - self.at;
            out[..count].copy_from_slice(&self.bytes[self.at..end]);
            self.at = end;
            Ok(count)
        }
    }

    fn seen(text: String, step: usize) -> Vec<(u64, bool)> {
        let mut lines =
            read(Trickle { bytes: text.into_bytes(), at: 0, step }, "eu-central-1".parse().unwrap()).unwrap();
        let mut seen = Vec::new();
        while let Some(chunk) = lines.chunks.blocking_recv() {
            seen.extend(chunk.unwrap().into_iter().map(|line| (line.number, line.content.is_ok())));
        }
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn refused_lines_keep_their_numbers_and_the_rest_goes_on(step in 1_usize..40_000) {
            let fits = format!("{GOOD}{}", " ".repeat(LINE_BYTES_MAX - GOOD.len()));
            let long = "x".repeat(LINE_BYTES_MAX + 1);
            let text = format!("{GOOD}\nnot json\n\n{long}\r\n{fits}\n{{}}\n{GOOD}");
            prop_assert_eq!(seen(text, step), [(1, true), (2, false), (4, false), (5, true), (6, false), (7, true)]);
        }
    }

    #[test]
    fn a_refused_line_is_repeated_with_its_field() {
        let bad = GOOD.replace("5.4000", "-1");
        let Some(Line { content: Err(refused), number: 3 }) =
            line(3, bad.as_bytes(), "eu-central-1".parse().unwrap())
        else {
            panic!("a negative amount is refused");
        };
        assert_eq!((refused.field.as_str(), refused.text), ("amount", bad));
    }
}

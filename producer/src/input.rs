//! NDJSON, line by line, with a bound on the line.

use schemas::bid::Bid;
use schemas::ids::Region;
use schemas::intake::parse_line;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest line, in bytes: a bid has some 250.
pub const LINE_BYTES_MAX: usize = 16 * 1_024;

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefusedLine {
    /// From 1.
    pub line: u64,
    /// The field, or empty when it is the line itself.
    pub field: String,
    /// Why, and what to do.
    pub reason: String,
}

/// Lines of one reader.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    region: Region,
    buffer: Vec<u8>,
    line: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of a reader, for one region.
    pub fn new(reader: R, region: Region) -> Self {
        Self { reader, region, buffer: Vec::new(), line: 0 }
    }

    /// The next bid or refused line; none at the end. Empty lines are skipped.
    ///
    /// # Errors
    /// When the reader fails.
    pub async fn next(&mut self) -> std::io::Result<Option<Result<Bid, RefusedLine>>> {
        loop {
            self.buffer.clear();
            let Some(whole) = self.read_line().await? else { return Ok(None) };
            self.line += 1;
            let refused = |field: String, reason: String| RefusedLine { line: self.line, field, reason };
            if !whole {
                let reason = format!("line is longer than {LINE_BYTES_MAX} bytes; send one bid a line");
                return Ok(Some(Err(refused(String::new(), reason))));
            }
            let text = self.buffer.trim_ascii();
            if !text.is_empty() {
                let parsed = parse_line(text, self.region);
                return Ok(Some(parsed.map_err(|refusal| refused(refusal.field, refusal.reason))));
            }
        }
    }

    /// Reads one line into the buffer; `false` when it was too long and was skipped.
    async fn read_line(&mut self) -> std::io::Result<Option<bool>> {
        let (mut whole, mut any) = (true, false);
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            if self.buffer.len() + taken > LINE_BYTES_MAX {
                whole = false;
                self.buffer.clear();
            } else if whole {
                self.buffer.extend_from_slice(&chunk[..taken]);
            }
            self.reader.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                return Ok(Some(whole));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refused_lines_keep_their_numbers_and_the_rest_goes_on() {
        let good = r#"{"bid_id":"0190a000-0000-7000-8000-000000000001","slot_id":"aaaaaaaa-0000-4000-8000-000000000001","account_id":"bbbbbbbb-0000-4000-8000-000000000001","amount":"5.4000","latency_ms":42,"quality_score":0.93}"#;
        let text = format!("{good}\nnot json\n\n{}\n{good}", "x".repeat(LINE_BYTES_MAX + 1));
        let mut lines = Lines::new(text.as_bytes(), "eu-central-1".parse().unwrap());
        let mut seen = Vec::new();
        while let Some(item) = lines.next().await.unwrap() {
            seen.push(item.map(|bid| bid.amount.units()).map_err(|refused| refused.line));
        }
        assert_eq!(seen, [Ok(54_000), Err(2), Err(4), Ok(54_000)]);
    }
}

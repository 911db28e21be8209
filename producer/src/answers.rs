//! Tells whoever sent a bid what became of it, when that is anything but accepted: a line in the file of refused
//! lines, and a sample in the log.

use schemas::bid::Bid;
use schemas::intake::{to_line, to_record_line};
use serde::Serialize;

use crate::core::delivery::Outcome;
use crate::error::Error;
use crate::files::Output;

/// Refusals that are logged one by one; after them only every power of two.
const LOGGED_MAX: u64 = 10;

/// One line of the file of refused lines.
#[derive(Debug, Serialize)]
struct Told<'a> {
    /// `refused` and `expired` are not in the stream, nor is `undelivered`; `unknown` may be.
    answer: &'a str,
    line: u64,
    field: &'a str,
    reason: &'a str,
    text: &'a str,
}

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Answers {
    rejects: Option<Output>,
    record: Option<Output>,
    /// The stream's name.
    stream: String,
    told: u64,
    buffer: Vec<u8>,
}

impl Answers {
    /// Answers to what is sent to this stream; they go to these files, and to the log.
    pub(crate) fn new(stream: String, rejects: Option<Output>, record: Option<Output>) -> Self {
        Self { rejects, record, stream, told: 0, buffer: Vec::new() }
    }

    /// Records a bid that was taken.
    pub(crate) fn on_taken(&mut self, bid: &Bid) -> Result<(), Error> {
        let Some(record) = &mut self.record else { return Ok(()) };
        self.buffer.clear();
        to_record_line(bid, &mut self.buffer);
        record.write(&self.buffer)
    }

    /// Tells that a line is refused.
    pub(crate) fn on_refused(
        &mut self,
        line: u64,
        field: &str,
        reason: &str,
        text: &str,
    ) -> Result<(), Error> {
        self.tell(&Told { answer: "refused", line, field, reason, text })
    }

    /// Tells what became of a bid; nothing about one that was accepted.
    pub(crate) fn on_outcome(&mut self, line: u64, bid: &Bid, outcome: &Outcome) -> Result<(), Error> {
        let refused;
        let (answer, field, reason) = match outcome {
            Outcome::Accepted(_) => return Ok(()),
            Outcome::Expired => ("expired", "timestamp", "expired: its window is closed; send a bid of now"),
            Outcome::Undelivered => ("undelivered", "line", "was not delivered in time; send it again"),
            Outcome::StreamRefuses(failure) => {
                let why = Error::stream(&self.stream, (**failure).clone());
                refused = format!("{why}; then send it again");
                ("undelivered", "line", refused.as_str())
            }
            Outcome::Unknown => {
                ("unknown", "line", "may or may not be delivered; send it again, a copy counts once")
            }
        };
        let mut text = Vec::new();
        to_line(bid, &mut text);
        let text = String::from_utf8_lossy(text.trim_ascii_end());
        self.tell(&Told { answer, line, field, reason, text: &text })
    }

    /// Writes what is still held back.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        [&mut self.rejects, &mut self.record].into_iter().flatten().try_for_each(Output::flush)
    }

    fn tell(&mut self, told: &Told<'_>) -> Result<(), Error> {
        self.told += 1;
        if self.told <= LOGGED_MAX || self.told.is_power_of_two() {
            let Told { answer, line, field, reason, .. } = told;
            tracing::warn!(line, field, reason, so_far = self.told, "line {answer}");
        }
        let Some(rejects) = &mut self.rejects else { return Ok(()) };
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, told).expect("memory takes every write");
        self.buffer.push(b'\n');
        rejects.write(&self.buffer)
    }
}

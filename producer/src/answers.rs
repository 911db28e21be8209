//! Tells whoever sent a bid what became of it, when that is anything but accepted: a line in the file of refused
//! lines, and a sample in the log.

use std::borrow::Cow;
use std::collections::HashMap;

use runtime::failure::Failure;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::intake::{to_line, to_offered_line, to_record_line};
use schemas::time::Millis;
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
    /// What was offered, when the amount in the text was rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<&'a str>,
}

/// A bid that was not accepted, and by how much it missed its window, when that is the reason.
struct Missed {
    bid: Bid,
    ahead_ms: Option<u64>,
    late_ms: Option<u64>,
}

fn log(told: &Told<'_>, missed: Option<&Missed>, so_far: u64) {
    let Told { answer, line, field, reason, .. } = told;
    let Some(Missed { bid, ahead_ms, late_ms }) = missed else {
        return tracing::warn!(line, field, reason, so_far, "line {answer}");
    };
    let Bid { bid_id, slot_id, account_id, region, event_time, .. } = bid;
    tracing::warn!(
        line, field, reason, so_far, ahead_ms, late_ms,
        %bid_id, %slot_id, %account_id, %region, %event_time,
        "bid {answer}"
    );
}

/// Why the stream does not have a bid whose record it refuses, and what to do.
pub(crate) fn of_record(failure: &Failure) -> String {
    format!(
        "is in a record that the stream refuses while it takes others: {failure}; compare the stream's limits with \
         --record-bids and --envelope, then send it again"
    )
}

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Answers {
    rejects: Option<Output>,
    record: Option<Output>,
    /// The stream's name.
    stream: String,
    geometry: Option<Geometry>,
    told: u64,
    /// What was offered by the tickets of bids under way whose amounts were rounded.
    offers: HashMap<u64, Box<str>>,
    buffer: Vec<u8>,
}

impl Answers {
    /// Answers to what is sent to this stream; they go to these files, and to the log.
    pub(crate) fn new(
        (stream, geometry): (String, Option<Geometry>),
        rejects: Option<Output>,
        record: Option<Output>,
    ) -> Self {
        Self { rejects, record, stream, geometry, told: 0, offers: HashMap::new(), buffer: Vec::new() }
    }

    /// Keeps what was offered until the bid is answered; comes before the bid is taken.
    pub(crate) fn on_rounded(&mut self, line: u64, offered: &str) {
        self.offers.insert(line, offered.into());
    }

    /// Records a bid that was taken.
    pub(crate) fn on_taken(&mut self, line: u64, bid: &Bid) -> Result<(), Error> {
        let Some(record) = &mut self.record else { return Ok(()) };
        self.buffer.clear();
        match self.offers.get(&line) {
            Some(offered) => to_offered_line(bid, offered, &mut self.buffer),
            None => to_record_line(bid, &mut self.buffer),
        }
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
        self.tell(&Told { answer: "refused", line, field, reason, text, offered: None }, None)
    }

    /// Tells what became of a bid; nothing about one that was accepted. `now` is the stream's clock.
    pub(crate) fn on_outcome(
        &mut self,
        line: u64,
        bid: &Bid,
        outcome: &Outcome,
        now: Millis,
    ) -> Result<(), Error> {
        let offered = self.offers.remove(&line);
        let mut missed = Missed { bid: *bid, ahead_ms: None, late_ms: None };
        let (answer, field, reason): (_, _, Cow<'_, str>) = match outcome {
            Outcome::Accepted(_) => return Ok(()),
            Outcome::Refused(error) => {
                missed.ahead_ms = Some(error.ahead_ms()).filter(|ahead_ms| *ahead_ms > 0);
                ("refused", error.field(), error.to_string().into())
            }
            Outcome::Expired => {
                let late_ms = self.late_ms(bid, now);
                missed.late_ms = Some(late_ms);
                let reason = format!("expired: its window closed {late_ms} ms ago; send a bid of now");
                ("expired", "timestamp", reason.into())
            }
            Outcome::RecordRefused(failure) => ("refused", "line", of_record(failure).into()),
            Outcome::Undelivered => {
                ("undelivered", "line", "was not delivered in time; send it again".into())
            }
            Outcome::StreamRefuses(failure) => {
                let why = Error::stream(&self.stream, (**failure).clone());
                ("undelivered", "line", format!("{why}; then send it again").into())
            }
            Outcome::Unknown => {
                let reason = "may or may not be delivered; send it again, a copy counts once";
                ("unknown", "line", reason.into())
            }
        };
        let mut text = Vec::new();
        to_line(bid, &mut text);
        let text = String::from_utf8_lossy(text.trim_ascii_end());
        self.tell(
            &Told { answer, line, field, reason: &reason, text: &text, offered: offered.as_deref() },
            Some(&missed),
        )
    }

    /// How long ago the bid's window closed.
    fn late_ms(&self, bid: &Bid, now: Millis) -> u64 {
        let closed = |geometry: Geometry| geometry.closes_at(geometry.window_start(bid.event_time));
        self.geometry.map_or(0, |geometry| now.since(closed(geometry)))
    }

    /// Writes what is still held back.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        [&mut self.rejects, &mut self.record].into_iter().flatten().try_for_each(Output::flush)
    }

    fn tell(&mut self, told: &Told<'_>, missed: Option<&Missed>) -> Result<(), Error> {
        self.told += 1;
        if self.told <= LOGGED_MAX || self.told.is_power_of_two() {
            log(told, missed, self.told);
        }
        let Some(rejects) = &mut self.rejects else { return Ok(()) };
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, told).expect("memory takes every write");
        self.buffer.push(b'\n');
        rejects.write(&self.buffer)
    }
}

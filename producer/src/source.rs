//! Where bids come from, and one way to take them from any of these.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use schemas::bid::Bid;
use schemas::intake::{IntakeRules, OfferedBid};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

use crate::calls::Call;
use crate::error::Error;
use crate::files::input_named;
use crate::generator::{Generator, GeneratorConfig, Made, Pace};
use crate::input::{self, Line, RefusedLine, Rest};

/// Bids taken at once; between two takings replies are read.
const TAKEN_MAX: usize = 512;
/// How often the generator makes what is due.
const TURN: Duration = Duration::from_millis(10);
/// Bids made in one turn; what is due beyond that waits for the next.
const DUE_MAX: u64 = 8_192;

/// Where bids come from.
#[derive(Debug)]
pub enum Source {
    /// NDJSON on standard input.
    Stdin,
    /// NDJSON in a file.
    File(PathBuf),
    /// Load made here.
    Generate(GeneratorConfig),
    /// Whatever another task sends; it ends when every sender is gone.
    Bids(mpsc::Receiver<Bid>),
    /// Bids whose senders wait for the answer.
    Calls(mpsc::Receiver<Call>),
}

/// What was taken.
#[derive(Debug)]
pub(crate) enum Taken {
    Bid { bid: Bid, ticket: u64 },
    Read { read: OfferedBid, ticket: u64 },
    Duplicate { bid: Bid, ticket: u64 },
    Refused { line: u64, refused: RefusedLine },
    Call(Call),
}

/// A source in use.
#[derive(Debug)]
pub(crate) enum Feed {
    Lines {
        lines: input::Lines,
        /// What is said when reading fails.
        what: String,
    },
    /// Nothing more comes.
    Ended,
    Generate {
        generator: Box<Generator>,
        pace: Pace,
        turns: IntervalStream,
        began: Instant,
        rules: IntakeRules,
        made: u64,
    },
    Bids {
        bids: mpsc::Receiver<Bid>,
        taken: u64,
    },
    Calls(mpsc::Receiver<Call>),
}

impl Feed {
    /// Begins with a source; `file` is its file, opened.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn open(source: Source, file: Option<File>, rules: IntakeRules) -> Result<Self, Error> {
        Ok(match source {
            Source::Stdin => {
                Self::lines(std::io::stdin(), rules, "standard input cannot be read".to_owned())?
            }
            Source::File(path) => {
                Self::lines(file.expect("opened with the other files"), rules, input_named(&path))?
            }
            Source::Generate(config) => {
                let mut turns = interval(TURN);
                turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let turns = IntervalStream::new(turns);
                let pace = Pace::new(&config);
                Self::Generate {
                    generator: Box::new(Generator::new(config, rules.region)),
                    pace,
                    turns,
                    began: Instant::now(),
                    rules,
                    made: 0,
                }
            }
            Source::Bids(bids) => Self::Bids { bids, taken: 0 },
            Source::Calls(calls) => Self::Calls(calls),
        })
    }

    fn lines<R: Read + Send + 'static>(reader: R, rules: IntakeRules, what: String) -> Result<Self, Error> {
        match input::read(reader, rules) {
            Ok(lines) => Ok(Self::Lines { lines, what }),
            Err(source) => Err(Error::io(what, source)),
        }
    }

    /// Asks for no more than what was handed over already; that still comes out of [`Feed::next`].
    pub(crate) fn stop(&mut self) {
        match self {
            Self::Lines { lines, .. } => lines.stop(),
            Self::Bids { bids, .. } => bids.close(),
            Self::Calls(calls) => calls.close(),
            Self::Generate { .. } => *self = Self::Ended,
            Self::Ended => {}
        }
    }

    /// Ends the reading of lines, and gives what of them was read and did not come yet. Of all other sources nothing was
    /// read ahead.
    pub(crate) async fn rest(&mut self) -> (Vec<Taken>, Option<Error>) {
        let Self::Lines { lines, what } = self else { return (Vec::new(), None) };
        let Rest { lines, failure } = lines.rest().await;
        let failure = failure.map(|source| Error::io(what.as_str(), source));
        (lines.into_iter().map(taken_line).collect(), failure)
    }

    /// What came next; none at the end. Safe to drop and call again.
    ///
    /// # Errors
    /// When reading fails.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Taken>>, Error> {
        match self {
            Self::Ended => Ok(None),
            Self::Lines { lines, what } => match lines.next().await {
                None => Ok(None),
                Some(Ok(chunk)) => Ok(Some(chunk.into_iter().map(taken_line).collect())),
                Some(Err(source)) => Err(Error::io(what.as_str(), source)),
            },
            Self::Bids { bids, taken } => {
                let mut chunk = Vec::new();
                if bids.recv_many(&mut chunk, TAKEN_MAX).await == 0 {
                    return Ok(None);
                }
                let numbered = chunk.into_iter().map(|bid| {
                    *taken += 1;
                    Taken::Bid { bid, ticket: *taken }
                });
                Ok(Some(numbered.collect()))
            }
            Self::Calls(calls) => {
                let mut chunk = Vec::new();
                let count = calls.recv_many(&mut chunk, TAKEN_MAX).await;
                Ok((count > 0).then(|| chunk.into_iter().map(Taken::Call).collect()))
            }
            Self::Generate { generator, pace, turns, began, rules, made } => {
                turns.next().await;
                let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let Some(due) = pace.poll(elapsed_ms, DUE_MAX) else { return Ok(None) };
                let now = runtime::clock::now();
                let make = |_| {
                    *made += 1;
                    match generator.next(now) {
                        Made::Bid(bid) => Some(Taken::Bid { bid, ticket: *made }),
                        Made::Duplicate(bid) => Some(Taken::Duplicate { bid, ticket: *made }),
                        Made::Invalid(text) => input::line(*made, text.as_bytes(), *rules).map(taken_line),
                    }
                };
                Ok(Some((0..due).filter_map(make).collect()))
            }
        }
    }
}

fn taken_line(line: Line) -> Taken {
    match line.content {
        Ok(read) => Taken::Read { read, ticket: line.number },
        Err(refused) => Taken::Refused { line: line.number, refused },
    }
}

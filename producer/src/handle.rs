//! The producer as a value in another program: bids in, each answered once the stream has it.

use std::sync::Arc;

use runtime::clients::Clients;
use runtime::shutdown::{self, Trigger};
use schemas::bid::Bid;
use schemas::intake::OfferedBid;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::answers;
use crate::calls::Call;
use crate::config::Config;
use crate::core::admission::AdmissionError;
use crate::core::delivery::{Outcome, Place};
use crate::drive;
use crate::error::Error;
use crate::metrics::{Metrics, Summary};
use crate::room::{Held, Room};
use crate::source::Source;

/// Calls that wait to be taken by the loop; their bids have been given room already.
const CALLS_MAX: usize = 1_024;
/// Bids of one call: more are sent as several.
const CALL_BIDS_MAX: usize = 4_096;

/// Where the stream keeps an accepted bid.
pub type Accepted = Arc<Place>;

/// Why a bid was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It cannot make its window any more; the stream does not have it.
    #[error("expired: the window of this bid is closed")]
    Expired,
    /// It was refused before it was sent: says which field, why, and what to do.
    #[error("refused: {field} {0}", field = .0.field())]
    Refused(AdmissionError),
    /// The stream refuses the record that it is in and takes others: says why, and what to do.
    #[error("refused: {0}")]
    RecordRefused(Arc<str>),
    /// Time ran out; the stream does not have it.
    #[error("not delivered in time")]
    Undelivered,
    /// The stream refuses whatever is sent and does not have it; says what is wrong and what to do.
    #[error("not delivered: {0}")]
    StreamRefuses(Arc<str>),
    /// Time ran out; the stream may have it. A copy counts once.
    #[error("outcome unknown")]
    Unknown,
    /// The producer was closed before it took the bid.
    #[error("producer closed")]
    Closed,
}

/// The way to a running loop; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    calls: mpsc::Sender<Call>,
    room: Room,
    stream: Arc<str>,
}

impl Handle {
    /// A way to a loop with so much memory that sends to this stream, and the source it reads.
    pub(crate) fn new(buffer_bytes: u64, stream: &str) -> (Self, Source) {
        let (calls, taken) = mpsc::channel(CALLS_MAX);
        (Self { calls, room: Room::new(buffer_bytes), stream: stream.into() }, Source::Calls(taken))
    }

    /// The memory for bids.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Sends bids that were given room and waits for all answers.
    pub(crate) async fn call(&self, bids: Vec<OfferedBid>, held: Held) -> Vec<Result<Accepted, SendError>> {
        let count = bids.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call { bids, held, reply }).await.is_err() {
            return vec![Err(SendError::Closed); count];
        }
        let Ok(outcomes) = answer.await else { return vec![Err(SendError::Closed); count] };
        outcomes.into_iter().map(|outcome| answered(outcome, &self.stream)).collect()
    }
}

fn answered(outcome: Outcome, stream: &str) -> Result<Accepted, SendError> {
    match outcome {
        Outcome::Accepted(place) => Ok(place),
        Outcome::Expired => Err(SendError::Expired),
        Outcome::Refused(error) => Err(SendError::Refused(error)),
        Outcome::RecordRefused(failure) => Err(SendError::RecordRefused(answers::of_record(&failure).into())),
        Outcome::Undelivered => Err(SendError::Undelivered),
        Outcome::StreamRefuses(failure) => {
            Err(SendError::StreamRefuses(Error::stream(stream, (*failure).clone()).to_string().into()))
        }
        Outcome::Unknown => Err(SendError::Unknown),
    }
}

/// A running producer; share it behind an [`Arc`]. All bids on their way together stay within `--buffer-bytes`.
///
/// ```no_run
/// # async fn example(bid: schemas::bid::Bid) -> Result<(), Box<dyn std::error::Error>> {
/// use clap::Parser;
/// use producer::{Config, Producer};
/// use runtime::clients::Clients;
///
/// let config = Config::try_parse_from(["producer", "--region", "eu-central-1"])?;
/// let producer = Producer::start(config, Clients::from_env().await?);
/// match producer.send(bid).await {
///     Ok(place) => println!("in {} at {}", place.shard_id, place.sequence),
///     Err(error) => println!("not accepted: {error}"),
/// }
/// println!("{}", producer.close().await?);
/// # Ok(())
/// # }
/// ```
///
/// `cargo run -p producer --example library` is a whole program around it.
#[derive(Debug)]
pub struct Producer {
    handle: Handle,
    metrics: Arc<Metrics>,
    stop: Trigger,
    task: JoinHandle<Result<Summary, Error>>,
}

impl Producer {
    /// Starts a producer on the current runtime. `config` says everything but where the bids come from.
    #[must_use]
    pub fn start(config: Config, clients: Clients) -> Self {
        let (handle, source) = Handle::new(config.buffer_bytes, &config.stream);
        let (stop, stopped) = shutdown::channel();
        let metrics = Arc::new(Metrics::default());
        let run = drive::run_from(source, config, clients, stopped, Arc::clone(&metrics));
        Self { handle, metrics, stop, task: tokio::spawn(run) }
    }

    /// Sends a bid and returns once the stream has it, or says why not. Waits while the buffer is full. When the
    /// future is dropped the bid may still be sent.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, bid: Bid) -> Result<Accepted, SendError> {
        let held = self.handle.room.wait(1).await;
        let mut answers = self.handle.call(vec![OfferedBid::Exact(bid)], held).await;
        answers.pop().unwrap_or(Err(SendError::Closed))
    }

    /// [`Producer::send`] for many bids with one answer each, in their order; cheaper than as many calls.
    pub async fn send_all(&self, bids: Vec<Bid>) -> Vec<Result<Accepted, SendError>> {
        let most = CALL_BIDS_MAX.min(self.handle.room.shares());
        let mut answers = Vec::with_capacity(bids.len());
        for bids in bids.chunks(most) {
            let held = self.handle.room.wait(bids.len()).await;
            let bids = bids.iter().copied().map(OfferedBid::Exact).collect();
            answers.extend(self.handle.call(bids, held).await);
        }
        answers
    }

    /// Counters since the start.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Asks for the stop that [`Producer::close`] waits for, from any task.
    pub fn stop(&self) {
        self.stop.trigger();
    }

    /// Delivers what was taken and stops. When every `send` failed with [`SendError::Closed`], this says why.
    ///
    /// # Errors
    /// What ended the producer.
    pub async fn close(self) -> Result<Summary, Error> {
        self.stop.trigger();
        match self.task.await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(self.metrics.summary()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::generator::{Generator, GeneratorConfig, Made};

    /// A program shares a producer between threads and tasks, and sends from any of them.
    const _: fn() = || {
        fn shared<T: Send + Sync + 'static>() {}
        fn sent<T: Send>(_: T) {}
        shared::<Producer>();
        shared::<SendError>();
        let _ = |producer: &'static Producer, bid: Bid| sent(producer.send(bid));
        let _ = |producer: &'static Producer, bids: Vec<Bid>| sent(producer.send_all(bids));
    };

    #[tokio::test]
    async fn a_call_that_nobody_takes_is_closed_and_close_says_why() {
        let nowhere = "http://127.0.0.1:1";
        let config = Config::try_parse_from(["producer", "--region", "eu-west-1", "--no-table"]).unwrap();
        let producer = Producer::start(config, Clients::local(nowhere, nowhere).await);
        let mut generator = Generator::new(GeneratorConfig::default(), "eu-west-1".parse().unwrap());
        let Made::Bid(bid) = generator.next(schemas::time::Millis(1)) else { panic!("a bid") };
        assert_eq!(producer.send(bid).await, Err(SendError::Closed));
        assert_eq!(producer.send_all(vec![bid; 3]).await, vec![Err(SendError::Closed); 3]);
        assert!(matches!(producer.close().await, Err(Error::Stream { .. })));
    }
}

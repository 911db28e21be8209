//! The producer as a value in another program: one call per bid, answered once the stream has it.

use std::sync::Arc;

use runtime::clients::Clients;
use runtime::shutdown::{self, Trigger};
use schemas::bid::Bid;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::core::delivery::{Outcome, Place};
use crate::drive;
use crate::error::Error;
use crate::metrics::{Metrics, Summary};
use crate::source::{Call, Source};

/// Calls that wait to be taken; beyond them and the buffer, `send` waits.
const CALLS_MAX: usize = 1_024;

/// Where the stream keeps an accepted bid.
pub type Accepted = Arc<Place>;

/// Why a bid was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It cannot make its window any more; the stream does not have it.
    #[error("expired: the window of this bid is closed")]
    Expired,
    /// Time ran out; the stream does not have it.
    #[error("not delivered in time")]
    Undelivered,
    /// Time ran out; the stream may have it. A copy counts once.
    #[error("outcome unknown")]
    Unknown,
    /// The producer was closed before it took the bid.
    #[error("producer closed")]
    Closed,
}

/// A running producer; share it behind an [`Arc`].
///
/// ```no_run
/// # async fn example(bid: schemas::bid::Bid) -> Result<(), Box<dyn std::error::Error>> {
/// use clap::Parser;
/// use producer::{Config, Producer};
/// use runtime::clients::Clients;
///
/// let config = Config::try_parse_from(["producer", "--region", "eu-central-1"])?;
/// let producer = Producer::start(config, Clients::from_env().await);
/// match producer.send(bid).await {
///     Ok(place) => println!("in {} at {}", place.shard_id, place.sequence),
///     Err(error) => println!("not accepted: {error}"),
/// }
/// println!("{}", producer.close().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    calls: mpsc::Sender<Call>,
    metrics: Arc<Metrics>,
    stop: Trigger,
    task: JoinHandle<Result<Summary, Error>>,
}

impl Producer {
    /// Starts a producer on the current runtime. `config` says everything but where the bids come from.
    #[must_use]
    pub fn start(config: Config, clients: Clients) -> Self {
        let (calls, taken) = mpsc::channel(CALLS_MAX);
        let (stop, stopped) = shutdown::channel();
        let metrics = Arc::new(Metrics::default());
        let run = drive::run_from(Source::Calls(taken), config, clients, stopped, Arc::clone(&metrics));
        Self { calls, metrics, stop, task: tokio::spawn(run) }
    }

    /// Sends a bid and returns once the stream has it. Waits while the buffer is full. When the future is dropped the
    /// bid may still be sent.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, bid: Bid) -> Result<Accepted, SendError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call { bid, reply }).await.map_err(|_| SendError::Closed)?;
        match answer.await {
            Ok(Outcome::Accepted(place)) => Ok(place),
            Ok(Outcome::Expired) => Err(SendError::Expired),
            Ok(Outcome::Undelivered) => Err(SendError::Undelivered),
            Ok(Outcome::Unknown) => Err(SendError::Unknown),
            Err(_) => Err(SendError::Closed),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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

    #[tokio::test]
    async fn a_call_that_nobody_takes_is_closed_and_close_says_why() {
        fn shared<T: Send + Sync>(value: T) -> T {
            value
        }
        let nowhere = "http://127.0.0.1:1";
        let config = Config::try_parse_from(["producer", "--region", "eu-west-1"]).unwrap();
        let producer = shared(Producer::start(config, Clients::local(nowhere, nowhere).await));
        let mut generator = Generator::new(GeneratorConfig::default(), "eu-west-1".parse().unwrap());
        let Made::Bid(bid) = generator.next(schemas::time::Millis(1)) else { panic!("a bid") };
        assert_eq!(producer.send(bid).await, Err(SendError::Closed));
        assert!(matches!(producer.close().await, Err(Error::Unreachable { .. })));
    }
}

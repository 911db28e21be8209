//! The transaction runner: the one place where a transaction is run and tried again.
//!
//! [`crate::core::transaction`] decides; here its effects are carried out, each within its time, and what happened is
//! told to it. A connection whose state is not known is closed, never used again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runtime::shutdown::Shutdown;

use crate::attempt::{read, write};
use crate::core::attempt::{Failure, Fate, Meaning};
use crate::core::plan::Job;
use crate::core::transaction::{Effect, Ended, Event, Moment, Rules, Transaction};
use crate::db::{Connection, Pool, chain};
use crate::statements::ROLLBACK;

/// How long what was begun may take once a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs one job to its end.
#[derive(Debug)]
pub struct Runner<'a> {
    pool: &'a Pool,
    stop: Option<&'a Shutdown>,
    machine: Transaction,
    connection: Option<Connection>,
    /// Whether a transaction may be open on the connection.
    open: bool,
    began: Instant,
    /// 1 from a connection that could not be made to an answer.
    away: Option<&'a AtomicU64>,
}

impl<'a> Runner<'a> {
    /// A runner that has done nothing yet.
    #[must_use]
    pub fn new(pool: &'a Pool, job: Job, rules: Rules, stop: Option<&'a Shutdown>) -> Self {
        let machine = Transaction::new(job, rules);
        Self { pool, stop, machine, connection: None, open: false, began: Instant::now(), away: None }
    }

    /// Says in this number whether the ledger is away, as soon as that is known and not when a job is given back.
    #[must_use]
    pub fn watched(self, away: &'a AtomicU64) -> Self {
        Self { away: Some(away), ..self }
    }

    /// Runs until a part has ended; none when all have.
    ///
    /// A job that is halved ends in several parts. Dropping the runner in between is safe: what was not committed was
    /// not done.
    pub async fn next(&mut self) -> Option<Ended> {
        let mut event = Event::Ready;
        loop {
            let effect = self.tell(event);
            event = match effect {
                Effect::Read(reads) => match self.connected().await {
                    Ok(mut connection) => {
                        let flight = self.machine.rules().flight;
                        self.open = true;
                        let answer = tokio::time::timeout(flight, read(&mut connection, &reads)).await;
                        let answer =
                            answer.unwrap_or_else(|_| Err(Failure::lost("no answer in time".into())));
                        self.settle_connection(connection, answer.as_ref().err()).await;
                        answer.map_or_else(Event::Failed, Event::Seen)
                    }
                    Err(failure) => Event::Failed(failure),
                },
                Effect::Write(writes) => {
                    let mut connection =
                        self.connection.take().expect("what was read was read on a connection");
                    let flight = self.machine.rules().flight;
                    let answer = tokio::time::timeout(flight, write(&mut connection, &writes)).await;
                    let answer = answer.unwrap_or_else(|_| Err(Failure::lost("no answer in time".into())));
                    // A COMMIT that was answered has ended its transaction, one way or the other.
                    self.open = false;
                    self.settle_connection(connection, answer.as_ref().err()).await;
                    answer.map_or_else(Event::Failed, |()| Event::Committed)
                }
                Effect::Pause(delay) => {
                    self.pause(delay).await;
                    Event::Ready
                }
                Effect::Ended(ended) => return Some(ended),
                Effect::Finished => {
                    self.give_back().await;
                    return None;
                }
            };
        }
    }

    fn tell(&mut self, event: Event) -> Effect {
        let now = Moment { wall: runtime::clock::now(), steady: self.began.elapsed() };
        if self.stop.is_some_and(Shutdown::requested) {
            self.machine.hurry(now, STOP_GRACE);
        }
        self.machine.on(event, now, runtime::chance::unit())
    }

    async fn connected(&mut self) -> Result<Connection, Failure> {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.is_spent())
            && (!self.open || rolled_back(&connection).await)
        {
            self.open = false;
            return Ok(connection);
        }
        self.open = false;
        let taken = self.pool.take().await;
        if let Some(away) = self.away {
            away.store(u64::from(taken.is_err()), Ordering::Relaxed);
        }
        taken.map_err(|error| {
            tracing::warn!(error = chain(&error), ledger = self.pool.name(), "ledger away, connecting again");
            Failure::away(chain(&error))
        })
    }

    /// Keeps a connection whose state is known, and closes any other.
    async fn settle_connection(&mut self, connection: Connection, failure: Option<&Failure>) {
        let Some(failure) = failure else {
            self.connection = Some(connection);
            return;
        };
        match failure.fate() {
            Fate::Keep => self.connection = Some(connection),
            Fate::Close => {
                self.open = false;
                connection.close().await;
            }
        }
        tell(failure);
    }

    async fn pause(&mut self, delay: Duration) {
        let sleep = tokio::time::sleep(delay);
        match self.stop {
            Some(stop) if !stop.requested() => tokio::select! {
                () = sleep => {}
                () = stop.wait() => {}
            },
            _ => sleep.await,
        }
    }

    async fn give_back(&mut self) {
        if let Some(connection) = self.connection.take()
            && (!self.open || rolled_back(&connection).await)
        {
            self.pool.give_back(connection);
        }
        self.open = false;
    }

    /// The connection of what was run last, to write down what it took.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|_| !self.open)
    }
}

/// A conflict is the price of many writers; a fault is not, and someone may want to know.
fn tell(failure: &Failure) {
    let Failure { meaning, sqlstate, text, origin } = failure;
    let origin = origin.as_str();
    match meaning {
        Meaning::Conflict => tracing::debug!(sqlstate, origin, text, "conflict"),
        _ => tracing::warn!(?meaning, sqlstate, origin, text, "fault of the ledger or the way to it"),
    }
}

/// Ends what is left of a transaction; false when the connection cannot even do that.
async fn rolled_back(connection: &Connection) -> bool {
    let rollback = connection.client.batch_execute(ROLLBACK);
    matches!(tokio::time::timeout(ROLLBACK_WITHIN, rollback).await, Ok(Ok(())))
}

/// A rollback is answered at once, or the connection is gone.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(3);

//! The transaction runner: the one place where a transaction is run and tried again.
//!
//! [`crate::core::transaction`] decides; here its effects are carried out, each within its time, and what happened is
//! told to it. A connection whose state is not known is closed, never used again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::shutdown::Shutdown;

use crate::attempt::{read, write};
use crate::core::attempt::{Failure, Fate, Meaning};
use crate::core::plan::Job;
use crate::core::transaction::{Effect, Ended, Event, Moment, Rules, Transaction};
use crate::db::{Connection, Pool, chain};
use crate::error::Error;
use crate::grace::Grace;
use crate::metrics::Metrics;
use crate::statements::ROLLBACK;

/// Runs one job to its end.
#[derive(Debug)]
pub struct Runner<'a> {
    pool: &'a Pool,
    grace: Grace<'a>,
    machine: Transaction,
    connection: Option<Connection>,
    /// Whether a transaction may be open on the connection.
    open: bool,
    began: Instant,
    /// Where it is said whether connections can be made.
    metrics: Option<&'a Metrics>,
}

impl<'a> Runner<'a> {
    /// A runner that has done nothing yet.
    #[must_use]
    pub fn new(pool: &'a Pool, job: Job, rules: Rules, stop: Option<&'a Shutdown>) -> Self {
        let machine = Transaction::new(job, rules);
        let grace = Grace::after(stop);
        Self { pool, grace, machine, connection: None, open: false, began: Instant::now(), metrics: None }
    }

    /// Says here whether the ledger is away or lets nobody in, as soon as that is known and not when a job is given back.
    #[must_use]
    pub fn watched(self, metrics: &'a Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
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
                        let flight = self.grace.at_most(self.machine.rules().flight);
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
                    let flight = self.grace.at_most(self.machine.rules().flight);
                    let answer = tokio::time::timeout(flight, write(&mut connection, &writes)).await;
                    let answer = answer.unwrap_or_else(|_| Err(Failure::lost("no answer in time".into())));
                    // A COMMIT that was answered has ended its transaction, one way or the other.
                    self.open = false;
                    self.settle_connection(connection, answer.as_ref().err()).await;
                    answer.map_or_else(Event::Failed, |()| Event::Committed)
                }
                Effect::Pause(delay) => {
                    self.grace.pause(delay).await;
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
        if let Some(left) = self.grace.left() {
            self.machine.hurry(now, left);
        }
        self.machine.on(event, now, runtime::chance::unit())
    }

    async fn connected(&mut self) -> Result<Connection, Failure> {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.is_spent())
            && (!self.open || rolled_back(&connection, self.grace).await)
        {
            self.open = false;
            return Ok(connection);
        }
        self.open = false;
        let taken = tokio::select! {
            taken = self.pool.take() => taken,
            () = self.grace.over() => return Err(Failure::away("stopped before there was a connection".into())),
        };
        let (ledger, failed) = (self.pool.name(), taken.as_ref().err());
        let lets_nobody_in = matches!(failed, Some(Error::NotLetIn { .. }));
        if let Some(metrics) = self.metrics {
            metrics.ledger_refuses.store(u64::from(lets_nobody_in), Ordering::Relaxed);
            metrics.ledger_away.store(u64::from(failed.is_some() && !lets_nobody_in), Ordering::Relaxed);
        }
        taken.map_err(|error| {
            let said = chain(&error);
            // Nothing was done in either case, and both may pass; but one of them only when someone acts.
            if let Error::NotLetIn { sqlstate, .. } = error {
                tracing::error!(error = said, sqlstate, ledger, "ledger lets nobody in, tried again");
                return Failure::not_let_in(sqlstate, said);
            }
            tracing::warn!(error = said, ledger, "ledger away, connecting again");
            Failure::away(said)
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
                if failure.meaning == Meaning::Stale {
                    // The others were prepared for the same tables.
                    self.pool.forget();
                }
            }
        }
        tell(failure);
    }

    async fn give_back(&mut self) {
        if let Some(connection) = self.connection.take()
            && (!self.open || rolled_back(&connection, self.grace).await)
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
async fn rolled_back(connection: &Connection, grace: Grace<'_>) -> bool {
    let rollback = connection.client.batch_execute(ROLLBACK);
    matches!(tokio::time::timeout(grace.at_most(ROLLBACK_WITHIN), rollback).await, Ok(Ok(())))
}

/// A rollback is answered at once, or the connection is gone.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(3);

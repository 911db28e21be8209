//! `simulation_runs`: what was run, with which seed, and what came out.
//!
//! A producer within `demo` gets its row from here, after it has ended: the producer's own package knows no ledger. So
//! the `producer` binary writes none, and `report` on bids from it does not know how many were sent; its own summary
//! does (`producer --json`).

use schemas::time::Millis;
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::failure::{Failure, chain};

/// The kind of a producer's row.
pub const PRODUCER: &str = "producer";

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What ran.
    pub kind: &'static str,
    /// Its seed, 0 without one.
    pub seed: i64,
    /// How it was started.
    pub parameters: Value,
    /// What came out.
    pub outcome: Value,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub finished: Millis,
}

/// Adds a row.
///
/// # Errors
/// A [`Failure`] when the ledger does not take it.
pub async fn record(db: &Client, run: &Run) -> Result<(), Failure> {
    let sql = "INSERT INTO simulation_runs (run_id, kind, seed, parameters, outcome, started_at, finished_at) \
         VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::timestamptz)";
    let id = Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed());
    let (parameters, outcome) = (run.parameters.to_string(), run.outcome.to_string());
    let (started, finished) = (run.started.to_string(), run.finished.to_string());
    let added =
        db.execute(sql, &[&id, &run.kind, &run.seed, &parameters, &outcome, &started, &finished]).await;
    let failed =
        |error| Failure::unavailable(format!("the ledger did not take a run's row: {}", chain(&error)));
    added.map(|_| ()).map_err(failed)
}

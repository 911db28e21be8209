//! Makes contention visible: one row per attempt that did not end well, with what it met and how long it then waited.

use schemas::ids::SettlementId;
use schemas::time::Millis;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::attempt::failure;
use crate::core::attempt::{Attempt, Meaning, occ_code};
use crate::core::plan::{Done, Job};
use crate::core::transaction::{End, Ended};
use crate::db::{Connection, chain};
use crate::statements::INSERT_CONFLICTS;

/// How many of these were conflicts.
#[must_use]
pub fn conflicts(attempts: &[Attempt]) -> u64 {
    let count = attempts.iter().filter(|attempt| attempt.failure.meaning == Meaning::Conflict).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Whether what was to be done was done in the end.
#[must_use]
pub fn resolved(end: &End) -> bool {
    matches!(end, End::Done(Done::Decided(_) | Done::Deposited | Done::DepositedBefore))
}

/// What the rows of a part are filed under: the one auction's key, or an id of the batch.
fn batch_id(job: &Job) -> Uuid {
    match job {
        Job::Settle(batch) if batch.len() == 1 => batch[0].id.0,
        Job::Settle(batch) => batch.first().map_or_else(Uuid::nil, |first| new_id(&first.id)),
        Job::Deposit(deposit) => deposit.id,
    }
}

fn new_id(of: &SettlementId) -> Uuid {
    Uuid::new_v5(&of.0, &runtime::chance::seed().to_be_bytes())
}

/// Writes them. They are evidence, not truth: a failure is logged and settling goes on.
pub async fn record(connection: &Connection, worker: &str, ended: &Ended, at: Millis) {
    if ended.attempts.is_empty() {
        return;
    }
    let batch = batch_id(&ended.job);
    let all = &ended.attempts;
    let seed = Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed());
    let events: Vec<Uuid> =
        (0_u64..).take(all.len()).map(|n| Uuid::new_v5(&seed, &n.to_be_bytes())).collect();
    let numbers: Vec<i64> = all.iter().map(|one| i64::from(one.number)).collect();
    let codes: Vec<&str> = all.iter().map(|one| one.failure.sqlstate.as_str()).collect();
    let occ: Vec<Option<&str>> = all.iter().map(|one| occ_code(&one.failure.text)).collect();
    let origins: Vec<&str> = all.iter().map(|one| one.failure.origin.as_str()).collect();
    let delays: Vec<i64> =
        all.iter().map(|one| i64::try_from(one.delay.as_millis()).unwrap_or(i64::MAX)).collect();
    let (is_resolved, at) = (resolved(&ended.end), at.to_string());
    let columns: [&(dyn ToSql + Sync); 10] =
        [&batch, &worker, &is_resolved, &at, &events, &numbers, &codes, &occ, &origins, &delays];
    let written = async {
        let mut tries = 1;
        loop {
            match connection.client.execute(INSERT_CONFLICTS, &columns).await {
                // The rows of an attempt have keys of their own, so what was done after all is not done twice.
                Err(error) if tries < TRIES_MAX && failure(&error).meaning == Meaning::Conflict => tries += 1,
                other => return other,
            }
        }
    };
    match tokio::time::timeout(WITHIN, written).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "conflict events not written"),
        Err(_) => tracing::warn!("conflict events not written in time"),
    }
}

/// How often writing them is tried when it meets conflicts itself.
const TRIES_MAX: u32 = 8;
/// How long writing them may take.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

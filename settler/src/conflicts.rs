//! Makes contention visible: one row per attempt that did not end well, with what it met and how long it then waited.

use schemas::ids::SettlementId;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::attempt::failure;
use crate::core::attempt::{Attempt, Meaning, occ_code};
use crate::core::plan::{Done, Job};
use crate::core::transaction::{End, Ended};
use crate::db::{Connection, Pool};
use crate::grace::Grace;
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

/// Writes them, on `connection` while that lasts and on another when it is gone: what an attempt met must not be lost
/// to the next fault. They are evidence, not truth: when it cannot be done in time that is logged, and settling goes on.
/// After a stop no connection is made for them.
pub async fn record(
    pool: &Pool,
    connection: Option<&Connection>,
    grace: Grace<'_>,
    worker: &str,
    ended: &Ended,
) {
    if ended.attempts.is_empty() {
        return;
    }
    let rows = Rows::of(ended);
    let (is_resolved, at) = (resolved(&ended.end), runtime::clock::now().to_string());
    let columns: [&(dyn ToSql + Sync); 10] = [
        &rows.batch,
        &worker,
        &is_resolved,
        &at,
        &rows.events,
        &rows.numbers,
        &rows.codes,
        &rows.occ,
        &rows.origins,
        &rows.delays,
    ];
    let told = tokio::select! {
        written = written(pool, connection, grace, &columns) => match written {
            Ok(()) => return,
            Err(reason) => reason,
        },
        () = tokio::time::sleep(WITHIN) => "no answer in time".to_owned(),
        () = grace.over() => "the time after the stop is over".to_owned(),
    };
    tracing::warn!(error = told, attempts = ended.attempts.len(), "conflict events not written");
}

/// Writes until it is done. The rows have keys of their own, so what was done after all is not done twice.
async fn written(
    pool: &Pool,
    connection: Option<&Connection>,
    grace: Grace<'_>,
    columns: &[&(dyn ToSql + Sync)],
) -> Result<(), String> {
    let mut lent = connection.filter(|connection| !connection.is_spent());
    let mut own = None;
    for _ in 0..TRIES_MAX {
        if lent.is_none() && own.is_none() {
            if grace.has_begun() {
                return Err("the connection is gone, and after a stop none is made for this".to_owned());
            }
            own = Some(pool.take().await.map_err(|error| error.to_string())?);
        }
        let Some(connection) = lent.or(own.as_ref()) else { continue };
        let told = match connection.client.execute(INSERT_CONFLICTS, columns).await {
            Ok(_) => {
                own.into_iter().for_each(|connection| pool.give_back(connection));
                return Ok(());
            }
            Err(error) => failure(&error),
        };
        match told.meaning {
            Meaning::Conflict => {}
            Meaning::Unknown | Meaning::Stale => (lent, own) = (None, None),
            _ => return Err(format!("{} ({})", told.text, told.sqlstate)),
        }
    }
    Err("too many tries".to_owned())
}

/// The columns, one value for each attempt.
struct Rows<'a> {
    batch: Uuid,
    events: Vec<Uuid>,
    numbers: Vec<i64>,
    codes: Vec<&'a str>,
    occ: Vec<Option<&'a str>>,
    origins: Vec<&'a str>,
    delays: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn of(ended: &'a Ended) -> Self {
        let all = &ended.attempts;
        let seed = Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed());
        let delay = |one: &Attempt| i64::try_from(one.delay.as_millis()).unwrap_or(i64::MAX);
        Self {
            batch: batch_id(&ended.job),
            events: (0_u64..).take(all.len()).map(|n| Uuid::new_v5(&seed, &n.to_be_bytes())).collect(),
            numbers: all.iter().map(|one| i64::from(one.number)).collect(),
            codes: all.iter().map(|one| one.failure.sqlstate.as_str()).collect(),
            occ: all.iter().map(|one| occ_code(&one.failure.text)).collect(),
            origins: all.iter().map(|one| one.failure.origin.as_str()).collect(),
            delays: all.iter().map(delay).collect(),
        }
    }
}

/// How often writing them is tried when it meets conflicts and lost answers itself.
const TRIES_MAX: u32 = 32;
/// How long writing them may take.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

//! Makes contention visible: one row per attempt that met a conflict.

use schemas::time::Millis;
use uuid::Uuid;

use crate::db::Connection;
use crate::runner::Conflict;

/// Writes the conflicts of a batch. They are evidence, not truth: a failure is logged and settling goes on.
pub async fn record(
    connection: &Connection,
    worker: &str,
    conflicts: &[Conflict],
    resolved: bool,
    at: Millis,
) {
    let batch = Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed());
    let sql = "INSERT INTO conflict_events (event_id, batch_id, worker, attempt, sqlstate, occ_code, origin, delay_ms, \
         resolved, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::timestamptz) ON CONFLICT (event_id) DO NOTHING";
    for conflict in conflicts {
        let event = Uuid::new_v5(&batch, &conflict.attempt.to_be_bytes());
        let delay_ms = i64::try_from(conflict.delay.as_millis()).unwrap_or(i64::MAX);
        let attempt = i64::from(conflict.attempt);
        let (origin, at) = ("genuine", at.to_string());
        let written = connection
            .client
            .execute(
                sql,
                &[
                    &event,
                    &batch,
                    &worker,
                    &attempt,
                    &conflict.sqlstate,
                    &conflict.occ_code,
                    &origin,
                    &delay_ms,
                    &resolved,
                    &at,
                ],
            )
            .await;
        if let Err(error) = written {
            tracing::warn!(error = crate::db::chain(&error), "conflict event not written");
            return;
        }
    }
}

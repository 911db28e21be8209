//! Reading calls tried again under full jitter: every call of the audit only reads, so trying again is harmless.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use runtime::backoff::Backoff;
use runtime::failure::{Failure, classify};

/// A shard gives five reads a second to all its readers together, so the first wait is a fifth of one.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// Attempts in a row that may fail; together they wait for about half a minute.
const ATTEMPTS_MAX: u32 = 16;

/// How long a service may answer nothing that is clear before that is told.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// Attempts in a row that may find nobody listening, or something else: a service that is not there is not waited for.
const UNREACHABLE_MAX: u32 = 4;

/// Calls until the call succeeds, is refused, or has failed too often.
pub(super) async fn read<T, E, F>(mut call: impl FnMut() -> F) -> Result<T, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    let (mut attempt, began) = (0, Instant::now());
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                let failure = classify(&error);
                let most = match failure {
                    Failure::Unreachable { .. } | Failure::Unexpected { .. } => UNREACHABLE_MAX,
                    _ => ATTEMPTS_MAX,
                };
                let is_silent = matches!(failure, Failure::Unknown { .. }) && began.elapsed() >= SILENT_MAX;
                if !failure.is_transient() || attempt >= most || is_silent {
                    return Err(failure);
                }
                // A throttled read is how a shard shares itself out; the rest is worth a word.
                match failure {
                    Failure::Throttled { .. } => tracing::debug!(attempt, %failure, "read tried again"),
                    _ => tracing::warn!(attempt, %failure, "read tried again"),
                }
                tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
                attempt += 1;
            }
        }
    }
}

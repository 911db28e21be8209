//! Whether the ledger takes the settler's statements, before anything is settled.

use std::time::Duration;

use runtime::outage::Watched;

use crate::attempt;
use crate::core::attempt::Meaning;
use crate::db::Pool;
use crate::error::Error;

/// A ledger that was never provisioned, or by an earlier release, says so now and not at the first auction. Whatever
/// else goes wrong may pass, and is met again by the work: until all statements are prepared, the start is not a good one.
pub(crate) async fn ready(pool: &Pool, within: Duration) -> Result<Watched, Error> {
    let mut connection = pool.take().await?;
    match tokio::time::timeout(within, attempt::prepare(&mut connection)).await {
        Ok(Ok(())) => {
            pool.give_back(connection);
            return Ok(Watched::after_a_good_start(pool.name()));
        }
        Ok(Err(told)) if told.meaning == Meaning::Broken => {
            return Err(broken(&format!("{} ({})", told.text, told.sqlstate)));
        }
        _ => connection.close().await,
    }
    Ok(Watched::new(pool.name()))
}

/// The statements are refused, whatever the work is.
pub(crate) fn broken(reason: &str) -> Error {
    Error::Refused {
        what: "the settler's statements".to_owned(),
        reason: format!(
            "{reason}; if the ledger was never provisioned, or by an earlier release, run `exchange provision`"
        ),
    }
}

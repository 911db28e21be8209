//! `settler release`: puts a held auction back into the outbox, once what held it is mended.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use runtime::clients::Clients;
use schemas::ids::SlotId;
use schemas::keys;
use schemas::time::Millis;

use crate::error::Error;
use crate::outbox::{Log, Outbox};

/// Which auction.
#[derive(Args, Clone, Debug)]
pub struct Release {
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE, value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// The slot.
    #[arg(long)]
    pub slot: SlotId,
    /// Start of the window, as RFC 3339 or as psql prints it.
    #[arg(long, value_parser = runtime::when::parse)]
    pub window: Millis,
    /// Decides it by the candidates of its item alone: where these do not suffice it is not sold. For an auction whose log
    /// the stream no longer holds.
    #[arg(long)]
    pub by_candidates: bool,
}

/// Releases it.
///
/// # Errors
/// When there is no such auction, it is not held, or the table cannot be used.
pub async fn release(options: &Release, clients: &Clients) -> Result<(), Error> {
    let agreed = runtime::agreed::read(&clients.dynamodb, &options.table, None).await?;
    let outbox = Outbox { client: clients.dynamodb.clone(), table: options.table.clone(), agreed };
    let log = if options.by_candidates { Log::Never } else { Log::Read };
    let released = outbox.release(&options.slot, options.window, log).await;
    match released {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Input(format!(
            "no auction of slot {} at {} is held in table {}",
            options.slot, options.window, options.table
        ))),
        Err(failure) => Err(Error::Call { what: format!("table {}", options.table), failure }),
    }
}

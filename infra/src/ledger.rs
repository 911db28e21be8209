//! Deposits, from the command line.

use std::io::Write;

use clap::Args;
use schemas::ids::AccountId;
use schemas::money::Price;
use settler::db::Ledger;
use uuid::Uuid;

use crate::failure::Failure;
use crate::output::lost;

/// Options of `exchange deposit`.
#[derive(Args, Debug)]
pub struct Deposit {
    /// The account.
    #[arg(long)]
    account: AccountId,
    /// Decimal amount above 0, at most 4 decimals.
    #[arg(long)]
    amount: Price,
    /// The deposit's own id, a UUID: the same id is booked once.
    #[arg(long, value_name = "UUID")]
    id: Uuid,
    #[command(flatten)]
    ledger: Ledger,
}

/// Books a deposit.
///
/// # Errors
/// When the ledger cannot be reached or the account is unknown.
pub async fn deposit(options: Deposit) -> anyhow::Result<()> {
    let mut connection = options.ledger.connect().await.map_err(Failure::from)?;
    let now = runtime::clock::now();
    let booked =
        settler::provision::deposit(&mut connection, options.account, options.amount, options.id, now).await;
    let word = if booked.map_err(Failure::from)? { "booked" } else { "booked before" };
    writeln!(
        std::io::stdout(),
        "deposit {} of {} to {}: {word}",
        options.id,
        options.amount,
        options.account
    )
    .map_err(lost)?;
    Ok(())
}

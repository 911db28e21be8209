//! Deposits, from the command line.

use std::io::Write;

use clap::Args;
use schemas::ids::AccountId;
use schemas::money::Price;
use settler::db::Ledger;
use uuid::Uuid;

use crate::failure::Failure;

/// Options of `exchange deposit`.
#[derive(Args, Debug)]
pub struct Deposit {
    /// The account.
    #[arg(long)]
    account: AccountId,
    /// Decimal amount above 0, at most 4 decimals.
    #[arg(long)]
    amount: Price,
    /// The deposit's own id: the same id is booked once.
    #[arg(long)]
    id: Uuid,
    #[command(flatten)]
    ledger: Ledger,
}

/// An error of the settler's as a failure with its exit code.
#[must_use]
pub fn failure(error: &settler::Error) -> Failure {
    Failure { code: error.exit_code(), sentence: error.to_string() }
}

/// Books a deposit.
///
/// # Errors
/// When the ledger cannot be reached or the account is unknown.
pub async fn deposit(options: Deposit) -> anyhow::Result<()> {
    let mut connection = options.ledger.connect().await.map_err(|error| failure(&error))?;
    let now = runtime::clock::now();
    let booked =
        settler::provision::deposit(&mut connection, options.account, options.amount, options.id, now).await;
    let word = if booked.map_err(|error| failure(&error))? { "booked" } else { "booked before" };
    writeln!(
        std::io::stdout(),
        "deposit {} of {} to {}: {word}",
        options.id,
        options.amount,
        options.account
    )?;
    Ok(())
}

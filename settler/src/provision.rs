//! The ledger's schema, accounts, slots and deposits; all repeatable.

use schemas::ids::{AccountId, SlotId};
use schemas::money::{Money, Price};
use schemas::sql::MIGRATIONS;
use schemas::time::Millis;
use uuid::Uuid;

use crate::db::{Connection, chain};
use crate::error::Error;

/// The account that deposits come from; it has entries and no row.
pub const CASH: AccountId = AccountId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));
/// Rows of one transaction: far below the 3,000 of DSQL.
const ROWS: usize = 500;

/// An account to be known to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its id.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// What it begins with.
    pub balance: Money,
    /// How far below zero it may go.
    pub credit_limit: Money,
}

/// A slot to be known to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    /// Its id.
    pub slot_id: SlotId,
    /// Who is paid.
    pub publisher: AccountId,
    /// The least that is taken.
    pub floor: Money,
}

fn refused(what: &str, error: &tokio_postgres::Error) -> Error {
    let sqlstate = error.code().map_or("no code", |code| code.code()).to_owned();
    Error::Refused { what: what.to_owned(), sqlstate, reason: chain(error) }
}

/// Applies every migration, one DDL statement a transaction.
///
/// # Errors
/// When the ledger refuses one.
pub async fn schema(connection: &Connection) -> Result<(), Error> {
    for migration in MIGRATIONS {
        let applied = connection.client.batch_execute(migration.statement).await;
        match applied {
            Ok(()) => {}
            // PostgreSQL itself does not know ASYNC; the index is the same without it.
            Err(error)
                if error.code().map(|code| code.code()) == Some("42601")
                    && migration.statement.contains(" ASYNC ") =>
            {
                let plain = migration.statement.replacen(" ASYNC ", " ", 1);
                let applied = connection.client.batch_execute(&plain).await;
                applied.map_err(|error| {
                    refused(&format!("migration {} {}", migration.number, migration.name), &error)
                })?;
            }
            Err(error) => {
                return Err(refused(&format!("migration {} {}", migration.number, migration.name), &error));
            }
        }
    }
    Ok(())
}

/// Makes accounts that are not known yet; what a known one holds is never changed.
///
/// # Errors
/// When the ledger refuses.
pub async fn accounts(connection: &Connection, accounts: &[NewAccount]) -> Result<(), Error> {
    let sql = "INSERT INTO enterprise_accounts (account_id, name, opening_balance, balance, credit_limit, version) \
         SELECT a, n, b::numeric, b::numeric, l::numeric, 0 \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS rows (a, n, b, l) \
         ON CONFLICT (account_id) DO NOTHING";
    for part in accounts.chunks(ROWS) {
        let ids: Vec<Uuid> = part.iter().map(|one| one.account_id.0).collect();
        let names: Vec<&str> = part.iter().map(|one| one.name.as_str()).collect();
        let balances: Vec<String> = part.iter().map(|one| one.balance.to_string()).collect();
        let limits: Vec<String> = part.iter().map(|one| one.credit_limit.to_string()).collect();
        let made = connection.client.execute(sql, &[&ids, &names, &balances, &limits]).await;
        made.map_err(|error| refused("accounts", &error))?;
    }
    Ok(())
}

/// Makes slots that are not known yet, and gives known ones the floor and publisher that are given.
///
/// # Errors
/// When the ledger refuses.
pub async fn slots(connection: &Connection, slots: &[NewSlot]) -> Result<(), Error> {
    let sql = "INSERT INTO ad_slots (slot_id, publisher_account_id, floor_price) \
         SELECT s, p, f::numeric FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS rows (s, p, f) \
         ON CONFLICT (slot_id) DO UPDATE SET publisher_account_id = EXCLUDED.publisher_account_id, \
         floor_price = EXCLUDED.floor_price";
    for part in slots.chunks(ROWS) {
        let ids: Vec<Uuid> = part.iter().map(|one| one.slot_id.0).collect();
        let publishers: Vec<Uuid> = part.iter().map(|one| one.publisher.0).collect();
        let floors: Vec<String> = part.iter().map(|one| one.floor.to_string()).collect();
        let made = connection.client.execute(sql, &[&ids, &publishers, &floors]).await;
        made.map_err(|error| refused("slots", &error))?;
    }
    Ok(())
}

/// Adds money to an account through the ledger, once per id; answers whether this call did it.
///
/// # Errors
/// When the account is unknown or the ledger refuses.
pub async fn deposit(
    connection: &mut Connection,
    account: AccountId,
    amount: Price,
    id: Uuid,
    at: Millis,
) -> Result<bool, Error> {
    let what = |error: tokio_postgres::Error| refused("the deposit", &error);
    let builder =
        connection.client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let transaction = builder.start().await.map_err(what)?;
    let (amount, at) = (amount.to_string(), at.to_string());
    let entry = "INSERT INTO financial_ledger (entry_id, settlement_id, deposit_id, account_id, direction, amount, \
         account_version, created_at) VALUES ($1, NULL, $2, $3, $4, $5::text::numeric, NULL, $6::text::timestamptz) \
         ON CONFLICT (entry_id) DO NOTHING";
    for (direction, whose) in [("DEBIT", CASH), ("CREDIT", account)] {
        let key = Uuid::new_v5(&id, direction.as_bytes());
        let made = transaction
            .execute(entry, &[&key, &id, &whose.0, &direction, &amount, &at])
            .await
            .map_err(what)?;
        if made == 0 {
            return Ok(false);
        }
    }
    let update = "UPDATE enterprise_accounts SET balance = balance + $2::text::numeric WHERE account_id = $1";
    if transaction.execute(update, &[&account.0, &amount]).await.map_err(what)? == 0 {
        return Err(Error::Input(format!("account {account} is unknown; provision it first")));
    }
    transaction.commit().await.map_err(what)?;
    Ok(true)
}

//! Accounts, slots and deposits; all repeatable. The schema is made in [`crate::schema`].

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::backoff::Backoff;
use schemas::ids::{AccountId, SlotId};
use schemas::money::{Money, Price};
use schemas::settlement::AccountStatus;
use schemas::time::Millis;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::attempt::failure;
use crate::conflicts;
use crate::core::attempt::{Failure, LOST, Meaning};
pub use crate::core::plan::CASH;
use crate::core::plan::{Deposit, Done, Job};
use crate::core::transaction::{End, Rules};
use crate::db::{Connection, Pool};
use crate::error::Error;
use crate::grace::Grace;
use crate::runner::Runner;
pub use crate::schema::{apply as schema, known as known_schema};
use crate::statements::{INSERT_ACCOUNTS, READ_AGREED, UPDATE_STATUS, UPSERT_SLOTS};

/// Rows of one transaction: far below the 3,000 of DSQL.
const ROWS: usize = 500;
/// Accounts read at once: 16 bytes each.
const AGREED_PAGE: u32 = 10_000;
/// Full jitter between two tries of a statement that can be repeated.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(2) };
/// Tries of such a statement.
const TRIES: u32 = 12;
/// How long one of them may go unanswered.
pub const STATEMENT_WITHIN: Duration = Duration::from_secs(60);
/// New connections a second for a command that needs one.
const CONNECTS_PER_SECOND: u32 = 10;

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
    /// Whether it may bid; what stands there when nothing is said.
    pub status: Option<AccountStatus>,
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

pub(crate) fn refused(what: &str, failure: &Failure) -> Error {
    Error::Refused { what: what.to_owned(), reason: format!("{} ({})", failure.text, failure.sqlstate) }
}

/// Runs a statement that is a transaction of its own and harmless to repeat, until it is done; each try within `within`,
/// because the ledger itself keeps no deadline.
///
/// # Errors
/// When the ledger cannot be reached, or refuses the statement.
pub async fn again<T>(
    ledger: &'static str,
    what: &str,
    within: Duration,
    mut run: impl AsyncFnMut() -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    let unreachable = |reason| Error::Unreachable { ledger, reason };
    let mut attempt = 0;
    loop {
        let told = match tokio::time::timeout(within, run()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => failure(&error),
            Err(_) => return Err(unreachable(format!("{what}: no answer within {} s", within.as_secs()))),
        };
        if told.sqlstate == LOST {
            return Err(unreachable(format!("{what}: {}", told.text)));
        }
        let may_pass =
            matches!(told.meaning, Meaning::Conflict | Meaning::Slower | Meaning::Unknown | Meaning::Stale);
        if !may_pass || attempt >= TRIES {
            return Err(refused(what, &told));
        }
        tokio::time::sleep(BACKOFF.delay(attempt, runtime::chance::unit())).await;
        attempt += 1;
    }
}

async fn execute(
    connection: &Connection,
    what: &str,
    sql: &str,
    columns: &[&(dyn ToSql + Sync)],
) -> Result<(), Error> {
    let run = async || connection.client.execute(sql, columns).await.map(|_| ());
    again(connection.ledger(), what, STATEMENT_WITHIN, run).await
}

/// Makes accounts that are not known yet; what a known one holds is never changed, and its status only where one is
/// given. A settlement that debits an account while its status changes conflicts, and is decided again.
///
/// # Errors
/// When an amount is beyond what the ledger holds, or the ledger refuses.
pub async fn accounts(connection: &Connection, accounts: &[NewAccount]) -> Result<(), Error> {
    let fits = |money: Money| money.0.unsigned_abs() <= Money::MAX.0.unsigned_abs();
    for one in accounts {
        if !fits(one.balance) || !fits(one.credit_limit) || one.credit_limit.0 < 0 {
            return Err(Error::Input(format!(
                "account {} has the balance {} and the credit limit {}: both have at most 14 integer digits, and a limit is not below zero",
                one.account_id, one.balance, one.credit_limit
            )));
        }
    }
    for part in accounts.chunks(ROWS) {
        let ids: Vec<Uuid> = part.iter().map(|one| one.account_id.0).collect();
        let names: Vec<&str> = part.iter().map(|one| one.name.as_str()).collect();
        let balances: Vec<String> = part.iter().map(|one| one.balance.to_string()).collect();
        let limits: Vec<String> = part.iter().map(|one| one.credit_limit.to_string()).collect();
        execute(connection, "accounts", INSERT_ACCOUNTS, &[&ids, &names, &balances, &limits]).await?;
        let given = part.iter().filter_map(|one| Some((one.account_id.0, one.status?.as_str())));
        let (ids, words): (Vec<Uuid>, Vec<&str>) = given.unzip();
        if !ids.is_empty() {
            execute(connection, "status of accounts", UPDATE_STATUS, &[&ids, &words]).await?;
        }
    }
    Ok(())
}

/// The accounts that may bid, of all that the ledger has: at most `most` of them and one more, which says that there are
/// more.
///
/// # Errors
/// When the ledger refuses or stays away.
pub async fn agreed(connection: &Connection, most: usize) -> Result<BTreeSet<AccountId>, Error> {
    let (mut agreed, mut last) = (BTreeSet::new(), Uuid::nil());
    let page = i64::from(AGREED_PAGE);
    while agreed.len() <= most {
        let run = async || connection.client.query(READ_AGREED, &[&last, &page]).await;
        let rows = again(connection.ledger(), "agreed accounts", STATEMENT_WITHIN, run).await?;
        agreed.extend(rows.iter().map(|row| AccountId(row.get(0))));
        match rows.last() {
            Some(row) if rows.len() >= usize::try_from(AGREED_PAGE).unwrap_or(usize::MAX) => {
                last = row.get(0)
            }
            _ => break,
        }
    }
    Ok(agreed)
}

/// Makes slots that are not known yet, and gives known ones the floor and publisher that are given.
///
/// # Errors
/// When the ledger refuses.
pub async fn slots(connection: &Connection, slots: &[NewSlot]) -> Result<(), Error> {
    for part in slots.chunks(ROWS) {
        let ids: Vec<Uuid> = part.iter().map(|one| one.slot_id.0).collect();
        let publishers: Vec<Uuid> = part.iter().map(|one| one.publisher.0).collect();
        let floors: Vec<String> = part.iter().map(|one| one.floor.to_string()).collect();
        execute(connection, "slots", UPSERT_SLOTS, &[&ids, &publishers, &floors]).await?;
    }
    Ok(())
}

/// Adds money to an account through the ledger, once per id; answers whether this call did it. `at` is when it is booked.
///
/// # Errors
/// When the account is unknown, the id was used for another deposit, or the ledger refuses or stays away.
pub async fn deposit(
    connection: &mut Connection,
    account: AccountId,
    amount: Price,
    id: Uuid,
    at: Millis,
) -> Result<bool, Error> {
    let pool = Pool::new(connection.connector(), CONNECTS_PER_SECOND);
    let job = Job::Deposit(Deposit { id, account, amount, at });
    let mut runner = Runner::new(&pool, job, Rules::default(), None);
    let mut booked = None;
    while let Some(ended) = runner.next().await {
        conflicts::record(&pool, runner.connection(), Grace::after(None), "deposit", &ended).await;
        booked = Some(match ended.end {
            End::Done(done) => Ok(done == Done::Deposited),
            End::Refused(reason) => Err(Error::Input(reason)),
            End::Broken(reason) => Err(Error::Refused { what: "the deposit".to_owned(), reason }),
            End::GivenBack(_) => Err(Error::Unreachable {
                ledger: pool.name(),
                reason: format!("the deposit {id} was not booked in time; try it again with the same id"),
            }),
        });
    }
    booked.expect("a job of one part ends once")
}

#[cfg(test)]
mod tests {
    use schemas::exit;

    use super::*;

    #[tokio::test]
    async fn a_statement_that_is_never_answered_is_given_up() {
        let never = async || std::future::pending::<Result<(), tokio_postgres::Error>>().await;
        let given_up = again("the ledger", "slots", Duration::from_millis(10), never).await.unwrap_err();
        assert_eq!(given_up.exit_code(), exit::UNAVAILABLE, "{given_up}");
    }
}

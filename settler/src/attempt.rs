//! One attempt on one connection: what a transaction reads and writes, each in one flight.
//!
//! Owns the way from rows to values and back. Decides nothing: what is read, what is written and what a failure means
//! is said by [`crate::core`].

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::Future;
use futures::future::join_all;
use schemas::cell::{DamagedCell, RowOf};
use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::item::{Decision, Outcome};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use crate::core::attempt::{Failure, Origin};
use crate::core::choose::{Account, Slot};
use crate::core::damaged::Damaged;
use crate::core::rows::{
    Booked, Cause, Change, Decided, EntryRow, EvidenceRow, Reads, SettlementRow, Snapshot, Writes,
};
use crate::db::{Connection, chain};
use crate::statements::{BEGIN, COMMIT, Statements};

/// What the local engine puts into the detail of an error that it made up.
const INJECTED: &str = "injected";

/// What an error of the client means.
pub(crate) fn failure(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(told) => {
            let origin = if told.detail() == Some(INJECTED) { Origin::Injected } else { Origin::Genuine };
            Failure::answered(told.code().code(), told.message().to_owned(), origin)
        }
        None => Failure::lost(chain(error)),
    }
}

/// Prepares the statements of an attempt, all of them, so that a ledger that lacks what they name says so.
pub(crate) async fn prepare(connection: &mut Connection) -> Result<(), Failure> {
    connection.statements().await.map(|_| ()).map_err(|error| failure(&error))
}

/// Begins a transaction and reads.
pub(crate) async fn read(connection: &mut Connection, reads: &Reads) -> Result<Snapshot, Failure> {
    let statements = connection.statements().await.map_err(|error| failure(&error))?;
    let client = &connection.client;
    let settlements: Vec<Uuid> = reads.settlements.iter().map(|id| id.0).collect();
    let slots: Vec<Uuid> = reads.slots.iter().map(|id| id.0).collect();
    let accounts: Vec<Uuid> = reads.accounts.iter().map(|id| id.0).collect();
    let entries: Vec<Uuid> = reads.entries.iter().copied().collect();
    // Joined futures are polled in order, so the requests leave in this order, and none waits for another's answer.
    let (began, settlements, slots, accounts, entries) = futures::join!(
        client.batch_execute(BEGIN),
        select(client, &statements.read_settlements, &settlements),
        select(client, &statements.read_slots, &slots),
        select(client, &statements.read_accounts, &accounts),
        select(client, &statements.read_entries, &entries),
    );
    began.map_err(|error| failure(&error))?;
    let all = |rows: Result<Vec<Row>, tokio_postgres::Error>| rows.map_err(|error| failure(&error));
    let (settlements, damaged_settlements) = rows(&all(settlements)?, settlement)?;
    let (slots, damaged_slots) = rows(&all(slots)?, slot)?;
    let (accounts, damaged_accounts) = rows(&all(accounts)?, account)?;
    let (entries, damaged_entries) = rows(&all(entries)?, entry)?;
    let damaged = Damaged {
        settlements: damaged_settlements,
        slots: damaged_slots,
        accounts: damaged_accounts,
        entries: damaged_entries,
    };
    Ok(Snapshot { settlements, slots, accounts, entries, damaged })
}

async fn select(
    client: &Client,
    statement: &Statement,
    keys: &Vec<Uuid>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if keys.is_empty() { Ok(Vec::new()) } else { client.query(statement, &[keys]).await }
}

/// A row by its key, with what it says or what is wrong with it; none when its columns are of other types than ours.
type Read<K, V> = Option<(K, Result<V, DamagedCell>)>;
/// Sound rows by their keys, and what is wrong with the others.
type Sorted<K, V> = (BTreeMap<K, V>, BTreeMap<K, String>);

/// A row that cannot be read is nothing to guess about: a decision that is overlooked would be made twice.
fn rows<K: Ord, V>(rows: &[Row], read: fn(&Row) -> Read<K, V>) -> Result<Sorted<K, V>, Failure> {
    let (mut sound, mut damaged) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let Some((key, row)) = read(row) else {
            let text = "a column of the ledger has another type than this release reads".to_owned();
            return Err(Failure::answered("42804", text, Origin::Genuine));
        };
        match row {
            Ok(row) => drop(sound.insert(key, row)),
            Err(cell) => drop(damaged.insert(key, cell.to_string())),
        }
    }
    Ok((sound, damaged))
}

fn text(row: &Row, column: usize) -> Option<Option<&str>> {
    row.try_get(column).ok()
}

fn settlement(row: &Row) -> Read<SettlementId, Decided> {
    let id = SettlementId(row.try_get(0).ok()?);
    let of = RowOf::new("settlements", "settlement_id", id);
    let winner: Option<Uuid> = row.try_get(2).ok()?;
    let [outcome, price, reason, digest, at] =
        [text(row, 1)?, text(row, 3)?, text(row, 4)?, text(row, 5)?, text(row, 6)?];
    let read = || {
        let outcome = match outcome {
            Some("SALE") => Outcome::Sale {
                winner: AccountId(of.there("winner_account", winner)?),
                clearing_price: of.price("clearing_price", price)?,
            },
            Some("NO_SALE") => Outcome::NoSale { reason: of.there("no_sale_reason", reason)?.to_owned() },
            _ => return Err(of.damaged("outcome", outcome, "SALE or NO_SALE")),
        };
        let settled_at = of.millis("settled_at", at)?;
        let digest = of.there("aggregate_digest", digest)?.to_owned();
        Ok(Decided { decision: Decision { settlement_id: id, settled_at, outcome }, digest })
    };
    Some((id, read()))
}

fn slot(row: &Row) -> Read<SlotId, Slot> {
    let id = SlotId(row.try_get(0).ok()?);
    let of = RowOf::new("ad_slots", "slot_id", id);
    let (publisher, floor): (Option<Uuid>, _) = (row.try_get(1).ok()?, text(row, 2)?);
    let read = || {
        let publisher = AccountId(of.there("publisher_account_id", publisher)?);
        Ok(Slot { publisher, floor: of.money_from_zero("floor_price", floor)? })
    };
    Some((id, read()))
}

fn account(row: &Row) -> Read<AccountId, Account> {
    let id = AccountId(row.try_get(0).ok()?);
    let of = RowOf::new("enterprise_accounts", "account_id", id);
    let version: Option<i64> = row.try_get(3).ok()?;
    let [balance, credit_limit, status] = [text(row, 1)?, text(row, 2)?, text(row, 4)?];
    let read = || {
        Ok(Account {
            balance: of.money("balance", balance)?,
            credit_limit: of.money_from_zero("credit_limit", credit_limit)?,
            version: of.version("version", version)?,
            status: of.status("status", status)?,
        })
    };
    Some((id, read()))
}

fn entry(row: &Row) -> Read<Uuid, Booked> {
    let id: Uuid = row.try_get(0).ok()?;
    let of = RowOf::new("financial_ledger", "entry_id", id);
    let (account, amount): (Option<Uuid>, _) = (row.try_get(1).ok()?, text(row, 2)?);
    let read = || {
        let account = AccountId(of.there("account_id", account)?);
        Ok(Booked { account, amount: of.money("amount", amount)? })
    };
    Some((id, read()))
}

type Flight<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;
/// Columns of a statement, one array each.
type Columns = Vec<Box<dyn ToSql + Sync + Send>>;

/// Writes and commits: the statements leave in order, the rows that conflict last, COMMIT and all in one flight.
pub(crate) async fn write(connection: &mut Connection, writes: &Writes) -> Result<(), Failure> {
    let statements = connection.statements().await.map_err(|error| failure(&error))?;
    let client = &connection.client;
    let mut flight: Vec<Flight<'_>> = plan(&statements, writes)
        .into_iter()
        .map(|(statement, columns)| send(client, statement, columns))
        .collect();
    flight.push(Box::pin(client.batch_execute(COMMIT)));
    for answer in join_all(flight).await {
        answer.map_err(|error| failure(&error))?;
    }
    Ok(())
}

fn send(client: &Client, statement: Statement, columns: Columns) -> Flight<'_> {
    Box::pin(async move {
        let mut plain: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(columns.len());
        for column in &columns {
            plain.push(column.as_ref());
        }
        client.execute(&statement, &plain).await.map(|_| ())
    })
}

fn plan(statements: &Statements, writes: &Writes) -> Vec<(Statement, Columns)> {
    let mut all = Vec::new();
    if !writes.settlements.is_empty() {
        all.push((statements.settlements.clone(), settlements(&writes.settlements)));
    }
    if !writes.evidence.is_empty() {
        all.push((statements.evidence.clone(), evidence(&writes.evidence)));
    }
    if !writes.entries.is_empty() {
        all.push((statements.entries.clone(), entries(&writes.entries)));
    }
    if !writes.changes.is_empty() {
        all.push((statements.accounts.clone(), changes(&writes.changes)));
    }
    if !writes.is_empty() {
        all.push((statements.guard.clone(), guard(writes)));
    }
    all
}

/// One array: what `of` says of every row.
fn column<R, T: ToSql + Sync + Send + 'static>(
    rows: &[R],
    of: impl Fn(&R) -> T,
) -> Box<dyn ToSql + Sync + Send>
where
    Vec<T>: ToSql,
{
    Box::new(rows.iter().map(of).collect::<Vec<T>>())
}

fn settlements(rows: &[SettlementRow]) -> Columns {
    let winner = |row: &SettlementRow| row.outcome.as_ref().ok().map(|(winner, _)| winner.clone());
    let outcome = |row: &SettlementRow| if row.outcome.is_ok() { "SALE" } else { "NO_SALE" };
    vec![
        column(rows, |row| row.id.0),
        column(rows, |row| row.slot_id.0),
        column(rows, |row| row.window_start.to_string()),
        column(rows, |row| row.window_end.to_string()),
        column(rows, outcome),
        column(rows, |row| winner(row).map(|one| one.account_id.0)),
        column(rows, |row| winner(row).map(|one| one.bid_id.0)),
        column(rows, |row| winner(row).map(|one| one.amount.to_string())),
        column(rows, |row| row.outcome.as_ref().ok().map(|(_, price)| price.to_string())),
        column(rows, |row| row.outcome.as_ref().err().map(|reason| reason.as_str())),
        column(rows, |row| row.digest.clone()),
        column(rows, |row| row.settled_at.to_string()),
        column(rows, |row| winner(row).map(|one| one.region.to_string())),
        column(rows, |row| winner(row).map(|one| one.shard_id.0)),
        column(rows, |row| winner(row).map(|one| one.sequence.to_string())),
        column(rows, |row| winner(row).map(|one| i64::from(one.sub_sequence))),
        column(rows, |row| row.slot.map(|slot| slot.floor.to_string())),
        column(rows, |row| row.slot.map(|slot| slot.publisher.0)),
        column(rows, |row| count(row.log.looked.accounts)),
        column(rows, |row| count(row.log.looked.unknown)),
        column(rows, |row| count(row.log.cost.reads)),
        column(rows, |row| count(row.log.cost.bytes)),
    ]
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn evidence(rows: &[EvidenceRow]) -> Columns {
    vec![
        column(rows, |row| row.id.0),
        column(rows, |row| i64::try_from(row.rank).expect("far fewer accounts are looked at")),
        column(rows, |row| row.candidate.bid_id.0),
        column(rows, |row| row.candidate.account_id.0),
        column(rows, |row| row.candidate.region.to_string()),
        column(rows, |row| row.candidate.amount.to_string()),
        column(rows, |row| row.passed_over.map(|reason| reason.as_str())),
        column(rows, |row| row.account.map(|account| account.balance.to_string())),
        column(rows, |row| row.account.map(|account| account.credit_limit.to_string())),
        column(rows, |row| row.account.map(|account| account.version)),
    ]
}

fn entries(rows: &[EntryRow]) -> Columns {
    let settlement = |row: &EntryRow| match row.cause {
        Cause::Settlement(id) => Some(id.0),
        Cause::Deposit(_) => None,
    };
    let deposit = |row: &EntryRow| match row.cause {
        Cause::Settlement(_) => None,
        Cause::Deposit(id) => Some(id),
    };
    vec![
        column(rows, |row| row.id),
        column(rows, settlement),
        column(rows, deposit),
        column(rows, |row| row.account.0),
        column(rows, |row| row.direction.as_str()),
        column(rows, |row| row.amount.to_string()),
        column(rows, |row| row.version),
        column(rows, |row| row.at.to_string()),
    ]
}

fn changes(rows: &[Change]) -> Columns {
    vec![
        column(rows, |row| row.account.0),
        column(rows, |row| row.add.to_string()),
        column(rows, |row| row.seen),
        column(rows, |row| row.version),
    ]
}

fn guard(writes: &Writes) -> Columns {
    vec![
        column(&writes.settlements, |row| row.id.0),
        column(&writes.entries, |row| row.id),
        column(&writes.changes, |row| row.account.0),
        column(&writes.changes, |row| row.version),
    ]
}

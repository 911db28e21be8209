//! The ledger's schema: migrations one DDL statement a transaction, repeatable and interruptible at any point.
//!
//! Every statement makes what is missing and leaves what stands. What stands is compared first: a table that lacks a
//! column of ours, or has one of another type, was made by a later release or another project, and is not worked on. One
//! of an earlier release lacks nothing but columns that a migration adds, and gets them. A column that somebody added is
//! left alone where a row can be inserted without it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::sql::{Column, MIGRATIONS, Makes, Migration};
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

use crate::attempt::failure;
use crate::db::Connection;
use crate::error::Error;
use crate::provision::{STATEMENT_WITHIN, again};

/// How long the indexes of an empty ledger may take; those of a full one are waited for when this is run again.
const INDEX_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks whether an index is ready.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) const COLUMNS: &str = "SELECT table_name::text, column_name::text, data_type::text, numeric_precision::int, \
     numeric_scale::int, is_nullable::text, column_default IS NOT NULL OR is_identity = 'YES' \
     OR is_generated = 'ALWAYS' FROM information_schema.columns WHERE table_schema = current_schema()";
pub(crate) const INDEX: &str = "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = $1 AND n.nspname = current_schema()";

/// Makes what is missing, and waits until indexes are ready.
///
/// # Errors
/// [`Error::Schema`] when a table of ours stands there with other columns; otherwise when the ledger refuses.
pub async fn apply(connection: &Connection) -> Result<(), Error> {
    known(connection).await?;
    for migration in MIGRATIONS {
        let job = one(connection, migration).await?;
        if let Makes::Index(name) = migration.makes() {
            index(connection, name, job).await?;
        }
    }
    check(connection, Missing::Refused).await
}

/// Whether the tables of ours that stand there are as the migrations make them; those that are missing are no fault,
/// and neither are columns that a later migration adds to one.
///
/// # Errors
/// As [`apply`]. Nothing is changed.
pub async fn known(connection: &Connection) -> Result<(), Error> {
    check(connection, Missing::Allowed).await
}

/// What a ledger answers when another one made it between this statement's look and its making: the relation, its row type,
/// or the row of a catalogue is there. What stands is compared at the end.
const MADE_MEANWHILE: [&str; 3] = ["42P07", "42710", "23505"];

/// Runs one migration; gives the id of the job it started, if it did.
async fn one(connection: &Connection, migration: &Migration) -> Result<Option<String>, Error> {
    let what = format!("migration {} {}", migration.number, migration.name);
    let is_async = migration.statement.contains(" ASYNC ");
    let run = async |statement: &str| -> Result<Option<String>, tokio_postgres::Error> {
        let answers = connection.client.simple_query(statement).await?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    };
    let made =
        again(connection.ledger(), &what, STATEMENT_WITHIN, async || match run(migration.statement).await {
            // A PostgreSQL without the local engine before it does not know ASYNC; the index is the same without it.
            Err(error) if is_async && failure(&error).sqlstate == "42601" => {
                run(&migration.statement.replacen(" ASYNC ", " ", 1)).await
            }
            Err(error) if MADE_MEANWHILE.contains(&failure(&error).sqlstate.as_str()) => Ok(None),
            other => other,
        });
    let job = made.await?;
    tracing::debug!(number = migration.number, name = migration.name, "migration applied");
    Ok(job)
}

/// Waits for the job that builds an index, or for the index when an earlier run began it.
async fn index(connection: &Connection, name: &str, job: Option<String>) -> Result<(), Error> {
    let what = format!("index {name}");
    if let Some(job) = job {
        // The id is DSQL's own, 26 letters and digits; anything else is not put into a statement.
        if !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let call = format!("CALL sys.wait_for_job('{job}')");
            let wait = async || connection.client.batch_execute(&call).await;
            let waiting = format!("index {name} is not ready, run provision again to wait on");
            again(connection.ledger(), &waiting, INDEX_WITHIN, wait).await?;
        }
    }
    let deadline = Instant::now() + INDEX_WITHIN;
    loop {
        let look = async || connection.client.query(INDEX, &[&name]).await;
        let rows = again(connection.ledger(), &what, STATEMENT_WITHIN, look).await?;
        if rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Refused {
                what,
                reason: format!(
                    "it is not valid yet; run provision again to wait on, or DROP INDEX {name} if its job has failed"
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Allowed,
    Refused,
}

/// Compares the tables that stand with those of the migrations.
async fn check(connection: &Connection, missing: Missing) -> Result<(), Error> {
    let look = async || connection.client.query(COLUMNS, &[]).await;
    let rows = again(connection.ledger(), "reading its own schema", STATEMENT_WITHIN, look).await?;
    let mut found: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
    for row in &rows {
        let data_type: String = row.get(2);
        let size: Option<(i32, i32)> = row.get::<_, Option<i32>>(3).zip(row.get::<_, Option<i32>>(4));
        let data_type = match size {
            Some((precision, scale)) if data_type == "numeric" => format!("numeric({precision},{scale})"),
            _ => data_type,
        };
        let column = Column {
            name: row.get(1),
            data_type,
            is_nullable: row.get::<_, &str>(5).eq_ignore_ascii_case("YES"),
        };
        found.entry(row.get(0)).or_default().push(Standing { column, is_filled: row.get(6) });
    }
    for migration in MIGRATIONS {
        let Makes::Table(name) = migration.makes() else { continue };
        let (mut made, added) = (migration.columns(), added(name));
        made.sort();
        match found.get(name) {
            None if missing == Missing::Allowed => {}
            None => return Err(Error::Schema(format!("table {name} is missing"))),
            Some(found) => {
                let foreign = differ(name, (&made, &added), missing, found)?;
                if missing == Missing::Refused {
                    tell_foreign(name, &foreign);
                }
            }
        }
    }
    Ok(())
}

/// What later migrations add to a table.
fn added(table: &'static str) -> Vec<Column> {
    let adds = |migration: &&Migration| migration.makes() == Makes::Columns(table);
    MIGRATIONS.iter().filter(adds).flat_map(Migration::columns).collect()
}

/// A column that stands.
#[derive(Debug)]
struct Standing {
    column: Column,
    /// Whether the ledger gives it a value by itself: a default, an identity, an expression.
    is_filled: bool,
}

/// Compares one table. Returns the columns that are not ours and in nobody's way.
fn differ<'a>(
    table: &str,
    (made, added): (&[Column], &[Column]),
    missing: Missing,
    found: &'a [Standing],
) -> Result<Vec<&'a Column>, Error> {
    let standing = |column: &Column| found.iter().map(|one| &one.column).find(|one| one.name == column.name);
    let may_come = |column: &Column| missing == Missing::Allowed && standing(column).is_none();
    let mut expected = made.iter().chain(added.iter().filter(|column| !may_come(column)));
    if let Some(absent) = expected.find(|column| standing(column) != Some(*column)) {
        let instead = standing(absent).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        return Err(Error::Schema(format!(
            "table {table} should have the column {absent}, and has {instead}"
        )));
    }
    let is_ours = |column: &Column| made.contains(column) || added.contains(column);
    let foreign = || found.iter().filter(|one| !is_ours(&one.column));
    if let Some(Standing { column, .. }) = foreign().find(|one| !one.column.is_nullable && !one.is_filled) {
        return Err(Error::Schema(format!(
            "table {table} has the column {column}, which is not known and has no default, so no row can be inserted; give it a default, let it be NULL, or drop it"
        )));
    }
    Ok(foreign().map(|one| &one.column).collect())
}

fn tell_foreign(table: &str, foreign: &[&Column]) {
    for column in foreign {
        tracing::info!(table, %column, "a column that is not ours is left alone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, data_type: &str, is_nullable: bool) -> Standing {
        let column = Column { name: name.to_owned(), data_type: data_type.to_owned(), is_nullable };
        Standing { column, is_filled: false }
    }

    #[test]
    fn a_column_that_somebody_added_is_refused_only_where_no_row_can_be_inserted() {
        let ours = [standing("id", "uuid", false).column];
        let compare = |found: Vec<Standing>| {
            let foreign = differ("t", (&ours, &[]), Missing::Refused, &found);
            foreign.map(|foreign| foreign.len()).map_err(|error| error.to_string())
        };
        let with = |other: Standing| vec![standing("id", "uuid", false), other];
        assert_eq!(compare(with(standing("note", "text", true))), Ok(1));
        assert_eq!(compare(with(Standing { is_filled: true, ..standing("note", "text", false) })), Ok(1));
        let refused = compare(with(standing("note", "text", false))).unwrap_err();
        assert!(refused.contains("note text NOT NULL") && refused.contains("default"), "{refused}");
        for other in
            [standing("id", "text", false), standing("id", "uuid", true), standing("it", "uuid", true)]
        {
            let refused = compare(vec![other]).unwrap_err();
            assert!(refused.contains("table t should have the column id uuid NOT NULL"), "{refused}");
        }
    }
}

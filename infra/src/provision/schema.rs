//! Whether the ledger's tables are ones that this version of the schema made.
//!
//! What they must look like follows from the migrations themselves, so there is no second list to keep. A table of
//! ours may stand as any number of migrations left it; one that no number of them gives is somebody else's, and
//! nothing is done to it.

use std::collections::{BTreeMap, BTreeSet};

use schemas::sql::{MIGRATIONS, Migration};
use tokio_postgres::Client;

use crate::failure::{Failure, chain};

/// A column as both sides write it: name, type, and whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    name: String,
    kind: String,
    nullable: bool,
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let null = if self.nullable { "" } else { " NOT NULL" };
        write!(f, "{} {}{null}", self.name, self.kind)
    }
}

type Tables = BTreeMap<String, BTreeSet<Column>>;

/// Text and integers, which every driver reads from the catalogue's own types.
const COLUMNS: &str = "SELECT table_name::text, column_name::text, data_type::text, numeric_precision::int, \
    numeric_scale::int, is_nullable::text FROM information_schema.columns \
    WHERE table_schema = current_schema() AND table_name = ANY($1)";

/// Refuses a ledger in which a table of ours has columns that no version of the schema gives it.
///
/// # Errors
/// A [`Failure`] that names the table and what is wrong with it.
pub async fn check(db: &Client) -> Result<(), Failure> {
    let versions = versions(MIGRATIONS);
    let names: Vec<&String> = versions.last().into_iter().flat_map(Tables::keys).collect();
    let rows = db.query(COLUMNS, &[&names]).await;
    let rows = rows.map_err(|error| {
        Failure::unavailable(format!("the ledger's tables cannot be read: {}", chain(&error)))
    })?;
    let mut found = Tables::new();
    for row in rows {
        let (precision, scale): (Option<i32>, Option<i32>) = (row.get(3), row.get(4));
        let column = Column {
            name: row.get(1),
            kind: kind_of(row.get(2), precision.zip(scale)),
            nullable: row.get::<_, &str>(5) == "YES",
        };
        found.entry(row.get(0)).or_default().insert(column);
    }
    match found.iter().find_map(|(table, columns)| stranger(table, columns, &versions)) {
        Some(what) => Err(Failure::usage(format!(
            "the ledger holds a table that this version does not know: {what}; name another database, or use the \
             version that made it"
        ))),
        None => Ok(()),
    }
}

/// What is wrong with a table, if no version has it like this.
fn stranger(table: &str, found: &BTreeSet<Column>, versions: &[Tables]) -> Option<String> {
    if versions.iter().any(|version| version.get(table) == Some(found)) {
        return None;
    }
    let wanted = versions.last()?.get(table)?;
    let list =
        |columns: Vec<&Column>| columns.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (lacks, has) = (wanted.difference(found).collect(), found.difference(wanted).collect());
    Some(format!("{table} lacks ({}) and has ({})", list(lacks), list(has)))
}

/// The tables after each migration.
fn versions(migrations: &[Migration]) -> Vec<Tables> {
    let mut tables = Tables::new();
    migrations
        .iter()
        .map(|migration| {
            apply(migration.statement, &mut tables);
            tables.clone()
        })
        .collect()
}

/// Does to the tables what a statement of ours does. Ours are written with one column a line; what makes no column
/// changes nothing here.
fn apply(statement: &str, tables: &mut Tables) {
    let words: Vec<&str> = statement.split_whitespace().collect();
    match words.as_slice() {
        ["CREATE", "TABLE", "IF", "NOT", "EXISTS", table, ..] => {
            let columns = statement.lines().skip(1).filter_map(column).collect();
            tables.insert((*table).to_owned(), columns);
        }
        ["ALTER", "TABLE", table, "ADD", "COLUMN", "IF", "NOT", "EXISTS", rest @ ..]
        | ["ALTER", "TABLE", table, "ADD", "COLUMN", rest @ ..] => {
            tables.entry((*table).to_owned()).or_default().extend(column(&rest.join(" ")));
        }
        _ => {}
    }
}

/// A line such as `balance NUMERIC(18,4) NOT NULL,`.
fn column(line: &str) -> Option<Column> {
    let line = line.trim().trim_end_matches([',', ';']);
    let (name, rest) = line.split_once(' ')?;
    if name.chars().any(|letter| letter.is_ascii_uppercase()) {
        // A constraint of the table.
        return None;
    }
    let kind = rest.split(' ').next()?.to_owned();
    let nullable = !rest.contains("NOT NULL") && !rest.contains("PRIMARY KEY");
    Some(Column { name: name.to_owned(), kind, nullable })
}

/// The catalogue's word for a type as the migrations write it.
fn kind_of(word: &str, precision: Option<(i32, i32)>) -> String {
    match (word, precision) {
        ("timestamp with time zone", _) => "TIMESTAMPTZ".to_owned(),
        ("numeric", Some((precision, scale))) => format!("NUMERIC({precision},{scale})"),
        (word, _) => word.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_is_understood() {
        let mut tables = Tables::new();
        for migration in MIGRATIONS {
            let before = tables.clone();
            apply(migration.statement, &mut tables);
            let is_index = migration.statement.starts_with("CREATE INDEX");
            assert_eq!(tables == before, is_index, "{}", migration.name);
        }
        assert_eq!(tables.len(), 7);
        let debit = &tables["financial_ledger"];
        let column = |name: &str, kind: &str, nullable| Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            nullable,
        };
        assert!(debit.contains(&column("amount", "NUMERIC(18,4)", false)));
        assert!(debit.contains(&column("entry_id", "UUID", false)));
        assert!(debit.contains(&column("account_version", "BIGINT", true)));
        assert_eq!(debit.len(), 8);
    }

    #[test]
    fn a_table_may_stand_at_any_version_and_at_no_other() {
        let step = |number, statement| Migration { number, name: "", statement };
        let versions = versions(&[
            step(1, "CREATE TABLE IF NOT EXISTS t (\n    id UUID PRIMARY KEY\n);"),
            step(2, "ALTER TABLE t ADD COLUMN name TEXT;"),
        ]);
        let columns = |lines: &[&str]| lines.iter().filter_map(|line| column(line)).collect::<BTreeSet<_>>();
        assert_eq!(stranger("t", &columns(&["id UUID PRIMARY KEY"]), &versions), None);
        assert_eq!(stranger("t", &columns(&["id UUID PRIMARY KEY", "name TEXT"]), &versions), None);
        assert_eq!(
            stranger("t", &columns(&["id BIGINT NOT NULL", "name TEXT"]), &versions).unwrap(),
            "t lacks (id UUID NOT NULL) and has (id BIGINT NOT NULL)"
        );
    }
}

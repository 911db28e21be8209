//! The ledger's schema as numbered migrations, one DDL statement each, as Aurora DSQL wants it.

use std::fmt;

/// One step of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order, from 1 without gaps.
    pub number: u32,
    /// What it makes.
    pub name: &'static str,
    /// One DDL statement that may be run again.
    pub statement: &'static str,
}

/// What a migration makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// A table of this name.
    Table(&'static str),
    /// Columns that the table of this name did not begin with. They may be empty, as in all rows from before: DSQL adds
    /// a column without NOT NULL and without DEFAULT (Aurora DSQL user guide, "ALTER TABLE").
    Columns(&'static str),
    /// A constraint on the rows that are written from now on. Aurora DSQL adds one to a table only as NOT VALID, so rows
    /// from before stay as they are; and it knows no IF NOT EXISTS for one, so a second run is refused with 42710
    /// (`dsql-lint`, rule `check_not_valid`).
    Check(&'static str),
    /// An index of this name.
    Index(&'static str),
}

/// A column as the ledger's catalogue describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in the words of `information_schema`, a NUMERIC with precision and scale.
    pub data_type: String,
    /// Whether it may be empty.
    pub is_nullable: bool,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let null = if self.is_nullable { "" } else { " NOT NULL" };
        write!(f, "{} {}{null}", self.name, self.data_type)
    }
}

macro_rules! migrations {
    ($($zeros:literal $number:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            statement: include_str!(concat!("../sql/", $zeros, $number, "_", $name, ".sql")),
        }),*]
    };
}

/// All steps in order.
pub const MIGRATIONS: &[Migration] = migrations![
    "00" 1 "enterprise_accounts",
    "00" 2 "ad_slots",
    "00" 3 "settlements",
    "00" 4 "ad_bids",
    "00" 5 "financial_ledger",
    "00" 6 "conflict_events",
    "00" 7 "simulation_runs",
    "00" 8 "financial_ledger_by_account",
    "00" 9 "settlements_slot_as_seen",
    "0" 10 "enterprise_accounts_status",
    "0" 11 "settlements_log_as_read",
    "0" 12 "enterprise_accounts_values",
    "0" 13 "ad_slots_values",
    "0" 14 "settlements_values",
    "0" 15 "ad_bids_values",
    "0" 16 "financial_ledger_values",
];

/// How a line begins that adds a column.
const ADD: &str = "ADD COLUMN IF NOT EXISTS ";

impl Migration {
    /// What it makes, by its own statement.
    #[must_use]
    pub fn makes(&self) -> Makes {
        let mut words = self.statement.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("CREATE"), Some("TABLE"), _) => Makes::Table(self.name),
            (Some("ALTER"), Some("TABLE"), Some(table)) if self.statement.contains("ADD CONSTRAINT") => {
                Makes::Check(table)
            }
            (Some("ALTER"), Some("TABLE"), Some(table)) => Makes::Columns(table),
            _ => Makes::Index(self.name),
        }
    }

    /// The columns that it makes: our files have one on each line. Nothing for a constraint or an index.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        let lines = self.statement.lines().filter(|line| line.starts_with("    "));
        lines
            .map(|line| line.trim().trim_end_matches([',', ';']))
            .filter_map(|line| column(line.strip_prefix(ADD).unwrap_or(line)))
            .collect()
    }
}

fn column(line: &str) -> Option<Column> {
    let mut words = line.split(' ');
    let (name, sql_type) = (words.next()?, words.next()?);
    let data_type = match sql_type {
        "UUID" => "uuid",
        "TEXT" => "text",
        "BIGINT" => "bigint",
        "BOOLEAN" => "boolean",
        "TIMESTAMPTZ" => "timestamp with time zone",
        "NUMERIC(18,4)" => "numeric(18,4)",
        _ => return None,
    };
    let is_key = line.ends_with("PRIMARY KEY");
    let is_nullable = !is_key && !line.ends_with("NOT NULL");
    Some(Column { name: name.to_owned(), data_type: data_type.to_owned(), is_nullable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_is_one_statement_that_dsql_accepts() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.number).unwrap(), index + 1);
            assert_eq!(migration.statement.matches(';').count(), 1, "{}", migration.name);
            let findings = dsql_lint::lint_sql(migration.statement);
            assert!(findings.is_empty(), "{}: {findings:?}", migration.name);
        }
    }

    #[test]
    fn every_line_of_a_table_is_a_column_that_is_understood() {
        for migration in MIGRATIONS.iter().filter(|one| !matches!(one.makes(), Makes::Check(_))) {
            let lines = migration.statement.lines().filter(|line| line.starts_with("    "));
            let keys = lines.clone().filter(|line| line.trim().starts_with("PRIMARY KEY")).count();
            assert_eq!(migration.columns().len(), lines.count() - keys, "{}", migration.name);
            assert_eq!(migration.columns().is_empty(), migration.makes() == Makes::Index(migration.name));
        }
        let columns = MIGRATIONS[0].columns();
        assert_eq!(columns[0].to_string(), "account_id uuid NOT NULL");
        assert_eq!(columns[3].to_string(), "balance numeric(18,4) NOT NULL");
        assert_eq!(MIGRATIONS[8].makes(), Makes::Columns("settlements"));
        let added: Vec<String> = MIGRATIONS[8].columns().iter().map(ToString::to_string).collect();
        assert_eq!(added, ["floor_price numeric(18,4)", "publisher_account_id uuid"]);
    }

    #[test]
    fn columns_are_added_to_a_table_that_an_earlier_migration_made_and_may_be_empty() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            let Makes::Columns(table) = migration.makes() else { continue };
            let stands = MIGRATIONS[..place].iter().find(|earlier| earlier.makes() == Makes::Table(table));
            let columns = stands.expect("a table to add to").columns();
            for added in migration.columns() {
                assert!(added.is_nullable, "{added}");
                assert!(columns.iter().all(|column| column.name != added.name), "{added} is there already");
            }
        }
    }

    #[test]
    fn every_amount_and_time_of_the_books_is_held_to_what_stages_write() {
        let checks = |table: &'static str| {
            let of = move |one: &&Migration| one.makes() == Makes::Check(table);
            MIGRATIONS.iter().find(of).map(|one| one.statement)
        };
        for table in ["enterprise_accounts", "ad_slots", "settlements", "ad_bids", "financial_ledger"] {
            let check = checks(table).expect("a constraint");
            assert!(check.ends_with(") NOT VALID;\n"), "{check}");
            let adds =
                |one: &&Migration| one.makes() == Makes::Columns(table) || one.makes() == Makes::Table(table);
            for column in MIGRATIONS.iter().filter(adds).flat_map(Migration::columns) {
                let is_held =
                    ["numeric(18,4)", "timestamp with time zone"].contains(&column.data_type.as_str());
                assert_eq!(check.contains(&format!("    {} ", column.name)), is_held, "{table} {column}");
            }
        }
    }

    #[test]
    fn the_linter_refuses_what_dsql_refuses() {
        assert!(!dsql_lint::lint_sql("CREATE TABLE t (id SERIAL PRIMARY KEY);").is_empty());
        assert!(!dsql_lint::lint_sql("ALTER TABLE t ADD COLUMN n BIGINT NOT NULL;").is_empty());
        assert!(!dsql_lint::lint_sql("ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0);").is_empty());
    }
}

//! The ledger's schema as numbered migrations, one DDL statement each, as Aurora DSQL wants it.

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

macro_rules! migrations {
    ($($number:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            statement: include_str!(concat!("../sql/00", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// All steps in order.
pub const MIGRATIONS: &[Migration] = migrations![
    1 "enterprise_accounts",
    2 "ad_slots",
    3 "settlements",
    4 "ad_bids",
    5 "financial_ledger",
    6 "conflict_events",
    7 "simulation_runs",
    8 "financial_ledger_by_account",
];

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
    fn the_linter_refuses_what_dsql_refuses() {
        assert!(!dsql_lint::lint_sql("CREATE TABLE t (id SERIAL PRIMARY KEY);").is_empty());
    }
}

use super::*;

fn kind(sql: &str) -> Kind {
    judge(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}")).kind
}

#[test]
fn a_text_is_cut_at_semicolons_outside_quotes_and_comments() {
    let sql = "SELECT ';' -- one; two\n; /* a /* ; */ ; */ INSERT INTO t VALUES ($q$;$q$, \"a;b\") ;; COMMIT";
    let statements: Vec<_> = split(sql).into_iter().map(kind).collect();
    assert_eq!(statements, [Kind::Other, Kind::Change(Verb::Insert), Kind::Commit]);
    assert!(split(" ; -- nothing\n").is_empty());
    assert_eq!(split("SELECT 'it''s; one'").len(), 1);
    assert_eq!(split("SELECT $1; SELECT 'open").len(), 2);
}

#[test]
fn what_dsql_has_is_taken() {
    for sql in [
        "BEGIN",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET application_name = 'x'",
        "SELECT 'LOCK; TRUNCATE' FROM t FOR UPDATE",
        "CREATE TABLE t (id uuid PRIMARY KEY, amount numeric(18,4) NOT NULL CHECK (amount >= 0))",
        "CREATE SCHEMA IF NOT EXISTS s",
        "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS i ON t (a)",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN note text",
        "GRANT SELECT ON t TO reader",
        "CALL sys.wait_for_job('x')",
    ] {
        kind(sql);
    }
}

#[test]
fn what_dsql_has_not_is_refused() {
    for sql in [
        "SAVEPOINT s",
        "ROLLBACK TO SAVEPOINT s",
        "LOCK TABLE t",
        "listen c",
        "TRUNCATE t",
        "SET statement_timeout = 5",
        "SET LOCAL lock_timeout TO '1s'",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET default_transaction_isolation = 'serializable'",
        "CREATE TABLE t (id serial PRIMARY KEY)",
        "CREATE TEMP TABLE t (id int)",
        "CREATE INDEX i ON t (a)",
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE t (id int PRIMARY KEY, tags text[])",
        "/* why */ DISCARD ALL",
    ] {
        let refusal = judge(sql).expect_err(sql);
        assert_eq!(refusal.code, "0A000", "{sql}");
    }
}

#[test]
fn async_is_taken_out_and_its_statement_answers_a_job() {
    let statement = judge("CREATE INDEX ASYNC i ON t (a)").expect("DSQL takes it");
    assert_eq!(statement.kind, Kind::IndexAsync);
    assert_eq!(statement.sql, "CREATE INDEX  i ON t (a)");
}

#[test]
fn changes_are_known_inside_a_with() {
    assert_eq!(kind("UPDATE t SET n = 1 RETURNING n"), Kind::Dml);
    assert_eq!(kind("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x"), Kind::Dml);
    assert_eq!(kind("UPDATE t SET n = 1 RETURNING n"), Kind::Dml);
    assert_eq!(kind("WITH x AS (SELECT 1) SELECT * FROM x"), Kind::Other);
    assert_eq!(kind("SELECT 1 FROM t WHERE name = 'INSERT'"), Kind::Other);
}

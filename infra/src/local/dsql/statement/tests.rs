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

#[test]
fn rows_are_copied_between_client_and_table_and_nowhere_else() {
    for sql in [
        "COPY t FROM STDIN",
        "copy t (a, b) from stdin with (format csv, header)",
        "COPY \"s\".\"from\" (\"to\") FROM /* a file? (no) */ STDIN WHERE a > 1",
        "COPY BINARY t FROM stdin",
    ] {
        assert_eq!(kind(sql), Kind::CopyIn, "{sql}");
    }
    for sql in [
        "COPY t TO STDOUT",
        "COPY (SELECT a FROM t WHERE b = ')' FOR SHARE) TO STDOUT (FORMAT \"binary\")",
        "COPY (WITH x AS (SELECT 1) SELECT * FROM x) TO STDOUT",
    ] {
        assert_eq!(kind(sql), Kind::CopyOut, "{sql}");
    }
    for (sql, words) in [
        ("COPY t FROM '/etc/passwd'", "COPY FROM a file or program of the server; use COPY FROM STDIN"),
        ("COPY t FROM PROGRAM 'id'", "COPY FROM a file or program of the server; use COPY FROM STDIN"),
        ("COPY t TO '/tmp/t' -- TO STDOUT", "COPY TO a file or program of the server; use COPY TO STDOUT"),
        ("COPY (SELECT 1 FROM stdin) TO PROGRAM 'cat'", "use COPY TO STDOUT"),
        ("COPY (DELETE FROM t RETURNING a) TO STDOUT", "COPY of a changing query"),
        ("COPY t", "COPY without FROM STDIN or TO STDOUT"),
    ] {
        let refusal = judge(sql).expect_err(sql);
        assert_eq!(refusal.code, "0A000", "{sql}");
        assert!(refusal.message.starts_with("unsupported statement: COPY"), "{sql}: {refusal:?}");
        assert!(refusal.message.contains(words), "{sql}: {refusal:?}");
    }
}

//! The local DSQL: what it refuses and what it limits; beside it, how it tells of conflicts, what it breaks on purpose,
//! whose drivers it takes and what it gives to strangers.

mod clients;
mod conflicts;
mod copy;
mod injected;
mod strangers;
mod wire;

use std::time::Duration;

use infra::local::dsql::{self, DsqlHandle, DsqlOptions, Error, Injection, Limits};
use infra::local::postgres::{self, PostgresHandle, PostgresOptions};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const NEVER: Injection = Injection {
    seed: 0,
    conflict_per_mille: 0,
    schema_conflict_per_mille: 0,
    lost_reply_per_mille: 0,
    lost_request_per_mille: 0,
    unavailable_per_mille: 0,
};

struct Local {
    dsql: DsqlHandle,
    postgres: PostgresHandle,
}

impl Local {
    /// A proxy before a server with one row, `(1, 0)`, in the table `t`.
    async fn start() -> Self {
        Self::within(Limits::default()).await
    }

    async fn within(limits: Limits) -> Self {
        let postgres = postgres::start(PostgresOptions::temporary()).await.unwrap();
        let options = DsqlOptions {
            limits,
            data: Some(postgres.data_dir()),
            ..DsqlOptions::before(postgres.database_url())
        };
        let dsql = dsql::start(options).await.unwrap();
        let local = Self { dsql, postgres };
        let client = local.connect().await;
        client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)").await.unwrap();
        client.execute("INSERT INTO t VALUES ($1, 0)", &[&1_i32]).await.unwrap();
        local
    }

    async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(self.dsql.database_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The row as PostgreSQL itself has it.
    async fn n(&self) -> i32 {
        let (client, connection) =
            tokio_postgres::connect(&self.postgres.database_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one("SELECT n FROM t WHERE id = 1", &[]).await.unwrap().get(0)
    }

    async fn stop(self) {
        self.dsql.shutdown().await;
        self.postgres.shutdown().await;
    }
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().unwrap_or_else(|| panic!("no code: {error:?}")).code()
}

fn message(error: &tokio_postgres::Error) -> &str {
    error.as_db_error().unwrap().message()
}

/// Whether `error` means that the connection is gone and the outcome unknown.
fn is_unknown(error: &tokio_postgres::Error) -> bool {
    error.code().is_none()
}

async fn add(client: &mut Client, amount: i32) -> Result<(), tokio_postgres::Error> {
    let tx = client.transaction().await?;
    tx.query_one("SELECT n FROM t WHERE id = 1", &[]).await?;
    tx.execute("UPDATE t SET n = n + $1 WHERE id = 1", &[&amount]).await?;
    tx.commit().await
}

#[tokio::test]
async fn both_ways_of_asking_are_refused_alike() {
    let local = Local::start().await;
    let client = local.connect().await;
    for sql in [
        "TRUNCATE t",
        "SAVEPOINT s",
        "LOCK TABLE t",
        "LISTEN news",
        "SET statement_timeout = 5",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "CREATE TABLE s (id serial PRIMARY KEY)",
        "CREATE INDEX i ON t (n)",
    ] {
        let simple = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(code(&simple), "0A000", "{sql}");
        let extended = client.execute(sql, &[]).await.unwrap_err();
        assert_eq!(code(&extended), "0A000", "{sql}");
        assert_eq!(message(&simple), message(&extended));
    }
    // A refusal inside a text takes what stood before it along.
    let refused = client.batch_execute("INSERT INTO t VALUES (2, 2); TRUNCATE t").await.unwrap_err();
    assert_eq!(code(&refused), "0A000");
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 1);
    local.stop().await;
}

#[tokio::test]
async fn a_refusal_fails_its_transaction_and_a_rollback_mends_it() {
    let local = Local::start().await;
    let client = local.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("UPDATE t SET n = 5 WHERE id = 1").await.unwrap();
    assert_eq!(code(&client.batch_execute("SAVEPOINT s").await.unwrap_err()), "0A000");
    let after = client.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(after.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(local.n().await, 0);
    local.stop().await;
}

#[tokio::test]
async fn ddl_stands_alone_in_its_transaction() {
    let local = Local::start().await;
    let client = local.connect().await;
    for sql in [
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)",
        "BEGIN; CREATE TABLE a (id int PRIMARY KEY); INSERT INTO t VALUES (2, 2); COMMIT",
        "BEGIN; INSERT INTO t VALUES (2, 2); CREATE TABLE a (id int PRIMARY KEY); COMMIT",
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(code(&refused), "0A000", "{sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    client.batch_execute("BEGIN; CREATE TABLE a (id int PRIMARY KEY); COMMIT").await.unwrap();
    client.batch_execute("CREATE TABLE b (id int PRIMARY KEY)").await.unwrap();
    local.stop().await;
}

#[tokio::test]
async fn an_index_job_is_answered_and_can_be_waited_for() {
    let local = Local::start().await;
    let client = local.connect().await;
    let row = client.query_one("CREATE INDEX ASYNC i ON t (n)", &[]).await.unwrap();
    let job_id: String = row.get("job_id");
    assert_eq!(job_id.len(), 26);
    client.batch_execute(&format!("CALL sys.wait_for_job('{job_id}')")).await.unwrap();
    client.execute("CALL sys.wait_for_job($1)", &[&job_id]).await.unwrap();

    let answers = client.simple_query("CREATE INDEX ASYNC j ON t (n)").await.unwrap();
    let job = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get("job_id").map(str::len),
        _ => None,
    });
    assert_eq!(job, Some(26));
    let indexes = client.query("SELECT 1 FROM pg_indexes WHERE tablename = 't'", &[]).await.unwrap();
    assert_eq!(indexes.len(), 3);
    local.stop().await;
}

#[tokio::test]
async fn three_thousand_rows_pass_and_one_more_does_not() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    let insert = "INSERT INTO t SELECT i, i FROM generate_series($1::int, $2::int) AS i";
    client.execute(insert, &[&1_001_i32, &4_000_i32]).await.unwrap();
    let count = || async { local.connect().await.query("SELECT id FROM t", &[]).await.unwrap().len() };
    assert_eq!(count().await, 3_001);

    // Outside a transaction, prepared and plain.
    let refused = client.execute(insert, &[&5_001_i32, &8_001_i32]).await.unwrap_err();
    assert_eq!(code(&refused), "54000");
    let plain = "INSERT INTO t SELECT i, i FROM generate_series(5001, 8001) AS i";
    assert_eq!(code(&client.batch_execute(plain).await.unwrap_err()), "54000");
    assert_eq!(count().await, 3_001);

    // Inside one, summed over its statements; the COMMIT after it rolls back.
    let tx = client.transaction().await.unwrap();
    tx.execute(insert, &[&5_001_i32, &7_000_i32]).await.unwrap();
    let refused = tx.execute(insert, &[&7_001_i32, &8_001_i32]).await.unwrap_err();
    assert_eq!(code(&refused), "54000");
    let after = tx.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(after.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    tx.commit().await.unwrap();
    assert_eq!(count().await, 3_001);
    let all_at_once = "BEGIN; INSERT INTO t SELECT i, i FROM generate_series(5001, 8001) AS i; COMMIT";
    assert_eq!(code(&client.batch_execute(all_at_once).await.unwrap_err()), "54000");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(count().await, 3_001);
    local.stop().await;
}

#[tokio::test]
async fn ten_mebibytes_are_refused_when_they_are_committed() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    client.batch_execute("CREATE TABLE texts (id int PRIMARY KEY, text text NOT NULL)").await.unwrap();
    let text = "x".repeat(6 << 20);
    let insert = "INSERT INTO texts VALUES ($1, $2)";
    client.execute(insert, &[&1_i32, &text]).await.unwrap();
    let tx = client.transaction().await.unwrap();
    tx.execute(insert, &[&2_i32, &text]).await.unwrap();
    tx.execute(insert, &[&3_i32, &text]).await.unwrap();
    assert_eq!(code(&tx.commit().await.unwrap_err()), "54000");
    let large = "x".repeat(11 << 20);
    assert_eq!(code(&client.execute(insert, &[&4_i32, &large]).await.unwrap_err()), "54000");
    client.execute(insert, &[&5_i32, &"small"]).await.unwrap();
    let rows = client.query("SELECT id FROM texts ORDER BY id", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 5]);
    local.stop().await;
}

#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_refused() {
    let transaction_age = Duration::from_millis(300);
    let local = Local::within(Limits { transaction_age, ..Limits::default() }).await;
    let mut client = local.connect().await;
    let tx = client.transaction().await.unwrap();
    tx.query_one("SELECT pg_sleep(0.4)::text", &[]).await.unwrap();
    assert_eq!(code(&tx.execute("UPDATE t SET n = 5", &[]).await.unwrap_err()), "54000");
    tx.rollback().await.unwrap();
    assert_eq!(local.n().await, 0);
    client.batch_execute("UPDATE t SET n = 6").await.unwrap();
    assert_eq!(local.n().await, 6, "a statement by itself is no open transaction");
    local.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_when_its_time_is_over() {
    let local =
        Local::within(Limits { connection_age: Duration::from_millis(400), ..Limits::default() }).await;
    let (client, connection) = tokio_postgres::connect(local.dsql.database_url(), NoTls).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), connection).await.expect("it ends by itself");
    // Closed without a word is an end or an error of the stream, never an answer.
    assert!(ended.err().is_none_or(|error| error.code().is_none()));
    assert!(client.batch_execute("SELECT 1").await.is_err());
    local.stop().await;
}

#[tokio::test]
async fn a_commit_to_data_that_was_moved_away_is_not_acknowledged() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    let (data, away) = (local.postgres.data_dir(), local.postgres.dir().join("away"));
    std::fs::rename(&data, &away).unwrap();
    let by_itself = client.execute("UPDATE t SET n = n + 1 WHERE id = 1", &[]).await.unwrap_err();
    let in_a_transaction = add(&mut client, 1).await.unwrap_err();
    for error in [by_itself, in_a_transaction] {
        assert_eq!(code(&error), "XX000", "{error:?}");
        let said = message(&error);
        assert!(said.contains(data.to_str().unwrap()) && said.contains("put it back"), "{said}");
    }
    assert_eq!(client.query("SELECT n FROM t", &[]).await.unwrap().len(), 1, "reads go on");
    std::fs::rename(&away, &data).unwrap();
    add(&mut client, 1).await.unwrap();
    local.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_rate_are_refused() {
    let limits = Limits { connects_per_second: 1, connects_burst: 3, ..Limits::default() };
    let local = Local::within(limits).await;
    let mut refused = 0;
    for _ in 0..6 {
        if let Err(error) = tokio_postgres::connect(local.dsql.database_url(), NoTls).await {
            assert_eq!(code(&error), "53400");
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused} of 6 were refused");
    local.stop().await;
}

#[tokio::test]
async fn pipelined_requests_keep_their_order() {
    let local = Local::start().await;
    let client = local.connect().await;
    let update = client.prepare("UPDATE t SET n = n * 2 + $1 WHERE id = 1").await.unwrap();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&1_i32];
    let (begin, first, second, commit) = tokio::join!(
        client.batch_execute("BEGIN"),
        client.execute(&update, &params),
        client.execute(&update, &params),
        client.batch_execute("COMMIT"),
    );
    begin.unwrap();
    assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    commit.unwrap();
    assert_eq!(local.n().await, 3);
    let rows = client.query("SELECT repeat('x', 1000) FROM generate_series(1, 5000)", &[]).await.unwrap();
    assert_eq!(rows.len(), 5_000);
    local.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_said_to_be_in_use() {
    let local = Local::start().await;
    let options =
        DsqlOptions { listen: local.dsql.address(), ..DsqlOptions::before(local.postgres.database_url()) };
    let refused = dsql::start(options).await.unwrap_err();
    assert!(matches!(refused, Error::AddressInUse(_)), "{refused}");
    local.stop().await;
}

//! Schema and statements: what the settler really sends passes the local DSQL, and the linter of the real one.

use std::time::Duration;

use infra::local::dsql::Injection;
use schemas::sql::MIGRATIONS;
use settler::provision::{NewSlot, slots};
use settler::statements::{ALL, BEGIN, COMMIT, ROLLBACK};
use uuid::Uuid;

use super::checks::settle;
use super::decisions::{Running, decided_by_another};
use super::world::{DEADLINE, World, account, auction, blocks, slot};

#[tokio::test]
async fn every_statement_passes_the_linter_and_the_local_dsql() {
    let world = World::start().await;
    let connection = world.connect().await;
    for (name, sql) in ALL.iter().chain(contend::statements::ALL) {
        let found = dsql_lint::lint_sql(sql);
        assert!(found.is_empty(), "{name}: {found:?}");
        if ![BEGIN, COMMIT, ROLLBACK].contains(sql) {
            connection.client.prepare(sql).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    connection.client.batch_execute(&format!("{BEGIN}; {COMMIT}; {BEGIN}; {ROLLBACK}")).await.unwrap();
    for sql in blocks() {
        let found = dsql_lint::lint_sql(&sql);
        assert!(found.is_empty(), "{sql}: {found:?}");
        connection.client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    world.stop().await;
}

#[tokio::test]
async fn the_schema_can_be_made_again_from_wherever_it_was_interrupted() {
    let world = World::start().await;
    let connection = world.connect().await;
    settler::provision::schema(&connection).await.unwrap();
    let postgres = world.postgres().await;
    for undo in [
        "DROP INDEX financial_ledger_by_account",
        "DROP TABLE simulation_runs",
        "ALTER TABLE settlements DROP COLUMN publisher_account_id",
        "ALTER TABLE settlements DROP COLUMN floor_price, DROP COLUMN publisher_account_id",
        "DROP TABLE ad_bids",
        "DROP TABLE enterprise_accounts, ad_slots, settlements, financial_ledger, conflict_events",
    ] {
        postgres.batch_execute(undo).await.unwrap();
        settler::provision::schema(&connection).await.unwrap();
    }
    let valid = "SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
        WHERE relname = 'financial_ledger_by_account' AND indisvalid";
    assert_eq!(world.count(valid).await, 1);
    world.stop().await;
}

#[tokio::test]
async fn the_schema_is_made_by_many_at_once_and_through_conflicts() {
    let world = World::start().await;
    let tables = "DROP TABLE enterprise_accounts, ad_slots, settlements, ad_bids, financial_ledger, conflict_events, simulation_runs";
    world.postgres().await.batch_execute(tables).await.unwrap();
    let injection = Injection { seed: 5, schema_conflict_per_mille: 300, ..Injection::default() };
    world.dsql.set_injection(injection);
    let connections = [world.connect().await, world.connect().await, world.connect().await];
    let made = futures::future::join_all(connections.iter().map(settler::provision::schema)).await;
    for one in made {
        one.unwrap();
    }
    assert!(world.dsql.injected().conflicts > 0);
    world.dsql.set_injection(Injection::default());
    world.stop().await;
}

/// The job that builds an index is waited for; when an earlier run began it, the index itself is.
#[tokio::test]
async fn an_index_is_waited_for_until_it_is_ready() {
    let world = World::start().await;
    let connection = world.connect().await;
    let postgres = world.postgres().await;
    let jobs = "CREATE TABLE waited (job_id text);
        CREATE OR REPLACE PROCEDURE sys.wait_for_job(job_id text) LANGUAGE sql AS 'INSERT INTO waited VALUES (job_id)';
        DROP INDEX financial_ledger_by_account";
    postgres.batch_execute(jobs).await.unwrap();
    settler::provision::schema(&connection).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM waited WHERE length(job_id) = 26").await, 1);

    let valid = async |word| {
        let set = format!(
            "UPDATE pg_index SET indisvalid = {word} WHERE indexrelid = 'financial_ledger_by_account'::regclass"
        );
        postgres.batch_execute(&set).await.unwrap();
    };
    valid("false").await;
    let making = settler::provision::schema(&connection);
    tokio::pin!(making);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut making).await;
    assert!(early.is_err(), "it does not end before the index is ready: {early:?}");
    valid("true").await;
    tokio::time::timeout(DEADLINE, making).await.expect("it ends then").unwrap();
    world.stop().await;
}

/// A provisioning whose connection breaks says that the ledger is away, and is run again.
#[tokio::test]
async fn provisioning_is_run_again_until_it_is_through() {
    let world = World::start().await;
    let new = |number| NewSlot {
        slot_id: slot(number),
        publisher: account(number),
        floor: schemas::money::Money(1),
    };
    let all: Vec<NewSlot> = (1..=1_200).map(new).collect();
    let run = async || -> Result<(), settler::Error> {
        let connection = world.ledger().connect().await?;
        settler::provision::schema(&connection).await?;
        slots(&connection, &all).await
    };
    let mut broken = 0;
    // Lost for certain, and then now and then, in the middle of anything.
    for lost_per_mille in [1_000, 40] {
        let (lost_request_per_mille, lost_reply_per_mille) = (lost_per_mille, lost_per_mille);
        let injection =
            Injection { seed: 2, lost_request_per_mille, lost_reply_per_mille, ..Injection::default() };
        world.dsql.set_injection(injection);
        while let Err(error) = run().await {
            assert_eq!(error.exit_code(), schemas::exit::UNAVAILABLE, "{error}");
            broken += 1;
            if lost_per_mille == 1_000 {
                break;
            }
        }
    }
    world.dsql.set_injection(Injection::default());
    assert!(broken > 0, "nothing was lost on the way");
    assert_eq!(world.count("SELECT count(*) FROM ad_slots").await, 1_200);
    world.stop().await;
}

/// What was decided keeps what it was decided by; what is decided next is judged by what its slot has then.
#[tokio::test]
async fn another_floor_and_publisher_are_for_the_decisions_to_come() {
    let world = World::start().await;
    world.provision(2, 1_000, 2).await;
    settle(&world, &[auction(1, 1, &[(1, 32)]), auction(2, 1, &[(77, 16)]), auction(3, 1, &[(2, 8)])]).await;
    let new =
        |number| NewSlot { slot_id: slot(number), publisher: account(88), floor: schemas::money::Money(40) };
    slots(&world.connect().await, &[new(1), new(2)]).await.unwrap();
    settle(&world, &[auction(1, 2, &[(1, 16)]), auction(2, 2, &[(2, 64)])]).await;

    let kept = "SELECT COALESCE(no_sale_reason, outcome), (floor_price * 10000)::bigint, publisher_account_id \
        FROM settlements ORDER BY window_start, slot_id";
    let rows = world.postgres().await.query(kept, &[]).await.unwrap();
    let kept: Vec<(String, Option<i64>, Option<Uuid>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let row = |what: &str, floor: Option<i64>, publisher: Option<u128>| {
        (what.to_owned(), floor, publisher.map(|number| account(number).0))
    };
    let expected = [
        row("SALE", Some(1), Some(900_001)),
        row("no_eligible_candidate", Some(1), Some(900_002)),
        row("unknown_slot", None, None),
        row("below_floor", Some(40), Some(88)),
        row("SALE", Some(40), Some(88)),
    ];
    assert_eq!(kept, expected);
    world.stop().await;
}

/// The settler says so before there is any work, and provisioning adds what is missing to what stands.
#[tokio::test]
async fn a_ledger_of_an_earlier_release_is_refused_until_it_is_provisioned_again() {
    let world = World::start().await;
    let postgres = world.postgres().await;
    let connection = world.connect().await;
    let tables = "DROP TABLE enterprise_accounts, ad_slots, settlements, ad_bids, financial_ledger, conflict_events, simulation_runs";
    postgres.batch_execute(tables).await.unwrap();
    let refused = async |what: &str| {
        let refused = Running::start(&world).ended().await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains(what) && told.contains("run `exchange provision`"), "{told}");
        assert_eq!(refused.exit_code(), schemas::exit::USAGE);
    };
    refused("settlements").await;

    let of_release = async |numbers: std::ops::RangeInclusive<u32>| {
        for migration in MIGRATIONS.iter().filter(|one| numbers.contains(&one.number)) {
            connection.client.simple_query(migration.statement).await.unwrap();
        }
        settler::provision::known_schema(&connection).await.unwrap();
    };
    of_release(1..=8).await;
    refused("does not exist").await;
    of_release(9..=9).await;
    refused("status").await;
    of_release(10..=10).await;
    refused("log_accounts").await;
    postgres.batch_execute("ALTER TABLE settlements DROP COLUMN floor_price").await.unwrap();
    refused("floor_price").await;
    postgres.batch_execute("ALTER TABLE settlements DROP COLUMN publisher_account_id").await.unwrap();

    world.provision(2, 1_000, 2).await;
    let (before, after) = (auction(1, 1, &[(1, 32)]), auction(1, 2, &[(2, 16)]));
    let mut other = world.postgres().await;
    decided_by_another(&mut other, &before).await.commit().await.unwrap();
    for _ in 0..2 {
        settler::provision::schema(&connection).await.unwrap();
    }
    settle(&world, &[after]).await;
    assert_eq!(world.count("SELECT count(*) FROM settlements WHERE floor_price IS NULL").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM settlements WHERE floor_price = 0.0001").await, 1);
    // A sale of an earlier release too is right while its slot is what it was.
    let older = "UPDATE settlements SET floor_price = NULL, publisher_account_id = NULL";
    postgres.batch_execute(older).await.unwrap();
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn a_schema_of_someone_else_is_refused_and_left_alone() {
    let world = World::start().await;
    let connection = world.connect().await;
    let postgres = world.postgres().await;
    for (change, told, undo) in [
        (
            "ALTER TABLE ad_slots ADD COLUMN colour text NOT NULL",
            "colour",
            "ALTER TABLE ad_slots DROP COLUMN colour",
        ),
        (
            "ALTER TABLE ad_slots ALTER COLUMN floor_price TYPE numeric(12,2)",
            "floor_price",
            "ALTER TABLE ad_slots ALTER COLUMN floor_price TYPE numeric(18,4)",
        ),
        (
            "ALTER TABLE settlements ALTER COLUMN aggregate_digest DROP NOT NULL",
            "aggregate_digest",
            "ALTER TABLE settlements ALTER COLUMN aggregate_digest SET NOT NULL",
        ),
        (
            "ALTER TABLE settlements ALTER COLUMN floor_price TYPE numeric(12,2)",
            "floor_price numeric(18,4), and has floor_price numeric(12,2)",
            "ALTER TABLE settlements ALTER COLUMN floor_price TYPE numeric(18,4)",
        ),
    ] {
        postgres.batch_execute(change).await.unwrap();
        let refused = settler::provision::schema(&connection).await.unwrap_err();
        assert!(
            matches!(refused, settler::Error::Schema(_)) && refused.to_string().contains(told),
            "{refused}"
        );
        assert_eq!(refused.exit_code(), schemas::exit::USAGE);
        postgres.batch_execute(undo).await.unwrap();
        settler::provision::schema(&connection).await.unwrap();
    }
    world.stop().await;
}

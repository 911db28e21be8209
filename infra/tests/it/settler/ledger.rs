//! Schema and statements: what the settler really sends passes the local DSQL, and the linter of the real one.

use infra::local::dsql::Injection;
use settler::statements::{ALL, BEGIN, COMMIT, ROLLBACK};

use super::world::{World, blocks};

#[tokio::test]
async fn every_statement_passes_the_linter_and_the_local_dsql() {
    let world = World::start().await;
    let connection = world.connect().await;
    for (name, sql) in ALL {
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
    world.dsql.set_injection(Injection::default());
    world.stop().await;
}

#[tokio::test]
async fn a_schema_of_someone_else_is_refused_and_left_alone() {
    let world = World::start().await;
    let connection = world.connect().await;
    let postgres = world.postgres().await;
    for (change, told, undo) in [
        ("ALTER TABLE ad_slots ADD COLUMN colour text", "colour", "ALTER TABLE ad_slots DROP COLUMN colour"),
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

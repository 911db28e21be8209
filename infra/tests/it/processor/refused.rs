//! A table that refuses the items of one slot: other windows and slots go on, checkpoints wait through restarts, and what
//! a person gives up is told as that.

use schemas::item::RefusedItem;
use schemas::keys;

use super::*;

const QUICK: &str = "--failover-ms 2000 --look-ms 200";

impl World {
    /// Items that processors say they hold.
    async fn told_refused(&self) -> Vec<RefusedItem> {
        let items = self.items(&self.place.names.table).await;
        let rows = items.into_iter().filter(|((pk, _), _)| pk == keys::REFUSED);
        rows.map(|(_, row)| RefusedItem::from_attrs(&runtime::attrs::from_sdk(&row).unwrap()).unwrap())
            .collect()
    }

    /// Aggregates that stand.
    async fn aggregates(&self) -> usize {
        let items = self.items(&self.place.names.table).await;
        items.keys().filter(|(pk, sk)| pk.starts_with("SLOT#") && sk.starts_with("WINDOW#")).count()
    }

    async fn row_of(&self, shard: &str) -> Lease {
        self.rows().await.into_iter().find(|row| row.shard_id.0 == shard).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_waits_for_refused_items_through_restarts_until_they_are_given_up() {
    let world = World::start().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let slot = producer::generator::slot(0);
    world.proxy.set_refused(Some(("ValidationException", &keys::slot_pk(&slot))));
    let first = world.process("first", QUICK);
    world.held("first", 4, DEADLINE).await;
    world.load(7, 200).await;
    let began = Instant::now();
    // The grace of the last window is over, and its tick has come, when no more items come.
    let mut before = 0;
    while world.aggregates().await > before || world.told_refused().await.is_empty() {
        assert!(began.elapsed() < DEADLINE);
        before = world.aggregates().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    let refused = world.told_refused().await;
    assert!(refused.len() > 1 && before > 59, "{} refused, {before} written", refused.len());
    let shard = refused[0].shard_id.0.clone();
    let starts = refused.iter().map(|row| row.key.1.trim_start_matches("WINDOW#").parse().unwrap());
    let oldest: schemas::time::Millis = starts.min().unwrap();
    let waits = |row: &Lease| !agreed().geometry.passed(oldest, row.closed_through);
    assert!(waits(&world.row_of(&shard).await), "a checkpoint passed what is not written");
    assert!(!world.rows().await.iter().all(&waits), "other shards go on");

    // A stop does not wait for it, and whoever comes next meets the same refusals.
    let stopped = Instant::now();
    first.signal(Signal::TERM);
    assert!(
        first.wait().await && stopped.elapsed() < Duration::from_secs(15),
        "it waited for its grace period"
    );
    let row = world.row_of(&shard).await;
    assert!(row.owner.is_none() && waits(&row), "{row:#?}");
    let second = world.process("second", QUICK);
    world.held("second", 4, DEADLINE).await;
    let db = connection.connect().await.unwrap();
    let look = async || audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    let found = look().await;
    let holds = |one: &infra::audit::Difference| one.found.contains("a processor holds it since");
    assert!(found.differences.iter().all(holds) && !found.is_clean(), "{found:#?}");
    assert!(!found.differences.iter().any(infra::audit::Difference::may_still_come));

    for row in &refused {
        let (pk, sk) = &row.key;
        world.leases(&["skip", pk, sk, "--reason", "its slot is gone", "--by", "ops"]).await.unwrap();
    }
    world.wait_until_closed().await;
    let found = look().await;
    let given_up = |one: &infra::audit::Difference| one.found.starts_with("nothing, skipped by ops at ");
    assert!(found.differences.iter().all(given_up), "{found:#?}");
    assert_eq!(
        (found.differences.len(), found.skipped),
        (refused.len(), u64::try_from(refused.len()).unwrap())
    );
    second.signal(Signal::TERM);
    assert!(second.wait().await);
    drop(db);
    ledger.shutdown().await;
    world.stop().await;
}

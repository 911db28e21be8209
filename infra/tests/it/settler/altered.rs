//! Someone changes the ledger's tables beside running settlers: they prepare anew, wait where they must, and go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::decisions::Running;
use super::world::{DEADLINE, World, auction};

/// Settles some auctions of this window, four slots and accounts.
async fn settle(world: &World, window: u64) {
    for number in 1..=4 {
        world.pend(&auction(number, window, &[(number, 16)])).await;
    }
    world.until_outbox_is_empty().await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn statements_are_prepared_anew_when_a_table_is_altered() {
    let world = World::start().await;
    world.provision(4, 1_000, 4).await;
    let postgres = world.postgres().await;
    let running = [Running::start(&world), Running::start(&world)];
    settle(&world, 1).await;
    let alterations = [
        "ALTER TABLE settlements ADD COLUMN note text",
        "ALTER TABLE settlements ALTER COLUMN aggregate_digest TYPE varchar(200)",
        "ALTER TABLE settlements ALTER COLUMN outcome TYPE varchar(20)",
        "ALTER TABLE enterprise_accounts ADD COLUMN owner text NOT NULL DEFAULT 'nobody'",
        "ALTER TABLE settlements ALTER COLUMN aggregate_digest TYPE text, ALTER COLUMN outcome TYPE text",
    ];
    for (window, alteration) in (2..).zip(alterations) {
        postgres.batch_execute(alteration).await.unwrap();
        settle(&world, window).await;
    }
    for one in running {
        let metrics = one.stop().await;
        assert_eq!(metrics.held.load(Ordering::Relaxed), 0, "nobody's auction is at fault");
        assert_eq!(metrics.given_back.load(Ordering::Relaxed), 0, "each batch is decided at once");
    }
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 24);
    world.assert_the_ledger_is_right().await;
    // What somebody added is nobody's trouble.
    for _ in 0..2 {
        settler::provision::schema(&world.connect().await).await.unwrap();
    }
    postgres.batch_execute("ALTER TABLE ad_slots ADD COLUMN owner text").await.unwrap();
    postgres.batch_execute("UPDATE ad_slots SET owner = 'me'").await.unwrap();
    postgres.batch_execute("ALTER TABLE ad_slots ALTER COLUMN owner SET NOT NULL").await.unwrap();
    let refused = settler::provision::schema(&world.connect().await).await.unwrap_err().to_string();
    assert!(refused.contains("ad_slots") && refused.contains("owner text NOT NULL"), "{refused}");
    postgres.batch_execute("ALTER TABLE ad_slots ALTER COLUMN owner DROP NOT NULL").await.unwrap();
    postgres.batch_execute("ALTER TABLE ad_slots ALTER COLUMN floor_price TYPE numeric(20,6)").await.unwrap();
    let refused = settler::provision::schema(&world.connect().await).await.unwrap_err().to_string();
    assert!(refused.contains("should have the column floor_price"), "{refused}");
    world.stop().await;
}

/// A column that is renamed for a while, a grant that is taken for a while: told, waited for, and nothing is held.
#[tokio::test]
async fn statements_that_are_refused_after_a_good_start_are_waited_for() {
    let world = World::start().await;
    world.provision(4, 1_000, 4).await;
    let postgres = world.postgres().await;
    let running = Running::start(&world);
    settle(&world, 1).await;
    postgres.batch_execute("ALTER TABLE ad_slots RENAME COLUMN floor_price TO floor").await.unwrap();
    for number in 1..=4 {
        world.pend(&auction(number, 2, &[(number, 16)])).await;
    }
    let metrics = &running.metrics;
    until("a refusal that is told", || metrics.ledger_statements.load(Ordering::Relaxed) == 1).await;
    until("auctions given back", || metrics.given_back.load(Ordering::Relaxed) >= 8).await;
    assert_eq!(world.outbox_len().await, 4);
    postgres.batch_execute("ALTER TABLE ad_slots RENAME COLUMN floor TO floor_price").await.unwrap();
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    assert_eq!(metrics.ledger_statements.load(Ordering::Relaxed), 0);
    assert_eq!(metrics.held.load(Ordering::Relaxed), 0);
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 8);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

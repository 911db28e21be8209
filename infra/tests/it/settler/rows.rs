//! Rows of the ledger that hold what no stage writes: they hold the auctions that look at them, and no other.

use std::sync::atomic::Ordering;

use schemas::item::{Aggregate, State};
use settler::release::{Release, release};

use super::decisions::Running;
use super::world::{World, account, auction, slot};

/// As an earlier release left the ledger, which did not refuse such values.
const UNHELD: &str = "ALTER TABLE enterprise_accounts DROP CONSTRAINT enterprise_accounts_values; \
    ALTER TABLE ad_slots DROP CONSTRAINT ad_slots_values; \
    ALTER TABLE settlements DROP CONSTRAINT settlements_values;";

async fn sql(world: &World, statement: &str) {
    world.postgres().await.batch_execute(statement).await.unwrap();
}

/// Holds that the auction is held, and that its error names table, row, column and value, and says what to do.
async fn is_held(world: &World, one: &Aggregate, names: &[&str]) {
    let item = world.item(one).await.unwrap();
    assert_eq!(item.state, State::Held, "{:?}", item.key());
    let told = item.held_error.unwrap();
    for name in names.iter().chain(&["put that right with SQL, then release the auction"]) {
        assert!(told.contains(name), "{name} in {told}");
    }
}

#[tokio::test]
async fn a_value_that_no_stage_writes_holds_the_auctions_it_touches_and_no_other() {
    let world = World::start().await;
    world.provision(6, 1_000, 3).await;
    // A decision that was made before, whose item awaits its mark again.
    let decided = auction(1, 1, &[(6, 16)]);
    world.pend(&decided).await;
    let running = Running::start(&world);
    world.until_outbox_is_empty().await;
    running.stop().await;
    let set = |what: &str, number: u128| {
        format!("UPDATE enterprise_accounts SET {what} WHERE account_id = '{}';", account(number).0)
    };
    let slot_three = format!("WHERE slot_id = '{}'", slot(3).0);
    let damage = [
        set("balance = 'NaN'", 1),
        set("status = 'closed'", 2),
        set("credit_limit = -1", 3),
        format!("UPDATE ad_slots SET floor_price = 'NaN' {slot_three};"),
        "UPDATE settlements SET clearing_price = 'NaN', settled_at = 'infinity';".to_owned(),
    ];
    let refused = world.postgres().await.batch_execute(&damage[0]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23514", "the schema refuses it");
    sql(&world, UNHELD).await;
    sql(&world, &damage.concat()).await;
    world.pend(&decided).await;
    let touched = [
        (
            auction(1, 2, &[(1, 16)]),
            ["enterprise_accounts", &account(1).0.to_string(), "balance holds NaN"].map(str::to_owned),
        ),
        (
            auction(1, 3, &[(2, 16)]),
            ["enterprise_accounts", &account(2).0.to_string(), "status holds closed"].map(str::to_owned),
        ),
        (
            auction(1, 4, &[(3, 16)]),
            ["enterprise_accounts", &account(3).0.to_string(), "credit_limit holds -1"].map(str::to_owned),
        ),
        (
            auction(3, 5, &[(4, 16)]),
            ["ad_slots", &slot(3).0.to_string(), "floor_price holds NaN"].map(str::to_owned),
        ),
        (decided.clone(), ["settlements", "settlement_id", "clearing_price holds NaN"].map(str::to_owned)),
    ];
    // In the same buckets and transactions as those that are held.
    let others = [
        auction(1, 6, &[(4, 16), (1, 8)]),
        auction(2, 7, &[(5, 16), (2, 8)]),
        auction(2, 8, &[(4, 32), (3, 16)]),
        auction(2, 9, &[(6, 8)]),
    ];
    for one in others.iter().chain(touched.iter().map(|(one, _)| one)) {
        world.pend(one).await;
    }
    let running = Running::start(&world);
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    for (one, names) in &touched {
        is_held(&world, one, &names.each_ref().map(String::as_str)).await;
    }
    for one in &others {
        assert_eq!(world.item(one).await.unwrap().state, State::Settled, "{:?}", one.key());
    }
    let shown = [&metrics.held, &metrics.settled].map(|one| one.load(Ordering::Relaxed));
    assert_eq!(shown, [5, 4]);

    // Once it is put right and released, each is decided as it would have been.
    let mend = [
        set("balance = opening_balance", 1),
        set("status = NULL", 2),
        set("credit_limit = 0", 3),
        format!("UPDATE ad_slots SET floor_price = 0.0001 {slot_three};"),
        format!(
            "UPDATE settlements SET clearing_price = winning_amount, settled_at = now() WHERE slot_id = '{}' \
             AND clearing_price = 'NaN';",
            slot(1).0
        ),
    ];
    sql(&world, &mend.concat()).await;
    for (one, _) in &touched {
        let options = Release {
            table: schemas::keys::TABLE.to_owned(),
            slot: one.slot_id,
            window: one.window_start,
            by_candidates: false,
        };
        release(&options, &world.clients).await.unwrap();
    }
    let running = Running::start(&world);
    world.until_outbox_is_empty().await;
    running.stop().await;
    for (one, _) in &touched {
        assert_eq!(world.item(one).await.unwrap().state, State::Settled, "{:?}", one.key());
    }
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

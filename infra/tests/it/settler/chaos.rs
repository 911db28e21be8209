//! Eight settlers over one outbox, and everything that can go wrong at once.

use std::collections::BTreeMap;
use std::time::Duration;

use infra::local::dsql::Injection;
use infra::local::postgres::{self, PostgresOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::item::{Aggregate, Outcome, State};
use schemas::money::{Money, Price};
use uuid::Uuid;

use super::child::spawn;
use super::world::{World, account, auction};

const SETTLERS: usize = 8;
const AUCTIONS: u128 = 600;
/// Few, so that transactions of different buckets meet in an account that was passed over or wins in both.
const ACCOUNTS: u128 = 40;

/// Auction `number`: account 0 does not exist and always bids the most, so that everyone has someone to pass over.
fn one(number: u128, random: &mut StdRng) -> Aggregate {
    let winner = 1 + random.random_range(0..ACCOUNTS);
    let second = 1 + (winner + random.random_range(0..ACCOUNTS - 1)) % ACCOUNTS;
    let unit = 1 << random.random_range(4..12);
    auction(
        1 + number % 50,
        1_000 + u64::try_from(number).unwrap(),
        &[(0, 4 * unit), (winner, 2 * unit), (second, unit)],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_settlers_settle_every_sale_once_whatever_breaks() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), None, None).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options =
        PostgresOptions { port: Some(port), ..PostgresOptions::in_dir(folder.path().join("postgres")) };
    let mut world = World::on(options.clone()).await;
    world.provision(ACCOUNTS, 10_000_000, 50).await;
    let mut random = StdRng::seed_from_u64(7);
    let auctions: Vec<Aggregate> = (0..AUCTIONS).map(|number| one(number, &mut random)).collect();
    world.dsql.set_injection(Injection {
        seed: 7,
        conflict_per_mille: 300,
        lost_reply_per_mille: 50,
        lost_request_per_mille: 50,
        ..Injection::default()
    });

    let mut settlers: Vec<_> =
        (0..SETTLERS).map(|number| spawn(&world, &format!("settler-{number}"))).collect();
    for (number, aggregate) in auctions.iter().enumerate() {
        world.pend(aggregate).await;
        if number % 60 == 59 {
            // Who was started while PostgreSQL was away has ended, and is started again as by a supervisor.
            for (number, settler) in settlers.iter_mut().enumerate() {
                if settler.found_no_ledger() {
                    *settler = spawn(&world, &format!("settler-{number}"));
                }
            }
            // One dies without a word, in whatever it was doing, and another takes its place.
            let victim = random.random_range(0..SETTLERS);
            settlers[victim].signal("KILL");
            settlers[victim].end();
            settlers[victim] = spawn(&world, &format!("settler-{victim}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if number == 300 {
            world.postgres.take().unwrap().shutdown().await;
            world.postgres = Some(postgres::start(options.clone()).await.unwrap());
        }
    }
    world.until_outbox_is_empty().await;
    // A stop is orderly: what was begun is finished, and the process ends well.
    for settler in &mut settlers {
        if !settler.found_no_ledger() {
            settler.signal("TERM");
            assert!(settler.end().success(), "a settler ends well when it is told to");
        }
    }
    world.dsql.set_injection(Injection::default());

    world.assert_the_ledger_is_right().await;
    every_sale_is_right(&world, &auctions).await;
    let injected = world.dsql.injected();
    assert!(
        injected.conflicts > 0 && injected.lost_replies > 0 && injected.lost_requests > 0,
        "{injected:?}"
    );
    let genuine = world
        .count("SELECT count(*) FROM conflict_events WHERE origin = 'injected' AND sqlstate <> '40001'")
        .await;
    assert_eq!(genuine, 0, "only what was injected is called so");
    assert!(
        world.count("SELECT count(*) FROM conflict_events WHERE resolved AND origin = 'injected'").await > 0
    );
    world.stop().await;
}

/// The winner is the best who exists, at its own amount, in row and item alike; and nobody paid twice.
async fn every_sale_is_right(world: &World, auctions: &[Aggregate]) {
    let client = world.postgres().await;
    let sql =
        "SELECT settlement_id, winner_account, clearing_price::text FROM settlements WHERE outcome = 'SALE'";
    let rows: BTreeMap<Uuid, (Uuid, String)> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    assert_eq!(rows.len(), auctions.len());
    let mut paid: BTreeMap<Uuid, i128> = BTreeMap::new();
    for aggregate in auctions {
        let best = &aggregate.candidates[1];
        let id = Uuid::new_v5(&aggregate.slot_id.0, aggregate.window_start.to_string().as_bytes());
        let (winner, price) = &rows[&id];
        assert_eq!((*winner, price.parse::<Price>().unwrap()), (best.account_id.0, best.amount));
        *paid.entry(*winner).or_default() += Money::from(best.amount).0;
        let item = world.item(aggregate).await.unwrap();
        assert_eq!(item.state, State::Settled);
        let decision = item.decision.unwrap();
        assert_eq!(decision.settlement_id.0, id);
        let expected = Outcome::Sale { winner: best.account_id, clearing_price: best.amount };
        assert_eq!(decision.outcome, expected);
        assert!(item.ttl.is_some());
    }
    for number in 1..=ACCOUNTS {
        let sql = "SELECT balance::text FROM enterprise_accounts WHERE account_id = $1";
        let balance: String = client.query_one(sql, &[&account(number).0]).await.unwrap().get(0);
        let expected = 10_000_000 - paid.get(&account(number).0).copied().unwrap_or_default();
        assert_eq!(balance.parse::<Money>().unwrap(), Money(expected), "account {number}");
    }
}

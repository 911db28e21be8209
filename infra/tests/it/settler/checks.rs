//! The checks of the settler's README: nothing answers them while the ledger is right, and each finds its fault.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use schemas::geometry::Pricing;
use schemas::item::Aggregate;
use schemas::money::Price;
use settler::provision::deposit;
use uuid::Uuid;

use super::decisions::Running;
use super::world::{World, account, auction, checks};

/// The last sale of account 1 becomes none, an hour later and with this row and evidence; its entries are gone, and so is
/// what they did to the account.
fn unsold(row: &str, evidence: &str) -> String {
    format!(
        "WITH last AS (SELECT settlement_id, account_id, amount FROM financial_ledger \
         WHERE direction = 'DEBIT' AND amount = 0.0008), \
         turned AS (UPDATE settlements s SET outcome = 'NO_SALE', winner_account = NULL, winning_bid = NULL, \
         winning_amount = NULL, clearing_price = NULL, winner_region = NULL, winner_shard = NULL, \
         winner_sequence = NULL, winner_sub_sequence = NULL, settled_at = settled_at + INTERVAL '1 hour', {row} \
         FROM last WHERE s.settlement_id = last.settlement_id), \
         gone AS (DELETE FROM financial_ledger e USING last WHERE e.settlement_id = last.settlement_id), \
         seen AS ({evidence}) \
         UPDATE enterprise_accounts a SET balance = a.balance + last.amount, version = a.version - 1 \
         FROM last WHERE a.account_id = last.account_id"
    )
}

/// Settles these auctions; the ledger is right before and after.
pub(super) async fn settle(world: &World, auctions: &[Aggregate]) {
    world.assert_the_ledger_is_right().await;
    for one in auctions {
        world.pend(one).await;
    }
    let running = Running::start(world);
    world.until_outbox_is_empty().await;
    running.stop().await;
    world.assert_the_ledger_is_right().await;
}

/// A check that never answers would hold nothing: each finds what is planted for it.
#[tokio::test]
async fn every_check_of_the_readme_finds_what_is_planted_for_it() {
    let mut world = World::start().await;
    world.provision(4, 1_000, 4).await;
    let (missing, rich) = ((77, 64), (3, 5_000));
    for one in [
        auction(1, 1, &[(1, 32)]),
        auction(2, 1, &[missing, (2, 16)]),
        auction(3, 1, &[rich, (4, 16)]),
        auction(4, 1, &[missing]),
        auction(5, 1, &[(1, 16)]),
    ] {
        world.pend(&one).await;
    }
    let running = Running::start(&world);
    world.until_outbox_is_empty().await;
    running.stop().await;
    let now = runtime::clock::now();
    let amount = Price::from_units(64).unwrap();
    deposit(&mut world.connect().await, account(1), amount, Uuid::from_u128(1), now).await.unwrap();
    world.assert_the_ledger_is_right().await;

    // Under second price: set by the last but one, by the floor, and by the winner itself.
    world.agreed.geometry.pricing = Pricing::Second;
    world.put(world.agreed.to_attrs()).await;
    let skipped = [(2, 64), rich, (77, 48), (4, 40), (1, 8)];
    let second =
        [auction(1, 2, &skipped), auction(2, 2, &[(2, 32), missing]), auction(3, 2, &[(1, 8), (4, 16)])];
    settle(&world, &second).await;
    let prices = "SELECT string_agg((clearing_price * 10000)::bigint::text, ' ' ORDER BY slot_id) \
        FROM settlements WHERE clearing_price IS NOT NULL AND window_start > to_timestamp(1)";
    let prices: String = world.postgres().await.query_one(prices, &[]).await.unwrap().get(0);
    assert_eq!(prices, "40 1 8");

    let client = world.postgres().await;
    let turned = unsold("no_sale_reason = 'no_eligible_candidate'", "SELECT");
    let slot_forgotten = unsold(
        "no_sale_reason = 'unknown_slot', floor_price = NULL, publisher_account_id = NULL",
        "DELETE FROM ad_bids b USING last WHERE b.settlement_id = last.settlement_id",
    );
    let account_forgotten = unsold(
        "no_sale_reason = 'no_eligible_candidate'",
        "UPDATE ad_bids b SET passed_over = 'unknown_account', balance_seen = NULL, limit_seen = NULL, \
         version_seen = NULL FROM last WHERE b.settlement_id = last.settlement_id",
    );
    let plants: [(&str, &str); _] = [
        (
            "two settlements",
            "INSERT INTO settlements (settlement_id, slot_id, window_start, window_end, outcome, no_sale_reason, \
             aggregate_digest, settled_at) SELECT gen_random_uuid(), slot_id, window_start, window_end, 'NO_SALE', \
             'below_floor', aggregate_digest, settled_at FROM settlements LIMIT 1",
        ),
        (
            "has two entries",
            "DELETE FROM financial_ledger WHERE settlement_id IS NOT NULL AND direction = 'CREDIT'",
        ),
        ("belong to a settlement", "DELETE FROM settlements WHERE outcome = 'NO_SALE'"),
        (
            "belong to a settlement",
            "INSERT INTO ad_bids SELECT gen_random_uuid(), rank, bid_id, account_id, region, amount, 'below_floor' \
             FROM ad_bids LIMIT 1",
        ),
        (
            "belong to a settlement",
            "WITH nobody AS (SELECT gen_random_uuid() AS id) \
             INSERT INTO financial_ledger (entry_id, settlement_id, account_id, direction, amount, created_at) \
             SELECT gen_random_uuid(), id, gen_random_uuid(), direction, 1, now() \
             FROM nobody, (VALUES ('DEBIT'), ('CREDIT')) AS both_ways (direction)",
        ),
        (
            "belong to a settlement",
            "INSERT INTO financial_ledger (entry_id, account_id, direction, amount, created_at) \
             SELECT gen_random_uuid(), gen_random_uuid(), direction, 1, now() \
             FROM (VALUES ('DEBIT'), ('CREDIT')) AS both_ways (direction)",
        ),
        (
            "belong to a settlement",
            "UPDATE financial_ledger SET deposit_id = gen_random_uuid() WHERE settlement_id IS NOT NULL",
        ),
        (
            "of every deposit, sum to zero",
            "UPDATE financial_ledger SET amount = amount + 1 WHERE direction = 'CREDIT'",
        ),
        (
            "of every deposit, sum to zero",
            "DELETE FROM financial_ledger WHERE deposit_id IS NOT NULL AND direction = 'DEBIT'",
        ),
        ("is its clearing price", "UPDATE settlements SET clearing_price = clearing_price - 0.0001"),
        (
            "is its clearing price",
            "UPDATE financial_ledger SET account_id = gen_random_uuid() WHERE direction = 'DEBIT'",
        ),
        (
            "is its clearing price",
            "UPDATE financial_ledger SET account_id = gen_random_uuid() WHERE direction = 'CREDIT'",
        ),
        ("is its clearing price", "UPDATE settlements SET publisher_account_id = gen_random_uuid()"),
        (
            "is its clearing price",
            "WITH older AS (UPDATE settlements SET floor_price = NULL, publisher_account_id = NULL) \
             UPDATE ad_slots SET publisher_account_id = gen_random_uuid()",
        ),
        ("keeps the floor", "UPDATE settlements SET floor_price = NULL WHERE outcome = 'SALE'"),
        ("keeps the floor", "UPDATE settlements SET publisher_account_id = NULL WHERE outcome = 'SALE'"),
        (
            "keeps the floor",
            "UPDATE settlements SET floor_price = 0, publisher_account_id = gen_random_uuid() \
             WHERE no_sale_reason = 'unknown_slot'",
        ),
        ("sold for less", "UPDATE settlements SET floor_price = clearing_price + 0.0001"),
        ("sold for less", "UPDATE settlements SET clearing_price = floor_price - 0.0001"),
        (
            "sold for less",
            "WITH older AS (UPDATE settlements SET floor_price = NULL, publisher_account_id = NULL) \
             UPDATE ad_slots SET floor_price = 0.0033",
        ),
        ("passed over for the floor", "UPDATE settlements SET floor_price = 0.0017"),
        (
            "passed over for the floor",
            "UPDATE ad_bids SET passed_over = 'below_floor' WHERE passed_over = 'insufficient_funds'",
        ),
        (
            "passed over for the floor",
            "WITH older AS (UPDATE settlements SET floor_price = NULL, publisher_account_id = NULL) \
             UPDATE ad_slots SET floor_price = 0.0017",
        ),
        (
            "whole ledger sums",
            "DELETE FROM financial_ledger WHERE deposit_id IS NOT NULL AND direction = 'DEBIT'",
        ),
        ("Balance = opening", "UPDATE enterprise_accounts SET balance = balance + 0.0001"),
        ("Balance = opening", "DELETE FROM financial_ledger WHERE deposit_id IS NOT NULL"),
        ("carry the versions", "UPDATE enterprise_accounts SET version = version + 1"),
        ("carry the versions", "UPDATE financial_ledger SET account_version = 2 WHERE account_version = 1"),
        ("below its limit", "UPDATE enterprise_accounts SET balance = -0.0001"),
        (
            "could not pay what it offered",
            "UPDATE ad_bids SET limit_seen = 1 WHERE passed_over = 'insufficient_funds'",
        ),
        (
            "could not pay what it offered",
            "UPDATE ad_bids SET balance_seen = 0.0039 WHERE passed_over IS NULL AND amount = 0.0040",
        ),
        (
            "could not pay what it offered",
            "UPDATE ad_bids SET balance_seen = 0.0039 WHERE passed_over IS NULL AND amount = 0.0064",
        ),
        (
            "could not pay what it offered",
            "UPDATE ad_bids SET passed_over = 'insufficient_funds' WHERE amount = 0.0040",
        ),
        (
            "could not pay what it offered",
            "UPDATE ad_bids SET version_seen = NULL WHERE passed_over = 'insufficient_funds'",
        ),
        ("did stand there", "UPDATE ad_bids SET balance_seen = balance_seen - 0.0001"),
        ("did stand there", "UPDATE ad_bids SET version_seen = version_seen + 1"),
        ("has its evidence", "DELETE FROM ad_bids WHERE passed_over IS NULL"),
        ("has its evidence", "DELETE FROM ad_bids WHERE passed_over IS NOT NULL"),
        ("has its evidence", "DELETE FROM ad_bids WHERE amount = 0.0048"),
        ("has its evidence", "UPDATE ad_bids SET passed_over = NULL WHERE amount = 0.0048"),
        (
            "has its evidence",
            "INSERT INTO ad_bids SELECT settlement_id, rank + 1, bid_id, account_id, region, amount, 'below_floor' \
             FROM ad_bids WHERE amount = 0.0040",
        ),
        (
            "has its evidence",
            "INSERT INTO ad_bids SELECT settlement_id, rank + 1, bid_id, account_id, region, amount \
             FROM ad_bids WHERE amount = 0.0040",
        ),
        ("says of its winner", "UPDATE settlements SET winning_amount = winning_amount + 0.0001"),
        ("says of its winner", "UPDATE settlements SET winning_amount = NULL WHERE outcome = 'SALE'"),
        ("says of its winner", "UPDATE settlements SET winner_region = 'us-east-1' WHERE outcome = 'SALE'"),
        (
            "says of its winner",
            "UPDATE settlements SET no_sale_reason = 'below_floor' WHERE outcome = 'SALE'",
        ),
        ("nothing was sold", &turned),
        (
            "nothing was sold",
            "UPDATE settlements SET no_sale_reason = 'below_floor' WHERE no_sale_reason = 'no_eligible_candidate'",
        ),
        (
            "nothing was sold",
            "DELETE FROM ad_bids USING settlements s WHERE s.settlement_id = ad_bids.settlement_id \
             AND s.outcome = 'NO_SALE'",
        ),
        (
            "nothing was sold",
            "UPDATE ad_bids SET rank = rank + 1 FROM settlements s WHERE s.settlement_id = ad_bids.settlement_id \
             AND s.outcome = 'NO_SALE'",
        ),
        ("nothing was sold", "UPDATE settlements SET winning_amount = 1 WHERE outcome = 'NO_SALE'"),
        ("nothing was sold", "UPDATE settlements SET no_sale_reason = NULL WHERE outcome = 'NO_SALE'"),
        ("nothing was sold", "UPDATE settlements SET outcome = 'SOLD' WHERE outcome = 'SALE'"),
        ("was known before", &slot_forgotten),
        ("was known before", &account_forgotten),
        ("was known before", "UPDATE ad_bids SET version_seen = 0 WHERE passed_over = 'unknown_account'"),
        (
            "what its evidence says",
            "UPDATE settlements SET clearing_price = 0.0048 WHERE clearing_price = 0.0040",
        ),
        (
            "what its evidence says",
            "UPDATE settlements SET clearing_price = 0.0008 WHERE clearing_price = 0.0040",
        ),
        ("what its evidence says", "UPDATE ad_bids SET amount = 0.0041 WHERE amount = 0.0040"),
        (
            "what its evidence says",
            "UPDATE settlements SET clearing_price = 0.0033 WHERE clearing_price = 0.0001",
        ),
        ("what its evidence says", "UPDATE settlements SET clearing_price = 0 WHERE clearing_price = 0.0001"),
        (
            "what its evidence says",
            "UPDATE settlements SET clearing_price = 0.0007 WHERE winning_amount = 0.0008",
        ),
    ];
    let (checks, mut missed) = (checks(), Vec::new());
    for (words, plant) in &plants {
        let named: Vec<&String> = checks.iter().filter(|check| check.contains(words)).collect();
        let [named] = named.as_slice() else { panic!("{words} names {} checks", named.len()) };
        client.batch_execute("BEGIN").await.unwrap();
        assert!(client.execute(*plant, &[]).await.unwrap() > 0, "{plant} plants nothing");
        let mut found_by = Vec::new();
        for check in &checks {
            if !client.query(check.as_str(), &[]).await.unwrap().is_empty() {
                found_by.push(check);
            }
        }
        client.batch_execute("ROLLBACK").await.unwrap();
        if !found_by.contains(named) {
            let others: Vec<_> = found_by.iter().filter_map(|check| check.lines().next()).collect();
            missed.push(format!("{plant}\n  is not found by {words:?}, only by {others:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    for check in &checks {
        assert!(plants.iter().any(|(words, _)| check.contains(words)), "nothing is planted for\n{check}");
    }
    world.stop().await;
}

/// Accounts run out of money, so that prices are set by all kinds of candidates, and by none.
#[tokio::test]
async fn no_check_finds_anything_in_many_second_prices() {
    let mut world = World::start().await;
    world.provision(12, 1_500, 20).await;
    world.agreed.geometry.pricing = Pricing::Second;
    world.put(world.agreed.to_attrs()).await;
    let mut random = StdRng::seed_from_u64(11);
    let mut one = |number: u64| {
        // Account 0 does not exist.
        let mut accounts: Vec<u128> = (0..=12).collect();
        accounts.shuffle(&mut random);
        let bids: Vec<(u128, u64)> =
            accounts.into_iter().take(5).map(|account| (account, random.random_range(1..500))).collect();
        auction(1 + u128::from(number) % 20, 1 + number, &bids)
    };
    let auctions: Vec<Aggregate> = (0..200).map(&mut one).collect();
    settle(&world, &auctions).await;
    let behind = "FROM ad_bids b JOIN settlements s ON s.settlement_id = b.settlement_id \
        JOIN ad_bids w ON w.settlement_id = s.settlement_id AND w.bid_id = s.winning_bid \
        AND w.account_id = s.winner_account AND w.rank < b.rank WHERE COALESCE(b.passed_over, 'none')";
    for why in ["none", "insufficient_funds", "unknown_account"] {
        assert!(world.count(&format!("SELECT count(*) {behind} = '{why}'")).await > 0, "{why}");
    }
    assert!(world.count("SELECT count(*) FROM settlements WHERE clearing_price = 0.0001").await > 0);
    world.stop().await;
}

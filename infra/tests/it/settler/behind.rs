//! Auctions whose candidates nobody can be held to: decided from a real stream, by a real settler, and audited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::primitives::Blob;
use infra::audit::{AuditOptions, audit};
use infra::local::kinesis::{KinesisHandle, KinesisOptions, Limits, start};
use infra::report::ReportOptions;
use processor::core::BidEvents;
use processor::core::shard::ShardMachine;
use runtime::clients::Clients;
use schemas::bid::Bid;
use schemas::geometry::Pricing;
use schemas::hash::HashRange;
use schemas::ids::{BidId, ShardId};
use schemas::item::{Aggregate, Outcome};
use schemas::keys;
use schemas::lease::{Checkpoint, Lease};
use schemas::money::{BasisPoints, Price};
use schemas::record::{decode, encode_block, tick};
use schemas::settlement::AccountStatus;
use schemas::time::Millis;
use settler::provision::NewAccount;

use super::decisions::{Running, settle_all};
use super::picky;
use super::world::*;

const SHARD: &str = "shardId-000000000000";
/// Bids of one record.
const RECORD: usize = 2_000;

/// A world with a stream of one shard.
async fn streamed(pricing: Pricing) -> (World, KinesisHandle) {
    let kinesis = start(KinesisOptions { limits: Limits::Off, ..KinesisOptions::default() }).await.unwrap();
    let mut world = World::start().await;
    world.clients = Clients::local(&kinesis.endpoint_url(), &world.dynamodb.endpoint_url()).await;
    (world.agreed.geometry.window_ms, world.agreed.geometry.pricing) = (3_000, pricing);
    world.put(world.agreed.to_attrs()).await;
    world.clients.kinesis.create_stream().stream_name(keys::STREAM).shard_count(1).send().await.unwrap();
    (world, kinesis)
}

/// Account 1 bids 10, so many phantoms 9.9 and account 2 bids 3.
fn bids(number: u128, phantoms: u128, first: Option<u64>, at: Millis) -> Vec<Bid> {
    let bid = |account_number: u128, units| Bid {
        bid_id: BidId::from_bytes((number << 64 | account_number).to_be_bytes()),
        slot_id: slot(number),
        account_id: account(account_number),
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(units).unwrap(),
        latency_ms: 1,
        quality: BasisPoints::ONE,
        event_time: at,
    };
    let first = first.map(|units| bid(1, units));
    let phantoms = (0..phantoms).map(|phantom| bid(1_000 + phantom, 99_000));
    first.into_iter().chain(phantoms).chain([bid(2, 30_000)]).collect()
}

async fn put(world: &World, data: Vec<u8>) {
    let put = world.clients.kinesis.put_record().stream_name(keys::STREAM);
    put.partition_key("k").data(Blob::new(data)).send().await.unwrap();
}

/// Puts bids into one window, and what a processor makes of them into the table.
async fn close(world: &World, auctions: impl Fn(Millis) -> Vec<Vec<Bid>>) -> Vec<Aggregate> {
    let window_ms = world.agreed.geometry.window_ms;
    while runtime::clock::now().0 % window_ms > window_ms / 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let at = runtime::clock::now();
    let auctions = auctions(at);
    for record in auctions.iter().flat_map(|bids| bids.chunks(RECORD)) {
        put(world, encode_block(record)).await;
    }
    let lease = Lease::new(ShardId(SHARD.to_owned()), HashRange::ALL, Vec::new());
    let (mut machine, _) = ShardMachine::begin(&lease, world.agreed.clone(), BidEvents::None, Vec::new());
    let iterator = world.clients.kinesis.get_shard_iterator().stream_name(keys::STREAM).shard_id(SHARD);
    let iterator = iterator.shard_iterator_type("TRIM_HORIZON".into()).send().await.unwrap();
    let mut iterator = iterator.shard_iterator.unwrap();
    let mut closed = Vec::new();
    while closed.len() < auctions.len() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        put(world, tick()).await;
        let page = world.clients.kinesis.get_records().shard_iterator(iterator).send().await.unwrap();
        for record in page.records() {
            let arrival = record.approximate_arrival_timestamp().unwrap().to_millis().unwrap();
            let arrival = Millis(arrival.try_into().unwrap());
            let sequence = record.sequence_number().parse().unwrap();
            let (windows, _) = machine.on_record(arrival, &sequence, &decode(record.data().as_ref()));
            for window in windows {
                for item in window.totals.iter().map(|totals| totals.to_attrs()) {
                    world.put(item).await;
                }
                for item in window.hot.iter().map(|hot| hot.to_attrs()) {
                    world.put(item).await;
                }
                closed.extend(window.aggregates);
            }
        }
        iterator = page.next_shard_iterator.unwrap();
    }
    for item in &closed {
        world.pend(item).await;
    }
    closed
}

async fn outcome(world: &World, number: u128, closed: &[Aggregate]) -> Outcome {
    let one = closed.iter().find(|one| one.slot_id == slot(number)).unwrap();
    world.item(one).await.unwrap().decision.unwrap().outcome
}

async fn assert_audited(world: &World) {
    let options = AuditOptions { expect_settled: true, ..AuditOptions::default() };
    let db = world.postgres().await;
    let audited = audit(&world.clients, &db, &options).await.unwrap();
    assert_eq!(audited.differences, []);
    world.assert_the_ledger_is_right().await;
}

fn sold_to(number: u128, units: u64) -> Outcome {
    Outcome::Sale { winner: account(number), clearing_price: Price::from_units(units).unwrap() }
}

#[tokio::test]
async fn no_number_of_unknown_accounts_sets_a_price() {
    let (world, kinesis) = streamed(Pricing::Second).await;
    world.provision(2, 1_000_000, 4).await;
    let many = [3, 4, 50, 20_000];
    let closed = close(&world, |at| {
        (1..).zip(many).map(|(number, phantoms)| bids(number, phantoms, Some(100_000), at)).collect()
    })
    .await;
    let began = Instant::now();
    let metrics = settle_all(&world).await;
    let took = began.elapsed();
    for (number, phantoms) in (1..).zip(many) {
        assert_eq!(outcome(&world, number, &closed).await, sold_to(1, 30_000), "{phantoms} phantoms");
    }
    let row = world
        .postgres()
        .await
        .query_one(
            "SELECT log_accounts, log_unknown, log_reads, log_bytes, (SELECT count(*) FROM ad_bids b \
             WHERE b.settlement_id = s.settlement_id) FROM settlements s ORDER BY log_accounts DESC LIMIT 1",
            &[],
        )
        .await
        .unwrap();
    let [accounts, unknown, reads, bytes, evidence] = [0, 1, 2, 3, 4].map(|column| row.get::<_, i64>(column));
    assert_eq!((accounts, unknown, evidence), (19_998, 19_997, 5), "and B: phantoms need no row");
    assert!(reads > 0 && bytes > 0);
    assert!(metrics.log_auctions.load(Ordering::Relaxed) == 4, "A is alone among its candidates in all four");
    assert!(took < Duration::from_secs(60), "{reads} GetRecords of {bytes} bytes took {took:?}");
    assert_audited(&world).await;
    let db = world.postgres().await;
    let reported = infra::report::report(&world.clients, &db, &ReportOptions::default()).await.unwrap();
    let looked_at: u64 = many.iter().map(|phantoms| phantoms - 2).sum::<u128>().try_into().unwrap();
    assert_eq!(
        (reported.log_auctions, reported.log_unknown),
        (4, looked_at - 4),
        "what the log was read for"
    );
    assert_eq!(reported.log_accounts, looked_at);
    let calls = metrics.log_reads.load(Ordering::Relaxed);
    assert_eq!(reported.log_reads, calls, "one reading for all four is counted once");
    assert_eq!(reported.log_bytes, metrics.log_bytes.load(Ordering::Relaxed));
    world.stop().await;
    kinesis.shutdown().await;
}

/// Unknown, suspended and broke accounts before one that is solvent.
#[tokio::test]
async fn no_number_of_phantoms_blocks_a_sale() {
    let (world, kinesis) = streamed(Pricing::First).await;
    world.provision(2, 1_000_000, 3).await;
    let phantom = |number: u128, balance, status| NewAccount {
        account_id: account(number),
        name: "phantom".to_owned(),
        balance: schemas::money::Money(balance),
        credit_limit: schemas::money::Money(0),
        status,
    };
    let half = |number: u128| match number % 2 {
        0 => phantom(number, 0, None),
        _ => phantom(number, 1_000_000, Some(AccountStatus::Suspended)),
    };
    let known: Vec<NewAccount> = (1_000..1_040).map(half).collect();
    settler::provision::accounts(&world.connect().await, &known).await.unwrap();
    let many = [4, 40, 500];
    let closed = close(&world, |at| {
        (1..).zip(many).map(|(number, phantoms)| bids(number, phantoms, None, at)).collect()
    })
    .await;
    settle_all(&world).await;
    for (number, phantoms) in (1..).zip(many) {
        assert_eq!(outcome(&world, number, &closed).await, sold_to(2, 30_000), "{phantoms} phantoms");
    }
    assert_eq!(
        world.count("SELECT count(*) FROM ad_bids WHERE passed_over = 'suspended'").await,
        2 + 20 + 20
    );
    assert_audited(&world).await;
    // One that is made active again may buy, and what was decided stands.
    let again = [phantom(1_001, 0, Some(AccountStatus::Active))];
    settler::provision::accounts(&world.connect().await, &again).await.unwrap();
    let sql = "SELECT count(*) FROM enterprise_accounts WHERE status = 'active' AND status_since IS NOT NULL \
               AND balance = 100";
    assert_eq!(world.count(sql).await, 1, "a status changes no balance");
    assert_audited(&world).await;
    world.stop().await;
    kinesis.shutdown().await;
}

/// A settler that reads the stream through a door which refuses what the rule says.
async fn settler_behind(
    world: &mut World,
    kinesis: &KinesisHandle,
    rule: impl Fn(&str, &str) -> picky::Refusal + Send + Sync + 'static,
) -> Running {
    let endpoint = picky::open(&kinesis.endpoint_url(), rule).await;
    let clients = Clients::local(&endpoint, &world.dynamodb.endpoint_url()).await;
    let direct = std::mem::replace(&mut world.clients, clients);
    let running = Running::start(world);
    world.clients = direct;
    running
}

/// Bids whose log begins behind another record.
async fn close_behind_a_record(world: &World) -> Vec<Aggregate> {
    put(world, tick()).await;
    let closed = close(world, |at| vec![bids(1, 5, None, at)]).await;
    let place = &closed[0].replay.as_ref().unwrap().checkpoint;
    assert!(matches!(place, Checkpoint::After(_)), "{place:?}");
    closed
}

/// Neither a refused iterator, nor a place that is refused once or twice, is the log's word.
#[tokio::test]
async fn a_refusal_that_proves_nothing_decides_no_auction_without_its_log() {
    let (mut world, kinesis) = streamed(Pricing::First).await;
    world.provision(2, 1_000_000, 1).await;
    let closed = close_behind_a_record(&world).await;
    let (places, pages) = (AtomicU64::new(0), AtomicU64::new(0));
    let odd = |code| Some((code, "a parameter cannot be used"));
    let running = settler_behind(&mut world, &kinesis, move |operation, body| match operation {
        "GetShardIterator" if body.contains("AFTER_SEQUENCE_NUMBER") => {
            match places.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => odd("InvalidArgumentException"),
                2 => odd("ResourceNotFoundException"),
                3 => odd("InvalidArgumentException"),
                _ => None,
            }
        }
        "GetRecords" if pages.fetch_add(1, Ordering::SeqCst) < 4 => odd("InvalidArgumentException"),
        _ => None,
    });
    let running = running.await;
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    assert_eq!(outcome(&world, 1, &closed).await, sold_to(2, 30_000));
    assert_eq!(metrics.held.load(Ordering::Relaxed), 0, "nothing was held");
    assert_audited(&world).await;
    world.stop().await;
    kinesis.shutdown().await;
}

/// The stream answers for the shard's beginning and refuses the place each time.
#[tokio::test]
async fn a_place_that_the_stream_keeps_refusing_is_gone() {
    let (mut world, kinesis) = streamed(Pricing::First).await;
    world.provision(2, 1_000_000, 1).await;
    let closed = close_behind_a_record(&world).await;
    let words = "StartingSequenceNumber is invalid because it did not come from this stream.";
    let running = settler_behind(&mut world, &kinesis, move |operation, body| {
        let is_place = operation == "GetShardIterator" && body.contains("AFTER_SEQUENCE_NUMBER");
        is_place.then_some(("InvalidArgumentException", words))
    });
    let running = running.await;
    world.until_outbox_is_empty().await;
    running.stop().await;
    let held = world.item(&closed[0]).await.unwrap().held_error.unwrap();
    for words in ["has no such place", words, "settler release --by-candidates"] {
        assert!(held.contains(words), "{words}: {held}");
    }
    world.stop().await;
    kinesis.shutdown().await;
}

/// The stream is another by now: nothing is guessed, a person decides.
#[tokio::test]
async fn an_auction_whose_log_is_gone_is_held_until_it_is_released_without_it() {
    let (world, kinesis) = streamed(Pricing::Second).await;
    world.provision(2, 1_000_000, 1).await;
    let closed = close(&world, |at| vec![bids(1, 5, Some(100_000), at)]).await;
    let wrong = Aggregate { duplicates: 7, ..closed[0].clone() };
    world.pend(&wrong).await;
    settle_all(&world).await;
    let held = world.item(&wrong).await.unwrap().held_error.unwrap();
    for words in ["7 duplicates", "settler release --by-candidates"] {
        assert!(held.contains(words), "{words}: {held}");
    }
    let release = settler::release::Release {
        by_candidates: true,
        table: keys::TABLE.to_owned(),
        slot: slot(1),
        window: wrong.window_start,
    };
    settler::release::release(&release, &world.clients).await.unwrap();
    settle_all(&world).await;
    let unsold = Outcome::NoSale { reason: "candidates_exhausted".to_owned() };
    assert_eq!(outcome(&world, 1, &closed).await, unsold);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
    kinesis.shutdown().await;
}

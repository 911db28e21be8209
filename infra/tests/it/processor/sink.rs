//! The sink against the engine: what stands stays, what can never be held stops nothing, and throttles slow it down.

use std::sync::Arc;
use std::time::Duration;

use processor::Metrics;
use processor::core::shard::ShardMachine;
use processor::core::{BidEvents, Closed};
use processor::metrics::get;
use processor::sink::Sink;
use runtime::clients::Clients;
use schemas::bid::Bid;
use schemas::hash::HashRange;
use schemas::ids::{AccountId, BidId, ShardId, SlotId};
use schemas::lease::Lease;
use schemas::limits::TOTALS_REGIONS_MAX;
use schemas::money::{BasisPoints, Price};
use schemas::record::{Decoded, Kind};
use schemas::time::Millis;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{World, agreed};

const ARRIVAL: u64 = 1_800_000_000_000;

fn bid(number: u128, slot: u128) -> Bid {
    Bid {
        bid_id: BidId::from_bytes(number.to_be_bytes()),
        slot_id: SlotId::from_bytes(slot.to_be_bytes()),
        account_id: AccountId::from_bytes(number.to_be_bytes()),
        region: "us-east-1".parse().unwrap(),
        amount: Price::from_units(7).unwrap(),
        latency_ms: 1,
        quality: BasisPoints::new(1).unwrap(),
        event_time: Millis(ARRIVAL),
    }
}

/// What the one window of these bids leaves.
fn closed(bids: impl Iterator<Item = Bid>) -> Closed {
    let row = Lease::new(ShardId("shardId-000000000000".into()), HashRange::ALL, Vec::new());
    let (mut machine, _) = ShardMachine::begin(&row, agreed(), BidEvents::All, Vec::new());
    let record = Decoded { kind: Kind::Block, items: bids.map(Ok).collect() };
    machine.on_record(Millis(ARRIVAL), &"1".parse().unwrap(), &record);
    let tick = Decoded { kind: Kind::Tick, items: Vec::new() };
    let (mut closed, _) = machine.on_record(Millis(ARRIVAL + 60_000), &"2".parse().unwrap(), &tick);
    assert_eq!(closed.len(), 1);
    closed.remove(0)
}

/// Writes a window; the first part hears how many of its items are refused, the second ends when all is durable.
fn write(sink: &Sink, left: Closed) -> (oneshot::Receiver<usize>, JoinHandle<()>) {
    let (told, refused) = oneshot::channel();
    let sink = sink.clone();
    let on_refused = |count| told.send(count).unwrap();
    let task = async move { sink.write(&shard(), left, on_refused).await };
    (refused, tokio::spawn(task))
}

/// No item is refused.
fn none(refused: usize) {
    panic!("{refused} items are refused");
}

fn shard() -> ShardId {
    ShardId("shardId-000000000000".into())
}

async fn wait(until: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !until() {
        assert!(began.elapsed() < SOON, "it never comes to that");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sink of a world's table, through its faults.
async fn sink(world: &World) -> (Sink, Arc<Metrics>) {
    let clients = Clients::local(&world.kinesis.endpoint_url(), &world.proxy.endpoint_url()).await;
    let metrics = Arc::new(Metrics::default());
    (Sink::new(clients.dynamodb, world.place.names.table.clone(), 16, Arc::clone(&metrics)), metrics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_item_at_a_key_is_a_divergence_and_the_first_one_stays() {
    let world = World::start().await;
    let (sink, metrics) = sink(&world).await;
    let bids = || (0..4).map(|number| bid(number, number / 2));
    sink.write(&shard(), closed(bids()), none).await;
    let first = world.items(&world.place.names.table).await;
    // Two auctions, one region, one list of hot slots.
    assert_eq!((get(&metrics.items_written), get(&metrics.conditional_failures)), (4, 0));
    sink.write(&shard(), closed(bids()), none).await;
    assert_eq!((get(&metrics.replays), get(&metrics.divergence)), (4, 0), "the same again is a replay");
    let dearer = |bid: Bid| {
        let amount = if bid.slot_id == SlotId::from_bytes(1_u128.to_be_bytes()) { 8 } else { 7 };
        Bid { amount: Price::from_units(amount).unwrap(), ..bid }
    };
    let events = closed(bids().map(dearer));
    sink.write(&shard(), Closed { events: Vec::new(), ..events }, none).await;
    assert_eq!((get(&metrics.replays), get(&metrics.divergence)), (5, 3), "one auction is the same");
    assert!(world.items(&world.place.names.table).await == first, "what stood there is gone");
    world.stop().await;
}

/// The condition fails, and neither the answer nor the table shows what stands there: nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_condition_that_shows_no_item_is_no_proof_that_one_stands() {
    let world = World::start().await;
    let (sink, metrics) = sink(&world).await;
    let pk = schemas::keys::slot_pk(&bid(0, 0).slot_id);
    world.proxy.set_refused(Some(("ConditionalCheckFailedException", &pk)));
    let (_, written) = write(&sink, closed((0..2).map(|number| bid(number, number))));
    wait(|| get(&metrics.write_faults) > 1).await;
    assert!(
        !written.is_finished() && get(&metrics.divergence) == 0,
        "it is tried again and is no divergence"
    );
    world.proxy.set_refused(None);
    tokio::time::timeout(SOON, written).await.expect("it is tried again").unwrap();
    assert!(world.items(&world.place.names.table).await.keys().any(|(stands, _)| *stands == pk));
    world.stop().await;
}

/// How long a refused item may take to be tried again in these tests: some of the first waits.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_the_table_refuses_stops_nothing_else_and_is_held_until_it_is_given_up() {
    let world = World::start().await;
    let (sink, metrics) = sink(&world).await;
    let regions = 2_500;
    let wide = (0..regions)
        .map(|number| Bid { region: format!("region-{number}").parse().unwrap(), ..bid(number, 0) });
    let mut left = closed(wide.chain([bid(regions, 1)]));
    left.events.clear();
    assert_eq!(left.aggregates.len(), 2);
    // No log leaves more candidates than were agreed; an item of thousands stands for whatever a table cannot hold.
    let mut beyond = left.clone();
    let candidate = beyond.aggregates[0].candidates[0].clone();
    beyond.aggregates[0].candidates = vec![candidate; 2_500];
    let (pk, sk) = beyond.aggregates[0].key();
    let (refused, writing) = write(&sink, beyond.clone());
    assert_eq!(refused.await.unwrap(), 1, "more than 400 KB");
    let (other, totals) = (1, u64::try_from(TOTALS_REGIONS_MAX).unwrap());
    assert_eq!(get(&metrics.items_written), other + totals + 1, "everything else is durable");
    assert!(!writing.is_finished(), "an item that is not written is not durable");
    wait(|| metrics.items_held() == 1).await;
    let began = std::time::Instant::now();

    // Everybody can see it, and nobody can give up what is not refused.
    while world.leases(&["--json"]).await.unwrap() != processor::admin::Covered::Gaps {
        assert!(began.elapsed() < SOON, "`processor leases` never tells of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let skip = async |pk: &str, sk: &str| {
        let reason = "agreed with finance";
        world.leases(&["skip", pk, sk, "--reason", reason, "--by", "ops"]).await
    };
    let (other_pk, other_sk) = beyond.aggregates[1].key();
    let told = skip(&other_pk, &other_sk).await.unwrap_err();
    assert!(told.to_string().contains("no processor says that table"), "{told}");
    skip(&pk, &sk).await.unwrap();
    tokio::time::timeout(SOON, writing).await.expect("it is found that the item was given up").unwrap();
    assert_eq!((metrics.items_held(), get(&metrics.items_skipped)), (0, 1));
    let told = skip(&pk, &sk).await.unwrap_err();
    assert!(told.to_string().contains("given up before: skipped by ops"), "{told}");

    // A replay, by whoever reads next, agrees with that decision.
    let (refused, writing) = write(&sink, beyond);
    assert_eq!(refused.await.unwrap(), 1);
    tokio::time::timeout(SOON, writing).await.unwrap().unwrap();
    let (_, writing) = write(&sink, left);
    tokio::time::timeout(SOON, writing).await.unwrap().unwrap();
    assert_eq!((get(&metrics.items_skipped), get(&metrics.divergence)), (3, 0), "nor does one that fits");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_odd_answer_delays_an_item_of_any_kind_and_loses_none() {
    let world = World::start().await;
    let left = closed((0..60).map(|number| bid(number, number % 2)));
    let keys = [
        left.aggregates[1].key().0,
        left.totals[0].key().0,
        left.hot.as_ref().unwrap().key().0,
        left.events[0].key().0,
    ];
    for (number, pk) in keys.iter().enumerate() {
        let (sink, metrics) = sink(&world).await;
        world.proxy.set_refused(Some(("ValidationException", pk)));
        let (refused, writing) = write(&sink, left.clone());
        let held = refused.await.unwrap();
        assert!(held > 0 && !writing.is_finished(), "{pk}");
        world.proxy.set_refused(None);
        tokio::time::timeout(SOON, writing).await.expect("it is taken again").unwrap();
        assert_eq!((metrics.items_held(), get(&metrics.items_skipped)), (0, 0), "{pk} in round {number}");
    }
    let items = world.items(&world.place.names.table).await;
    let written = || items.keys().filter(|(pk, _)| pk != schemas::keys::REFUSED);
    let of = |part: &str| written().filter(|(pk, sk)| format!("{pk} {sk}").contains(part)).count();
    assert_eq!((of("#BID#"), of("HOT#")), (60, 1));
    let auctions = written().filter(|(pk, sk)| pk.starts_with("SLOT#") && sk.starts_with("WINDOW#"));
    assert_eq!(auctions.count(), 2);

    // What the caller may not do is no fault of an item: it is tried again at the pace of outages, and told.
    let (sink, metrics) = sink(&world).await;
    world.proxy.set_refused(Some(("AccessDeniedException", &keys[0])));
    let (_, writing) = write(&sink, left);
    wait(|| get(&metrics.table_refuses) == 1).await;
    assert!(!writing.is_finished() && metrics.items_held() == 0);
    world.proxy.set_refused(None);
    tokio::time::timeout(SOON, writing).await.expect("it is allowed again").unwrap();
    assert_eq!(get(&metrics.table_refuses), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_and_batches_that_come_back_slow_the_sink_down_and_lose_nothing() {
    let world = World::start().await;
    let (sink, metrics) = sink(&world).await;
    world.proxy.set(30, 0);
    world.proxy.set_halves(true);
    let bids = 300;
    sink.write(&shard(), closed((0..bids).map(|number| bid(number, number / 3))), none).await;
    let items = world.items(&world.place.names.table).await;
    let events = items.keys().filter(|(_, sort)| sort.contains("#BID#")).count();
    let auctions = items.keys().filter(|(_, sort)| sort.starts_with("WINDOW#")).count();
    // Beside the auctions one region has an item there.
    assert_eq!((events, auctions), (300, 101));
    assert_eq!(get(&metrics.bid_events), 300);
    assert!(get(&metrics.throttles) > 0 && world.proxy.unprocessed() > 0);
    let slow = get(&metrics.writes_bound);
    assert!(slow < 32, "{slow} writes at once under throttles");
    world.proxy.set(0, 0);
    world.proxy.set_halves(false);
    let more = closed((0..2_000).map(|number| bid(bids + number, bids + number)));
    sink.write(&shard(), Closed { events: Vec::new(), ..more }, none).await;
    assert!(get(&metrics.writes_bound) > slow, "it is never fast again");
    world.stop().await;
}

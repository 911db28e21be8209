//! The sink against the engine: what stands stays, what can never be held stops nothing, and throttles slow it down.

use std::sync::Arc;

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
use schemas::money::{BasisPoints, Price};
use schemas::record::{Decoded, Kind};
use schemas::time::Millis;

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
    sink.write(&closed(bids())).await;
    let first = world.items(&world.place.names.table).await;
    // Two auctions, one region, one list of hot slots.
    assert_eq!((get(&metrics.items_written), get(&metrics.conditional_failures)), (4, 0));
    sink.write(&closed(bids())).await;
    assert_eq!((get(&metrics.replays), get(&metrics.divergence)), (4, 0), "the same again is a replay");
    let dearer = |bid: Bid| {
        let amount = if bid.slot_id == SlotId::from_bytes(1_u128.to_be_bytes()) { 8 } else { 7 };
        Bid { amount: Price::from_units(amount).unwrap(), ..bid }
    };
    let events = closed(bids().map(dearer));
    sink.write(&Closed { events: Vec::new(), ..events }).await;
    assert_eq!((get(&metrics.replays), get(&metrics.divergence)), (5, 3), "one auction is the same");
    assert!(world.items(&world.place.names.table).await == first, "what stood there is gone");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_the_table_can_never_hold_stops_nothing_else() {
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
    sink.write(&beyond).await;
    assert_eq!(get(&metrics.items_refused), 1, "more than 400 KB");
    let (other, totals) = (1, u64::try_from(regions).unwrap() + 1);
    assert_eq!(get(&metrics.items_written), other + totals + 1);
    sink.write(&left).await;
    assert_eq!(get(&metrics.items_refused), 1, "an auction of any number of regions fits");
    assert_eq!(get(&metrics.items_written), 2 * other + totals + 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_and_batches_that_come_back_slow_the_sink_down_and_lose_nothing() {
    let world = World::start().await;
    let (sink, metrics) = sink(&world).await;
    world.proxy.set(30, 0);
    world.proxy.set_halves(true);
    let bids = 300;
    sink.write(&closed((0..bids).map(|number| bid(number, number / 3)))).await;
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
    sink.write(&Closed { events: Vec::new(), ..more }).await;
    assert!(get(&metrics.writes_bound) > slow, "it is never fast again");
    world.stop().await;
}

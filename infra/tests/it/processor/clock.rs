//! Clocks that differ: of this machine and the stream's, and of a stream that ran ahead for a moment.

use aws_sdk_kinesis::primitives::Blob;
use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::money::{BasisPoints, Price};
use schemas::record::encode_plain;
use schemas::time::Millis;
use uuid::Uuid;

use super::*;

const QUICK: &str = "--look-ms 200 --failover-ms 2000 --listen 127.0.0.1:0";
const HOUR_MS: i64 = 3_600_000;
const SLOT: u128 = 0x510_7511;

impl World {
    /// A world whose stream's clock is this much ahead of the clock of this machine.
    async fn shifted(by_ms: i64) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = KinesisOptions { listen, limits: Limits::Aws, ..KinesisOptions::default() };
        let kinesis = kinesis::start(options).await.unwrap();
        kinesis.shift_clock(by_ms);
        let dynamodb = dynamodb::start(dynamodb::DynamoOptions::in_memory(listen)).await.unwrap();
        let proxy = Proxy::start(&dynamodb.endpoint_url()).await;
        let clients = Clients::local(&kinesis.endpoint_url(), &dynamodb.endpoint_url()).await;
        let place = Place { clients, names: Names::default() };
        provision::provision(&place, Some(SHARDS), &agreed()).await.unwrap();
        Self { kinesis, dynamodb, proxy, place, logs: tempfile::tempdir().unwrap() }
    }

    /// Puts a plain record of one bid with this event time.
    async fn bid_at(&self, number: u32, event_time: Millis) {
        let bid = Bid {
            bid_id: BidId(Uuid::from_u128(u128::from(number) + 1)),
            slot_id: SlotId(Uuid::from_u128(SLOT)),
            account_id: AccountId(Uuid::from_u128(u128::from(number) + 1)),
            region: "eu-central-1".parse().unwrap(),
            amount: Price::from_units(10_000).unwrap(),
            latency_ms: 1,
            quality: BasisPoints::ONE,
            event_time,
        };
        let put = self.place.clients.kinesis.put_record().stream_name(&self.place.names.stream);
        let put = put.partition_key(bid.slot_id.to_string()).data(Blob::new(encode_plain(&bid)));
        put.send().await.unwrap();
    }

    /// Waits until the auction of a window is written; answers its bids.
    async fn written(&self, start: Millis) -> u64 {
        let slot = SlotId(Uuid::from_u128(SLOT));
        let key = (format!("SLOT#{slot}"), format!("WINDOW#{start}"));
        let began = Instant::now();
        loop {
            let items = self.items(&self.place.names.table).await;
            if let Some(item) = items.get(&key) {
                return item["bids"].as_n().unwrap().parse().unwrap();
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "window {start} is never written: {:#?}",
                self.rows().await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A machine whose clock is a day and an hour off reads a stream that keeps records for a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_off_by_more_than_retention_cuts_no_window_and_holds_none() {
    for shift in [-25 * HOUR_MS, 25 * HOUR_MS] {
        let world = World::shifted(shift).await;
        let there = Millis(runtime::clock::now().0.saturating_add_signed(shift));
        let start = agreed().geometry.window_start(there);
        for number in 0..3 {
            world.bid_at(number, start.plus(u64::from(number))).await;
        }
        let reader = world.process("reader", QUICK);
        assert_eq!(world.written(start).await, 3, "with the stream {shift} ms ahead");
        reader.signal(Signal::TERM);
        assert!(reader.wait().await);
        // Its clocks are of the stream: a second reader believes them.
        let second = world.process("second", QUICK);
        let held = async || log(&second.log).iter().filter(|line| line["message"] == "lease held").count();
        let began = Instant::now();
        while held().await < 4 {
            assert!(began.elapsed() < Duration::from_secs(30), "{:#?}", log(&second.log));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(second);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_clock_ran_ahead_is_told_by_health_metric_log_and_audit() {
    let world = World::start().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let reader = world.process("reader", QUICK);
    world.held("reader", 4, DEADLINE).await;
    let shown = log(&reader.log).iter().find_map(|line| line["address"].as_str().map(str::to_owned)).unwrap();
    assert!(get(&shown, "/health").await.starts_with("HTTP/1.1 200"));
    world.kinesis.shift_clock(HOUR_MS);
    world.bid_at(1, runtime::clock::now()).await;
    world.kinesis.shift_clock(-HOUR_MS);
    let began = Instant::now();
    while get(&shown, "/health").await.starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < Duration::from_secs(20), "{:#?}", log(&reader.log));
        // What comes in time is late now.
        world.bid_at(u32::try_from(began.elapsed().as_millis()).unwrap() + 2, runtime::clock::now()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let health = get(&shown, "/health").await;
    assert!(health.contains("clocks ahead 1"), "{health}");
    let metrics = get(&shown, "/metrics").await;
    let ahead = metrics.lines().filter(|line| line.starts_with("processor_shard_clock_ahead_ms{"));
    let most: u64 = ahead.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).max().unwrap();
    assert!((3_500_000..=3_600_000).contains(&most), "{metrics}");
    let is_told = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|said| said.starts_with("clock of the shard is ahead"))
    };
    let told: Vec<_> = log(&reader.log).into_iter().filter(is_told).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0]["since"].is_string() && told[0]["ahead_ms"].as_u64().unwrap() > 3_500_000, "{told:#?}");
    world.bid_at(1_000_000, runtime::clock::now()).await;
    let db = connection.connect().await.unwrap();
    let found = audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    let [clock] = &found.clocks_ahead[..] else { panic!("{found:#?}") };
    assert!(clock.ahead_ms > 3_500_000 && clock.late >= 1, "{clock:?}");
    drop((reader, db));
    ledger.shutdown().await;
    world.stop().await;
}

//! A stream that is switched to service-managed distribution under a running pipeline, and back.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{RecordDistributionStrategy as Strategy, StreamMode, StreamModeDetails};
use schemas::bid::Bid;
use schemas::exit;
use schemas::ids::{AccountId, BidId, SlotId};
use schemas::money::{BasisPoints, Price};
use schemas::record::encode_plain;

use super::*;

/// What every refusal says: the fact, and the command that mends it.
const WORDS: [&str; 3] = [
    "service-managed record distribution (AUTO)",
    "aws kinesis update-stream-record-distribution-strategy --stream-arn arn:aws:kinesis:us-east-1:000000000000:stream/bids",
    "--record-distribution-strategy USER_PARTITION_KEY",
];

fn says(told: &str) {
    for words in WORDS {
        assert!(told.contains(words), "{told}");
    }
}

impl World {
    /// Makes the stream again, on demand.
    async fn on_demand(&self) {
        let (client, stream) = (&self.place.clients.kinesis, &self.place.names.stream);
        client.delete_stream().stream_name(stream).send().await.unwrap();
        let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build().unwrap();
        client.create_stream().stream_name(stream).stream_mode_details(mode).send().await.unwrap();
        provision::provision(&self.place, None, &agreed()).await.unwrap();
    }

    async fn switch(&self, strategy: Strategy) {
        let client = &self.place.clients.kinesis;
        let update = client.update_stream_record_distribution_strategy();
        let update = update.stream_arn("arn:aws:kinesis:us-east-1:000000000000:stream/bids");
        update.record_distribution_strategy(strategy).send().await.unwrap();
    }

    /// A processor in this process.
    fn processor(&self) -> tokio::task::JoinHandle<Result<(), processor::Error>> {
        let config = processor::Config::try_parse_from(["processor", "--look-ms", "200"]).unwrap();
        let (trigger, stop) = shutdown::channel();
        let run = processor::run(config, self.place.clients.clone(), stop, Arc::default());
        tokio::spawn(async move {
            let _trigger = trigger;
            run.await
        })
    }
}

async fn ended<T>(task: tokio::task::JoinHandle<T>) -> T {
    tokio::time::timeout(DEADLINE, task).await.expect("it ends").unwrap()
}

fn foreign(number: u128) -> Bid {
    Bid {
        bid_id: BidId::from_bytes(number.to_be_bytes()),
        slot_id: SlotId::from_bytes((number % 7).to_be_bytes()),
        account_id: AccountId::from_bytes(number.to_be_bytes()),
        region: "us-east-1".parse().unwrap(),
        amount: Price::from_units(7).unwrap(),
        latency_ms: 1,
        quality: BasisPoints::new(1).unwrap(),
        event_time: runtime::clock::now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ignores_keys_is_refused_by_all_and_what_it_mixed_up_is_told() {
    let world = World::start().await;
    world.on_demand().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let (live, counted) = (world.processor(), world.load(3, 100).await);
    world.wait_until_closed().await;
    let places = async || -> Vec<(_, Checkpoint)> {
        world.rows().await.into_iter().map(|row| (row.shard_id, row.checkpoint)).collect()
    };

    world.switch(Strategy::Auto).await;
    let error = ended(live).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::USAGE);
    says(&error.to_string());
    assert!(world.rows().await.iter().all(|row| row.owner.is_none()), "its leases are released");
    let before = places().await;
    let error = ended(world.processor()).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::USAGE);
    says(&error.to_string());
    assert_eq!(places().await, before, "one that starts takes nothing");
    let error = provision::provision(&world.place, None, &agreed()).await.unwrap_err();
    says(&error.to_string());

    // Another program knows nothing of it: of its bids of seven slots most lie where nobody looks for them.
    let client = &world.place.clients.kinesis;
    for number in 0..40 {
        let bid = foreign(number);
        let put = client.put_record().stream_name("bids").partition_key(bid.slot_id.to_string());
        put.data(Blob::new(encode_plain(&bid))).send().await.unwrap();
    }
    let db = connection.connect().await.unwrap();
    let look = async || audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    let found = look().await;
    assert_eq!(found.differences[0].what, "stream distribution", "{found:#?}");
    says(&found.differences[0].found);

    world.switch(Strategy::UserPartitionKey).await;
    let again = world.processor();
    world.wait_until_closed().await;
    let found = look().await;
    assert!(found.is_clean() && found.stray >= 20, "{found:#?}");
    assert_eq!(found.bids + found.stray, counted + 40);
    let mut printed = Vec::new();
    found.print(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("bids lie in shards that do not own their slots"), "{printed}");
    again.abort();
    drop(db);
    ledger.shutdown().await;
    world.stop().await;
}

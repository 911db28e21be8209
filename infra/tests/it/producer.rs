//! The producer against our Kinesis, end to end: what it acknowledges is in the stream, where its slot belongs.
//!
//! The checker reads the whole stream back with a client of its own and hashes slots by itself; of what it checks it
//! shares only the format of a record.

mod away;
mod distribution;
mod files;
mod gone;
mod http;
mod known;
mod latency;
mod load;
mod pressure;
mod process;
mod reshard;
mod silent;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ShardIteratorType;
use clap::Parser;
use infra::local::kinesis::{Faults, KinesisHandle, KinesisOptions, Limits, start};
use md5::{Digest, Md5};
use producer::Config;
use producer::generator::{Generator, GeneratorConfig, Made};
use runtime::clients::Clients;
use schemas::bid::Bid;
use schemas::ids::BidId;
use schemas::record::decode;
use schemas::time::Millis;

const STREAM: &str = "bids";
const REGION: &str = "eu-central-1";
/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running stream.
struct Stream {
    handle: KinesisHandle,
    clients: Clients,
}

impl Stream {
    async fn start(shards: i32, limits: Limits) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = KinesisOptions { listen, limits, ..KinesisOptions::default() };
        let handle = start(options).await.unwrap();
        let clients = Clients::local(&handle.endpoint_url(), "http://127.0.0.1:1").await;
        clients.kinesis.create_stream().stream_name(STREAM).shard_count(shards).send().await.unwrap();
        Self { handle, clients }
    }

    /// Everything that the stream holds, once nobody writes any more and nothing goes wrong any more.
    async fn contents(&self) -> Contents {
        self.handle.set_faults(Faults::default());
        contents(&self.clients.kinesis).await
    }
}

fn config(arguments: &[&str]) -> Config {
    let named = ["producer", "--stream", STREAM, "--region", REGION];
    // These streams stand alone: there is no table beside them.
    let alone = named.iter().chain(&["--no-table"]);
    Config::try_parse_from(alone.chain(arguments)).unwrap()
}

/// Different bids without end, of `slots` slots, made at one time.
fn bids(seed: u64, slots: u32, at: Millis) -> impl Iterator<Item = Bid> {
    let config = GeneratorConfig { seed, slots, ..GeneratorConfig::default() };
    let mut generator = Generator::new(config, REGION.parse().unwrap());
    std::iter::from_fn(move || match generator.next(at) {
        Made::Bid(bid) => Some(bid),
        other => panic!("only bids were asked for: {other:?}"),
    })
}

fn ndjson<'a>(bids: impl IntoIterator<Item = &'a Bid>) -> Vec<u8> {
    let mut text = Vec::new();
    bids.into_iter().for_each(|bid| schemas::intake::to_line(bid, &mut text));
    text
}

/// Where a copy of a bid lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    bid: Bid,
    shard: String,
    sequence: String,
    /// Whether that shard owns the bid's slot.
    owned: bool,
    /// Whether it owns those of all bids of the record.
    whole: bool,
}

type Contents = HashMap<BidId, Vec<Copy>>;

/// Reads every shard from its beginning to its end or tip.
async fn contents(client: &Client) -> Contents {
    let listed = client.list_shards().stream_name(STREAM).send().await.unwrap();
    let mut contents = Contents::new();
    for shard in listed.shards() {
        let range = shard.hash_key_range().unwrap();
        let bound = |text: &str| text.parse::<u128>().unwrap();
        let range = bound(range.starting_hash_key())..=bound(range.ending_hash_key());
        let id = shard.shard_id();
        let begin = client.get_shard_iterator().stream_name(STREAM).shard_id(id);
        let begin = begin.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let mut next = begin.shard_iterator;
        while let Some(iterator) = next {
            let page = page(client, &iterator).await;
            for record in page.records() {
                let owns = |bid: &Bid| {
                    let hash = u128::from_be_bytes(Md5::digest(bid.slot_id.to_string()).into());
                    range.contains(&hash)
                };
                let items = decode(record.data().as_ref()).items.into_iter();
                let bids: Vec<Bid> =
                    items.map(|item| item.expect("the producer writes valid bids")).collect();
                let whole = bids.iter().all(owns);
                for bid in bids {
                    let (shard, sequence) = (id.to_owned(), record.sequence_number().to_owned());
                    let copy = Copy { bid, shard, sequence, owned: owns(&bid), whole };
                    contents.entry(bid.bid_id).or_default().push(copy);
                }
            }
            let at_tip = page.records().is_empty() && page.millis_behind_latest() == Some(0);
            next = page.next_shard_iterator.filter(|_| !at_tip);
        }
    }
    contents
}

/// One page; a shard that gives no more in this second is asked again.
async fn page(client: &Client, iterator: &str) -> aws_sdk_kinesis::operation::get_records::GetRecordsOutput {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.get_records().shard_iterator(iterator).send().await {
            Ok(page) => return page,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that a copy of the bid lies in a shard that owns its slot.
fn holds(contents: &Contents, bid: &Bid) {
    let copies = contents.get(&bid.bid_id).unwrap_or_else(|| panic!("acknowledged and lost: {bid:?}"));
    assert!(copies.iter().all(|copy| copy.bid == *bid), "altered on its way: {bid:?} became {copies:?}");
    assert!(
        copies.iter().any(|copy| copy.owned),
        "acknowledged from a shard that does not own it: {copies:?}"
    );
}

/// Waits until the test is true.
async fn until(what: &str, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! A producer that knows what its pipeline agreed on: windows, leads, the stream's clock and the accounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use infra::local::dynamodb::{self, DynamoHandle, DynamoOptions};
use infra::place::{Names, Place};
use infra::provision::directory::{Content, publish};
use producer::core::admission::AdmissionError;
use producer::{Producer, SendError};
use schemas::geometry::Geometry;
use schemas::ids::AccountId;
use schemas::item::{Directory, GeometryItem, PART_BYTES_MAX, Roster};
use serde_json::Value;

use super::http::{get, lines, post};
use super::process::Process;
use super::*;

const AHEAD_MAX_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// A stream with its tables. Windows stay open for as long as a slow test may take.
struct Pipeline {
    kinesis: KinesisHandle,
    dynamodb: DynamoHandle,
    place: Place,
    folder: tempfile::TempDir,
}

impl Pipeline {
    async fn start() -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = KinesisOptions { listen, ..KinesisOptions::default() };
        let kinesis = start(options).await.unwrap();
        let dynamodb = dynamodb::start(DynamoOptions::in_memory(listen)).await.unwrap();
        let clients = Clients::local(&kinesis.endpoint_url(), &dynamodb.endpoint_url()).await;
        let place = Place { clients, names: Names::default() };
        let geometry = Geometry {
            window_ms: 60_000,
            grace_ms: 600_000,
            ahead_max_ms: AHEAD_MAX_MS,
            ..Geometry::default()
        };
        let ttl_after_ms = infra::provision::TTL_AFTER_MS;
        let agreed = GeometryItem { geometry, ttl_after_ms, outbox_buckets: 16 };
        infra::provision::provision(&place, Some(2), &agreed).await.unwrap();
        Self { kinesis, dynamodb, place, folder: tempfile::tempdir().unwrap() }
    }

    /// Runs a producer over these lines; answers its exit code, its log, its summary and what it refused.
    async fn run(&self, text: Vec<u8>, arguments: &[&str]) -> Run {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("bids"), text).unwrap();
        let (json, rejects) = (path("json"), path("rejects"));
        let named = ["--input", &path("bids"), "--json", &json, "--rejects", &rejects].map(str::to_owned);
        let mut all = named.to_vec();
        all.extend(arguments.iter().map(ToString::to_string));
        let urls = [self.kinesis.endpoint_url(), self.dynamodb.endpoint_url()];
        let run = move || {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            Process::knowing([&urls[0], &urls[1]], &all).end()
        };
        let (status, log) = tokio::task::spawn_blocking(run).await.unwrap();
        let told = std::fs::read_to_string(rejects).unwrap_or_default();
        let refused = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // A run that cannot begin leaves the file of its summary empty.
        let text = std::fs::read_to_string(json).unwrap_or_default();
        let summary = serde_json::from_str(&text).unwrap_or_default();
        Run { code: status.code(), log, summary, refused }
    }

    async fn publish(&self, accounts: &BTreeSet<AccountId>) -> u64 {
        let bytes = Roster::encode(accounts);
        let content = Content { entries: accounts.len(), bytes: Some(&bytes) };
        publish(&self.place, Directory::Roster, content).await.unwrap()
    }

    fn config(arguments: &[&str]) -> Config {
        let named = ["producer", "--stream", STREAM, "--region", REGION, "--linger-ms", "5"];
        Config::try_parse_from(named.iter().chain(arguments)).unwrap()
    }
}

struct Run {
    code: Option<i32>,
    log: String,
    summary: Value,
    refused: Vec<Value>,
}

impl Run {
    /// The line of its log with this message.
    fn logged(&self, message: &str) -> Value {
        let lines = self.log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = lines.into_iter().find(|line| line["message"].as_str().unwrap().contains(message));
        found.unwrap_or_else(|| panic!("no line says {message:?} in {}", self.log))
    }
}

/// Bids that are this far ahead of now, and one of now.
fn dated(ahead_ms: &[u64]) -> Vec<Bid> {
    let now = runtime::clock::now();
    let made = bids(7, 20, now).zip([0].iter().chain(ahead_ms));
    made.map(|(bid, ahead_ms)| Bid { event_time: now.plus(*ahead_ms), ..bid }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_from_the_future_are_refused_with_how_far_and_the_rest_is_taken() {
    let pipeline = Pipeline::start().await;
    // The first is ahead by more than the time that the run may take.
    let ahead = [21_500, 60_000, 600_000, DAY_MS, 30 * DAY_MS];
    let all = dated(&ahead);
    let run = pipeline.run(ndjson(&all), &[]).await;
    assert_eq!(run.code, Some(1), "{}", run.log);
    let of = |name: &str| run.summary[name].as_u64().unwrap();
    assert_eq!((of("sent"), of("accepted"), of("refused")), (6, 1, 5), "{}", run.summary);
    let counted = serde_json::json!([{ "region": REGION, "reason": "ahead", "bids": 5 }]);
    assert_eq!(run.summary["refusals"], counted);
    for (line, told) in (2..).zip(&run.refused) {
        assert_eq!((&told["answer"], &told["line"]), (&"refused".into(), &line.into()), "{told}");
        assert_eq!(told["field"], "timestamp", "{told}");
        assert!(told["reason"].as_str().unwrap().contains("ms ahead of the stream's clock"), "{told}");
    }
    let logged = run.logged("bid refused");
    let first = &all[1];
    for (name, value) in [
        ("bid_id", first.bid_id.to_string()),
        ("slot_id", first.slot_id.to_string()),
        ("account_id", first.account_id.to_string()),
        ("event_time", first.event_time.to_string()),
    ] {
        assert_eq!(logged[name], value, "{logged}");
    }
    assert!((1_001..=21_500).contains(&logged["ahead_ms"].as_u64().unwrap()), "{logged}");
    let contents = contents(&pipeline.place.clients.kinesis).await;
    assert_eq!(contents.keys().collect::<Vec<_>>(), [&all[0].bid_id], "the others are not in the stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bid_that_is_a_little_ahead_waits_until_it_is_due() {
    let pipeline = Pipeline::start().await;
    let config = Pipeline::config(&["--hold-ahead-ms", "20000"]);
    let producer = Arc::new(Producer::start(config, pipeline.place.clients.clone()));
    let now = runtime::clock::now();
    let mut made = bids(9, 4, now);
    let mut ahead = |ahead_ms: u64| Bid { event_time: now.plus(ahead_ms), ..made.next().unwrap() };
    let (near, far, beyond) = (ahead(2_500), ahead(19_000), ahead(DAY_MS));
    let refused = producer.send(beyond).await.unwrap_err();
    assert!(matches!(refused, SendError::Refused(AdmissionError::Ahead { .. })), "{refused}");
    producer.send(near).await.unwrap();
    let due = near.event_time.0 - AHEAD_MAX_MS;
    assert!(runtime::clock::now().0 >= due, "it was sent before it was due");
    let waiting = {
        let producer = Arc::clone(&producer);
        tokio::spawn(async move { producer.send(far).await })
    };
    let kept = || producer.metrics().kept.load(std::sync::atomic::Ordering::Relaxed);
    until("it is kept", || kept() == 1).await;
    waiting.abort();
    // A stop waits for what is due within the time to drain, and no longer: this one never was in the stream.
    let config = Pipeline::config(&["--hold-ahead-ms", "60000", "--drain-s", "1"]);
    let stopped = Producer::start(config, pipeline.place.clients.clone());
    let other = Bid { event_time: now.plus(59_000), ..far };
    let ((), answer) = {
        let stopped = Arc::new(stopped);
        let sending = {
            let stopped = Arc::clone(&stopped);
            tokio::spawn(async move { stopped.send(other).await })
        };
        let kept = || stopped.metrics().kept.load(std::sync::atomic::Ordering::Relaxed);
        until("it is kept", || kept() == 1).await;
        stopped.stop();
        ((), sending.await.unwrap())
    };
    assert_eq!(answer, Err(SendError::Undelivered));
    let contents = contents(&pipeline.place.clients.kinesis).await;
    assert!(contents.contains_key(&near.bid_id) && !contents.contains_key(&other.bid_id));
}

/// Its clock is an hour behind the stream's: what it dates itself is old, and what others date by the stream's is of now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_are_judged_by_the_streams_clock_and_a_wrong_one_is_told() {
    let pipeline = Pipeline::start().await;
    pipeline.kinesis.advance(Duration::from_secs(3_600));
    let all = dated(&[3_600_000, 3_600_000 + 60_000]);
    let run = pipeline.run(ndjson(&all), &[]).await;
    let answers: Vec<&str> = run.refused.iter().map(|told| told["answer"].as_str().unwrap()).collect();
    assert_eq!(
        answers.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"expired", &"refused"]),
        "{answers:?}"
    );
    assert_eq!(run.summary["accepted"], 1, "{}", run.log);
    let contents = contents(&pipeline.place.clients.kinesis).await;
    assert_eq!(contents.keys().collect::<Vec<_>>(), [&all[1].bid_id]);
    let offset_ms = run.summary["clock_offset_ms"].as_i64().unwrap();
    assert!((-3_601_000..=-3_598_000).contains(&offset_ms), "{offset_ms}");
    let told = run.logged("the clock of this machine is");
    assert!(told["message"].as_str().unwrap().contains("ms behind the stream's"), "{told}");
    assert_eq!(told["level"], "WARN");
    assert!(told["since"].as_str().is_some(), "{told}");
    let expired = run.logged("bid expired");
    assert!(expired["late_ms"].as_u64().unwrap() > 2_800_000, "{expired}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_is_known_unless_it_is_told_not_to() {
    let pipeline = Pipeline::start().await;
    let now = runtime::clock::now();
    let old: Vec<Bid> = bids(5, 4, Millis(now.0 - DAY_MS)).take(2).collect();
    let run = pipeline.run(ndjson(&old), &[]).await;
    assert_eq!((run.code, &run.summary["expired"]), (Some(1), &2.into()), "{}", run.log);
    let run = pipeline.run(ndjson(&old), &["--no-table"]).await;
    assert_eq!((run.code, &run.summary["accepted"]), (Some(0), &2.into()), "{}", run.log);
    run.logged("without a table");
    // A table that is not there, or holds no geometry, is told at the start, before a bid is taken.
    let run = pipeline.run(ndjson(&old), &["--table", "none"]).await;
    let said = &run.logged("table none");
    assert!((run.code, &said["exit_code"]) == (Some(64), &64.into()), "{}", run.log);
    assert!(said["message"].as_str().unwrap().contains("--table"), "{said}");
    let (pk, sk) = schemas::keys::GEOMETRY;
    let delete = pipeline.place.clients.dynamodb.delete_item().table_name(schemas::keys::TABLE);
    let delete =
        delete.key("PK", AttributeValue::S(pk.to_owned())).key("SK", AttributeValue::S(sk.to_owned()));
    delete.send().await.unwrap();
    let run = pipeline.run(ndjson(&old), &[]).await;
    let said = run.logged("holds no geometry");
    assert!(run.code == Some(64) && said["message"].as_str().unwrap().contains("--no-table"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_agreed_is_refused_by_name_in_every_way_in() {
    let pipeline = Pipeline::start().await;
    let now = runtime::clock::now();
    let mut made = bids(11, 4, now);
    let known = made.next().unwrap();
    let unknown = made.find(|bid| bid.account_id != known.account_id).unwrap();
    assert_eq!(pipeline.publish(&BTreeSet::from([known.account_id])).await, 1);
    let named = |reason: &str| {
        let words = [&unknown.account_id.to_string(), "version 1", "exchange provision --accounts"];
        assert!(words.iter().all(|word| reason.contains(*word)), "{reason}");
    };
    // Lines.
    let run = pipeline.run(ndjson([&known, &unknown]), &[]).await;
    assert_eq!((run.code, &run.summary["accepted"]), (Some(1), &1.into()), "{}", run.log);
    assert_eq!(run.summary["refusals"][0]["reason"], "unknown_account", "{}", run.summary);
    assert_eq!((&run.refused[0]["line"], &run.refused[0]["field"]), (&2.into(), &"account_id".into()));
    named(run.refused[0]["reason"].as_str().unwrap());
    // HTTP.
    let urls = [pipeline.kinesis.endpoint_url(), pipeline.dynamodb.endpoint_url()];
    let body = ndjson([&unknown, &known]);
    let answered = tokio::task::spawn_blocking(move || {
        let mut process = Process::knowing([&urls[0], &urls[1]], &["--listen", "127.0.0.1:0"]);
        let address = process.address();
        let answer = post(&address, "/v1/bids", &lines(), &body).unwrap();
        (answer.status, answer.json())
    });
    let (status, answer) = answered.await.unwrap();
    assert_eq!((status, &answer["accepted"]), (422, &1.into()), "{answer}");
    let told = &answer["not_accepted"][0];
    assert_eq!((&told["answer"], &told["field"]), (&"refused".into(), &"account_id".into()), "{told}");
    named(told["reason"].as_str().unwrap());
    // The crate; an account that is agreed later is taken without a restart.
    let producer = Producer::start(Pipeline::config(&[]), pipeline.place.clients.clone());
    let refused = producer.send(unknown).await.unwrap_err();
    named(&refused.to_string());
    producer.send(known).await.unwrap();
    assert_eq!(pipeline.publish(&BTreeSet::from([known.account_id, unknown.account_id])).await, 2);
    let version = || producer.metrics().roster_version.load(std::sync::atomic::Ordering::Relaxed);
    until("the new roster is read", || version() == 2).await;
    producer.send(unknown).await.unwrap();
    producer.close().await.unwrap();
}

/// A producer at a pipe says how it goes, and shows it to a collector.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piped_producer_says_how_it_does_and_shows_its_metrics() {
    let pipeline = Pipeline::start().await;
    let urls = [pipeline.kinesis.endpoint_url(), pipeline.dynamodb.endpoint_url()];
    let mut text = ndjson(&dated(&[]));
    text.extend_from_slice(b"no json\n");
    let told = tokio::task::spawn_blocking(move || {
        let mut process = Process::knowing([&urls[0], &urls[1]], &["--metrics-listen", "127.0.0.1:0"]);
        let mut input = process.input();
        std::io::Write::write_all(&mut input, &text).unwrap();
        let address = process.logged("metrics are shown at /metrics, health at /health")["address"].clone();
        let line = process.logged("producing");
        let seen = ["/metrics", "/health"].map(|path| get(address.as_str().unwrap(), path, &[]).unwrap());
        drop(input);
        let (status, log) = process.end();
        (line, seen.map(|seen| (seen.status, String::from_utf8(seen.body).unwrap())), status.code(), log)
    });
    let (line, [metrics, health], code, log) = told.await.unwrap();
    for (name, value) in [("accepted", 1), ("refused", 1), ("waiting", 0), ("requests", 0), ("throttled", 0)]
    {
        assert_eq!(line[name], value, "{line}");
    }
    let well = (200, "{\"status\":\"ok\"}", Some("ok"));
    assert_eq!((health.0, health.1.as_str(), line["health"].as_str()), well);
    let counted = format!("producer_refusals_total{{region=\"{REGION}\",reason=\"line\"}} 1");
    assert!(metrics.0 == 200 && metrics.1.lines().any(|line| line == counted), "{}", metrics.1);
    assert!(metrics.1.contains("producer_clock_offset_ms 0"), "{}", metrics.1);
    assert_eq!(code, Some(1), "{log}");
}

/// Names are published and read like accounts, and a file is the whole map.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_map_is_published_whole_and_replaced_whole() {
    let pipeline = Pipeline::start().await;
    let map = |name: &str| {
        let accounts = [(name.to_owned(), AccountId::from_bytes([1; 16]))].into();
        let slots = [(format!("{name}-top"), schemas::ids::SlotId::from_bytes([2; 16]))].into();
        schemas::intake::names::Names::new(accounts, slots)
    };
    let (table, client) = (schemas::keys::TABLE, &pipeline.place.clients.dynamodb);
    for (version, name) in [(1, "acme"), (1, "acme"), (2, "other")] {
        assert_eq!(infra::provision::names(&pipeline.place, &map(name)).await.unwrap(), version);
        let latest = runtime::directory::read(client, table, Directory::Names, None).await.unwrap();
        let runtime::directory::Latest::New(head, bytes) = latest else { panic!("{latest:?}") };
        assert_eq!((head.edition.version, head.entries), (version, 2));
        assert_eq!(schemas::item::decode_names(&bytes).unwrap(), map(name));
        let same = runtime::directory::read(client, table, Directory::Names, Some(&head.edition)).await;
        assert_eq!(same.unwrap(), runtime::directory::Latest::Same);
    }
}

/// Seats and impressions are names in the world of OpenRTB; those that were published are bids, and others are named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_names_stand_for_accounts_and_slots_over_openrtb() {
    let pipeline = Pipeline::start().await;
    let now = runtime::clock::now();
    let bid = bids(13, 4, now).next().unwrap();
    let names = schemas::intake::names::Names::new(
        [("acme".to_owned(), bid.account_id)].into(),
        [("home-top".to_owned(), bid.slot_id)].into(),
    );
    infra::provision::names(&pipeline.place, &names).await.unwrap();
    let offer = |seat: &str, id: &str| {
        let time = serde_json::json!({ "timestamp": now.to_string() });
        let bid = serde_json::json!({ "id": id, "impid": "home-top", "price": 1.5, "ext": time });
        serde_json::json!({ "seat": seat, "bid": [bid] })
    };
    let response = serde_json::json!({ "id": "r", "seatbid": [offer("acme", "1"), offer("nobody", "2")] });
    let urls = [pipeline.kinesis.endpoint_url(), pipeline.dynamodb.endpoint_url()];
    let answered = tokio::task::spawn_blocking(move || {
        let mut process = Process::knowing([&urls[0], &urls[1]], &["--listen", "127.0.0.1:0"]);
        let address = process.address();
        let headers = ["content-type: application/json".to_owned()];
        let answer = post(&address, "/v1/openrtb", &headers, response.to_string().as_bytes()).unwrap();
        (answer.status, answer.json())
    });
    let (status, answer) = answered.await.unwrap();
    assert_eq!((status, &answer["accepted"]), (422, &1.into()), "{answer}");
    let why = answer["not_accepted"][0]["reason"].as_str().unwrap();
    assert!(why.contains("\"nobody\"") && why.contains("exchange provision --names"), "{why}");
    let contents = contents(&pipeline.place.clients.kinesis).await;
    let stored: Vec<&Bid> = contents.values().flatten().map(|copy| &copy.bid).collect();
    let [stored] = stored[..] else { panic!("{stored:?}") };
    assert_eq!((stored.account_id, stored.slot_id), (bid.account_id, bid.slot_id));
}

/// Of a roster in several parts one whole edition is read, whoever publishes meanwhile, and old parts go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_one_whole_roster_while_others_publish() {
    let pipeline = Pipeline::start().await;
    let account = |number: u128| AccountId::from_bytes(number.to_be_bytes());
    let per_part = u128::try_from(PART_BYTES_MAX / 16).unwrap();
    // Edition k has two parts and a bit, and accounts that tell it: 0 to its size.
    let roster = |edition: u128| (0..2 * per_part + edition).map(account).collect::<BTreeSet<_>>();
    assert_eq!(pipeline.publish(&roster(1)).await, 1);
    assert_eq!(pipeline.publish(&roster(1)).await, 1, "the same content is the same edition");
    let publishing = async {
        for edition in 2..8 {
            pipeline.publish(&roster(edition)).await;
        }
    };
    let reading = async {
        let (table, client) = (schemas::keys::TABLE, &pipeline.place.clients.dynamodb);
        let mut last = 0;
        while last < 7 {
            let latest = runtime::directory::read(client, table, Directory::Roster, None).await.unwrap();
            let runtime::directory::Latest::New(head, bytes) = latest else { panic!("{latest:?}") };
            last = head.edition.version;
            let size = 2 * per_part + u128::from(last);
            assert_eq!((u128::from(head.entries), bytes.len()), (size, usize::try_from(size * 16).unwrap()));
        }
    };
    tokio::join!(publishing, reading);
    let (pk, names) = ("PIPELINE".to_owned(), "PK = :pk AND begins_with(SK, :sk)");
    let query = pipeline.place.clients.dynamodb.query().table_name(schemas::keys::TABLE);
    let query =
        query.key_condition_expression(names).expression_attribute_values(":pk", AttributeValue::S(pk));
    let query = query.expression_attribute_values(":sk", AttributeValue::S("ROSTER#".to_owned()));
    let parts = query.select(aws_sdk_dynamodb::types::Select::Count).send().await.unwrap();
    let versions = 2;
    assert!(parts.count() <= versions * 3, "{} parts are left", parts.count());
}

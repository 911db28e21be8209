//! Processors as real processes: killed, stopped, paused, throttled and lied to while shards split and merge.

mod altered;
mod clock;
mod distribution;
mod json;
mod process;
mod promises;
mod proxy;
mod reader;
mod refused;
mod remade;
mod sink;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use clap::Parser;
use infra::audit::{AuditOptions, audit};
use infra::local::kinesis::{self, Faults, KinesisHandle, KinesisOptions, Limits};
use infra::local::{dynamodb, postgres};
use infra::place::{Names, Place};
use infra::provision;
use processor::admin::Covered;
use processor::config::Command;
use processor::leases::Leases;
use runtime::clients::Clients;
use runtime::shutdown;
use rustix::process::Signal;
use schemas::geometry::Geometry;
use schemas::item::GeometryItem;
use schemas::lease::{Checkpoint, Lease};
use settler::db::Ledger;

use self::process::Process;
use self::proxy::Proxy;

/// How long a test waits for a value that has no deadline of its own.
const DEADLINE: Duration = Duration::from_secs(120);
const SHARDS: i32 = 4;

/// Engines, a fault proxy before the tables, and folders for logs.
struct World {
    kinesis: KinesisHandle,
    dynamodb: dynamodb::DynamoHandle,
    proxy: Proxy,
    place: Place,
    logs: tempfile::TempDir,
}

fn agreed() -> GeometryItem {
    let geometry = Geometry { window_ms: 2_000, grace_ms: 500, ..Geometry::default() };
    GeometryItem { geometry, ttl_after_ms: provision::TTL_AFTER_MS, outbox_buckets: 16 }
}

impl World {
    async fn start() -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = KinesisOptions { listen, limits: Limits::Aws, ..KinesisOptions::default() };
        let kinesis = kinesis::start(options).await.unwrap();
        let dynamodb = dynamodb::start(dynamodb::DynamoOptions::in_memory(listen)).await.unwrap();
        let proxy = Proxy::start(&dynamodb.endpoint_url()).await;
        let clients = Clients::local(&kinesis.endpoint_url(), &dynamodb.endpoint_url()).await;
        let place = Place { clients, names: Names::default() };
        provision::provision(&place, Some(SHARDS), &agreed()).await.unwrap();
        Self { kinesis, dynamodb, proxy, place, logs: tempfile::tempdir().unwrap() }
    }

    fn process(&self, name: &str, arguments: &str) -> Process {
        let (kinesis_url, dynamodb_url) = (self.kinesis.endpoint_url(), self.proxy.endpoint_url());
        let place =
            process::Place { kinesis_url: &kinesis_url, dynamodb_url: &dynamodb_url, logs: self.logs.path() };
        Process::start(name, &place, arguments)
    }

    async fn rows(&self) -> Vec<Lease> {
        let (client, table) = (self.place.clients.dynamodb.clone(), self.place.names.lease_table.clone());
        Leases { client, table }.all(runtime::clock::now()).await.unwrap().leases
    }

    /// Waits until a number of leases is held by workers whose names begin so; answers how long that took.
    async fn held(&self, name: &str, count: usize, within: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let rows = self.rows().await;
            let by = |row: &&Lease| row.owner.as_deref().is_some_and(|owner| owner.starts_with(name));
            if rows.iter().filter(by).filter(|row| row.checkpoint_owner.is_none()).count() >= count {
                return began.elapsed();
            }
            assert!(began.elapsed() < within, "{name} does not hold {count} after {within:?}: {rows:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends bids; answers how many were accepted, which is all of them.
    async fn load(&self, seconds: u64, rate: u32) -> u64 {
        let arguments = format!(
            "producer --no-table --region eu-central-1 --generate {rate} --duration {seconds} --slots 60 --accounts 40 --linger-ms 200"
        );
        let config = producer::Config::try_parse_from(arguments.split(' ')).unwrap();
        let (_trigger, stop) = shutdown::channel();
        let metrics = Arc::new(producer::Metrics::default());
        let summary = producer::run(config, self.place.clients.clone(), stop, metrics).await.unwrap();
        assert_eq!(summary.accepted, summary.sent, "{summary:?}");
        summary.accepted
    }

    async fn items(&self, table: &str) -> BTreeMap<(String, String), HashMap<String, AttributeValue>> {
        let scan = self.place.clients.dynamodb.scan().table_name(table).consistent_read(true);
        let items = scan.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
        let text = |item: &HashMap<String, AttributeValue>, name: &str| item[name].as_s().unwrap().clone();
        items.into_iter().map(|item| ((text(&item, "PK"), text(&item, "SK")), item)).collect()
    }

    /// `processor leases` with these arguments.
    async fn leases(&self, arguments: &[&str]) -> Result<Covered, processor::Error> {
        let config = ["processor", "leases"].iter().chain(arguments);
        let config = processor::Config::try_parse_from(config).unwrap();
        let Some(Command::Leases(asked)) = &config.command else { panic!("{config:?}") };
        processor::admin::run(&config, asked, self.place.clients.clone()).await
    }

    /// Whether all that was read is closed: what ended was inherited, and every checkpoint is at its shard's clock.
    async fn is_closed(&self) -> bool {
        let is_closed = |row: &Lease| {
            let ended = row.checkpoint == Checkpoint::ShardEnd;
            !ended && row.tails.is_empty() && row.replay_clock == row.closed_through
        };
        self.rows().await.iter().all(is_closed)
    }

    /// Waits until all is closed, and stays so for as long as ticks and looks need.
    async fn wait_until_closed(&self) {
        let (began, mut looks) = (Instant::now(), 0);
        while looks < 6 {
            assert!(began.elapsed() < DEADLINE, "not all windows close: {:#?}", self.rows().await);
            looks = if self.is_closed().await { looks + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Reshards: every other time a split, else a merge.
    async fn reshard(&self, turn: usize) {
        let (client, stream) = (&self.place.clients.kinesis, &self.place.names.stream);
        let answer = client.list_shards().stream_name(stream).send().await.unwrap();
        let is_open = |end: Option<&str>| end.is_none();
        let mut open: Vec<(u128, u128, String)> = answer
            .shards()
            .iter()
            .filter(|shard| is_open(shard.sequence_number_range().unwrap().ending_sequence_number()))
            .map(|shard| {
                let range = shard.hash_key_range().unwrap();
                let (start, end) = (range.starting_hash_key(), range.ending_hash_key());
                (start.parse().unwrap(), end.parse().unwrap(), shard.shard_id().to_owned())
            })
            .collect();
        open.sort_unstable();
        let at = turn * 7 % (open.len() - 1);
        if turn.is_multiple_of(2) {
            let (start, end, id) = &open[at];
            let middle = (start.midpoint(*end) + 1).to_string();
            let split = client.split_shard().stream_name(stream).shard_to_split(id);
            split.new_starting_hash_key(middle).send().await.unwrap();
        } else {
            let merge = client.merge_shards().stream_name(stream).shard_to_merge(&open[at].2);
            merge.adjacent_shard_to_merge(&open[at + 1].2).send().await.unwrap();
        }
    }

    async fn stop(self) {
        self.kinesis.shutdown().await;
        self.dynamodb.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_move_within_3_s_of_sigterm_and_15_s_of_kill() {
    let world = World::start().await;
    let first = world.process("first", "--listen 127.0.0.1:0");
    world.held("first", 4, DEADLINE).await;
    let lines = log(&first.log);
    let shown = lines.iter().find_map(|line| line["address"].as_str()).expect("where metrics are shown");
    let metrics = get(shown, "/metrics").await;
    assert!(metrics.contains("\nprocessor_leases_held 4\n"), "{metrics}");
    assert!(get(shown, "/health").await.starts_with("HTTP/1.1 200"));
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line} has no {field}");
        }
    }
    let held: Vec<_> = lines.iter().filter(|line| line["message"] == "lease held").collect();
    assert!(held.len() == 4 && held.iter().all(|line| line["shard_id"].is_string()), "{held:?}");
    let second = world.process("second", "");
    // Two are asked for and handed over, one after another.
    world.held("second", 2, DEADLINE).await;
    first.signal(Signal::TERM);
    world.held("second", 4, Duration::from_secs(3)).await;
    assert!(first.wait().await, "a processor that was told to stop says that all went well");
    let third = world.process("third", "");
    world.held("third", 2, DEADLINE).await;
    second.signal(Signal::KILL);
    world.held("third", 4, Duration::from_secs(15)).await;
    world.leases(&["release", "shardId-000000000001"]).await.unwrap();
    world.held("third", 4, DEADLINE).await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole);
    let rewind = ["rewind", "shardId-000000000001", "--to", "TRIM_HORIZON"];
    let refused = world.leases(&rewind).await.unwrap_err();
    assert!(refused.to_string().contains("nothing to read again"), "{refused}");
    let lost = lines_with([third.log.as_path()].into_iter(), "lease lost: its row was released by a command");
    assert_eq!(lost.len(), 1, "the owner that was told by nobody finds out by its next write or look");
    drop((second, third));
    world.stop().await;
}

/// A log on a pipe: one JSON object a line.
fn log(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

const CHAOS: &str = "--failover-ms 2000 --look-ms 500 --bid-events best";
const CHAOS_SECONDS: u64 = 60;
const FAULT_EVERY: Duration = Duration::from_secs(3);

/// Three processes under everything that may happen to them, until the load is over.
async fn chaos(world: &World) -> Vec<Process> {
    let mut processes: Vec<Process> = ["a", "b", "c"].iter().map(|name| world.process(name, CHAOS)).collect();
    let (mut zombie, mut gone) = (None::<Process>, Vec::new());
    let began = Instant::now();
    for turn in 0.. {
        tokio::time::sleep(FAULT_EVERY).await;
        world.proxy.set(0, 0);
        world.proxy.set_halves(false);
        world.kinesis.set_faults(Faults::default());
        if let Some(zombie) = zombie.take() {
            // Its leases were taken meanwhile; it goes on where it stood.
            zombie.signal(Signal::CONT);
            processes.push(zombie);
        }
        if began.elapsed() >= Duration::from_secs(CHAOS_SECONDS) {
            break;
        }
        match turn % 6 {
            0 => {
                let killed = processes.remove(turn % processes.len());
                killed.signal(Signal::KILL);
                processes.push(world.process(&format!("after-kill-{turn}"), CHAOS));
                gone.push(killed);
            }
            1 => world.reshard(turn / 6).await,
            2 => {
                let paused = processes.remove(turn % processes.len());
                paused.signal(Signal::STOP);
                zombie = Some(paused);
            }
            3 => {
                world.proxy.set(40, 0);
                world.proxy.set_halves(true);
            }
            4 => {
                let stopped = processes.remove(turn % processes.len());
                stopped.signal(Signal::TERM);
                processes.push(world.process(&format!("after-term-{turn}"), CHAOS));
                gone.push(stopped);
                world.reshard(turn / 6 + 1).await;
            }
            _ => {
                world.proxy.set(0, 10);
                let mut faults = Faults::none(7);
                (faults.lost_reply, faults.expired_iterator) = (0.05, 0.1);
                (faults.server_error, faults.throttle) = (0.05, 0.05);
                world.kinesis.set_faults(faults);
            }
        }
    }
    processes.extend(gone);
    processes
}

fn lines_with<'a>(logs: impl Iterator<Item = &'a Path>, words: &str) -> Vec<String> {
    let logs: Vec<String> = logs.map(|log| std::fs::read_to_string(log).unwrap()).collect();
    logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(words)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_chaos_leaves_the_items_of_an_undisturbed_run() {
    let world = World::start().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let (processes, _) = tokio::join!(chaos(&world), world.load(CHAOS_SECONDS, 1_000));

    let db = connection.connect().await.unwrap();
    world.wait_until_closed().await;
    let found = audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    assert!(found.is_clean() && found.auctions > 500, "{found:#?}");
    let logs = || processes.iter().map(|process| process.log.as_path());
    assert_eq!(lines_with(logs(), "divergence"), Vec::<String>::new());
    assert_eq!(lines_with(logs(), "panicked"), Vec::<String>::new());
    for happened in
        ["lease handed over", "lease lost", "lease released", "tail read", "row of an ended shard removed"]
    {
        assert!(!lines_with(logs(), happened).is_empty(), "nothing logged: {happened}");
    }
    let kept = promises::kept(logs());
    let again = kept.iter().filter(|line| line["message"] == promises::AGAIN);
    assert!(again.filter_map(|line| line["records"].as_u64()).sum::<u64>() > 0, "nothing was read again");
    assert!(world.proxy.unprocessed() > 0, "no batch was taken by halves");
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole);
    drop(processes);

    let calm = Names { table: "calm".into(), lease_table: "calm-leases".into(), ..Names::default() };
    let place = Place { clients: world.place.clients.clone(), names: calm };
    provision::provision(&place, Some(SHARDS), &agreed()).await.unwrap();
    let undisturbed = world.process("calm", "--table calm --lease-table calm-leases --bid-events best");
    let expected = world.items(&world.place.names.table).await;
    let began = Instant::now();
    while world.items("calm").await.len() < expected.len() {
        assert!(began.elapsed() < DEADLINE, "an undisturbed run does not come to as many items");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    undisturbed.signal(Signal::TERM);
    assert!(undisturbed.wait().await);
    let calm = world.items("calm").await;
    let differing: Vec<_> = expected.iter().filter(|(key, item)| calm.get(*key) != Some(*item)).collect();
    assert!(differing.is_empty() && calm.len() == expected.len(), "{differing:#?}");
    drop(db);
    ledger.shutdown().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_pushed_give_the_items_of_the_log() {
    let world = World::start().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let first = world.process("first", "--fan-out --failover-ms 2000 --look-ms 500");
    let second = world.process("second", "--fan-out --failover-ms 2000 --look-ms 500");
    world.held("second", 2, DEADLINE).await;
    let killed = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.reshard(0).await;
        first.signal(Signal::KILL);
        world.reshard(1).await;
    };
    tokio::join!(world.load(6, 500), killed);
    world.wait_until_closed().await;
    let db = connection.connect().await.unwrap();
    let found = audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    assert!(found.is_clean() && found.auctions > 60, "{found:#?}");
    second.signal(Signal::TERM);
    assert!(second.wait().await);
    drop(db);
    ledger.shutdown().await;
    world.stop().await;
}

//! How fast one producer process puts a file of bids into the local Kinesis with its limits off, both on the same cores:
//! `cargo bench -p infra --bench producer`.
//!
//! Producer and engine are processes of their own, each this very program again; the producer is the library's `run`
//! with the binary's own defaults. The time runs from the start of the producer's process to its end, so that opening
//! the stream and draining count. `--bids N` sets the load, `--rounds N` how often, and `-- --envelope aggregated` and
//! whatever else follows goes to the producer. `--answers S` lets callers of one bid each send for S seconds over HTTP
//! instead and prints how long they wait; `--rate R` generates R bids/s for 10 s instead and prints what records and
//! requests hold. `--test` (how `cargo test --benches` starts it) sends a few bids once.

#![allow(missing_docs, clippy::print_stdout, clippy::float_arithmetic, reason = "a bench prints figures")]

#[allow(dead_code, reason = "the other engine is not wanted here")]
#[path = "kinesis/process.rs"]
mod process;

#[path = "producer/answers.rs"]
mod answers;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use producer::generator::{Generator, GeneratorConfig, Made};
use producer::{Config, Metrics};
use runtime::clients::Clients;
use runtime::shutdown;
use schemas::time::Millis;

const SHARDS: i32 = 4;
const SLOTS: u32 = 2_000;
const ACCOUNTS: u32 = 1_000;
const REGION: &str = "eu-central-1";

struct Options {
    bids: u32,
    rounds: usize,
    what: What,
    producer: Vec<String>,
}

/// What is measured.
#[derive(Clone, Copy)]
enum What {
    /// How fast a file is sent.
    File,
    /// How long callers of one bid wait, over so many seconds.
    Answers(u64),
    /// What records hold of so many bids a second.
    Rate(u32),
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { bids: 2_000_000, rounds: 5, what: What::File, producer: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--bids" => options.bids = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--answers" => options.what = What::Answers(value()?.parse()?),
            "--rate" => options.what = What::Rate(value()?.parse()?),
            // Cargo says so to every bench.
            "--bench" => {}
            "--test" => (options.bids, options.rounds) = (20_000, 1),
            _ => {
                options.producer.push(argument);
                options.producer.extend(arguments.by_ref().filter(|argument| argument != "--bench"));
            }
        }
    }
    Ok(options)
}

/// Bids as the load generator makes them, a file of lines.
fn write_bids(path: &Path, bids: u32) -> anyhow::Result<()> {
    let config = GeneratorConfig { slots: SLOTS, accounts: ACCOUNTS, ..GeneratorConfig::default() };
    let mut generator = Generator::new(config, REGION.parse()?);
    let start = runtime::clock::now().0;
    let (mut out, mut line) = (std::io::BufWriter::new(std::fs::File::create(path)?), Vec::new());
    for number in 0..u64::from(bids) {
        let Made::Bid(bid) = generator.next(Millis(start + number / 150)) else { continue };
        line.clear();
        schemas::intake::to_line(&bid, &mut line);
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}

/// The producer's process.
#[tokio::main]
async fn produce(arguments: Vec<String>) -> anyhow::Result<()> {
    let config =
        Config::try_parse_from([vec!["producer".to_owned(), "--no-table".to_owned()], arguments].concat())?;
    let url = std::env::var("AWS_ENDPOINT_URL_KINESIS")?;
    let (_trigger, stop) = shutdown::channel();
    let clients = Clients::local(&url, &url).await;
    producer::run(config, clients, stop, Arc::new(Metrics::default())).await?;
    Ok(())
}

/// What one run took.
struct Took {
    wall: Duration,
    producer: Duration,
    engine_ms: u64,
    records: u64,
    bytes: u64,
}

async fn create(url: &str) -> anyhow::Result<()> {
    let kinesis = Clients::local(url, url).await.kinesis;
    kinesis.create_stream().stream_name(schemas::keys::STREAM).shard_count(SHARDS).send().await?;
    Ok(())
}

fn round(options: &Options, folder: &Path) -> anyhow::Result<Took> {
    let engine = engine()?;
    let (bids, summary) = (folder.join("bids.ndjson"), folder.join("summary.json"));
    let (before_ms, worked, began) = (engine.used_ms()?, children(), Instant::now());
    let mut command = command(options, &engine)?;
    command.arg("--input").arg(bids).arg("--json").arg(&summary);
    let ended = command.status()?;
    let wall = began.elapsed();
    ensure!(ended.success(), "the producer ended with {ended}");
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    let count = |name: &str| told[name].as_u64().context("a count");
    ensure!(count("accepted")? == u64::from(options.bids), "not all was accepted: {told}");
    let (producer, engine_ms) = (children().saturating_sub(worked), engine.used_ms()? - before_ms);
    Ok(Took { wall, producer, engine_ms, records: count("records")?, bytes: count("bytes")? })
}

/// What child processes that have ended worked on the cores; the engine still runs when this is asked.
fn children() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    // Fields 16 and 17 of proc(5), counted from the one behind the name; a tick is 10 ms.
    let ticks = fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--serve") => return process::serve(),
        Some("--produce") => return produce(std::env::args().skip(2).collect()),
        _ => {}
    }
    let options = options()?;
    match options.what {
        What::File => send_file(&options),
        What::Answers(seconds) => wait_for_answers(&options, Duration::from_secs(seconds)),
        What::Rate(rate) => generate(&options, rate),
    }
}

/// An engine with a stream.
fn engine() -> anyhow::Result<process::Engine> {
    let engine = process::Engine::start(process::Kind::Ours)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(create(&engine.endpoint_url))?;
    Ok(engine)
}

fn command(options: &Options, engine: &process::Engine) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--produce", "--region", REGION]).args(&options.producer);
    command.env("AWS_ENDPOINT_URL_KINESIS", &engine.endpoint_url).stdin(Stdio::null());
    Ok(command)
}

fn wait_for_answers(options: &Options, lasts: Duration) -> anyhow::Result<()> {
    println!("callers that send one bid and wait, {SLOTS} slots, {SHARDS} shards, limits off");
    for callers in [1, 8, 64, 256] {
        let engine = engine()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut child = command(options, &engine)?.args(["--listen", &address.to_string()]).spawn()?;
        let waited = answers::until_well(address).and_then(|()| answers::measure(address, callers, lasts));
        child.kill()?;
        child.wait()?;
        let waited = waited?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{callers:4} callers: p50 {:6.2} ms, p99 {:6.2} ms, {:6.0} bids/s",
            ms(waited.p50),
            ms(waited.p99),
            waited.bids_per_s
        );
    }
    Ok(())
}

fn generate(options: &Options, rate: u32) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (engine, summary) = (engine()?, folder.path().join("summary.json"));
    let mut command = command(options, &engine)?;
    command.args(["--generate", &rate.to_string(), "--duration", "10", "--slots", &SLOTS.to_string()]);
    ensure!(command.arg("--json").arg(&summary).status()?.success(), "the producer fails");
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    let count = |name: &str| anyhow::Ok(f64::from(u32::try_from(told[name].as_u64().context("a count")?)?));
    let (bids, records) = (count("accepted")?, count("records")?);
    println!(
        "{rate} bids/s: {records} records of {:.1} bids, {:.2} bytes a bid",
        bids / records,
        count("bytes")? / bids
    );
    Ok(())
}

fn send_file(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    write_bids(&folder.path().join("bids.ndjson"), options.bids)?;
    println!(
        "{} lines of bids, {SLOTS} slots, {ACCOUNTS} accounts, NEXMark's skew, {SHARDS} shards, limits off",
        options.bids
    );
    let bids = f64::from(options.bids);
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        let took = round(options, folder.path())?;
        let ns = |time: Duration| time.as_secs_f64() * 1e9 / bids;
        rates.push(bids / took.wall.as_secs_f64());
        println!(
            "{:8.0} bids/s; of the cores {:5.0} ns a bid the producer, {:4.0} ns the engine; {} records of {:.2} bytes a bid",
            bids / took.wall.as_secs_f64(),
            ns(took.producer),
            ns(Duration::from_millis(took.engine_ms)),
            took.records,
            f64::from(u32::try_from(took.bytes)?) / bids,
        );
    }
    rates.sort_by(f64::total_cmp);
    println!("median {:.0} bids/s, best {:.0}", rates[rates.len() / 2], rates[rates.len() - 1]);
    Ok(())
}

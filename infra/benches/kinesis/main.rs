//! How fast the local Kinesis is under the SDK's own client over loopback HTTP, and where its time goes.
//!
//! `cargo bench -p infra --bench kinesis` prints a table and one line of JSON. With `-- --against-ferrokinesis` the same
//! load goes to `ferrokinesis` 0.7.0 in the same run; it is installed with cargo into the build's folder then, so that
//! neither the build nor the tests of this workspace carry it. `--records N` sets the load, `--json FILE` keeps the JSON.
//!
//! Both engines are processes of their own on the same cores as the client; most of the wall time is the client's. The
//! column of the engine's own time is what its process used of a core per million records.

mod load;
mod process;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::load::Measured;
use self::process::Engine;

/// What is asked for.
struct Options {
    records: u64,
    against: bool,
    rounds: usize,
    json: Option<PathBuf>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { records: 1_000_000, against: false, rounds: 3, json: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--records" => options.records = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--json" => options.json = Some(value()?.into()),
            "--against-ferrokinesis" => options.against = true,
            // Cargo says so to every bench.
            "--bench" => {}
            // A look at whether it still runs.
            "--test" => (options.records, options.rounds) = (40_000, 1),
            other => bail!("{other} is not an option of this bench"),
        }
    }
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--serve") {
        return process::serve();
    }
    let options = options()?;
    let mut kinds = vec![process::Kind::Ours];
    if options.against {
        process::install_ferrokinesis()?;
        kinds.push(process::Kind::Ferrokinesis);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} records of 100 B in batches of 500; median of {} rounds",
        options.records, options.rounds
    )?;
    writeln!(out, "{:<14}{:<26}{:>12}{:>24}  notes", "engine", "load", "records/s", "engine's ms/M records")?;
    let mut rounds: Vec<Vec<Measured>> = kinds.iter().map(|_| Vec::new()).collect();
    // The engines take turns, so that what else the machine does meets both.
    for _ in 0..options.rounds {
        for (kind, all) in kinds.iter().zip(&mut rounds) {
            let engine = Engine::start(*kind)?;
            // The other engine stops answering under some loads; what it did before still counts.
            match runtime.block_on(load::run(&engine, options.records, all)) {
                Err(error) if *kind == process::Kind::Ferrokinesis => {
                    writeln!(out, "{} stopped: {error:#}", kind.name())?;
                }
                outcome => outcome?,
            }
        }
    }
    let mut lines = Vec::new();
    for (kind, all) in kinds.iter().zip(&rounds) {
        for load in load::LOADS {
            let mut same: Vec<&Measured> = all.iter().filter(|one| one.load == load).collect();
            same.sort_by_key(|one| one.per_second);
            let Some(median) = same.get(same.len() / 2) else { continue };
            let (name, rate, time, notes) = (kind.name(), median.per_second, median.engine_ms, &median.notes);
            writeln!(out, "{name:<14}{load:<26}{rate:>12}{time:>24}  {notes}")?;
            lines.push(json!({ "engine": name, "load": load, "records_per_s": rate,
                "engine_ms_per_million": time, "notes": notes }));
        }
    }
    let all = Value::Array(lines).to_string();
    writeln!(out, "{all}")?;
    if let Some(path) = options.json {
        std::fs::write(&path, all).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

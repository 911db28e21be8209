//! Engines as processes: ours is this very program again, the other one is installed on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use infra::local::kinesis::{KinesisOptions, Limits, start};

/// The other engine, at the version whose faults and speed the design speaks of.
const OTHER: &str = "0.7.0";
/// How long an engine may take to listen.
const START: Duration = Duration::from_secs(20);

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Ferrokinesis,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Ferrokinesis => "ferrokinesis",
        }
    }
}

/// A running engine; it ends with this value.
pub(crate) struct Engine {
    child: Child,
    pub(crate) endpoint_url: String,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root() -> PathBuf {
    let beside = std::env::current_exe().ok();
    // target/release/deps/kinesis-…
    beside.as_deref().and_then(|path| path.ancestors().nth(3)).map_or_else(|| "target".into(), PathBuf::from)
}

fn other() -> PathBuf {
    root().join("ferrokinesis/bin/ferrokinesis")
}

/// Installs the other engine unless it is there.
pub(crate) fn install_ferrokinesis() -> anyhow::Result<()> {
    if other().exists() {
        return Ok(());
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["install", "ferrokinesis", "--version", OTHER, "--locked", "--root"])
        .arg(root().join("ferrokinesis"));
    let status = cargo.status().context("cargo does not run")?;
    ensure!(status.success(), "ferrokinesis {OTHER} was not installed");
    Ok(())
}

/// Runs our engine in this process and says where, until standard input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let engine = start(KinesisOptions { limits: Limits::Off, ..KinesisOptions::default() }).await?;
        writeln!(std::io::stdout(), "{}", engine.endpoint_url())?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        engine.shutdown().await;
        Ok(())
    })
}

impl Engine {
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Self> {
        match kind {
            Kind::Ours => Self::ours(),
            Kind::Ferrokinesis => Self::other(),
        }
    }

    fn ours() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok(Self { child, endpoint_url: line.trim().to_owned() })
    }

    fn other() -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(other());
        command.args(["serve", "--shard-limit", "1000", "--port", &port.to_string()]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let engine = Self { child, endpoint_url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + START;
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            ensure!(Instant::now() < deadline, "ferrokinesis does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(engine)
    }

    /// What the process has used of the cores, in ms.
    pub(crate) fn used_ms(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = text.rsplit_once(')').context("no fields")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        // Fields 14 and 15 of proc(5), counted from the one behind the name; a tick is 10 ms.
        Ok((ticks(11).context("no utime")? + ticks(12).context("no stime")?) * 10)
    }
}

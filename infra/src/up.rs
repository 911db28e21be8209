//! `exchange up`: durable local engines until interrupted, and the environment that leads to them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use runtime::shutdown::{self, Shutdown};

use crate::engines::{Engines, Keep, Ports, hold, is_full};
use crate::failure::Failure;
use crate::interrupt::Signals;
use crate::local::kinesis::Limits;
use crate::output::lost;

/// Options of `exchange up`.
#[derive(Args, Debug)]
pub struct Up {
    /// Folder that keeps everything.
    #[arg(long, default_value = ".local")]
    dir: PathBuf,
    /// Port of Kinesis on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 4567)]
    kinesis_port: u16,
    /// Port of DynamoDB on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    dynamodb_port: u16,
    /// Port of the local DSQL on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 5433)]
    dsql_port: u16,
    /// Without the per-shard limits of AWS.
    #[arg(long)]
    unlimited: bool,
}

/// Runs the engines until SIGTERM or SIGINT.
///
/// # Errors
/// A [`Failure`] when the folder is held, a port is taken or an engine cannot start.
pub async fn run(options: Up) -> anyhow::Result<()> {
    let _held = hold(&options.dir)?;
    let folder = std::path::absolute(&options.dir)?;
    let ports =
        Ports { kinesis: options.kinesis_port, dynamodb: options.dynamodb_port, dsql: options.dsql_port };
    let limits = if options.unlimited { Limits::Off } else { Limits::Aws };
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(Signals::install()?.watch(trigger));
    let mut engines = Engines::start(&Keep::Folder(folder.clone()), ports, limits).await?;
    let environment = engines.environment();
    let served = tokio::select! {
        served = serve(&options, &folder, &environment, &shutdown) => served,
        ended = engines.ended() => Err(ended),
    };
    engines.stop().await;
    Ok(served?)
}

/// Says where everything is, and waits for the stop.
async fn serve(options: &Up, folder: &Path, environment: &str, shutdown: &Shutdown) -> Result<(), Failure> {
    write_environment(&folder.join("env"), environment)?;
    let mut out = std::io::stdout();
    let source = options.dir.join("env");
    write!(out, "{environment}")
        .and_then(|()| {
            let source = source.display();
            writeln!(out, "# ready; engines run until interrupted; in another shell: source {source}")
        })
        .and_then(|()| out.flush())
        .map_err(lost)?;
    tokio::select! {
        () = shutdown.wait() => {}
        () = watch_room(folder) => {}
    }
    Ok(())
}

/// Between two looks at how much room is left.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Says once when the disk is full, and once when it is not any more. Never ends.
async fn watch_room(folder: &Path) {
    let mut was_full = false;
    loop {
        let is_full = is_full(folder);
        match (was_full, is_full) {
            (false, true) => {
                let folder = folder.display();
                tracing::error!(%folder, "the disk is full: engines refuse writes until there is room; make some");
            }
            (true, false) => tracing::info!("the disk has room again"),
            _ => {}
        }
        was_full = is_full;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Writes the environment whole or not at all, readable by its owner alone: it holds the ledger's password.
fn write_environment(path: &Path, text: &str) -> Result<(), Failure> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|error| Failure::io(format!("{} cannot be written: {error}", path.display())))
}

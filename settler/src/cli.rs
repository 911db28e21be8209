//! The command line of `settler`: without a command it settles.

use std::io::Write;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use runtime::clients::Clients;
use runtime::{shutdown, telemetry};
use schemas::exit;

use crate::release::{Release, release};
use crate::{Config, Error, Metrics};

/// Emits winners to the ledger.
#[derive(Parser, Debug)]
#[command(name = "settler", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Puts a held auction back into the outbox.
    Release(Release),
}

/// Runs the command line and answers the exit code.
pub async fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return runtime::args::answer(&told),
    };
    telemetry::init(None);
    let is_stage = cli.command.is_none();
    match run(cli).await {
        Ok(()) => exit::DONE,
        Err(error) => {
            if is_stage {
                telemetry::ends("settler", &error, error.exit_code());
            } else {
                let _ = writeln!(std::io::stderr(), "settler: {error}");
            }
            error.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Some(Command::Release(options)) => {
            release(&options, &Clients::from_env().await?).await?;
            let said = writeln!(std::io::stdout(), "released: slot {} at {}", options.slot, options.window);
            said.map_err(|error| Error::Io(format!("standard output: {error}")))
        }
        None => {
            let (trigger, shutdown) = shutdown::channel();
            tokio::spawn(shutdown::on_signals(trigger));
            crate::run(cli.config, Clients::from_env().await?, shutdown, Arc::new(Metrics::default())).await
        }
    }
}

//! `settler`: emits winners to the ledger.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use runtime::{clients::Clients, shutdown, telemetry};
use schemas::exit;
use settler::{Config, Metrics};

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    telemetry::init(None);
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    match settler::run(config, Clients::from_env().await, shutdown, Arc::new(Metrics::default())).await {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "settler: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! `processor`: reads shards, writes the aggregates of closed auctions.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use processor::config::Command;
use processor::{Config, Error, Metrics, admin};
use runtime::{clients::Clients, shutdown, telemetry};
use schemas::exit;

fn main() -> ExitCode {
    runtime::process::run(work())
}

async fn work() -> u8 {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(told) => return runtime::args::answer(&told),
    };
    let is_stage = config.command.is_none();
    telemetry::init((!is_stage).then_some("warn"));
    match run(config).await {
        Ok(code) => code,
        Err(error) => {
            if is_stage {
                telemetry::ends("processor", &error, error.exit_code());
            } else {
                let _ = writeln!(std::io::stderr(), "processor: {error}");
            }
            error.exit_code()
        }
    }
}

async fn run(config: Config) -> Result<u8, Error> {
    let clients = Clients::from_env().await?;
    if let Some(Command::Leases(asked)) = &config.command {
        let covered = admin::run(&config, asked, clients).await?;
        return Ok(if covered == admin::Covered::Gaps { exit::FOUND } else { exit::DONE });
    }
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    processor::run(config, clients, shutdown, Arc::new(Metrics::default())).await.map(|()| exit::DONE)
}

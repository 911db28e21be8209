//! `producer`: puts bids into Kinesis.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use producer::{Config, Metrics, progress};
use runtime::{clients::Clients, shutdown, telemetry};

fn main() -> ExitCode {
    runtime::process::run(work())
}

async fn work() -> u8 {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(told) => return runtime::args::answer(&told),
    };
    telemetry::init(None);
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    let (metrics, intake) = (Arc::new(Metrics::default()), config.intake());
    let (shown, end) = shutdown::channel();
    let view = tokio::spawn(progress::show(Arc::clone(&metrics), end));
    let ended = match Clients::from_env().await {
        Ok(clients) => producer::run(config, clients, shutdown, Arc::clone(&metrics)).await,
        Err(error) => Err(error.into()),
    };
    shown.trigger();
    let _ = view.await;
    let summary = metrics.summary();
    if ended.is_ok() || summary.sent > 0 {
        progress::end(&summary);
    }
    ended.map(|summary| summary.exit_code(intake)).unwrap_or_else(|error| {
        telemetry::ends("producer", &error, error.exit_code());
        error.exit_code()
    })
}

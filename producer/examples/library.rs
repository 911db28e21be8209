//! A program that bids through the crate: `cargo run -p producer --example library -- --region eu-central-1`, with the
//! environment of `exchange up` or of AWS, once `exchange provision` has made the stream. It sends a hundred bids at
//! once and says where the stream keeps them.

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::sync::Arc;

use clap::Parser;
use futures::future::join_all;
use producer::generator::{Generator, GeneratorConfig, Made};
use producer::{Config, Producer};
use runtime::{clients::Clients, clock};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::try_parse()?;
    let mut generator = Generator::new(GeneratorConfig::default(), config.region);
    let producer = Arc::new(Producer::start(config, Clients::from_env().await?));
    let sends = (0..100).filter_map(|_| match generator.next(clock::now()) {
        Made::Bid(bid) => Some(bid),
        Made::Duplicate(_) | Made::Invalid(_) => None,
    });
    // Each future is one bid's answer; together they wait for the same few records.
    let answers = join_all(sends.map(|bid| producer.send(bid))).await;
    for answer in &answers {
        match answer {
            Ok(place) => println!("accepted: {} {}", place.shard_id, place.sequence),
            Err(error) => println!("not accepted: {error}"),
        }
    }
    if let Some(producer) = Arc::into_inner(producer) {
        println!("{}", producer.close().await?);
    }
    Ok(())
}

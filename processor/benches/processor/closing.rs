//! Closing many auctions at once: until all is durable in a local DynamoDB, in memory, over HTTP.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use processor::Metrics;
use processor::core::Closed;
use processor::metrics::get;
use processor::sink::Sink;
use runtime::clients::Clients;
use schemas::ids::ShardId;
use schemas::record::{Decoded, Kind};

use crate::crowd::Crowd;
use crate::{machine, number};

const TABLE: &str = "closing";

/// The close of one window with so many auctions of a few bids each.
fn closed(auctions: usize) -> Closed {
    let crowd = Crowd::new(1, auctions * 88);
    let mut machine = machine("shardId-000000000000");
    // Of each slot a few bids: what is written per auction does not grow with them.
    let bids = crowd.bids(0);
    let some =
        crowd.slots.iter().enumerate().flat_map(|(at, slot)| (0..6).map(move |turn| (at, turn, *slot)));
    let items =
        some.map(|(at, turn, slot_id)| Ok(schemas::bid::Bid { slot_id, ..bids[at * 6 + turn] })).collect();
    machine.on_record(crowd.arrival(0, 0), &number(0), &Decoded { kind: Kind::Block, items });
    let tick = Decoded { kind: Kind::Tick, items: Vec::new() };
    let (mut closed, _) = machine.on_record(crowd.arrival(3, 0), &number(1), &tick);
    closed.pop().expect("one window closed")
}

async fn table(clients: &Clients) {
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
    };
    let text = |name: &str| {
        let text = AttributeDefinition::builder().attribute_name(name);
        text.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let call = clients.dynamodb.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    let call = call.key_schema(key("PK", KeyType::Hash)).key_schema(key("SK", KeyType::Range));
    call.attribute_definitions(text("PK")).attribute_definitions(text("SK")).send().await.unwrap();
}

pub(crate) fn run(auctions: usize, out: &mut dyn Write) -> io::Result<()> {
    let closed = closed(auctions);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (took, puts) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let database = dynoxide::Database::memory().map_err(|error| io::Error::other(error.to_string()))?;
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
        let clients = Clients::local(&url, &url).await;
        table(&clients).await;
        let metrics = Arc::new(Metrics::default());
        let sink = Sink::new(clients.dynamodb, TABLE.to_owned(), 16, Arc::clone(&metrics));
        let began = Instant::now();
        sink.write(&ShardId("shardId-000000000000".into()), closed, |_| {}).await;
        io::Result::Ok((began.elapsed(), get(&metrics.items_written)))
    })?;
    let rate = f64::from(u32::try_from(puts).unwrap()) / took.as_secs_f64();
    writeln!(out, "closing   {auctions} auctions durable after {:.2} s, {rate:.0} puts/s", took.as_secs_f64())
}

//! A stream that ignores keys: a producer refuses it, and answers truly what it had sent by then.

use std::sync::Arc;

use aws_sdk_kinesis::types::{RecordDistributionStrategy as Strategy, StreamMode, StreamModeDetails};
use infra::local::kinesis::Limits;
use producer::{Error, Producer, SendError};

use super::*;

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";

async fn on_demand() -> Stream {
    let stream = Stream::start(1, Limits::Aws).await;
    let client = &stream.clients.kinesis;
    client.delete_stream().stream_name(STREAM).send().await.unwrap();
    let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build().unwrap();
    client.create_stream().stream_name(STREAM).stream_mode_details(mode).send().await.unwrap();
    stream
}

async fn switch(client: &Client, strategy: Strategy) {
    let update = client.update_stream_record_distribution_strategy().stream_arn(ARN);
    update.record_distribution_strategy(strategy).send().await.unwrap();
}

fn refused(error: &Error) {
    assert_eq!(error.exit_code(), schemas::exit::USAGE);
    let told = error.to_string();
    for words in ["stream bids", "service-managed", ARN, "--record-distribution-strategy USER_PARTITION_KEY"]
    {
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bid_is_accepted_from_a_shard_that_does_not_own_it_when_the_stream_is_switched() {
    // Alone and in company: a record of one bid, and records of as many as there are.
    for envelope in ["plain", "block"] {
        let stream = on_demand().await;
        let client = &stream.clients.kinesis;
        let config = || config(&["--envelope", envelope, "--linger-ms", "5", "--deliver-s", "20"]);
        let producer = Arc::new(Producer::start(config(), stream.clients.clone()));
        let mut answered = Vec::new();
        let mut made = bids(5, 400, runtime::clock::now());
        let mut send = async |count: usize| {
            let batch: Vec<Bid> = made.by_ref().take(count).collect();
            let answers = producer.send_all(batch.clone()).await;
            let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
            answered.extend(batch.into_iter().zip(answers));
            accepted
        };
        assert_eq!(send(200).await, 200);
        switch(client, Strategy::Auto).await;
        let began = Instant::now();
        let mut accepted = 0;
        for _ in 0..20 {
            accepted += send(20).await;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "it went on trying");
        assert!(accepted < 400, "it never found out");
        let error = Arc::into_inner(producer).unwrap().close().await.unwrap_err();
        refused(&error);
        let contents = stream.contents().await;
        for (bid, answer) in &answered {
            match answer {
                Ok(_) => holds(&contents, bid),
                Err(SendError::Unknown) => assert!(contents.contains_key(&bid.bid_id), "{bid:?}"),
                Err(SendError::Closed) => assert!(!contents.contains_key(&bid.bid_id), "{bid:?}"),
                Err(other) => panic!("{other}: {bid:?}"),
            }
        }
        let unknown = answered.iter().filter(|(_, answer)| *answer == Err(SendError::Unknown)).count();
        assert!(unknown > 0, "{envelope}: bids that lie astray are told as unknown");

        // At the start it is refused at once, and taken again once it is switched back.
        let again = Producer::start(config(), stream.clients.clone());
        let bid = bids(6, 400, runtime::clock::now()).next().unwrap();
        assert_eq!(again.send(bid).await, Err(SendError::Closed));
        refused(&again.close().await.unwrap_err());
        switch(client, Strategy::UserPartitionKey).await;
        let again = Producer::start(config(), stream.clients.clone());
        assert!(again.send(bid).await.is_ok());
        again.close().await.unwrap();
        stream.handle.shutdown().await;
    }
}

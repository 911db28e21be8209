//! The stream still takes connections and no longer answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use infra::local::kinesis::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::http::{get, lines, post};
use super::process::Process;
use super::*;

/// Connections to a stream whose answers can be held back.
struct Between {
    url: String,
    is_silent: Arc<AtomicBool>,
}

impl Between {
    async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, own) = (url.replace("http://", ""), listener.local_addr().unwrap());
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&is_silent);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, to.clone(), Arc::clone(&silent)));
            }
        });
        Self { url: format!("http://{own}"), is_silent }
    }
}

async fn carry(client: TcpStream, to: String, is_silent: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut part = vec![0; 65_536];
    while let Ok(count @ 1..) = from_server.read(&mut part).await {
        while is_silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if to_client.write_all(&part[..count]).await.is_err() {
            return;
        }
    }
}

fn health(address: &str) -> (u16, serde_json::Value) {
    let answer = get(address, "/health", &[]).unwrap();
    (answer.status, answer.json()["status"].clone())
}

/// Ten seconds by the page. The rest is for a slow machine, and far less than the many attempts of one listing take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stops_answering_is_away_after_ten_seconds_whether_bids_come_or_not() {
    let stream = Stream::start(2, Limits::Aws).await;
    for sends in [true, false] {
        let between = Between::start(&stream.handle.endpoint_url()).await;
        let mut process = Process::start(&between.url, &["--listen", "127.0.0.1:0", "--deliver-s", "5"]);
        let address = process.address();
        process.logged("sending");
        let bid = bids(31, 5, runtime::clock::now()).next().unwrap();
        if sends {
            let answer = post(&address, "/v1/bids", &lines(), &ndjson([&bid])).unwrap();
            assert_eq!(answer.status, 200);
        }
        let last_answer = Instant::now();
        between.is_silent.store(true, Ordering::SeqCst);
        if sends {
            let address = address.clone();
            tokio::task::spawn_blocking(move || post(&address, "/v1/bids", &lines(), &ndjson([&bid])));
        }
        until("away", || health(&address) == (503, "away".into())).await;
        let after = last_answer.elapsed();
        assert!(after < Duration::from_secs(25), "{after:?}, bids: {sends}");
        // Its last answer was just before that, at most as long ago as the start took.
        assert!(after > Duration::from_secs(5), "{after:?}, bids: {sends}");
        between.is_silent.store(false, Ordering::SeqCst);
        until("ok again", || health(&address) == (200, "ok".into())).await;
        process.stop();
        let ended = tokio::task::spawn_blocking(move || process.end());
        assert!(ended.await.unwrap().0.code().is_some());
    }
    stream.handle.shutdown().await;
}

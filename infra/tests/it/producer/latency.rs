//! How long a caller of one bid waits for its answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use infra::local::kinesis::Limits;

use super::process::Process;
use super::*;

/// A connection that is kept.
pub(super) struct Kept(TcpStream);

impl Kept {
    pub(super) fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends a request and returns the answer's head and body.
    pub(super) fn ask(&mut self, request: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
        self.0.write_all(request)?;
        let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
        loop {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.expect("a length").parse().unwrap();
                if bytes.len() >= end + length {
                    return Ok((head, bytes[end..].to_vec()));
                }
            }
            match self.0.read(&mut part)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => bytes.extend_from_slice(&part[..count]),
            }
        }
    }

    fn bid(&mut self, bid: &Bid) {
        let body = ndjson([bid]);
        let head = format!(
            "POST /v1/bids HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (head, _) = self.ask(&[head.as_bytes(), &body].concat()).unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
}

/// The median over so many callers at once, each of which sends bid after bid on a connection of its own.
fn median(address: &str, callers: u64, each: usize) -> Duration {
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let caller = |seed: u64| {
            scope.spawn(move || {
                let mut kept = Kept::open(address);
                let bids = bids(seed, 100, runtime::clock::now()).take(each);
                let one = |bid: Bid| {
                    let began = Instant::now();
                    kept.bid(&bid);
                    began.elapsed()
                };
                bids.map(one).collect::<Vec<Duration>>()
            })
        };
        let callers: Vec<_> = (0..callers).map(|number| caller(callers * 100 + number)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    took.sort_unstable();
    took[took.len() / 2]
}

/// The linger is far longer than any machine takes, so that the rule is tried and not the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_one_bid_does_not_wait_for_the_linger() {
    let stream = Stream::start(4, Limits::Aws).await;
    let mut process =
        Process::start(&stream.handle.endpoint_url(), &["--listen", "127.0.0.1:0", "--linger-ms", "1000"]);
    let address = process.address();
    process.logged("sending");
    let tried = tokio::task::spawn_blocking(move || [median(&address, 1, 200), median(&address, 8, 50)]);
    let [alone, eight] = tried.await.unwrap();
    assert!(alone < Duration::from_millis(25), "one caller: {alone:?}");
    assert!(eight < Duration::from_millis(100), "eight callers: {eight:?}");
    assert_eq!(stream.contents().await.len(), 600);
    stream.handle.shutdown().await;
}

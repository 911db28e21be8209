//! How long callers wait that send one bid each and the next one after its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use producer::generator::{Generator, GeneratorConfig, Made};

/// How long a producer may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// What callers waited.
pub(crate) struct Waited {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) bids_per_s: f64,
}

/// Waits until the producer is well.
pub(crate) fn until_well(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let well = TcpStream::connect(address).is_ok_and(|mut socket| {
            socket.write_all(b"GET /health HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n").is_ok()
                && answer(&mut socket).is_ok()
        });
        if well {
            return Ok(());
        }
        ensure!(began.elapsed() < START_WITHIN, "the producer does not become well");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// So many callers at once, each on a connection of its own, for so long.
pub(crate) fn measure(address: SocketAddr, callers: u64, lasts: Duration) -> anyhow::Result<Waited> {
    let began = Instant::now();
    let mut waited = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (1..=callers).map(|seed| scope.spawn(move || call(address, seed, lasts))).collect();
        let all = callers.into_iter().map(|caller| caller.join().expect("no caller panics"));
        all.collect::<anyhow::Result<Vec<_>>>()
    })?
    .concat();
    let took = began.elapsed();
    waited.sort_unstable();
    let at = |percent: usize| waited[(waited.len() - 1) * percent / 100];
    let bids_per_s = f64::from(u32::try_from(waited.len())?) / took.as_secs_f64();
    Ok(Waited { p50: at(50), p99: at(99), bids_per_s })
}

fn call(address: SocketAddr, seed: u64, lasts: Duration) -> anyhow::Result<Vec<Duration>> {
    let config = GeneratorConfig {
        seed,
        slots: super::SLOTS,
        accounts: super::ACCOUNTS,
        ..GeneratorConfig::default()
    };
    let mut generator = Generator::new(config, super::REGION.parse()?);
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let (began, mut waited) = (Instant::now(), Vec::new());
    while began.elapsed() < lasts {
        let Made::Bid(bid) = generator.next(runtime::clock::now()) else { continue };
        let mut body = Vec::new();
        schemas::intake::to_line(&bid, &mut body);
        let head = format!(
            "POST /v1/bids HTTP/1.1\r\nhost: edge\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let sent = Instant::now();
        socket.write_all(&[head.as_bytes(), &body].concat())?;
        answer(&mut socket)?;
        waited.push(sent.elapsed());
    }
    Ok(waited)
}

/// Reads one answer, which must be 200.
fn answer(socket: &mut TcpStream) -> anyhow::Result<()> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
            ensure!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if bytes.len() >= end + 4 + length.context("a length")?.parse::<usize>()? {
                return Ok(());
            }
        }
        match socket.read(&mut part)? {
            0 => anyhow::bail!("the connection ended"),
            count => bytes.extend_from_slice(&part[..count]),
        }
    }
}

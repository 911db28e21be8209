//! Time between a worker and the ledger: a relay on loopback that holds every flight back for a hop.
//!
//! What is sent in one flight arrives together, and nothing overtakes anything.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a hop takes: |Normal(mean, deviation)|, as in AWS's simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLatency {
    /// Mean, in ms.
    pub mean_ms: u32,
    /// Standard deviation, in ms.
    pub deviation_ms: u32,
}

/// What follows this soon belongs to the same flight.
const FLIGHT: Duration = Duration::from_millis(3);
/// A timer counts whole milliseconds and is never early, so it is late by half of one in the mean.
const TIMER_LATE: Duration = Duration::from_micros(500);
/// Pieces on their way at once, in one direction.
const PIECES: usize = 1_024;

impl HopLatency {
    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.mean_ms == 0
    }

    #[expect(clippy::float_arithmetic, reason = "chance of an experiment")]
    pub(crate) fn draw(&self, random: &mut SmallRng) -> Duration {
        // The sum of twelve uniform numbers is close to normal, with a deviation of one.
        let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let ms = f64::from(self.mean_ms) + f64::from(self.deviation_ms) * normal;
        Duration::from_secs_f64(ms.abs() / 1_000.0)
    }
}

/// Starts a relay before `upstream`; it ends with the returned set.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn relay(upstream: SocketAddr, hops: HopLatency) -> io::Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(async move {
                // Either side ending ends the connection.
                let _ = carry(client, upstream, hops).await;
            });
        }
    });
    Ok((address, tasks))
}

async fn carry(client: TcpStream, upstream: SocketAddr, hops: HopLatency) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        ended = one_way(client_in, server_out, hops) => ended,
        ended = one_way(server_in, client_out, hops) => ended,
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hops: HopLatency) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut random = SmallRng::from_os_rng();
        let mut buffer = vec![0; 64 << 10];
        let (mut last, mut due) = (None::<Instant>, Instant::now());
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let now = Instant::now();
            if last.is_none_or(|last| now - last > FLIGHT) {
                due = due.max(now + hops.draw(&mut random));
            }
            last = Some(now);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = receiver.recv().await {
            tokio::time::sleep_until(due - TIMER_LATE).await;
            to.write_all(&piece).await?;
        }
        io::Result::Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_or_overtaken_on_the_way() {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = upstream.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        // HopLatency that differ so much that a later piece would often be there first.
        let (address, _relay) = relay(address, HopLatency { mean_ms: 8, deviation_ms: 8 }).await.unwrap();
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let sent: Vec<u8> = (0..40).collect();
        let sending = async {
            for piece in &sent {
                write.write_all(std::slice::from_ref(piece)).await.unwrap();
                tokio::time::sleep(FLIGHT + Duration::from_millis(1)).await;
            }
        };
        let mut back = vec![0; sent.len()];
        let (_, received) = tokio::join!(sending, read.read_exact(&mut back));
        received.unwrap();
        assert_eq!(back, sent);
        echo.abort();
    }
}

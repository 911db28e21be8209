//! The only loop: bids in, records out, every answer read.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::clients::Clients;
use runtime::shutdown::Shutdown;
use schemas::bid::Bid;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

use crate::config::Config;
use crate::core::packer::{Packed, Packer};
use crate::error::Error;
use crate::generator::Generator;
use crate::input::{Lines, RefusedLine};
use crate::metrics::{Metrics, Summary};
use crate::put::{Delivered, Putter};

/// Records under way at once; more wait, and so does the input.
const IN_FLIGHT: usize = 64;
/// How often what lingers is looked at.
const TURN: Duration = Duration::from_millis(10);

/// Sends until the input ends or the stop, then drains, and says what was done.
///
/// # Errors
/// When the stream cannot be listed, or input or the file of refused lines fails.
pub async fn run(
    config: Config,
    clients: Clients,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<Summary, Error> {
    let deliver = Duration::from_secs(config.deliver_s);
    let putter = Putter {
        client: clients.kinesis,
        stream: config.stream.clone(),
        deliver,
        metrics: Arc::clone(&metrics),
    };
    let stream = |failure| Error::Stream { stream: config.stream.clone(), failure };
    let map = putter.map().await.map_err(stream)?;
    let packer = Packer::new(config.envelope, Duration::from_millis(config.linger_ms), map);
    let mut sender = Sender { packer, putter, flight: JoinSet::new(), started: Instant::now(), metrics };
    if let Some(rate) = config.generate {
        sender.generate(&config, rate, &shutdown).await;
    } else if let Some(path) = &config.input {
        let what = || format!("input {} cannot be read", path.display());
        let file = tokio::fs::File::open(path).await.map_err(|source| Error::Io { what: what(), source })?;
        sender.read(&config, BufReader::with_capacity(1 << 18, file), &shutdown).await?;
    } else {
        sender.read(&config, BufReader::with_capacity(1 << 18, tokio::io::stdin()), &shutdown).await?;
    }
    sender.drain().await;
    Ok(sender.metrics.summary())
}

struct Sender {
    packer: Packer,
    putter: Putter,
    flight: JoinSet<Delivered>,
    started: Instant,
    metrics: Arc<Metrics>,
}

impl Sender {
    async fn generate(&mut self, config: &Config, rate: u32, shutdown: &Shutdown) {
        let mut generator = Generator::new(config.seed, config.slots, config.accounts, config.region);
        let mut turns = IntervalStream::new(tokio::time::interval(TURN));
        let (began, duration, mut made) = (Instant::now(), Duration::from_secs(config.duration), 0_u64);
        while turns.next().await.is_some() && began.elapsed() < duration && !shutdown.requested() {
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let due = elapsed_ms.saturating_mul(u64::from(rate)) / 1_000;
            let now = runtime::clock::now();
            while made < due {
                self.take(generator.next(now)).await;
                made += 1;
            }
            self.turn().await;
        }
    }

    async fn read<R: AsyncBufRead + Unpin>(
        &mut self,
        config: &Config,
        reader: R,
        shutdown: &Shutdown,
    ) -> Result<(), Error> {
        let mut rejects = match &config.rejects {
            None => None,
            Some(path) => {
                let file = std::fs::File::create(path).map_err(|source| Error::Io {
                    what: format!("file of refused lines {} cannot be made", path.display()),
                    source,
                })?;
                Some(std::io::BufWriter::new(file))
            }
        };
        let mut lines = Lines::new(reader, config.region);
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                _ = turns.tick() => self.turn().await,
                next = lines.next() => match next.map_err(|source| Error::Io { what: "input failed".to_owned(), source })? {
                    None => break,
                    Some(Ok(bid)) => self.take(bid).await,
                    Some(Err(refused)) => {
                        self.metrics.sent.fetch_add(1, Ordering::Relaxed);
                        self.metrics.refused.fetch_add(1, Ordering::Relaxed);
                        refuse(&refused, rejects.as_mut())?;
                    }
                },
            }
        }
        if let Some(mut file) = rejects {
            file.flush()
                .map_err(|source| Error::Io { what: "refused lines cannot be written".to_owned(), source })?;
        }
        Ok(())
    }

    async fn take(&mut self, bid: Bid) {
        self.metrics.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(packed) = self.packer.on_bid(bid, self.started.elapsed()) {
            self.send(packed).await;
        }
    }

    async fn turn(&mut self) {
        for packed in self.packer.poll(self.started.elapsed(), false) {
            self.send(packed).await;
        }
        while let Some(delivered) = self.flight.try_join_next() {
            self.on_delivered(delivered).await;
        }
    }

    async fn send(&mut self, packed: Packed) {
        while self.flight.len() >= IN_FLIGHT {
            if let Some(delivered) = self.flight.join_next().await {
                self.on_delivered(delivered).await;
            }
        }
        self.flight.spawn(self.putter.clone().put(packed));
    }

    async fn on_delivered(&mut self, delivered: Result<Delivered, tokio::task::JoinError>) {
        if let Ok(Delivered::Elsewhere(packed)) = delivered {
            // Bid ids remove the copies; what lies in a shard that does not own it is counted there as stray.
            self.metrics.resends.fetch_add(1, Ordering::Relaxed);
            match self.putter.map().await {
                Ok(map) => self.packer.set_map(map),
                Err(failure) => tracing::warn!(%failure, "shard map not refreshed"),
            }
            let now = self.started.elapsed();
            for bid in packed.bids {
                if let Some(packed) = self.packer.on_bid(bid, now) {
                    self.flight.spawn(self.putter.clone().put(packed));
                }
            }
        }
    }

    async fn drain(&mut self) {
        while self.packer.waiting() > 0 || !self.flight.is_empty() {
            for packed in self.packer.poll(self.started.elapsed(), true) {
                self.send(packed).await;
            }
            if let Some(delivered) = self.flight.join_next().await {
                self.on_delivered(delivered).await;
            }
        }
    }
}

fn refuse(
    refused: &RefusedLine,
    rejects: Option<&mut std::io::BufWriter<std::fs::File>>,
) -> Result<(), Error> {
    tracing::warn!(line = refused.line, field = refused.field, reason = refused.reason, "line refused");
    let Some(file) = rejects else { return Ok(()) };
    let written = serde_json::to_writer(&mut *file, refused)
        .map_err(std::io::Error::from)
        .and_then(|()| file.write_all(b"\n"));
    written.map_err(|source| Error::Io { what: "refused lines cannot be written".to_owned(), source })
}

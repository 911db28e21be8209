//! A settler that reads the log for an auction whose candidates do not suffice: page by page, whatever calls come to.

use std::sync::Arc;

use schemas::geometry::Geometry;
use schemas::lease::Checkpoint;
use schemas::record::decode;
use schemas::time::Millis;
use settler::core::behind::{Behind, Cost};
use settler::core::replay::Reading;
use settler::core::rows::Auction;

use crate::sim::call::{Answer, Call, Life, Reply, Trouble};
use crate::sim::coverage::Met;
use crate::sim::net::Net;

/// Between two tries of a call, and between two looks at a tip.
const AGAIN_MS: u64 = 60;
/// Empty pages at a tip after which nothing more is expected.
const EMPTY_MAX: u32 = 5;

/// The reading for one auction.
#[derive(Debug)]
pub struct LogReading {
    auction: Arc<Auction>,
    reading: Reading,
    cost: Cost,
    iterator: Option<u64>,
    under_way: Option<u64>,
    at_ms: u64,
    empty: u32,
    lost: Option<String>,
}

impl LogReading {
    /// A reading that begins; none of an auction that does not say where its log does.
    pub fn new(auction: Arc<Auction>, geometry: Geometry, net: &mut Net) -> Option<Self> {
        net.coverage.meet(Met::LogRead);
        let item = &auction.aggregate;
        let replay = item.replay.as_ref()?;
        let slots = [item.slot_id];
        let reading = Reading::new(geometry, item.window_start, (&item.shard_id, replay), slots);
        let (cost, iterator, under_way) = (Cost::default(), None, None);
        Some(Self { auction, reading, cost, iterator, under_way, at_ms: 0, empty: 0, lost: None })
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &Net) {
        if self.under_way != Some(tag) {
            return;
        }
        self.under_way = None;
        match reply {
            Ok(Answer::Iterator(after)) => self.iterator = Some(after),
            Ok(Answer::Page(page)) => {
                self.cost.reads += 1;
                let is_empty = page.records.is_empty();
                for (arrival, sequence, data) in &page.records {
                    self.cost.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                    let sequence = sequence.to_string().parse().expect("digits are a number");
                    self.reading.on_record(Millis(*arrival), &sequence, &decode(data));
                }
                self.iterator = page.next;
                if page.next.is_none() && self.reading.reading().is_some() {
                    self.reading.on_end();
                }
                self.empty = if is_empty && page.next.is_some() { self.empty + 1 } else { 0 };
                if self.empty > 0 {
                    self.at_ms = net.now_ms + AGAIN_MS;
                }
                if self.empty > EMPTY_MAX {
                    self.lost = Some("the shard holds nothing that closes the window".to_owned());
                }
            }
            Err(Trouble::Refused("ResourceNotFoundException")) => {
                self.lost = Some("the stream no longer holds the shard".to_owned());
            }
            _ => (self.iterator, self.at_ms) = (None, net.now_ms + AGAIN_MS),
        }
    }

    /// Sends what is due; returns when to look again, nothing when all was read.
    pub fn turn(&mut self, life: Life, next_tag: &mut u64, net: &mut Net) -> Option<u64> {
        let (shard_id, from) = self.reading.reading().filter(|_| self.lost.is_none())?;
        let (shard_id, from): (_, Checkpoint) = (shard_id.clone(), from.clone());
        if self.under_way.is_some() {
            return Some(net.now_ms + 1_000);
        }
        if net.now_ms < self.at_ms {
            return Some(self.at_ms);
        }
        let call = match self.iterator {
            Some(after) => Call::Records { shard_id, after },
            None => Call::Iterator { shard_id, from },
        };
        *next_tag += 1;
        self.under_way = Some(*next_tag);
        net.call(life, *next_tag, call);
        Some(net.now_ms + 1_000)
    }

    /// The auction with what stands behind its candidates.
    ///
    /// # Errors
    /// Its key and why the log is of no use.
    pub fn end(self, geometry: &Geometry) -> Result<Arc<Auction>, (crate::sim::call::Key, String)> {
        let (auction, cost) = (self.auction, self.cost);
        let found = match self.lost {
            Some(reason) => Err(reason),
            None => Ok(self.reading.finish().unwrap_or_default()),
        };
        let behind = found.and_then(|mut slots| {
            let found = slots.remove(&auction.aggregate.slot_id).unwrap_or_default();
            found.behind(&auction.aggregate, geometry.ranking)
        });
        match behind {
            Ok(bids) => {
                let behind = Behind::Read(bids, cost);
                Ok(Arc::new(Auction { behind, ..Auction::clone(&auction) }))
            }
            Err(reason) => Err((auction.aggregate.key(), reason)),
        }
    }
}

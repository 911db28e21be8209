//! NEXMark bids as ours: the benchmark's own skew of auctions and bidders, UUIDs for every id.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Event, EventType};
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, BidId, Region, SlotId};
use schemas::item::GeometryItem;
use schemas::money::{BasisPoints, Price};
use schemas::time::Millis;

/// As many bids as a producer puts into a block.
pub(crate) const RECORD_BIDS: usize = 2_500;
/// The distribution that other engines are measured with.
const BIDS_PER_SLOT: usize = 88;
const ACCOUNTS: u64 = 20_000;
const START: u64 = 1_795_000_000_000;

pub(crate) fn agreed() -> GeometryItem {
    GeometryItem { geometry: Geometry::default(), ttl_after_ms: 172_800_000, outbox_buckets: 16 }
}

/// What is bid for, by whom, and how much of it.
pub(crate) struct Crowd {
    pub(crate) windows: usize,
    pub(crate) per_window: usize,
    pub(crate) slots: Vec<SlotId>,
    pub(crate) accounts: Vec<AccountId>,
    regions: [Region; 4],
}

/// SplitMix64's last step: spreads numbers over all bits.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

fn id(kind: u64, number: u64) -> [u8; 16] {
    let (high, low) = (mix(number.wrapping_mul(4).wrapping_add(kind)), mix(!number.wrapping_mul(4) ^ kind));
    let mut id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    id[6] = 0x40 | id[6] & 0xF;
    id[8] = 0x80 | id[8] & 0x3F;
    id
}

impl Crowd {
    pub(crate) fn new(windows: usize, per_window: usize) -> Self {
        let slots = u64::try_from(per_window / BIDS_PER_SLOT).unwrap();
        Self {
            windows,
            per_window,
            slots: (0..slots).map(|number| SlotId::from_bytes(id(1, number))).collect(),
            accounts: (0..ACCOUNTS).map(|number| AccountId::from_bytes(id(2, number))).collect(),
            regions: ["us-east-1", "eu-central-1", "ap-northeast-1", "sa-east-1"]
                .map(|code| code.parse().unwrap()),
        }
    }

    fn window_ms() -> u64 {
        Geometry::default().window_ms
    }

    /// The bids of one window in the order of their making.
    pub(crate) fn bids(&self, window: usize) -> Vec<Bid> {
        let first = u64::try_from(window * self.per_window).unwrap();
        let config = NexmarkConfig { avg_bid_byte_size: 0, base_time: 0, ..NexmarkConfig::default() };
        // NEXMark counts all events: 46 of 50 are bids.
        let events =
            EventGenerator::new(config).with_offset(first / 46 * 50).with_type_filter(EventType::Bid);
        let bids = events.filter_map(|event| match event {
            Event::Bid(bid) => Some(bid),
            _ => None,
        });
        let start = START + u64::try_from(window).unwrap() * Self::window_ms();
        let count = u64::try_from(self.per_window).unwrap();
        (0..count)
            .zip(bids)
            .map(|(at, bid)| self.bid(&bid, first + at, start + at * Self::window_ms() / count))
            .collect()
    }

    fn bid(&self, bid: &nexmark::event::Bid, number: u64, at: u64) -> Bid {
        let drawn = mix(number);
        Bid {
            bid_id: BidId::from_bytes(id(3, number)),
            slot_id: self.slots[bid.auction % self.slots.len()],
            account_id: self.accounts[bid.bidder % self.accounts.len()],
            // One edge's records hold one region; here they are mixed, which is harder.
            region: self.regions[bid.bidder % self.regions.len()],
            amount: Price::from_units(u64::try_from(bid.price).unwrap().max(1) * 100 + drawn % 100).unwrap(),
            latency_ms: u32::try_from(drawn % 120).unwrap(),
            quality: BasisPoints::new(u16::try_from(drawn % 10_001).unwrap()).unwrap(),
            event_time: Millis(at),
        }
    }

    /// When a record of a window arrives: with its last bid.
    pub(crate) fn arrival(&self, window: usize, record: usize) -> Millis {
        let part = u64::try_from((record + 1) * RECORD_BIDS).unwrap() * Self::window_ms();
        let part = part / u64::try_from(self.per_window).unwrap();
        Millis(START + u64::try_from(window).unwrap() * Self::window_ms() + part)
    }

    /// When a window is closed.
    pub(crate) fn close(&self, window: usize) -> Millis {
        let start = Millis(START + u64::try_from(window).unwrap() * Self::window_ms());
        Geometry::default().closes_at(start)
    }
}

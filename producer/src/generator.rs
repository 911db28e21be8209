//! Load from the `nexmark` crate: its bids mapped onto slots and accounts, with its skew.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Event, EventType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, Region, SlotId};
use schemas::money::{BasisPoints, Price};
use schemas::time::Millis;
use uuid::Uuid;

const SLOTS: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0010);
const ACCOUNTS: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0020);

/// The slot of a number.
#[must_use]
pub fn slot(number: u32) -> SlotId {
    SlotId(Uuid::new_v5(&SLOTS, &number.to_be_bytes()))
}

/// The account of a number.
#[must_use]
pub fn account(number: u32) -> AccountId {
    AccountId(Uuid::new_v5(&ACCOUNTS, &number.to_be_bytes()))
}

/// Bids without end, the same for the same seed but for their times.
pub struct Generator {
    events: EventGenerator,
    chance: StdRng,
    slots: Vec<SlotId>,
    accounts: Vec<AccountId>,
    region: Region,
}

impl Generator {
    /// A generator of one region.
    #[must_use]
    pub fn new(seed: u64, slots: u32, accounts: u32, region: Region) -> Self {
        let spread = region
            .as_str()
            .bytes()
            .fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self {
            events: EventGenerator::new(NexmarkConfig::default())
                .with_type_filter(EventType::Bid)
                // Regions walk different parts of NEXMark's sequence.
                .with_offset(spread % 1_000_000),
            chance: StdRng::seed_from_u64(spread),
            slots: (0..slots).map(slot).collect(),
            accounts: (0..accounts).map(account).collect(),
            region,
        }
    }

    /// The next bid, made at `now`.
    ///
    /// # Panics
    /// Never: NEXMark's events do not end.
    pub fn next(&mut self, now: Millis) -> Bid {
        loop {
            let Some(Event::Bid(bid)) = self.events.next() else { continue };
            let slot_id = self.slots[bid.auction % self.slots.len()];
            let account_id = self.accounts[bid.bidder % self.accounts.len()];
            let units = u64::try_from(bid.price).unwrap_or(1).clamp(1, 1_000_000) * 100;
            return Bid {
                bid_id: BidId(uuid::Builder::from_random_bytes(self.chance.random()).into_uuid()),
                slot_id,
                account_id,
                region: self.region,
                amount: Price::from_units(units).expect("between 100 and 100,000,000 units"),
                latency_ms: self.chance.random_range(5..120),
                quality: BasisPoints::new(self.chance.random_range(5_000..=10_000)).expect("at most one"),
                event_time: now,
            };
        }
    }
}

//! Properties and golden bytes of the envelopes.

use proptest::prelude::*;

use super::*;
use crate::ids::{AccountId, BidId, SlotId};
use crate::money::{BasisPoints, Price};
use crate::time::Millis;

/// Any valid bid, with few or many equal ids.
pub(crate) fn any_bid() -> impl Strategy<Value = Bid> {
    let id = || prop_oneof![any::<[u8; 16]>(), any::<u8>().prop_map(|low| [low; 16])];
    let numbers = (1..=Price::MAX.units(), any::<u32>(), 0..=10_000_u16, 0..=Millis::MAX.0);
    (id(), id(), id(), "[a-z0-9-]{1,24}", numbers).prop_map(|(bid, slot, account, region, numbers)| Bid {
        bid_id: BidId::from_bytes(bid),
        slot_id: SlotId::from_bytes(slot),
        account_id: AccountId::from_bytes(account),
        region: region.parse().unwrap(),
        amount: Price::from_units(numbers.0).unwrap(),
        latency_ms: numbers.1,
        quality: BasisPoints::new(numbers.2).unwrap(),
        event_time: Millis(numbers.3),
    })
}

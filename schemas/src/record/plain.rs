//! One bid: a version byte, then bincode 2 (standard configuration: little-endian, variable-length integers).
//!
//! The same bytes are a plain record and the data of an aggregate's item. Never accepts a byte more than the bid.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use super::Rejected;
use crate::bid::Bid;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::{BasisPoints, Price};
use crate::time::Millis;

/// The first byte of a bid alone: version 1.
const VERSION: u8 = 0x01;
/// Bytes of the longest bid, with room to spare; bincode claims no more than this while it reads one.
const BYTES_MAX: usize = 128;

const CONFIG: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> =
    bincode::config::standard().with_limit::<BYTES_MAX>();

/// The bid on the wire: values as they come, not yet checked.
#[derive(Encode, BorrowDecode)]
struct Wire<'a> {
    bid_id: [u8; 16],
    slot_id: [u8; 16],
    account_id: [u8; 16],
    region: &'a str,
    amount: u64,
    latency_ms: u32,
    quality: u16,
    event_time: u64,
}

pub(super) fn encode(bid: &Bid) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES_MAX);
    encode_into(bid, &mut out);
    out
}

/// Appends the bid's bytes.
pub(super) fn encode_into(bid: &Bid, out: &mut Vec<u8>) {
    let wire = Wire {
        bid_id: *bid.bid_id.as_bytes(),
        slot_id: *bid.slot_id.as_bytes(),
        account_id: *bid.account_id.as_bytes(),
        region: bid.region.as_str(),
        amount: bid.amount.units(),
        latency_ms: bid.latency_ms,
        quality: bid.quality.get(),
        event_time: bid.event_time.0,
    };
    out.push(VERSION);
    bincode::encode_into_std_write(wire, out, CONFIG).expect("a bid is shorter than the limit");
}

pub(super) fn decode(data: &[u8]) -> Result<Bid, Rejected> {
    let Some((&VERSION, body)) = data.split_first() else {
        return Err(Rejected::because("not a bid of a known version"));
    };
    let (wire, used) = bincode::borrow_decode_from_slice::<Wire<'_>, _>(body, CONFIG)
        .map_err(|_| Rejected::because("a bid is cut short or malformed"))?;
    if used != body.len() {
        return Err(Rejected::because("bytes follow the bid"));
    }
    let region = wire.region.parse().map_err(|_| Rejected::because("the region is no region code"))?;
    let values = Values {
        bid_id: BidId::from_bytes(wire.bid_id),
        slot_id: SlotId::from_bytes(wire.slot_id),
        account_id: AccountId::from_bytes(wire.account_id),
        region,
        amount: wire.amount,
        latency_ms: u64::from(wire.latency_ms),
        quality: u64::from(wire.quality),
        event_time: wire.event_time,
    };
    values.check()
}

/// A bid whose ids and region stand and whose numbers are to be checked.
pub(super) struct Values {
    pub(super) bid_id: BidId,
    pub(super) slot_id: SlotId,
    pub(super) account_id: AccountId,
    pub(super) region: Region,
    pub(super) amount: u64,
    pub(super) latency_ms: u64,
    pub(super) quality: u64,
    pub(super) event_time: u64,
}

impl Values {
    /// The one door through which numbers of a record become a bid.
    #[inline]
    pub(super) fn check(self) -> Result<Bid, Rejected> {
        let reject = |reason| Rejected { region: Some(self.region), reason };
        let quality = u16::try_from(self.quality).ok().and_then(BasisPoints::new);
        if self.event_time > Millis::MAX.0 {
            return Err(reject("the event time is past the year 9999"));
        }
        Ok(Bid {
            bid_id: self.bid_id,
            slot_id: self.slot_id,
            account_id: self.account_id,
            region: self.region,
            amount: Price::from_units(self.amount).map_err(|_| reject("the amount is no price"))?,
            latency_ms: u32::try_from(self.latency_ms).map_err(|_| reject("the latency is above 32 bits"))?,
            quality: quality.ok_or(reject("the quality is above one"))?,
            event_time: Millis(self.event_time),
        })
    }
}

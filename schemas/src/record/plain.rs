//! One bid: a version byte, then bincode 2 (standard configuration: little-endian, variable-length integers).
//!
//! The same bytes are a plain record and the data of an aggregate's item. Never accepts a byte more than the bid.
//! Reading is by hand, since it is done for each bid of an aggregate; a test holds it against bincode's own.

use bincode::Encode;

use super::Rejected;
use crate::bid::Bid;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::{BasisPoints, Price};
use crate::time::Millis;

/// The first byte of a bid alone: version 1.
const VERSION: u8 = 0x01;
/// Bytes of the longest bid, with room to spare.
const BYTES_MAX: usize = 128;

/// The bid on the wire: values as they come, not yet checked.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
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
    bincode::encode_into_std_write(wire, out, bincode::config::standard()).expect("memory takes every write");
}

#[inline]
pub(super) fn decode(data: &[u8]) -> Result<Bid, Rejected> {
    let Some((&VERSION, body)) = data.split_first() else {
        let reason = if data.is_empty() { "an empty record" } else { "not a bid of a known version" };
        return Err(Rejected::because(reason));
    };
    let Some((wire, rest)) = read(body) else {
        return Err(Rejected::because("a bid is cut short or malformed"));
    };
    if !rest.is_empty() {
        return Err(Rejected::because("bytes follow the bid"));
    }
    let region =
        Region::from_ascii(wire.region).map_err(|_| Rejected::because("the region is no region code"))?;
    let values = Values {
        bid_id: wire.bid_id,
        slot_id: wire.slot_id,
        account_id: wire.account_id,
        region: &region,
        amount: wire.amount,
        latency_ms: wire.latency_ms,
        quality: wire.quality,
        event_time: wire.event_time,
    };
    values.check()
}

/// What stands in a bid's bytes, not yet checked.
struct Raw<'a> {
    bid_id: &'a [u8; 16],
    slot_id: &'a [u8; 16],
    account_id: &'a [u8; 16],
    region: &'a [u8],
    amount: u64,
    latency_ms: u64,
    quality: u64,
    event_time: u64,
}

/// Reads the fields of [`Wire`], and answers what follows them.
#[inline]
fn read(body: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (bid_id, body) = body.split_first_chunk()?;
    let (slot_id, body) = body.split_first_chunk()?;
    let (account_id, body) = body.split_first_chunk()?;
    let (length, body) = number(body, U64)?;
    let (region, body) = body.split_at_checked(usize::try_from(length).ok()?)?;
    let (amount, body) = number(body, U64)?;
    let (latency_ms, body) = number(body, U32)?;
    let (quality, body) = number(body, U16)?;
    let (event_time, body) = number(body, U64)?;
    Some((Raw { bid_id, slot_id, account_id, region, amount, latency_ms, quality, event_time }, body))
}

/// Below the first of these a byte is the number; they stand before numbers of 16, 32 and 64 bits.
const U16: u8 = 251;
const U32: u8 = 252;
const U64: u8 = 253;

/// Reads a number of bincode's standard configuration, of a field that is as wide as `widest` says.
#[inline]
fn number(bytes: &[u8], widest: u8) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..U16 => Some((u64::from(first), rest)),
        wide if wide > widest => None,
        U16 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u16::from_le_bytes(*bytes)), rest)),
        U32 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u32::from_le_bytes(*bytes)), rest)),
        _ => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_le_bytes(*bytes), rest)),
    }
}

/// A bid whose ids and region stand and whose numbers are to be checked.
pub(super) struct Values<'a> {
    pub(super) bid_id: &'a [u8; 16],
    pub(super) slot_id: &'a [u8; 16],
    pub(super) account_id: &'a [u8; 16],
    pub(super) region: &'a Region,
    pub(super) amount: u64,
    pub(super) latency_ms: u64,
    pub(super) quality: u64,
    pub(super) event_time: u64,
}

impl Values<'_> {
    /// The one door through which numbers of a record become a bid.
    ///
    /// Ids and region are borrowed, and copied once all numbers are good: on the way they would be taken apart.
    #[inline]
    pub(super) fn check(&self) -> Result<Bid, Rejected> {
        let Some((amount, latency_ms, quality)) = self.numbers() else {
            return Err(Rejected { region: Some(*self.region), reason: self.fault() });
        };
        Ok(Bid {
            bid_id: BidId::from_bytes(*self.bid_id),
            slot_id: SlotId::from_bytes(*self.slot_id),
            account_id: AccountId::from_bytes(*self.account_id),
            region: *self.region,
            amount,
            latency_ms,
            quality,
            event_time: Millis(self.event_time),
        })
    }

    #[inline]
    fn numbers(&self) -> Option<(Price, u32, BasisPoints)> {
        let quality = BasisPoints::new(u16::try_from(self.quality).ok()?)?;
        let latency_ms = u32::try_from(self.latency_ms).ok()?;
        let amount = Price::from_units(self.amount).ok()?;
        (self.event_time <= Millis::MAX.0).then_some((amount, latency_ms, quality))
    }

    /// Which number is bad.
    #[cold]
    fn fault(&self) -> &'static str {
        if self.event_time > Millis::MAX.0 {
            "the event time is past the year 9999"
        } else if Price::from_units(self.amount).is_err() {
            "the amount is no price"
        } else if u32::try_from(self.latency_ms).is_err() {
            "the latency is above 32 bits"
        } else {
            "the quality is above one"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::any_bid;
    use proptest::prelude::*;

    /// What bincode reads, as far as a region can be a region.
    fn by_bincode(data: &[u8]) -> Option<Bid> {
        let (&VERSION, body) = data.split_first()? else { return None };
        let (wire, used): (Wire<'_>, usize) =
            bincode::borrow_decode_from_slice(body, bincode::config::standard()).ok()?;
        let values = Values {
            bid_id: &wire.bid_id,
            slot_id: &wire.slot_id,
            account_id: &wire.account_id,
            region: &wire.region.parse().ok()?,
            amount: wire.amount,
            latency_ms: u64::from(wire.latency_ms),
            quality: u64::from(wire.quality),
            event_time: wire.event_time,
        };
        values.check().ok().filter(|_| used == body.len())
    }

    proptest! {
        #[test]
        fn bytes_are_read_as_bincode_reads_them(
            bid in any_bid(),
            changes in proptest::collection::vec((0..110_usize, prop_oneof![any::<u8>(), 249..=255_u8]), 0..3),
            length in 0..120_usize,
        ) {
            let mut data = encode(&bid);
            prop_assert_eq!(decode(&data), Ok(bid));
            for (at, byte) in changes {
                if let Some(there) = data.get_mut(at) {
                    *there = byte;
                }
            }
            prop_assert_eq!(decode(&data).ok(), by_bincode(&data));
            data.resize(length, 0);
            prop_assert_eq!(decode(&data).ok(), by_bincode(&data));
        }

        #[test]
        fn numbers_of_every_width_are_read_as_bincode_reads_them(
            kind in 245..=255_u8, value: [u8; 8], length in 0..10_usize,
        ) {
            let mut bytes = vec![kind];
            bytes.extend(value);
            bytes.truncate(length);
            let config = bincode::config::standard();
            let read = |widest| number(&bytes, widest).map(|(value, rest)| (value, bytes.len() - rest.len()));
            let wide = |(value, used): (u64, usize)| (value, used);
            prop_assert_eq!(read(U64), bincode::decode_from_slice(&bytes, config).ok().map(wide));
            let wide = |(value, used): (u32, usize)| (u64::from(value), used);
            prop_assert_eq!(read(U32), bincode::decode_from_slice(&bytes, config).ok().map(wide));
            let wide = |(value, used): (u16, usize)| (u64::from(value), used);
            prop_assert_eq!(read(U16), bincode::decode_from_slice(&bytes, config).ok().map(wide));
        }
    }
}

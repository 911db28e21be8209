//! Properties of the envelopes: what goes in comes out, and no bytes whatever do harm.

mod golden;
mod json;

use proptest::collection::vec;
use proptest::prelude::*;

use self::json::{gzip, lines};
use super::*;
use crate::ids::{AccountId, BidId, SlotId};
use crate::limits::BLOCK_BIDS_FREE;
use crate::money::{BasisPoints, Price};
use crate::time::Millis;

/// Any valid bid, with few or many equal ids.
pub(crate) fn any_bid() -> impl Strategy<Value = Bid> {
    let id = || prop_oneof![any::<[u8; 16]>(), any::<u8>().prop_map(|low| [low; 16])];
    let region = prop_oneof![Just("eu-central-1".to_owned()), "[a-z0-9][a-z0-9-]{0,23}"];
    let amount = prop_oneof![1..=Price::MAX.units(), (1..2_000_u64).prop_map(|cents| cents * 100)];
    let latency = prop_oneof![any::<u32>(), 0..300_u32];
    let time = prop_oneof![0..=Millis::MAX.0, (0..5_000_u64).prop_map(|ms| 1_795_000_000_000 + ms)];
    (id(), id(), id(), region, (amount, latency, 0..=10_000_u16, time)).prop_map(
        |(bid, slot, account, region, rest)| Bid {
            bid_id: BidId::from_bytes(bid),
            slot_id: SlotId::from_bytes(slot),
            account_id: AccountId::from_bytes(account),
            region: region.parse().unwrap(),
            amount: Price::from_units(rest.0).unwrap(),
            latency_ms: rest.1,
            quality: BasisPoints::new(rest.2).unwrap(),
            event_time: Millis(rest.3),
        },
    )
}

/// Many bids of few slots and accounts, as records have them.
fn crowd() -> impl Strategy<Value = Vec<Bid>> {
    (vec(any_bid(), 1..12), vec((any::<[u8; 16]>(), 0..11_usize, 1..500_u64), 0..200)).prop_map(
        |(mut bids, more)| {
            for (id, like, cents) in more {
                let like = bids[like % bids.len()];
                let amount = Price::from_units(cents * 100).unwrap();
                bids.push(Bid { bid_id: BidId::from_bytes(id), amount, ..like });
            }
            bids
        },
    )
}

/// The order of a block.
fn by_slot(mut bids: Vec<Bid>) -> Vec<Bid> {
    bids.sort_by_key(|bid| {
        (
            bid.slot_id,
            bid.event_time,
            bid.bid_id,
            bid.account_id,
            bid.amount,
            bid.region,
            bid.latency_ms,
            bid.quality,
        )
    });
    bids
}

fn read(data: &[u8]) -> (Kind, Vec<Bid>) {
    let decoded = decode(data);
    (decoded.kind, decoded.items.into_iter().map(|item| item.unwrap()).collect())
}

/// What every record must come to: bounded, and rejected by a reason when it is no bid.
fn is_sound(decoded: &Decoded) -> bool {
    let empty = !matches!(decoded.kind, Kind::Plain);
    decoded.items.len() <= BIDS_PER_RECORD_MAX
        && (empty || !decoded.items.is_empty())
        && decoded.items.capacity() <= BIDS_PER_RECORD_MAX.next_power_of_two()
}

#[test]
fn envelopes_have_words() {
    for envelope in [Envelope::Block, Envelope::Aggregated, Envelope::Plain] {
        assert_eq!(envelope.to_string().parse(), Ok(envelope));
        assert_eq!(serde_json::to_string(&envelope).unwrap(), format!("\"{envelope}\""));
    }
    assert_eq!("Block".parse::<Envelope>(), Err(EnvelopeError));
}

#[test]
fn a_tick_holds_nothing() {
    assert_eq!(decode(&tick()), Decoded { kind: Kind::Tick, items: vec![] });
    assert_eq!(encode_aggregated(&[]), tick());
    assert_eq!(decode(&encode_block(&[])), Decoded { kind: Kind::Block, items: vec![] });
}

#[test]
fn what_is_nothing_we_know_is_one_rejected_bid() {
    let cut = &tick()[..4];
    for data in [
        b"".as_slice(),
        b"hello",
        b" ",
        &[0x1F, 0x8B],
        &[0xEF, 0xBB, 0xBF],
        &[0xB1],
        &[0xF3],
        cut,
        &[0xB1; 5],
        &[0x01],
        &[0; 4_096],
    ] {
        let decoded = decode(data);
        assert_eq!(decoded.kind, Kind::Plain, "{data:?}");
        assert!(matches!(decoded.items.as_slice(), [Err(Rejected { region: None, .. })]), "{data:?}");
    }
}

#[test]
fn memory_used_again_keeps_nothing() {
    let mut out = decode(&tick());
    out.items = vec![Err(Rejected::because("left over")); 3];
    decode_into(&tick(), &mut out);
    assert_eq!(out, Decoded { kind: Kind::Tick, items: vec![] });
}

#[test]
fn the_largest_block_comes_back() {
    let id = |n: usize| {
        crate::settlement::settlement_id(&SlotId::from_bytes([1; 16]), Millis(u64::try_from(n).unwrap()))
    };
    let bid = |n: usize| Bid {
        bid_id: BidId(id(n).0),
        slot_id: SlotId(id(n / 100).0),
        account_id: AccountId(id(n % 1_000).0),
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(u64::try_from(n + 1).unwrap()).unwrap(),
        latency_ms: u32::try_from(n % 300).unwrap(),
        quality: BasisPoints::ONE,
        event_time: Millis(1_795_000_000_000),
    };
    let bids: Vec<Bid> = (0..BIDS_PER_RECORD_MAX).map(bid).collect();
    let (kind, back) = read(&encode_block(&bids));
    assert_eq!(kind, Kind::Block);
    assert!(by_slot(back) == by_slot(bids));
}

#[test]
fn a_bad_item_is_rejected_alone() {
    let bid = |n| Bid { amount: Price::from_units(n).unwrap(), ..golden::bids("plain-1")[0] };
    let good = [plain::encode(&bid(1)), plain::encode(&bid(4))];
    let bad = aggregated::encode_items(&[
        ("a", None, &good[0]),
        ("b", Some(7), b"{\"bid\":2}"),
        ("c", None, &encode_block(&[bid(2)])),
        ("a", None, &good[1]),
    ]);
    let items = decode(&bad).items;
    assert_eq!((items[0], items[3], items.len()), (Ok(bid(1)), Ok(bid(4)), 4));
    assert!(items[1].is_err() && items[2].is_err());
}

#[test]
fn a_damaged_aggregate_or_block_is_a_plain_record_whole() {
    let bids = golden::bids("block-1");
    for whole in [encode_aggregated(&bids), encode_block(&bids)] {
        for at in [4, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let decoded = decode(&damaged);
            assert_eq!((decoded.kind, decoded.items.len()), (Kind::Plain, 1), "{at}");
        }
    }
}

#[test]
fn every_reason_for_which_a_record_is_no_bids_is_told_apart() {
    let reason = |data: &[u8]| {
        let decoded = decode(data);
        match decoded.items.as_slice() {
            [Err(Rejected { region: None, reason })] => (decoded.kind, *reason),
            other => panic!("{other:?}"),
        }
    };
    let bids = golden::bids("block-1");
    let flipped = |mut data: Vec<u8>, at: usize| {
        data[at] ^= 1;
        data
    };
    let item = encode_plain(&bids[0]);
    let items = vec![("a", None, item.as_slice()); BIDS_PER_RECORD_MAX + 1];
    let crowd = aggregated::encode_items(&items);
    let full = decode(&aggregated::encode_items(&items[1..]));
    assert_eq!(
        (full.kind, full.items.len()),
        (Kind::Aggregated, BIDS_PER_RECORD_MAX),
        "the most there may be"
    );
    assert!(full.items.iter().all(|item| *item == Ok(bids[0])));
    // What stands behind the most items is still a message or none.
    let mut torn = crowd[..crowd.len() - 16].to_vec();
    torn.extend([0x1A, 0x7F, 0, 0]);
    let block = |counts: &[u8]| {
        // Behind the counts no regions, start 0, and ids and columns of one value.
        resealed([&[0xB1, 0, 0, 0, 0], counts, &[0; 31]].concat())
    };
    for (data, kind, expected) in [
        (Vec::new(), Kind::Plain, "an empty record"),
        (b"hello".to_vec(), Kind::Plain, "not a bid of a known version"),
        (b"{}".to_vec(), Kind::Json, "a json object without the fields of a bid"),
        (b"[7]".to_vec(), Kind::Json, "json that is no object"),
        (b"[{}".to_vec(), Kind::Json, "a json array is broken"),
        (b" \n".to_vec(), Kind::Plain, "json without a bid"),
        (lines(BIDS_PER_RECORD_MAX + 1), Kind::Plain, "json of more than 65536 bids"),
        (gzip(&lines(600_000)), Kind::Plain, "gzip of far more bytes than it has"),
        (gzip(b"{}")[..20].to_vec(), Kind::Plain, "gzip is damaged"),
        (flipped(gzip(b"{}"), 12), Kind::Plain, "gzip is damaged"),
        ([gzip(b"{}"), b"{}".to_vec()].concat(), Kind::Plain, "gzip is damaged"),
        (gzip(&gzip(b"{}")), Kind::Plain, "gzip of something else than json"),
        (gzip(&item), Kind::Plain, "gzip of something else than json"),
        (
            aggregated::encode_items(&[("a", None, &lines(65_536)), ("a", None, b"{}")]),
            Kind::Aggregated,
            "an aggregate of more than 65536 items",
        ),
        (vec![0xF3, 0x89], Kind::Plain, "not a bid of a known version"),
        (tick()[..4].to_vec(), Kind::Plain, "an aggregate is cut short"),
        (flipped(encode_aggregated(&bids), 30), Kind::Plain, "an aggregate's checksum is wrong"),
        (
            resealed([&tick()[..4], &[0x0A, 9], &[0; 16]].concat()),
            Kind::Plain,
            "an aggregate's protobuf is malformed",
        ),
        (resealed([torn.as_slice(), &[0; 16]].concat()), Kind::Plain, "an aggregate's protobuf is malformed"),
        (crowd, Kind::Aggregated, "an aggregate of more than 65536 items"),
        (vec![0xB1, 0, 0], Kind::Plain, "a block is cut short"),
        (flipped(encode_block(&bids), 30), Kind::Plain, "a block's checksum is wrong"),
        (resealed([encode_block(&bids), vec![0]].concat()), Kind::Block, "bytes follow the block"),
        (resealed(vec![0xB1, 0, 0, 0, 0, 1]), Kind::Block, "a block's fields cannot be read"),
        (block(&[252, 1, 0, 1, 0, 0, 0]), Kind::Block, "a block of more than 65536 bids"),
        (block(&[1, 2, 0]), Kind::Block, "a block has more slots or accounts than bids"),
        (block(&[1, 0, 2]), Kind::Block, "a block has more slots or accounts than bids"),
        (block(&[2, 0, 0]), Kind::Block, "the bids of a block's slots are not its bids"),
        (item[..9].to_vec(), Kind::Plain, "a bid is cut short or malformed"),
        ([item.as_slice(), &[0]].concat(), Kind::Plain, "bytes follow the bid"),
    ] {
        assert_eq!(reason(&data), (kind, expected), "{:?}", &data[..data.len().min(40)]);
    }
}

/// What is cheap to write is cheap to read: thousands of bids from some bytes are no bids of ours.
#[test]
fn a_block_holds_as_many_bids_as_bytes_or_as_our_producers_write() {
    let bid = golden::bids("block-1")[0];
    let same = |count: usize| encode_block(&vec![bid; count]);
    let free = same(BLOCK_BIDS_FREE);
    assert!(free.len() < 200, "{} bytes", free.len());
    assert_eq!(decode(&free).items, vec![Ok(bid); BLOCK_BIDS_FREE]);
    for count in [BLOCK_BIDS_FREE + 1, BIDS_PER_RECORD_MAX] {
        let refused = Rejected::because("a block of far more bids than it has bytes");
        assert_eq!(decode(&same(count)), Decoded { kind: Kind::Block, items: vec![Err(refused)] });
    }
}

#[test]
fn numbers_that_no_bid_may_have_keep_their_region() {
    let mut data = encode_plain(&golden::bids("plain-1")[0]);
    let price = 1 + 3 * 16 + 1 + "eu-central-1".len();
    data[price..price + 3].copy_from_slice(&[251, 0, 0]);
    let Err(rejected) = decode(&data).items[0] else { panic!("a price of zero was taken") };
    assert_eq!(rejected.region, "eu-central-1".parse().ok());
}

proptest! {
    #[test]
    fn a_plain_bid_comes_back(bid in any_bid()) {
        prop_assert_eq!(read(&encode_plain(&bid)), (Kind::Plain, vec![bid]));
    }

    #[test]
    fn an_aggregate_comes_back_in_its_order(bids in vec(any_bid(), 1..20)) {
        prop_assert_eq!(read(&encode_aggregated(&bids)), (Kind::Aggregated, bids));
    }

    #[test]
    fn a_block_comes_back_by_slot(bids in crowd()) {
        let (kind, back) = read(&encode_block(&bids));
        prop_assert_eq!(kind, Kind::Block);
        prop_assert!(back.is_sorted_by_key(|bid| (bid.slot_id, bid.event_time, bid.bid_id)));
        prop_assert_eq!(by_slot(back), by_slot(bids));
    }

    #[test]
    fn any_bytes_are_sound(data in vec(any::<u8>(), 0..300), first in 0..5_usize) {
        prop_assert!(is_sound(&decode(&data)));
        // Behind a true beginning, and with a true checksum, so that the inner layers are reached.
        let marked = match first {
            0 => [&[0x01], data.as_slice()].concat(),
            1 => resealed([&[0xB1, 0, 0, 0, 0], data.as_slice()].concat()),
            _ => resealed([&[0xF3, 0x89, 0x9A, 0xC2], data.as_slice(), &[0; 16]].concat()),
        };
        prop_assert!(is_sound(&decode(&marked)));
    }

    #[test]
    fn damage_behind_a_true_checksum_is_sound(
        bids in crowd(), aggregate: bool, hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0..3_usize,
    ) {
        let mut data = if aggregate { encode_aggregated(&bids) } else { encode_block(&bids) };
        for (at, byte) in hits {
            let at = at.index(data.len() - 5) + 5;
            data[at] = byte;
        }
        data.truncate(data.len() - cut);
        prop_assert!(is_sound(&decode(&data)));
        prop_assert!(is_sound(&decode(&resealed(data))));
    }
}

/// The record with its checksum made true.
fn resealed(mut data: Vec<u8>) -> Vec<u8> {
    use md5::Digest;
    match data.first() {
        Some(0xB1) => {
            let checksum = crc32fast::hash(&data[5..]).to_le_bytes();
            data[1..5].copy_from_slice(&checksum);
        }
        Some(0xF3) if data.len() >= 20 => {
            let end = data.len() - 16;
            let digest = md5::Md5::digest(&data[4..end]);
            data[end..].copy_from_slice(&digest);
        }
        _ => {}
    }
    data
}

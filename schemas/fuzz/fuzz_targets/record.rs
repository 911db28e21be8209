//! Any bytes decode within the bounds, and the bids that come out survive every envelope.
#![no_main]

use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};
use schemas::bid::Bid;
use schemas::limits::{BIDS_PER_RECORD_MAX, BLOCK_BIDS_FREE};
use schemas::record::{Kind, decode, encode_aggregated, encode_block, encode_plain};

fuzz_target!(|data: &[u8]| {
    check(data);
    // With a true checksum, so that the layers behind it are reached.
    check(&resealed(data.to_vec()));
});

fn check(data: &[u8]) {
    let decoded = decode(data);
    assert!(decoded.items.len() <= BIDS_PER_RECORD_MAX);
    assert!(decoded.kind != Kind::Plain || decoded.items.len() == 1);
    let bids: Vec<Bid> = decoded.items.into_iter().flatten().collect();
    let Some(first) = bids.first() else { return };
    let back = |data: &[u8]| -> Vec<Bid> { decode(data).items.into_iter().flatten().collect() };
    assert_eq!(back(&encode_plain(first)), [*first]);
    assert_eq!(back(&encode_aggregated(&bids)), bids);
    // A larger block is read only where it has a byte for each bid.
    if bids.len() <= BLOCK_BIDS_FREE {
        assert_eq!(sorted(back(&encode_block(&bids))), sorted(bids));
    }
}

fn sorted(mut bids: Vec<Bid>) -> Vec<Bid> {
    bids.sort_by_key(|bid| {
        let rest = (bid.account_id, bid.amount, bid.region, bid.latency_ms, bid.quality);
        (bid.slot_id, bid.event_time, bid.bid_id, rest)
    });
    bids
}

fn resealed(mut data: Vec<u8>) -> Vec<u8> {
    match data.first() {
        Some(0xB1) if data.len() >= 5 => {
            let checksum = crc32fast::hash(&data[5..]).to_le_bytes();
            data[1..5].copy_from_slice(&checksum);
        }
        Some(0xF3) if data.len() >= 20 => {
            let end = data.len() - 16;
            let digest = Md5::digest(&data[4..end]);
            data[end..].copy_from_slice(&digest);
        }
        _ => {}
    }
    data
}

//! The bytes in `schemas/golden/`, which are added and never edited: `NAME.hex` are a record's bytes, `NAME.ndjson`
//! the bids in it, each with its region.

use std::fs;
use std::path::PathBuf;

use super::super::*;

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn bytes(name: &str) -> Vec<u8> {
    let text: String = file(&format!("{name}.hex")).split_whitespace().collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(pair).collect()
}

/// The bids of a golden record in the order in which they were encoded.
pub(super) fn bids(name: &str) -> Vec<Bid> {
    let read = |line: &str| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let region = json["region"].as_str().unwrap().parse().unwrap();
        crate::intake::parse_line(line.as_bytes(), region).unwrap()
    };
    file(&format!("{name}.ndjson")).lines().map(read).collect()
}

fn holds(name: &str, kind: Kind, encoded: &[u8]) {
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = bytes(name);
    assert!(golden == encoded, "{name} is encoded as\n{hex}");
    reads(name, kind);
}

fn reads(name: &str, kind: Kind) {
    let expected = bids(name).into_iter().map(Ok).collect();
    assert_eq!(decode(&bytes(name)), Decoded { kind, items: expected }, "{name}");
}

#[test]
fn a_plain_bid_has_these_bytes() {
    holds("plain-1", Kind::Plain, &encode_plain(&bids("plain-1")[0]));
}

#[test]
fn an_aggregate_has_these_bytes() {
    holds("aggregated-1", Kind::Aggregated, &encode_aggregated(&bids("aggregated-1")));
}

#[test]
fn a_block_has_these_bytes() {
    holds("block-1", Kind::Block, &encode_block(&bids("block-1")));
}

#[test]
fn a_block_of_version_7_ids_has_these_bytes() {
    holds("block-1-timed", Kind::Block, &encode_block(&bids("block-1-timed")));
}

/// Only read, never compared in writing: another release of zstd may find shorter frames.
#[test]
fn a_block_with_zstd_planes_reads_as_these_bids() {
    reads("block-1-planes", Kind::Block);
}

/// Made by an encoder of another language from the page alone: ids of several versions and variants.
#[test]
fn a_block_of_mixed_ids_has_these_bytes() {
    holds("block-1-whole", Kind::Block, &encode_block(&bids("block-1-whole")));
}

/// By the same encoder, whose choice of columns is not ours: a middle plane of zstd, and raw planes with and without a
/// middle one.
#[test]
fn blocks_with_middle_and_raw_planes_read_as_these_bids() {
    reads("block-1-middle", Kind::Block);
    reads("block-1-raw", Kind::Block);
}

#[test]
fn a_tick_has_these_bytes() {
    let golden = bytes("tick");
    assert_eq!(golden, tick());
    assert_eq!(golden[..7], [0xF3, 0x89, 0x9A, 0xC2, 0x0A, 0x01, 0x61]);
}

/// Written by hand as other programs write them: numbers and blanks of theirs, Fluent Bit's and Vector's own fields.
#[test]
fn json_of_other_programs_reads_as_these_bids() {
    for name in ["1", "1-lines", "1-array", "1-gzip", "1-fluent-bit", "1-vector"] {
        reads(&format!("json-{name}"), Kind::Json);
    }
    reads("json-1-items", Kind::Aggregated);
}

/// Made by the KPL's own rules, not by us.
#[test]
fn foreign_items_have_these_bytes() {
    let items = [
        ("slot-1", None, br#"{"bid":1}"#.as_slice()),
        ("slot-2", Some(0), br#"{"bid":2}"#),
        ("slot-1", None, br#"{"bid":3}"#),
    ];
    let golden = bytes("aggregated-foreign");
    assert_eq!(golden, aggregated::encode_items(&items));
    let decoded = decode(&golden);
    assert_eq!((decoded.kind, decoded.items.len()), (Kind::Aggregated, 3));
    assert!(decoded.items.iter().all(Result::is_err));
}

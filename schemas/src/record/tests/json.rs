//! JSON of other programs: each bid is judged by itself, and what a record may cost is bounded.

use std::io::Write;

use super::*;

/// So many lines that are no bids.
pub(super) fn lines(count: usize) -> Vec<u8> {
    b"{}\n".repeat(count)
}

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

/// All gzip of a record together gives no more than its bytes may, however many items it is spread over.
#[test]
fn what_gzip_gives_is_bounded_for_a_record_not_for_an_item() {
    let item = gzip(&lines(5_000));
    let items = vec![("a", None, item.as_slice()); 4];
    let record = aggregated::encode_items(&items);
    let whole = decode(&record).items;
    let refused = |items: &[Result<Bid, Rejected>]| {
        items
            .iter()
            .filter(|item| **item == Err(Rejected::because("gzip of far more bytes than it has")))
            .count()
    };
    assert_eq!((whole.len(), refused(&whole)), (5_000 + 3, 3), "{} bytes", record.len());
}

#[test]
fn an_aggregate_of_too_many_json_bids_is_one_rejected_bid() {
    let items = [lines(40_000), lines(40_000)];
    let record = aggregated::encode_items(&[("a", None, &items[0]), ("a", None, &items[1])]);
    let refused = Rejected::because("an aggregate of more than 65536 items");
    assert_eq!(decode(&record), Decoded { kind: Kind::Aggregated, items: vec![Err(refused)] });
}

#[test]
fn nesting_costs_no_stack_and_an_empty_array_holds_nothing() {
    for open in ["[", "{\"a\":", "{\"a\":["] {
        assert_eq!(decode(open.repeat(200_000).as_bytes()).items.len(), 1, "{open}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let items = decode(deep.as_bytes()).items;
    assert_eq!(items, [Err(Rejected::because("a json object without the fields of a bid"))]);
    for empty in ["[]", " [ ] ", "\u{feff}[]"] {
        assert_eq!(decode(empty.as_bytes()), Decoded { kind: Kind::Json, items: vec![] }, "{empty:?}");
    }
}

/// One bad line or element is one rejected bid, and its neighbours count.
#[test]
fn json_that_is_no_bid_is_rejected_alone() {
    let bids = golden::bids("json-1-lines");
    let line = |bid: &Bid| {
        let mut line = Vec::new();
        crate::intake::to_record_line(bid, &mut line);
        String::from_utf8(line).unwrap().trim().to_owned()
    };
    let [a, b] = [line(&bids[0]), line(&bids[1])];
    for text in [format!("{a}\n{{\"bid_id\":\n{b}\n"), format!("[{a},{{\"bid_id\":7}},{b}]")] {
        for data in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let items = decode(&data).items;
            assert_eq!((items[0], items[2], items.len()), (Ok(bids[0]), Ok(bids[1]), 3), "{text}");
            assert!(items[1].is_err());
        }
    }
}

proptest! {
    #[test]
    fn bids_in_lines_come_back(bids in vec(any_bid(), 1..20), packed: bool) {
        let mut text = Vec::new();
        bids.iter().for_each(|bid| crate::intake::to_record_line(bid, &mut text));
        prop_assert_eq!(read(&if packed { gzip(&text) } else { text }), (Kind::Json, bids));
    }
}

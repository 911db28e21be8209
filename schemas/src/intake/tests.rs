//! What a line may say, and what a refusal answers.

use proptest::prelude::*;

use super::fields::{short_amount, short_share};
use super::*;

const LINE: &str = r#"{"bid_id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","slot_id":"11111111-2222-4333-8444-555555555555","account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","amount":"5.4000","latency_ms":42,"quality_score":0.93,"timestamp":"2026-11-23T21:20:10.123Z"}"#;

fn region() -> Region {
    "eu-central-1".parse().unwrap()
}

fn parse(line: &str) -> Result<Bid, Refusal> {
    parse_line(line.as_bytes(), region())
}

/// The line with one text replaced, which must stand in it.
fn with(from: &str, to: &str) -> Result<Bid, Refusal> {
    assert!(LINE.contains(from), "{from}");
    parse(&LINE.replace(from, to))
}

#[test]
fn a_line_is_read_and_written_alike() {
    let bid = parse(LINE).unwrap();
    assert_eq!((bid.amount.units(), bid.latency_ms, bid.quality.get()), (54_000, 42, 9_300));
    assert_eq!((bid.event_time.to_string().as_str(), bid.region), ("2026-11-23T21:20:10.123Z", region()));
    let mut out = Vec::new();
    to_line(&bid, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("{LINE}\n"));
}

#[test]
fn blanks_order_escapes_and_the_own_region_do_not_matter() {
    let bid = parse(LINE).unwrap();
    let spaced =
        LINE.replace(',', " ,\t").replace("\":", "\" : ").replace('{', " { ").replace('}', " } \r\n");
    assert_eq!(parse(&spaced), Ok(bid));
    assert_eq!(with("\"amount\"", "\"\\u0061mount\""), Ok(bid));
    assert_eq!(with("\"amount\"", "\"region\":\"eu-central-1\",\"amount\""), Ok(bid));
    assert_eq!(with("\"5.4000\"", "5.4"), Ok(bid));
    assert_eq!(with("T21:20:10.123Z", "T22:20:10.123+01:00"), Ok(bid));
    assert_eq!(with("0b0e0c6e", "0B0E0C6E"), Ok(bid));
}

#[test]
fn an_amount_keeps_every_digit_that_a_float_would_lose() {
    assert_eq!(with("\"5.4000\"", "99999999999999.9999").unwrap().amount, Price::MAX);
    assert_eq!(with("\"5.4000\"", "\"0.0001\"").unwrap().amount.units(), 1);
}

proptest! {
    #[test]
    fn the_short_way_to_an_amount_agrees_with_the_long_one(text in "[0-9.-]{0,20}|0{0,3}[0-9]{1,15}\\.[0-9]{0,5}") {
        if let Some(price) = short_amount(text.as_bytes()) {
            prop_assert_eq!(text.parse(), Ok(price));
        }
    }
}

proptest! {
    #[test]
    fn the_short_way_to_a_share_agrees_with_the_long_one(text in "0\\.[0-9]{0,24}|[0-9.e-]{0,8}") {
        if let Some(share) = short_share(text.as_bytes()) {
            prop_assert_eq!(BasisPoints::nearest(&Decimal::parse(&text).unwrap()), Some(share));
        }
    }
}

#[test]
fn one_number_is_the_same_bid_however_it_is_written() {
    let bid = parse(LINE).unwrap();
    for (from, texts) in [
        (
            "\"5.4000\"",
            ["5.40000", "5.400000000000000000", "\"5.400000000000000000\"", "54e-1", "0.54E+1", "\"5.4E0\""],
        ),
        ("42", ["42.0", "42.000000000000000000", "4.2e1", "4.2E+1", "420e-1", "42e0"]),
        ("0.93", ["0.930", "0.930000000000000000000000000", "9.3e-1", "93E-2", "0.093e1", "0.93e0"]),
    ] {
        for text in texts {
            assert_eq!(with(from, text), Ok(bid), "{text}");
        }
    }
    assert_eq!(with("\"5.4000\"", "1.0E7").unwrap().amount.units(), 100_000_000_000);
    assert_eq!(with("\"5.4000\"", "5.0E-4").unwrap().amount.units(), 5);
    assert_eq!((with("42", "-0.0").unwrap().latency_ms, with("0.93", "-0").unwrap().quality.get()), (0, 0));
    let long = format!("5.4{}", "0".repeat(300));
    assert!(with("\"5.4000\"", &long).unwrap_err().reason.contains("longer than 256"), "bounded");
}

#[test]
fn a_rounded_bid_keeps_what_was_offered_through_its_own_line() {
    let read = |line: &str, rounding| read_line(line.as_bytes(), IntakeRules { region: region(), rounding });
    let line = LINE.replace("\"5.4000\"", "5.4321500000e0");
    assert_eq!(read(&line, None).unwrap_err().reason, "has more than 4 decimals; round it to 4");
    for (rule, units) in [(Rounding::Down, 54_321), (Rounding::HalfEven, 54_322)] {
        let rounded = read(&line, Some(rule)).unwrap();
        assert_eq!((rounded.bid().amount.units(), rounded.offered()), (units, Some("5.43215")));
        let mut again = Vec::new();
        to_offered_line(rounded.bid(), rounded.offered().unwrap(), &mut again);
        assert_eq!(read_line(&again, IntakeRules { region: region(), rounding: None }), Ok(rounded));
    }
    let exact = read(LINE, Some(Rounding::Down)).unwrap();
    assert_eq!(exact, OfferedBid::Exact(parse(LINE).unwrap()), "nothing to round");
    let zero = read(&LINE.replace("5.4000", "0.00004"), Some(Rounding::HalfEven)).unwrap_err();
    assert_eq!(
        (zero.field.as_str(), zero.reason.as_str()),
        ("amount", "rounds to zero; offer at least 0.0001")
    );
}

#[test]
fn a_quality_is_rounded_to_basis_points() {
    for (text, points) in [
        ("0", 0),
        ("1", 10_000),
        ("1.000000", 10_000),
        ("0.12344", 1_234),
        ("0.12345", 1_235),
        ("0.9299999999999999", 9_300),
        ("0.99999", 10_000),
    ] {
        assert_eq!(with("0.93", text).map(|bid| bid.quality.get()), Ok(points), "{text}");
    }
}

#[test]
fn without_a_timestamp_a_version_7_id_says_when() {
    let stamped = ",\"timestamp\":\"2026-11-23T21:20:10.123Z\"";
    let line = LINE.replace(stamped, "").replace("0b0e0c6e-3a5f-4b11", "019ab2c3-d4e5-7b11");
    assert_eq!(parse(&line).unwrap().event_time, Millis(0x019a_b2c3_d4e5));
    let refused = parse(&LINE.replace(stamped, "")).unwrap_err();
    assert_eq!(refused.field, "timestamp");
    assert!(refused.reason.contains("version 7"), "{refused}");
    let far = parse(&line.replace("019ab2c3-d4e5", "ffffffff-ffff")).unwrap_err();
    assert_eq!(far.field, "timestamp");
}

#[test]
fn a_field_without_a_name_is_refused_with_words() {
    let refused = with("\"amount\"", "\"\"").unwrap_err();
    assert_eq!((refused.field.as_str(), refused.reason.contains("without a name")), ("line", true));
}

#[test]
fn a_refusal_names_the_field_and_what_to_do() {
    let cases = [
        ("\"5.4000\"", "0", "amount", "offer more"),
        ("\"5.4000\"", "\"-1\"", "amount", "offer more"),
        ("\"5.4000\"", "5.40001", "amount", "round"),
        ("\"5.4000\"", "1e15", "amount", "more than 14 digits"),
        ("\"5.4000\"", "1e999999999", "amount", "more than 14 digits"),
        ("\"5.4000\"", "5e-5", "amount", "more than 4 decimals"),
        ("\"5.4000\"", "\"5,4\"", "amount", "write digits"),
        ("\"5.4000\"", "\"\"", "amount", "is empty"),
        ("\"5.4000\"", "\"+5\"", "amount", "sign"),
        ("\"5.4000\"", "\".5\"", "amount", "before its point"),
        ("\"5.4000\"", "\"5.\"", "amount", "after its point"),
        ("\"5.4000\"", "\"5e\"", "amount", "exponent"),
        ("\"5.4000\"", "[5]", "amount", "an array"),
        ("\"5.4000\"", "100000000000000", "amount", "give less"),
        ("\"5.4000\"", "true", "amount", "another type"),
        ("\"5.4000\"", "null", "amount", "is null"),
        ("\"5.4000\"", "{}", "amount", "another type"),
        ("42", "4294967296", "latency_ms", "out of range"),
        ("42", "-1", "latency_ms", "below zero"),
        ("42", "41.7", "latency_ms", "is no whole number"),
        ("42", "1e999999999", "latency_ms", "out of range"),
        ("42", "\"42\"", "latency_ms", "another type, a text"),
        ("0.93", "1.00001", "quality_score", "0 to 1"),
        ("0.93", "-0.5", "quality_score", "0 to 1"),
        ("0.93", "1e999999999", "quality_score", "0 to 1"),
        ("0.93", "\"0.93\"", "quality_score", "another type, a text"),
        ("\"amount\"", "\"offered\":5.40001,\"offered\":5.40001,\"amount\"", "offered", "twice"),
        ("\"amount\"", "\"offered\":5.4,\"amount\"", "offered", "does not round"),
        ("\"amount\"", "\"offered\":\"5.41\",\"amount\"", "offered", "does not round"),
        ("\"amount\"", "\"offered\":\"x\",\"amount\"", "offered", "write digits"),
        ("2026-11-23T", "2026-02-30T", "timestamp", "RFC 3339"),
        ("\"2026-11-23T21:20:10.123Z\"", "1795000000", "timestamp", "RFC 3339"),
        ("0b0e0c6e-", "0b0e0c6e", "bid_id", "8-4-4-4-12"),
        ("11111111-", "g1111111-", "slot_id", "8-4-4-4-12"),
        ("\"amount\"", "\"price\"", "price", "leave it out"),
        ("\"amount\"", "\"latency_ms\":42,\"amount\"", "latency_ms", "twice"),
        ("\"amount\"", "\"region\":\"us-east-1\",\"amount\"", "region", "eu-central-1"),
        ("\"amount\":\"5.4000\",", "", "amount", "missing"),
        ("{", "", "line", "JSON object"),
        ("}", "", "line", "comma"),
        ("}", "} {}", "line", "after the object"),
        ("}", ",}", "line", "field name"),
        ("42", "042", "line", "neither text nor number"),
        ("42,", "42", "line", "comma"),
        ("10.123Z\"", "10.123Z", "line", "within a text"),
        ("5.4000", "5\\x4", "line", "escape"),
        ("5.4000", "5\u{1}4", "line", "control"),
    ];
    for (from, to, field, reason) in cases {
        let refused = with(from, to).unwrap_err();
        assert!(refused.field == field && refused.reason.contains(reason), "{from} -> {to}: {refused}");
    }
    assert_eq!(parse("").unwrap_err().field, "line");
    assert_eq!(parse_line(b"\xFF", region()).unwrap_err().field, "line");
    let long = with("\"amount\"", &format!("\"{}\"", "x".repeat(5_000))).unwrap_err();
    assert_eq!(long.field.len(), NAME_CHARS_MAX);
}

#[test]
fn an_array_is_split_into_its_elements() {
    assert_eq!(elements(b" [ ] ").unwrap(), Vec::<&[u8]>::new());
    let parts = elements(br#"[{"a":"],\"["}, {"b":[1,2]} ,3]"#).unwrap();
    assert_eq!(parts, [br#"{"a":"],\"["}"#.as_slice(), br#"{"b":[1,2]}"#, b"3"]);
    for bad in ["", "[", "{}", "[{]", "[}]", "[\"]"] {
        assert_eq!(elements(bad.as_bytes()).unwrap_err().field, "body", "{bad}");
    }
}

proptest! {
    #[test]
    fn a_bid_survives_its_own_line(bid in crate::record::any_bid()) {
        let mut out = Vec::new();
        to_record_line(&bid, &mut out);
        prop_assert_eq!(parse_line(&out, bid.region), Ok(bid));
        out.clear();
        to_line(&bid, &mut out);
        prop_assert_eq!(parse_line(&out, bid.region), Ok(bid));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(value.as_object().unwrap().len(), 7);
    }

    #[test]
    fn no_text_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(parse_line(&line, region()));
        drop(elements(&line));
    }

    #[test]
    fn a_damaged_line_never_makes_it_panic_and_never_becomes_json(at in 0..LINE.len(), byte in 0_u8..128) {
        let mut line = LINE.as_bytes().to_vec();
        line[at] = byte;
        let read = parse_line(&line, region());
        let json = serde_json::from_slice::<serde_json::Value>(&line);
        prop_assert!(read.is_err() || json.is_ok());
    }
}

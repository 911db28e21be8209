//! What a bid response gives.

mod corpus;
mod parts;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::bid::Bid;
use crate::ids::{AccountId, SlotId};
use crate::money::{BasisPoints, Price, Rounding};

const SLOT: &str = "11111111-2222-4333-8444-555555555555";
const ACCOUNT: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
const RESPONSE: &str = r#"{"id":"req-1","bidid":"b","cur":"USD","ext":{"timestamp":"2026-11-23T21:20:10.123Z"},"seatbid":[
    {"seat":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","group":0,"bid":[
        {"id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","impid":"11111111-2222-4333-8444-555555555555","price":5.4000,
         "adomain":["example.com"],"w":300,"ext":{"latency_ms":42,"quality_score":0.93}},
        {"id":"second","impid":"11111111-2222-4333-8444-555555555555","price":99999999999999.9999},
        {"id":"third","impid":"imp-3","price":1}]},
    {"bid":[{"id":"fourth","impid":"x","price":1,"ext":{"slot_id":"11111111-2222-4333-8444-555555555555",
         "account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","timestamp":"2026-11-23T21:20:11Z"}},
        {"id":"fifth","impid":"11111111-2222-4333-8444-555555555555","price":"oops"}, 7]}]}"#;
/// A bid that is right in every response of [`around`].
const GOOD: &str = r#"{"id":"good","impid":"imp-1","price":2.5,"adomain":["example.com"],"crid":"c-1"}"#;

fn names() -> Names {
    let account = |name: &str, byte| (name.to_owned(), AccountId::from_bytes([byte; 16]));
    let slot = |name: &str, byte| (name.to_owned(), SlotId::from_bytes([byte; 16]));
    Names::new(
        BTreeMap::from([account("acme", 1), account("958", 2)]),
        BTreeMap::from([slot("imp-1", 3), slot("imp-2", 4), slot("home-top", 5)]),
    )
}

fn read_with(
    body: &[u8],
    rounding: Option<Rounding>,
    received: Option<Millis>,
) -> Result<BidResponse, Refusal> {
    let rules = IntakeRules { region: "eu-central-1".parse().unwrap(), rounding };
    read(body, &Context { rules, names: &names(), received, bids_max: 1_000 })
}

fn all(body: &str) -> Vec<Read> {
    read_with(body.as_bytes(), None, None).unwrap().bids
}

/// The bids that were taken.
fn taken(body: &str) -> Vec<Bid> {
    all(body).iter().filter_map(|one| one.bid.as_ref().ok().map(|read| *read.bid())).collect()
}

/// Place, field and reason of what was refused.
fn refused(read: &[Read]) -> Vec<(String, String, String)> {
    let told = |one: &Read| {
        let Refusal { field, reason } = one.bid.as_ref().err()?.clone();
        Some((one.place.clone(), field, reason))
    };
    read.iter().filter_map(told).collect()
}

/// A response of one seat with these bids.
fn around(bids: &str) -> String {
    format!(
        r#"{{"id":"req-1","seatbid":[{{"seat":"acme","bid":[{bids}]}}],"ext":{{"timestamp":"2026-11-23T21:20:10Z"}}}}"#
    )
}

#[test]
fn each_bid_of_each_seat_is_mapped_or_refused_by_itself() {
    let read = all(RESPONSE);
    let first = *read[0].bid.as_ref().unwrap().bid();
    let line = format!(
        r#"{{"bid_id":"{}","slot_id":"{SLOT}","account_id":"{ACCOUNT}","amount":"5.4000","latency_ms":42,"quality_score":0.93,"timestamp":"2026-11-23T21:20:10.123Z"}}"#,
        first.bid_id
    );
    assert_eq!(crate::intake::parse_line(line.as_bytes(), first.region), Ok(first));
    let second = *read[1].bid.as_ref().unwrap().bid();
    assert_eq!(second.amount, Price::MAX, "no digit is lost");
    assert_eq!((second.latency_ms, second.quality), (0, BasisPoints::ONE));
    assert_eq!(read[3].bid.as_ref().unwrap().bid().event_time, first.event_time.plus(877));
    let told: Vec<(String, String)> =
        refused(&read).into_iter().map(|(place, field, _)| (place, field)).collect();
    let expected =
        [("seatbid[0].bid[2]", "impid"), ("seatbid[1].bid[1]", "seat"), ("seatbid[1].bid[2]", "bid")];
    assert_eq!(told, expected.map(|(place, field)| (place.to_owned(), field.to_owned())));
}

#[test]
fn one_static_bid_id_in_two_responses_is_two_bids_and_the_same_response_twice_is_the_same() {
    let response = |id: &str, price: &str| {
        let bid =
            format!(r#"{{"id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","impid":"imp-1","price":{price}}}"#);
        around(&bid).replace("req-1", id)
    };
    let (one, nine) = (taken(&response("req-1", "1")), taken(&response("req-2", "9")));
    assert_eq!((one[0].slot_id, one[0].account_id), (nine[0].slot_id, nine[0].account_id));
    assert_ne!(one[0].bid_id, nine[0].bid_id, "neither is a copy of the other");
    assert_eq!(taken(&response("req-2", "9")), nine);
    assert_eq!(taken(&response("req-2", "9.000"))[0].bid_id, nine[0].bid_id, "the same offer");
    assert_ne!(nine[0].bid_id.to_string(), "0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69");
    // Within one response too: another impression, another price, another seat.
    let bid = r#"{"id":"x","impid":"imp-1","price":1}"#;
    let others =
        [bid.to_owned(), bid.replace("imp-1", "imp-2"), bid.replace('1', "2"), bid.replace("\"x\"", "\"y\"")];
    let seats = r#"{"id":"req-1","ext":{"timestamp":"2026-11-23T21:20:10Z"},"seatbid":[{"seat":"acme","bid":[BIDS]},{"seat":"958","bid":[BIDS]}]}"#;
    let read = taken(&seats.replace("BIDS", &others.join(",")));
    let ids: BTreeSet<_> = read.iter().map(|bid| bid.bid_id).collect();
    assert_eq!((read.len(), ids.len()), (8, 8));
}

#[test]
fn without_a_response_id_the_time_stands_in_for_it() {
    let read = |response: &str| read_with(response.as_bytes(), None, None).unwrap();
    for id in ["", r#""id":null,"#, r#""id":"","#, r#""id":{},"#, r#""id":"a","id":"b","#] {
        let response = around(GOOD).replace(r#""id":"req-1","#, id);
        let one = read(&response);
        assert_eq!(one.bids.len(), 1, "{id}");
        let one_id = one.bids[0].bid.as_ref().unwrap().bid().bid_id;
        assert_eq!(one.passed_over[0].field, "id", "{id} is told");
        assert_eq!(read(&response), one);
        let later = read(&response.replace("21:20:10Z", "21:20:10.001Z"));
        assert_ne!(later.bids[0].bid.as_ref().unwrap().bid().bid_id, one_id);
    }
    let numbered = |number: u8| taken(&around(GOOD).replace("\"req-1\"", &number.to_string()))[0].bid_id;
    assert_ne!(numbered(1), numbered(2), "a number tells responses apart as well as a text");
}

#[test]
fn a_response_without_bids_is_none_in_every_form() {
    for body in [
        "",
        " \r\n",
        "{}",
        r#"{"nbr":2}"#,
        r#"{"id":"r","nbr":2}"#,
        r#"{"id":"r"}"#,
        r#"{"id":"r","seatbid":null}"#,
        r#"{"id":"r","seatbid":[]}"#,
        r#"{"seatbid":[{}]}"#,
        r#"{"id":"r","seatbid":[{"seat":"acme","bid":null}]}"#,
        r#"{"id":"r","seatbid":[{"bid":[]}]}"#,
        r#"{"id":"r","cur":"EUR","seatbid":[]}"#,
        r#"{"id":"r","cur":null,"ext":null,"bidid":null,"seatbid":[ ]}"#,
        r#"{"id":7,"ext":"text","cur":"","seatbid":[{"seat":7}]}"#,
        r#"{"id":"r","nbr":"none"}"#,
    ] {
        assert_eq!(read_with(body.as_bytes(), None, None), Ok(BidResponse::default()), "{body}");
    }
}

#[test]
fn only_a_currency_that_is_named_refuses_a_response_whole() {
    let with = |cur: &str| around(GOOD).replacen('{', &format!("{{\"cur\":{cur},"), 1);
    for cur in ["\"USD\"", "\"usd\"", "\" USD \"", "null", "\"\"", "\" \""] {
        assert_eq!(taken(&with(cur)).len(), 1, "{cur}");
    }
    for (cur, told) in [
        ("\"EUR\"", "\"EUR\", not USD"),
        ("840", "another type, a number"),
        ("[\"USD\"]", "an array"),
        ("\"USD\",\"cur\":\"EUR\"", "twice"),
    ] {
        let refusal = read_with(with(cur).as_bytes(), None, None).unwrap_err();
        assert!(refusal.field == "cur" && refusal.reason.contains(told), "{cur}: {refusal}");
    }
    for body in [
        "[]",
        "null",
        "7",
        "\"x\"",
        "{",
        "{]",
        "x",
        r#"{"id":"r","seatbid":[{]}"#,
        "{\"id\" 1}",
        "{\"id\":\"r\" \"seatbid\":[]}",
    ] {
        assert_eq!(read_with(body.as_bytes(), None, None).unwrap_err().field, "body", "{body}");
    }
}

#[test]
fn names_stand_for_accounts_and_slots_and_a_uuid_for_itself() {
    let slot = |byte| SlotId::from_bytes([byte; 16]);
    let one = |bid: &str| taken(&around(bid)).first().copied();
    assert_eq!(one(GOOD).unwrap().account_id, AccountId::from_bytes([1; 16]));
    assert_eq!(one(GOOD).unwrap().slot_id, slot(3));
    for (bid, expected) in [
        (r#"{"id":"b","impid":"imp-1","price":1,"tagid":"home-top"}"#, slot(5)),
        (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"tagid":"home-top"}}"#, slot(5)),
        (r#"{"id":"b","impid":"imp-2","price":1,"ext":{"tagid":"unknown"}}"#, slot(4)),
        (r#"{"id":"b","impid":"imp-2","price":1,"tagid":7}"#, slot(4)),
        (r#"{"id":"b","price":1,"tagid":"home-top"}"#, slot(5)),
        (r#"{"id":"b","impid":"11111111-2222-4333-8444-555555555555","price":1}"#, SLOT.parse().unwrap()),
    ] {
        assert_eq!(one(bid).map(|bid| bid.slot_id), Some(expected), "{bid}");
    }
    let told =
        refused(&all(&around(GOOD).replace("acme", "nobody\\u0007").replace("imp-1", &"x".repeat(500))));
    assert!(told[0].2.starts_with("\"xxxx") && told[0].2.len() < 300, "{told:?}");
    let told = refused(&all(&around(GOOD).replace("acme", "no\\u0007body")));
    assert_eq!(told[0].1, "seat");
    assert_eq!(
        told[0].2,
        "\"no\\u{7}body\" is no UUID and names no account; map it with `exchange provision --names`, or give the UUID in ext.account_id"
    );
}

#[test]
fn a_bid_without_a_time_of_its_own_was_made_when_its_response_came() {
    let bare = around(GOOD).replace("\"timestamp\"", "\"x\"");
    let received = Millis(1_795_000_000_000);
    let time = |body: &str, received| {
        let read = read_with(body.as_bytes(), None, received).unwrap().bids;
        read[0].bid.clone().map(|read| read.bid().event_time)
    };
    assert_eq!(time(&bare, None).unwrap_err().field, "ext.timestamp");
    assert_eq!(time(&bare, Some(received)), Ok(received));
    assert_eq!(time(&around(GOOD), Some(received)), Ok("2026-11-23T21:20:10Z".parse().unwrap()));
    let v7 = bare.replace("\"good\"", "\"019ab2c3-d4e5-7b11-9c0e-1f2d3c4b5a69\"");
    assert_eq!(time(&v7, None), Ok(Millis(0x019a_b2c3_d4e5)));
    assert_eq!(time(&v7, Some(received)), Ok(received), "the bidder's id may be years old");
}

#[test]
fn a_finer_price_is_rounded_by_the_rule_and_keeps_what_was_offered() {
    let body = around(&GOOD.replace("2.5", "2.5000500"));
    for (rule, units) in [(Rounding::Down, 25_000), (Rounding::HalfEven, 25_000)] {
        let read = read_with(body.as_bytes(), Some(rule), None).unwrap().bids;
        let read = read[0].bid.as_ref().unwrap();
        assert_eq!((read.bid().amount.units(), read.offered()), (units, Some("2.50005")));
    }
    let one = |price: &str| {
        let body = around(&GOOD.replace("2.5", price));
        let read = read_with(body.as_bytes(), Some(Rounding::Down), None).unwrap().bids;
        read[0].bid.clone().map(|read| (read.bid().amount.units(), read.bid().bid_id))
    };
    let (one_units, one_id) = one("2.50005").unwrap();
    let (other_units, other_id) = one("2.50006").unwrap();
    assert_eq!(one_units, other_units);
    assert_ne!(one_id, other_id, "two offers, though one price");
    assert_eq!(one("0.00001").unwrap_err().field, "price");
}

proptest! {
    #[test]
    fn a_damaged_response_never_makes_it_panic(at in 0..RESPONSE.len(), byte: u8) {
        let mut body = RESPONSE.as_bytes().to_vec();
        body[at] = byte;
        drop(read_with(&body, Some(Rounding::HalfEven), Some(Millis(1))));
        drop(read_with(&body[..at], None, None));
    }
}

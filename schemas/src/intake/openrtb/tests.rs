//! What a bid response gives, and that a part of it that is wrong is refused by its place and nothing else is.

mod corpus;

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

/// Bids that are wrong, with the field that is told.
const BAD_BIDS: [(&str, &str); 38] = [
    ("null", "bid"),
    ("7", "bid"),
    ("\"bid\"", "bid"),
    ("[]", "bid"),
    ("true", "bid"),
    ("", "bid"),
    ("{}", "id"),
    (r#"{"id":null,"impid":"imp-1","price":1}"#, "id"),
    (r#"{"id":7,"impid":"imp-1","price":1}"#, "id"),
    (r#"{"id":"","impid":"imp-1","price":1}"#, "id"),
    (r#"{"id":["b"],"impid":"imp-1","price":1}"#, "id"),
    (r#"{"id":"b","id":"b","impid":"imp-1","price":1}"#, "id"),
    (r#"{"id":"b","price":1}"#, "impid"),
    (r#"{"id":"b","impid":null,"price":1}"#, "impid"),
    (r#"{"id":"b","impid":1,"price":1}"#, "impid"),
    (r#"{"id":"b","impid":"imp-9","price":1}"#, "impid"),
    (r#"{"id":"b","impid":"imp-1","impid":"imp-1","price":1}"#, "impid"),
    (r#"{"id":"b","impid":"imp-9","price":1,"ext":{"tagid":"no-tag"}}"#, "tagid"),
    (r#"{"id":"b","impid":"imp-1"}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":null}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":{}}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":true}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":0}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":-1}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":1.000001}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":1e999999999}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":1,"price":9}"#, "price"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":"text"}"#, "ext"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":[]}"#, "ext"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{},"ext":{}}"#, "ext"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"slot_id":"x"}}"#, "ext.slot_id"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"account_id":1}}"#, "ext.account_id"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"latency_ms":41.7}}"#, "ext.latency_ms"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"latency_ms":1,"latency_ms":1}}"#, "ext.latency_ms"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"quality_score":"1"}}"#, "ext.quality_score"),
    (r#"{"id":"b","impid":"imp-1","price":1,"ext":{"timestamp":1795000000}}"#, "ext.timestamp"),
    (r#"{"id":"b","impid":"imp-1","price":1,"adm":"not "quoted" well"}"#, "bid"),
    (r#"{"id":"b","impid":"imp-1","price":1,"w":03}"#, "bid"),
];

#[test]
fn a_bad_bid_is_refused_by_its_place_and_the_good_ones_beside_it_are_taken() {
    let good = taken(&around(GOOD))[0];
    for (bad, field) in BAD_BIDS {
        let read = all(&around(&format!("{GOOD},{bad},{GOOD}")));
        let told = refused(&read);
        assert_eq!(told.len(), 1, "{bad}: {told:?}");
        assert_eq!(
            (told[0].0.as_str(), told[0].1.as_str()),
            ("seatbid[0].bid[1]", field),
            "{bad}: {}",
            told[0].2
        );
        assert!(!told[0].2.is_empty());
        for at in [0, 2] {
            assert_eq!(read[at].bid.as_ref().map(|read| *read.bid()), Ok(good), "{bad}");
        }
    }
    // What is no UTF-8 stands in its own bid too.
    let mut body = around(&format!("{GOOD},{{\"id\":\"b\",\"adm\":\"?\"}},{GOOD}")).into_bytes();
    let at = body.iter().position(|b| *b == b'?').unwrap();
    body[at] = 0xFF;
    let read = read_with(&body, None, None).unwrap().bids;
    assert_eq!(
        refused(&read),
        [("seatbid[0].bid[1]".to_owned(), "bid".to_owned(), "is not UTF-8".to_owned())]
    );
    assert_eq!(read.len(), 3);
}

#[test]
fn a_bad_seat_is_refused_by_its_place_and_the_good_ones_beside_it_are_taken() {
    let good = format!(r#"{{"seat":"acme","bid":[{GOOD}]}}"#);
    for (bad, place, field) in [
        ("null".to_owned(), "seatbid[1]", "seatbid"),
        ("7".to_owned(), "seatbid[1]", "seatbid"),
        (String::new(), "seatbid[1]", "seatbid"),
        (format!("[{good}]"), "seatbid[1]", "seatbid"),
        (r#"{"seat":"acme" "bid":[]}"#.to_owned(), "seatbid[1]", "seatbid"),
        (r#"{"seat":"acme","bid":{}}"#.to_owned(), "seatbid[1]", "bid"),
        (r#"{"seat":"acme","bid":"none"}"#.to_owned(), "seatbid[1]", "bid"),
        (format!(r#"{{"seat":"acme","bid":[{GOOD}],"bid":[{GOOD}]}}"#), "seatbid[1]", "bid"),
        (format!(r#"{{"seat":958,"bid":[{GOOD}]}}"#), "seatbid[1].bid[0]", "seat"),
        (format!(r#"{{"seat":"a","seat":"b","bid":[{GOOD}]}}"#), "seatbid[1].bid[0]", "seat"),
        (format!(r#"{{"seat":"nobody","bid":[{GOOD}]}}"#), "seatbid[1].bid[0]", "seat"),
        (format!(r#"{{"seat":"","bid":[{GOOD}]}}"#), "seatbid[1].bid[0]", "seat"),
        (format!(r#"{{"bid":[{GOOD}]}}"#), "seatbid[1].bid[0]", "seat"),
    ] {
        let body = format!(
            r#"{{"id":"r","seatbid":[{good},{bad},{good}],"ext":{{"timestamp":"2026-11-23T21:20:10Z"}}}}"#
        );
        let read = all(&body);
        let told = refused(&read);
        assert_eq!((read.len(), told.len()), (3, 1), "{bad}");
        assert_eq!((told[0].0.as_str(), told[0].1.as_str()), (place, field), "{bad}: {}", told[0].2);
        assert_eq!(taken(&body).len(), 2, "{bad}");
    }
    for (seatbid, told) in
        [("7", "a number"), ("\"x\"", "a text"), ("{}", "an object"), ("[],\"seatbid\":[]", "twice")]
    {
        let read = all(&format!(r#"{{"id":"r","seatbid":{seatbid}}}"#));
        assert!(read.len() == 1 && read[0].place == "seatbid", "{seatbid}");
        assert!(read[0].bid.as_ref().unwrap_err().reason.contains(told), "{seatbid}");
    }
}

#[test]
fn what_says_nothing_about_a_bid_may_say_anything() {
    // Every other field of the specification, of a type that it does not have.
    let fields = "nurl burl lurl adm adid adomain bundle iurl cid crid tactic cat cattax attr apis api protocol qagmediarating \
        language langb dealid w h wratio hratio exp dur mtype slotinpod someday";
    let good = taken(&around(GOOD))[0];
    for field in fields.split_whitespace() {
        for value in ["null", "7", "\"text\"", "{\"a\":[1]}", "[]", "true", "1,\"FIELD\":2"] {
            let value = value.replace("FIELD", field);
            let bid = format!(r#"{{"id":"good","impid":"imp-1","price":2.5,"{field}":{value}}}"#);
            assert_eq!(taken(&around(&bid)), [good], "{field}: {value}");
        }
    }
    for field in ["bidid", "customdata", "nbr", "group", "someday"] {
        for value in ["null", "7", "\"text\"", "{\"a\":[1]}", "[]", "true"] {
            let response = around(GOOD).replacen('{', &format!("{{\"{field}\":{value},"), 1);
            assert_eq!(taken(&response), [good], "{field}: {value}");
            let seat = around(GOOD).replace("{\"seat\"", &format!("{{\"{field}\":{value},\"seat\""));
            assert_eq!(taken(&seat), [good], "{field}: {value}");
        }
    }
    // An `ext` of the response that is none is told, and refuses no bid that can do without it.
    let own = GOOD.replacen('{', "{\"ext\":{\"timestamp\":\"2026-11-23T21:20:10Z\"},", 1);
    for ext in ["\"text\"", "[]", "7", "{\"a\":tru}", "{},\"ext\":{}"] {
        let response =
            format!(r#"{{"id":"req-1","seatbid":[{{"seat":"acme","bid":[{own},{GOOD}]}}],"ext":{ext}}}"#);
        let read = read_with(response.as_bytes(), None, None).unwrap();
        assert_eq!(read.passed_over[0].field, "ext", "{ext}");
        assert_eq!(read.bids[0].bid.as_ref().map(|read| *read.bid()), Ok(good), "{ext}");
        assert_eq!(refused(&read.bids)[0].1, "ext.timestamp", "{ext}");
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

#[test]
fn bombs_cost_no_more_than_their_bytes() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for bomb in [&deep, &objects] {
        assert_eq!(taken(&around(&GOOD.replacen('{', &format!("{{\"adm\":{bomb},"), 1))).len(), 1);
        assert_eq!(taken(&around(&format!("{bomb},{GOOD}"))).len(), 1);
        assert_eq!(taken(&around(GOOD).replacen('{', &format!("{{\"x\":{bomb},"), 1)).len(), 1);
    }
    let read = all(&around(&"7,".repeat(1_000_000)));
    assert_eq!(read.len(), 1_001, "one more than there may be, so that all are refused");
    let seats = format!("{{\"id\":\"r\",\"seatbid\":[{}7]}}", "7,".repeat(1_000_000));
    assert_eq!(all(&seats).len(), 1_001);
    let empty = format!("{{\"id\":\"r\",\"seatbid\":[{}{{}}]}}", "{},".repeat(300_000));
    assert_eq!(all(&empty), []);
}

proptest! {
    #[test]
    fn refusing_one_part_never_changes_what_becomes_of_the_others(
        parts in proptest::collection::vec((0..3_usize, 0..BAD_BIDS.len(), 1..9_u8), 1..12),
    ) {
        // Bids by seat: a good one of a price of its own, or a bad one.
        let bid = |(_, bad, price): &(usize, usize, u8)| match price % 2 {
            0 => GOOD.replace("2.5", &price.to_string()),
            _ => BAD_BIDS[*bad].0.to_owned(),
        };
        let body = |keep: &dyn Fn(&(usize, usize, u8)) -> bool| {
            let seat = |seat: usize| {
                let bids = parts.iter().filter(|part| part.0 == seat && keep(part)).map(bid);
                format!(r#"{{"seat":"acme","bid":[{}]}}"#, bids.collect::<Vec<_>>().join(","))
            };
            let seats: Vec<String> = (0..3).map(seat).collect();
            format!(r#"{{"id":"r","ext":{{"timestamp":"2026-11-23T21:20:10Z"}},"seatbid":[{}]}}"#, seats.join(","))
        };
        let is_good = |part: &(usize, usize, u8)| part.2 % 2 == 0;
        prop_assert_eq!(taken(&body(&|_| true)), taken(&body(&is_good)));
        // An empty element alone in its array is an array without elements.
        let is_there = |part: &(usize, usize, u8)| is_good(part) || !BAD_BIDS[part.1].0.is_empty();
        let bad = parts.iter().filter(|part| !is_good(part) && is_there(part)).count();
        prop_assert_eq!(refused(&all(&body(&is_there))).len(), bad);
    }

    #[test]
    fn a_damaged_response_never_makes_it_panic(at in 0..RESPONSE.len(), byte: u8) {
        let mut body = RESPONSE.as_bytes().to_vec();
        body[at] = byte;
        drop(read_with(&body, Some(Rounding::HalfEven), Some(Millis(1))));
        drop(read_with(&body[..at], None, None));
    }
}

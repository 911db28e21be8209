//! A part of a response that is wrong is refused by its place, and nothing else is.

use super::*;

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
        let is_good = |part: &(usize, usize, u8)| part.2.is_multiple_of(2);
        prop_assert_eq!(taken(&body(&|_| true)), taken(&body(&is_good)));
        // An empty element alone in its array is an array without elements.
        let is_there = |part: &(usize, usize, u8)| is_good(part) || !BAD_BIDS[part.1].0.is_empty();
        let bad = parts.iter().filter(|part| !is_good(part) && is_there(part)).count();
        prop_assert_eq!(refused(&all(&body(&is_there))).len(), bad);
    }
}

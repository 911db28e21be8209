//! JSON that another program put into the stream, to bids.
//!
//! Owns what is forgiven there and nowhere else, since nobody is left who could be told: fields that are no bid's are
//! passed over (log shippers add a host, a path, a date), and a bid may stand as text in the field `log` or `message`.
//! What is a bid's own is read by the rules of the intake, and is as strict. The region stands in the bid.

use std::borrow::Cow;

use super::json::{Malformed, Scanner, Value};
use super::split::{self, closing};
use super::{BYTE_ORDER_MARK, Draft, Refusal, finish, read_bid_field, set};
use crate::bid::Bid;
use crate::ids::Region;

/// Where log shippers put the text that they read: Fluent Bit (`log`) and Vector (`message`).
const TEXT_FIELDS: [&str; 2] = ["log", "message"];

/// Without any of these an object is no bid, and may hold one.
const BID_FIELDS: [&str; 4] = ["bid_id", "slot_id", "account_id", "amount"];

/// In place of a field: the object has none of a bid's.
const NO_BID: &str = "";

/// Why an object is no bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The region, when at least that could be read.
    pub region: Option<Region>,
    /// One lowercase fact from a closed set.
    pub reason: &'static str,
}

/// The objects of a JSON text, as they are written: the elements of an array, one object over several lines, or one
/// object a line; blank lines and a byte order mark do not matter. What is no object comes as it stands, to be refused
/// by itself; what an array that is broken ends with is an error, after the elements before it.
pub fn objects(text: &[u8]) -> Box<dyn Iterator<Item = Result<&[u8], &'static str>> + '_> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii();
    match text.first() {
        Some(b'[') => match split::elements(text) {
            Ok(elements) => Box::new(elements.map(|element| element.map_err(|_| "a json array is broken"))),
            Err(_) => Box::new(std::iter::once(Err("a json array is broken"))),
        },
        Some(b'{') if closing(&text[1..]) == Some(text.len() - 1) => Box::new(std::iter::once(Ok(text))),
        _ => Box::new(
            text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).map(Ok),
        ),
    }
}

/// Reads one object that another program wrote.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_foreign(object: &[u8]) -> Result<Bid, Unreadable> {
    let object =
        read(object).map_err(|refusal| Unreadable { region: None, reason: reason(&refusal.field) })?;
    let Some(text) = object.text.as_deref().filter(|_| !object.is_bid) else { return object.finish(None) };
    let outer = object.region;
    let inner = read(text.trim().as_bytes());
    let inner =
        inner.map_err(|refusal| Unreadable { region: outer.flatten(), reason: reason(&refusal.field) })?;
    inner.finish(outer)
}

/// What an object holds.
struct Object<'a> {
    draft: Draft,
    /// The first field of a bid that is wrong.
    wrong: Option<Refusal>,
    /// Whether there is a field that only bids have.
    is_bid: bool,
    /// Its region; nothing within when it is none.
    region: Option<Option<Region>>,
    /// The text in which a bid may stand.
    text: Option<Cow<'a, str>>,
}

impl Object<'_> {
    /// The bid. `outer` is the region of the object in whose text it stood: a shipper may know it where the line does not.
    fn finish(self, outer: Option<Option<Region>>) -> Result<Bid, Unreadable> {
        let named = self.region.or(outer);
        let refused = |field: &str| Unreadable { region: named.flatten(), reason: reason(field) };
        if !self.is_bid {
            return Err(refused(NO_BID));
        }
        if let Some(wrong) = self.wrong {
            return Err(refused(&wrong.field));
        }
        let differs = self.region.is_some() && outer.is_some() && self.region != outer;
        let region = named.flatten().filter(|_| !differs).ok_or_else(|| refused("region"))?;
        finish(self.draft, region).map(|read| *read.bid()).map_err(|refusal| refused(&refusal.field))
    }
}

fn read(object: &[u8]) -> Result<Object<'_>, Refusal> {
    let text = std::str::from_utf8(object).map_err(|_| Malformed("is not UTF-8"))?;
    let mut from = Scanner::open(text)?;
    let mut read = Object { draft: Draft::default(), wrong: None, is_bid: false, region: None, text: None };
    let mut first = true;
    while let Some(name) = from.poll_name(first)? {
        first = false;
        read.is_bid |= BID_FIELDS.contains(&name.as_ref());
        let at = from.at();
        if let Err(refusal) = read_field(&name, &mut from, &mut read) {
            // What is wrong is this bid's; what follows may still tell its region.
            from.skip_from(at)?;
            read.wrong.get_or_insert(refusal);
        }
    }
    Ok(read)
}

fn read_field<'a>(name: &str, from: &mut Scanner<'a>, read: &mut Object<'a>) -> Result<(), Refusal> {
    if read_bid_field(name, from, &mut read.draft, None)? {
        return Ok(());
    }
    let at = from.at();
    match name {
        "region" => set(&mut read.region, name, || match from.value()? {
            Value::Text(text) => Ok(text.parse().ok()),
            _ => Err(Refusal::new("region", "is no text")),
        }),
        name if TEXT_FIELDS.contains(&name) && read.text.is_none() => match from.value()? {
            Value::Text(text) => {
                read.text = Some(text);
                Ok(())
            }
            _ => Ok(from.skip_from(at)?),
        },
        _ => Ok(from.skip_from(at)?),
    }
}

/// The closed set of what is said of an object in a log, by the field that is wrong.
fn reason(field: &str) -> &'static str {
    match field {
        "bid_id" => "the bid_id of a json bid is missing or no uuid",
        "slot_id" => "the slot_id of a json bid is missing or no uuid",
        "account_id" => "the account_id of a json bid is missing or no uuid",
        "amount" => "the amount of a json bid is missing or cannot be taken",
        "offered" => "what a json bid says was offered does not round to its amount",
        "latency_ms" => "the latency_ms of a json bid is missing or no whole number",
        "quality_score" => "the quality_score of a json bid is missing or not from 0 to 1",
        "timestamp" => "the timestamp of a json bid is missing or no time",
        "region" => "the region of a json bid is missing or no region code",
        NO_BID => "a json object without the fields of a bid",
        _ => "json that is no object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BID: &str = r#""bid_id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","slot_id":"11111111-2222-4333-8444-555555555555","account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","amount":"5.4000","latency_ms":42,"quality_score":0.93,"timestamp":"2026-11-23T21:20:10.123Z""#;

    fn region(code: &str) -> Region {
        code.parse().unwrap()
    }

    fn bid(code: &str) -> Bid {
        super::super::parse_line(format!("{{{BID}}}").as_bytes(), region(code)).unwrap()
    }

    fn in_text(name: &str, text: &str, more: &str) -> String {
        format!(r#"{{"date":1795468810.123,"{name}":{}{more}}}"#, serde_json::to_string(text).unwrap())
    }

    #[test]
    fn what_shippers_add_is_passed_over() {
        let line = format!(r#"{{{BID},"region":"eu-west-1"}}"#);
        let bare = format!("{{{BID}}}");
        let kubernetes = r#""kubernetes":{"labels":{"a":["b",{"c":"}"}]},"ok":true},"x":null"#;
        for object in [
            line.clone(),
            format!(r#"{{"date":1795468810.123,{kubernetes},{BID},"region":"eu-west-1"}}"#),
            format!(r#"{{"@timestamp":"2026","host":"h","region":"eu-west-1","message":"text",{BID}}}"#),
            format!("{{\n  \"region\" : \"eu-west-1\",\n {BID}\n}}"),
            in_text("log", &line, ""),
            in_text("log", &format!("{line}\n"), r#","stream":"stdout","timestamp":17"#),
            in_text("message", &line, r#","source_type":"file","region":"eu-west-1""#),
            in_text("message", &bare, r#","region":"eu-west-1""#),
        ] {
            assert_eq!(read_foreign(object.as_bytes()), Ok(bid("eu-west-1")), "{object}");
        }
    }

    #[test]
    fn what_is_a_bids_own_is_as_strict_as_at_the_intake() {
        let eu = Some(region("eu-west-1"));
        let of = |text: &str, more: &str| format!(r#"{{{text},"region":"eu-west-1"{more}}}"#);
        for (object, region, field) in [
            (of(&BID.replace("5.4000", "5.40001"), ""), eu, "amount"),
            (of(&BID.replace(r#""5.4000""#, "{}"), ""), eu, "amount"),
            (of(&BID.replace("42", "41.7"), ""), eu, "latency_ms"),
            (of(&BID.replace("0.93", "[0.93]"), ""), eu, "quality_score"),
            (of(&BID.replace("2026-11-23T", "yesterday "), ""), eu, "timestamp"),
            (of(&BID.replace("0b0e0c6e-", ""), ""), eu, "bid_id"),
            (of(&BID.replace(r#""slot_id""#, r#""slot""#), ""), eu, "slot_id"),
            (of(BID, r#","account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee""#), eu, "account_id"),
            (of(BID, r#","region":"eu-west-1""#), eu, "region"),
            (format!("{{{BID}}}"), None, "region"),
            (format!(r#"{{{BID},"region":"EU West"}}"#), None, "region"),
            (format!(r#"{{{BID},"region":7}}"#), None, "region"),
            (in_text("log", &of(BID, ""), r#","region":"us-east-1""#), eu, "region"),
            (in_text("log", "GET / 200", r#","region":"eu-west-1""#), eu, "line"),
            (in_text("log", &in_text("log", &of(BID, ""), ""), ""), None, NO_BID),
            (r#"{"date":1,"region":"eu-west-1"}"#.to_owned(), eu, NO_BID),
            (of(BID, r#","x":{]"#), None, "line"),
            (of(BID, r#","x":[1,]"#), None, "line"),
            (of(BID, r#","x":"#), None, "line"),
            ("7".to_owned(), None, "line"),
            (String::new(), None, "line"),
        ] {
            let expected = Unreadable { region, reason: reason(field) };
            assert_eq!(read_foreign(object.as_bytes()), Err(expected), "{object}");
        }
    }

    #[test]
    fn an_object_stands_alone_in_lines_or_in_an_array() {
        let all = |text: &str| -> Vec<Result<String, &'static str>> {
            let own = |object: &[u8]| String::from_utf8(object.to_vec()).unwrap();
            objects(text.as_bytes()).map(|object| object.map(own)).collect()
        };
        let ok = |objects: &[&str]| -> Vec<Result<String, &'static str>> {
            objects.iter().map(|object| Ok((*object).to_owned())).collect()
        };
        assert_eq!(all("{\"a\":\n1}\n"), ok(&["{\"a\":\n1}"]));
        assert_eq!(all("\u{feff}{\"a\":1}\r\n\n {\"b\":2}\n"), ok(&["{\"a\":1}", "{\"b\":2}"]));
        assert_eq!(all("{\"a\":1\n{\"b\":2}"), ok(&["{\"a\":1", "{\"b\":2}"]), "a torn line is alone");
        assert_eq!(all(" [{\"a\":1}, 7 ,{}]\n"), ok(&["{\"a\":1}", "7", "{}"]));
        assert_eq!(all("[]"), ok(&[]));
        let broken = Err("a json array is broken");
        assert_eq!(all("[{\"a\":1},{\"b\":2]"), [ok(&["{\"a\":1}"])[0].clone(), broken.clone()]);
        assert_eq!(all("[{}"), [broken]);
        assert_eq!(all(" "), ok(&[]));
    }
}

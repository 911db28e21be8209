//! An OpenRTB 2.6 bid response to bids, each `bid` of each `seatbid` by itself.
//!
//! The mapping is a table in `producer/README.md`. Fields of OpenRTB that say nothing about a bid of ours are passed
//! over, as that specification asks; what is needed and missing or wrong is refused by its name, and only its own bid
//! with it. A price is read from its digits, never through a float.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::Value;
use super::{Refusal, amount, latency, quality, time_of_id, timestamp, uuid as read_uuid};
use crate::bid::Bid;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::BasisPoints;

/// The one currency of the exchange, and OpenRTB's own default.
const CURRENCY: &str = "USD";
/// Names bid ids that are no UUIDs: version 5 of this and the ids of response, seat and bid.
const NAMESPACE: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0030);

/// One bid of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where it stands, such as `seatbid[0].bid[2]`.
    pub place: String,
    /// The bid, or why it is none.
    pub bid: Result<Bid, Refusal>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with an id and seatbid")]
struct Response<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    seatbid: Vec<SeatBid<'a>>,
    #[serde(borrow)]
    cur: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ext: Option<Ext<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a seat and its bids")]
struct SeatBid<'a> {
    #[serde(borrow)]
    seat: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    bid: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with an id, an impid and a price")]
struct RtbBid<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    impid: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    ext: Option<Ext<'a>>,
}

/// What OpenRTB has no field for.
#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Ext<'a> {
    #[serde(borrow)]
    slot_id: Option<&'a RawValue>,
    #[serde(borrow)]
    account_id: Option<&'a RawValue>,
    #[serde(borrow)]
    latency_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    quality_score: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// Reads a response; one without bids is none.
///
/// # Errors
/// When the body as a whole is no bid response, or is in another currency.
pub fn read(body: &[u8], region: Region) -> Result<Vec<Read>, Refusal> {
    let response: Response<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::new("body", format!("is no OpenRTB bid response: {error}")))?;
    if response.cur.as_ref().is_some_and(|cur| cur != CURRENCY) {
        return Err(Refusal::new(
            "cur",
            format!("is not {CURRENCY}, the exchange's currency; convert the prices"),
        ));
    }
    let mut read = Vec::new();
    for (seat_at, seat) in response.seatbid.iter().enumerate() {
        for (bid_at, raw) in seat.bid.iter().enumerate() {
            let place = format!("seatbid[{seat_at}].bid[{bid_at}]");
            read.push(Read { place, bid: one(raw, seat, &response, region) });
        }
    }
    Ok(read)
}

fn one(raw: &RawValue, seat: &SeatBid<'_>, response: &Response<'_>, region: Region) -> Result<Bid, Refusal> {
    let bid: RtbBid<'_> = serde_json::from_str(raw.get())
        .map_err(|error| Refusal::new("bid", format!("is no bid of OpenRTB: {error}")))?;
    let none = Ext::default();
    let (ext, common) = (bid.ext.as_ref().unwrap_or(&none), response.ext.as_ref().unwrap_or(&none));
    let bid_id = bid_id(&bid, seat, response);
    let slot_id = match (ext.slot_id, bid.impid) {
        (Some(slot), _) => read_uuid("ext.slot_id", value(slot)?)?,
        (None, Some(impid)) => read_uuid("impid", value(impid)?)?,
        (None, None) => return Err(Refusal::new("impid", "is missing; give the UUID of the slot")),
    };
    let account_id = match (ext.account_id, &seat.seat) {
        (Some(account), _) => read_uuid("ext.account_id", value(account)?)?,
        (None, Some(seat)) => read_uuid("seat", Value::Text(Cow::Borrowed(seat)))?,
        (None, None) => {
            return Err(Refusal::new("seat", "is missing; give the UUID of the account that pays"));
        }
    };
    let price = bid.price.ok_or_else(|| Refusal::new("price", "is missing; give what is offered"))?;
    let event_time = match ext.timestamp.or(common.timestamp) {
        Some(raw) => timestamp(value(raw)?).map_err(|refusal| renamed(refusal, "ext.timestamp"))?,
        None => time_of_id(bid_id).map_err(|_| {
            let reason = "is missing and id is no version 7 UUID; give an RFC 3339 time or a version 7 id";
            Refusal::new("ext.timestamp", reason)
        })?,
    };
    let latency_ms = ext.latency_ms.or(common.latency_ms);
    Ok(Bid {
        bid_id,
        slot_id: SlotId(slot_id),
        account_id: AccountId(account_id),
        region,
        amount: amount(value(price)?).map_err(|refusal| renamed(refusal, "price"))?,
        latency_ms: match latency_ms {
            Some(raw) => latency(value(raw)?).map_err(|refusal| renamed(refusal, "ext.latency_ms"))?,
            None => 0,
        },
        quality: match ext.quality_score {
            Some(raw) => quality(value(raw)?).map_err(|refusal| renamed(refusal, "ext.quality_score"))?,
            None => BasisPoints::ONE,
        },
        event_time,
    })
}

/// The id when it is a UUID, else a name made of everything that makes it unique, so that sending the same response
/// again is the same bid.
fn bid_id(bid: &RtbBid<'_>, seat: &SeatBid<'_>, response: &Response<'_>) -> BidId {
    let given = read_uuid("id", Value::Text(Cow::Borrowed(&bid.id)));
    BidId(given.unwrap_or_else(|_| {
        let seat = seat.seat.as_deref().unwrap_or_default();
        // Lengths keep two different triples from making one name.
        let name = format!("{}:{}:{}{seat}{}", response.id.len(), seat.len(), response.id, bid.id);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }))
}

fn value(raw: &RawValue) -> Result<Value<'_>, Refusal> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => Value::Text(
            serde_json::from_str(text)
                .map_err(|error| Refusal::new("bid", format!("has a bad text: {error}")))?,
        ),
        Some(b'-' | b'0'..=b'9') => Value::Number(text),
        Some(b'n') => Value::Null,
        _ => Value::Other,
    })
}

fn renamed(refusal: Refusal, field: &str) -> Refusal {
    Refusal::new(field, refusal.reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESPONSE: &str = r#"{"id":"req-1","bidid":"b","cur":"USD","ext":{"timestamp":"2026-11-23T21:20:10.123Z"},"seatbid":[
        {"seat":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","group":0,"bid":[
            {"id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","impid":"11111111-2222-4333-8444-555555555555","price":5.4000,
             "adomain":["example.com"],"w":300,"ext":{"latency_ms":42,"quality_score":0.93}},
            {"id":"second","impid":"11111111-2222-4333-8444-555555555555","price":99999999999999.9999},
            {"id":"third","impid":"imp-3","price":1}]},
        {"bid":[{"id":"fourth","impid":"x","price":1,"ext":{"slot_id":"11111111-2222-4333-8444-555555555555",
             "account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","timestamp":"2026-11-23T21:20:11Z"}},
            {"id":"fifth","impid":"11111111-2222-4333-8444-555555555555","price":"oops"}, 7]}]}"#;

    fn region() -> Region {
        "eu-central-1".parse().unwrap()
    }

    fn all(body: &str) -> Vec<Read> {
        read(body.as_bytes(), region()).unwrap()
    }

    #[test]
    fn each_bid_of_each_seat_is_mapped_or_refused_by_itself() {
        let read = all(RESPONSE);
        let first = read[0].bid.clone().unwrap();
        let line = br#"{"bid_id":"0b0e0c6e-3a5f-4b11-9c0e-1f2d3c4b5a69","slot_id":"11111111-2222-4333-8444-555555555555","account_id":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","amount":"5.4000","latency_ms":42,"quality_score":0.93,"timestamp":"2026-11-23T21:20:10.123Z"}"#;
        assert_eq!(super::super::parse_line(line, region()), Ok(first));
        let second = read[1].bid.clone().unwrap();
        assert_eq!(second.amount, crate::money::Price::MAX, "no digit is lost");
        assert_eq!((second.latency_ms, second.quality), (0, BasisPoints::ONE));
        assert_eq!(read[3].bid.clone().unwrap().event_time, first.event_time.plus(877));
        let refused: Vec<(&str, String)> = read
            .iter()
            .filter_map(|one| Some((one.place.as_str(), one.bid.as_ref().err()?.field.clone())))
            .collect();
        let expected =
            [("seatbid[0].bid[2]", "impid"), ("seatbid[1].bid[1]", "seat"), ("seatbid[1].bid[2]", "bid")];
        assert_eq!(refused, expected.map(|(place, field)| (place, field.to_owned())));
    }

    #[test]
    fn the_same_response_gives_the_same_ids_and_another_one_others() {
        let id = |body: &str| all(body)[1].bid.clone().unwrap().bid_id;
        assert_eq!(id(RESPONSE), id(RESPONSE));
        assert_ne!(id(RESPONSE), id(&RESPONSE.replace("req-1", "req-2")));
        assert_ne!(id(RESPONSE), id(&RESPONSE.replace("\"second\"", "\"2nd\"")));
    }

    #[test]
    fn a_response_without_time_or_in_another_currency_is_refused_and_one_without_bids_is_none() {
        let timeless = RESPONSE.replace("\"timestamp\":\"2026-11-23T21:20:10.123Z\"", "\"x\":1");
        assert_eq!(all(&timeless)[0].bid.clone().unwrap_err().field, "ext.timestamp");
        let euro = read(RESPONSE.replace("USD", "EUR").as_bytes(), region());
        assert_eq!(euro.unwrap_err().field, "cur");
        assert_eq!(all(r#"{"id":"r","nbr":2}"#), []);
        let list = read(b"[]", region()).unwrap_err();
        assert_eq!(list.field, "body");
        assert!(list.reason.contains("expected an object with an id and seatbid"), "{}", list.reason);
    }

    proptest! {
        #[test]
        fn a_damaged_response_never_makes_it_panic(at in 0..RESPONSE.len(), byte in 0_u8..128) {
            let mut body = RESPONSE.as_bytes().to_vec();
            body[at] = byte;
            drop(read(&body, region()));
        }
    }
}

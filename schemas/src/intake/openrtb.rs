//! An OpenRTB 2.6 bid response to bids, each `bid` of each `seatbid` by itself.
//!
//! The mapping is a table in `producer/README.md`. What is wrong in one part refuses that part by its place and never
//! the good bids beside it; fields of OpenRTB that say nothing about a bid of ours are passed over unread, as that
//! specification asks; a `null` is a field that was left out. Only a currency that is not the exchange's refuses a
//! response whole. Source of the field names: OpenRTB 2.6, sections 4.2.1 to 4.2.3.

mod bid;
mod identity;
mod raw;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::bid::{Ext, Sender};
use self::raw::{Field, object, pick, value};
use super::fields::wrong_type;
use super::json::{Malformed, Value};
use super::names::Names;
use super::{IntakeRules, NAME_CHARS_MAX, OfferedBid, Refusal, split};
use crate::time::Millis;

/// The one currency of the exchange, and OpenRTB's own default.
const CURRENCY: &str = "USD";

/// What a response gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BidResponse {
    /// Its bids, and the parts that are none. A response without bids has none, in whatever legal form it says so.
    pub bids: Vec<Read>,
    /// Fields of the response that are wrong and that no bid was refused for.
    pub passed_over: Vec<Refusal>,
}

/// One bid of a response, or a part of it that should hold some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where it stands, such as `seatbid[0].bid[2]`.
    pub place: String,
    /// The bid, or why it is none.
    pub bid: Result<OfferedBid, Refusal>,
}

/// What a response is read with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// How the edge reads bids.
    pub rules: IntakeRules,
    /// What seats, tags and impressions stand for.
    pub names: &'a Names,
    /// When the edge got the response, for bids that say no time themselves.
    pub received: Option<Millis>,
    /// Most bids, good and bad.
    pub bids_max: usize,
}

/// Reads a response, and no more than one bid beyond the most there may be: whoever finds that one refuses them all.
///
/// # Errors
/// When the body is no JSON object, or its bids are in another currency.
pub fn read(body: &[u8], context: &Context<'_>) -> Result<BidResponse, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(BidResponse::default());
    }
    let no_response =
        |Malformed(fact): Malformed| Refusal::new("body", format!("is no OpenRTB bid response: {fact}"));
    let [id, seatbid, cur, ext] = pick(body, ["id", "seatbid", "cur", "ext"]).map_err(no_response)?;
    let mut passed_over = Vec::new();
    let mut kept = |refusal: Refusal| passed_over.push(refusal);
    let id = response_id(id).map_err(&mut kept).ok();
    let common = Ext::read(ext).map_err(&mut kept).unwrap_or_default();
    let currency = currency(cur, &mut kept);
    let mut reader = Reader { id, common, context, bids: Vec::new() };
    reader.on_seatbid(seatbid);
    match currency {
        _ if reader.bids.is_empty() => Ok(BidResponse::default()),
        Err(refusal) => Err(refusal),
        Ok(()) => Ok(BidResponse { bids: reader.bids, passed_over }),
    }
}

/// The id of the bid request that this is the response to.
fn response_id(id: Field<'_>) -> Result<Cow<'_, str>, Refusal> {
    const EXPECTED: &str = "the id of the bid request in quotes";
    match id.value("id")? {
        Some(Value::Text(id)) if !id.is_empty() => Ok(id),
        Some(Value::Text(_)) => Err(Refusal::new("id", format!("is empty; give {EXPECTED}"))),
        // It tells responses apart as well as a text does.
        Some(Value::Number(digits)) => Ok(Cow::Borrowed(digits)),
        Some(other) => Err(wrong_type("id", &other, EXPECTED)),
        None => Err(Refusal::new("id", format!("is missing; give {EXPECTED}"))),
    }
}

/// Whether the prices are in the exchange's currency.
fn currency(cur: Field<'_>, passed_over: &mut impl FnMut(Refusal)) -> Result<(), Refusal> {
    match cur.value("cur")? {
        None => Ok(()),
        Some(Value::Text(cur)) if cur.trim().is_empty() => {
            passed_over(Refusal::new("cur", format!("is empty, so it is {CURRENCY}; leave it out")));
            Ok(())
        }
        Some(Value::Text(cur)) if cur.trim().eq_ignore_ascii_case(CURRENCY) => Ok(()),
        Some(Value::Text(cur)) => {
            let named = shortened(&cur);
            let reason = format!("is {named:?}, not {CURRENCY}, the exchange's currency; convert the prices");
            Err(Refusal::new("cur", reason))
        }
        Some(other) => Err(wrong_type("cur", &other, "the currency of the prices in quotes, \"USD\"")),
    }
}

/// As much of a name as a refusal repeats.
fn shortened(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// A response while its seats are read.
struct Reader<'a> {
    id: Option<Cow<'a, str>>,
    /// What the response says for all of its bids.
    common: Ext<'a>,
    context: &'a Context<'a>,
    bids: Vec<Read>,
}

impl Reader<'_> {
    fn on_seatbid(&mut self, seatbid: Field<'_>) {
        let Some(seats) = self.elements("seatbid", ("seatbid", seatbid)) else { return };
        for (at, seat) in seats.enumerate() {
            if self.bids.len() > self.context.bids_max {
                return;
            }
            let place = format!("seatbid[{at}]");
            match seat {
                Ok(seat) => self.on_seat(&place, seat),
                Err(Malformed(fact)) => self.refuse(&place, Refusal::new("seatbid", fact)),
            }
        }
    }

    fn on_seat(&mut self, place: &str, seat: &[u8]) {
        let [name, bids] = match object("seatbid", seat, ["seat", "bid"]) {
            Ok(fields) => fields,
            Err(refusal) => return self.refuse(place, refusal),
        };
        let name = seat_name(name);
        let Some(bids) = self.elements(place, ("bid", bids)) else { return };
        for (at, bid) in bids.enumerate() {
            if self.bids.len() > self.context.bids_max {
                return;
            }
            let place = format!("{place}.bid[{at}]");
            let bid = match (&name, bid) {
                (_, Err(Malformed(fact))) => Err(Refusal::new("bid", fact)),
                (Err(refusal), _) => Err(refusal.clone()),
                (Ok(seat), Ok(bid)) => {
                    let (response, seat) = (self.id.as_deref(), seat.as_deref());
                    bid::read(bid, &Sender { response, seat, common: &self.common, context: self.context })
                }
            };
            self.bids.push(Read { place, bid });
        }
    }

    /// The elements of an array, when there is one.
    fn elements<'a>(&mut self, place: &str, (name, field): (&str, Field<'a>)) -> Option<split::Parts<'a>> {
        let elements = field.given(name).and_then(|raw| {
            let Some(raw) = raw else { return Ok(None) };
            match (split::elements(raw), value(name, raw)?) {
                (Ok(elements), _) => Ok(Some(elements)),
                (Err(Malformed(fact)), Value::Array) => Err(Refusal::new(name, fact)),
                (Err(_), other) => Err(wrong_type(name, &other, "an array of objects")),
            }
        });
        elements.map_err(|refusal| self.refuse(place, refusal)).ok().flatten()
    }

    fn refuse(&mut self, place: &str, refusal: Refusal) {
        self.bids.push(Read { place: place.to_owned(), bid: Err(refusal) });
    }
}

/// The buyer's seat; an empty name is none.
fn seat_name(seat: Field<'_>) -> Result<Option<Cow<'_, str>>, Refusal> {
    match seat.value("seat")? {
        None => Ok(None),
        Some(Value::Text(name)) => Ok(Some(name).filter(|name| !name.is_empty())),
        Some(other) => Err(wrong_type("seat", &other, "the seat's name in quotes")),
    }
}

//! One `bid` of a `seatbid`: what it offers, for which slot, and who pays.

use std::borrow::Cow;

use super::identity::Identity;
use super::raw::{Field, whole_object};
use super::{Context, shortened};
use crate::bid::Bid;
use crate::decimal::Decimal;
use crate::ids::{AccountId, BidId, SlotId};
use crate::intake::fields::{amount, hyphenated, latency, quality, time_of_id, timestamp, uuid, wrong_type};
use crate::intake::json::Value;
use crate::intake::names::Names;
use crate::intake::{OfferedBid, Refusal};
use crate::money::BasisPoints;
use crate::time::Millis;

/// What stands around a bid.
pub(super) struct Sender<'a> {
    /// The response's id.
    pub(super) response: Option<&'a str>,
    pub(super) seat: Option<&'a str>,
    /// The response's `ext`.
    pub(super) common: &'a Ext<'a>,
    pub(super) context: &'a Context<'a>,
}

/// What OpenRTB has no field for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ext<'a> {
    slot_id: Field<'a>,
    account_id: Field<'a>,
    tagid: Field<'a>,
    latency_ms: Field<'a>,
    quality_score: Field<'a>,
    timestamp: Field<'a>,
}

impl<'a> Ext<'a> {
    pub(super) fn read(ext: Field<'a>) -> Result<Self, Refusal> {
        let Some(raw) = ext.given("ext")? else { return Ok(Self::default()) };
        let names = ["slot_id", "account_id", "tagid", "latency_ms", "quality_score", "timestamp"];
        let [slot_id, account_id, tagid, latency_ms, quality_score, timestamp] =
            whole_object("ext", raw, names)?;
        Ok(Self { slot_id, account_id, tagid, latency_ms, quality_score, timestamp })
    }
}

pub(super) fn read(raw: &[u8], sender: &Sender<'_>) -> Result<OfferedBid, Refusal> {
    let &Context { rules, names, .. } = sender.context;
    let [id, impid, price, tagid, ext] = whole_object("bid", raw, ["id", "impid", "price", "tagid", "ext"])?;
    let id = required_text("id", id, "the bidder's id of the bid in quotes")?;
    let impid = match impid.value("impid")? {
        None => None,
        Some(Value::Text(impid)) => Some(impid).filter(|impid| !impid.is_empty()),
        Some(other) => return Err(wrong_type("impid", &other, "the id of the impression in quotes")),
    };
    let ext = Ext::read(ext)?;
    let slot_id = slot(&ext, tagid, impid.as_deref(), names)?;
    let account_id = account(&ext, sender.seat, names)?;
    let missing = || Refusal::new("price", "is missing; give what is offered");
    let price = price.value("price")?.ok_or_else(missing)?;
    let mut offered = None;
    let amount = amount("price", &price, rules.rounding, &mut offered)?;
    let event_time = event_time(&ext, sender, &id)?;
    let time = if sender.response.is_some() { String::new() } else { event_time.to_string() };
    let identity = Identity {
        response: sender.response.unwrap_or_default(),
        seat: sender.seat.unwrap_or_default(),
        bid: &id,
        impid: impid.as_deref().unwrap_or_default(),
        price: &one_text(&price),
        time: &time,
    };
    let latency_ms = either(ext.latency_ms, sender.common.latency_ms, "ext.latency_ms")?;
    let quality_score = ext.quality_score.value("ext.quality_score")?;
    let bid = Bid {
        bid_id: identity.bid_id(),
        slot_id,
        account_id,
        region: rules.region,
        amount,
        latency_ms: latency_ms.map_or(Ok(0), |value| latency("ext.latency_ms", &value))?,
        quality: quality_score.map_or(Ok(BasisPoints::ONE), |value| quality("ext.quality_score", &value))?,
        event_time,
    };
    Ok(OfferedBid::new(bid, offered))
}

/// The slot that is bid for: named by its UUID, else by the first of its names that is known.
fn slot(ext: &Ext<'_>, tagid: Field<'_>, impid: Option<&str>, names: &Names) -> Result<SlotId, Refusal> {
    if let Some(value) = ext.slot_id.value("ext.slot_id")? {
        return uuid("ext.slot_id", &value).map(SlotId);
    }
    let tags = [ext.tagid.value("ext.tagid")?, tagid.value("tagid")?];
    let tag = tags.iter().flatten().find_map(|value| match value {
        Value::Text(tag) if !tag.is_empty() => Some(tag.as_ref()),
        _ => None,
    });
    let known = |name: &str| hyphenated(name).map(SlotId).or_else(|| names.slot(name));
    if let Some(slot) = [tag, impid].into_iter().flatten().find_map(known) {
        return Ok(slot);
    }
    let (field, name) = match (tag, impid) {
        (Some(tag), _) => ("tagid", tag),
        (None, Some(impid)) => ("impid", impid),
        (None, None) => {
            return Err(Refusal::new("impid", "is missing; give the slot's UUID or a name of it"));
        }
    };
    Err(unknown(field, name, "slot", "ext.slot_id"))
}

/// The account that pays: named by its UUID, else by its seat.
fn account(ext: &Ext<'_>, seat: Option<&str>, names: &Names) -> Result<AccountId, Refusal> {
    if let Some(value) = ext.account_id.value("ext.account_id")? {
        return uuid("ext.account_id", &value).map(AccountId);
    }
    let missing = || Refusal::new("seat", "is missing; give the UUID of the account that pays or its name");
    let seat = seat.ok_or_else(missing)?;
    let known = hyphenated(seat).map(AccountId).or_else(|| names.account(seat));
    known.ok_or_else(|| unknown("seat", seat, "account", "ext.account_id"))
}

fn unknown(field: &str, name: &str, of: &str, instead: &str) -> Refusal {
    let name = shortened(name);
    let reason = format!(
        "{name:?} is no UUID and names no {of}; map it with `exchange provision --names`, or give the UUID in {instead}"
    );
    Refusal::new(field, reason)
}

fn event_time(ext: &Ext<'_>, sender: &Sender<'_>, id: &str) -> Result<Millis, Refusal> {
    if let Some(value) = either(ext.timestamp, sender.common.timestamp, "ext.timestamp")? {
        return timestamp("ext.timestamp", &value);
    }
    if let Some(received) = sender.context.received {
        return Ok(received);
    }
    hyphenated(id).and_then(|id| time_of_id(BidId(id)).ok()).ok_or_else(|| {
        let reason =
            "is missing, and so is the header x-event-time, and id is no version 7 UUID; give one of them";
        Refusal::new("ext.timestamp", reason)
    })
}

/// What the bid says, else what the response says for all.
fn either<'a>(own: Field<'a>, common: Field<'a>, name: &str) -> Result<Option<Value<'a>>, Refusal> {
    match own.value(name)? {
        Some(value) => Ok(Some(value)),
        None => common.value(name),
    }
}

fn required_text<'a>(name: &str, field: Field<'a>, expected: &str) -> Result<Cow<'a, str>, Refusal> {
    match field.value(name)? {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text),
        Some(Value::Text(_)) => Err(Refusal::new(name, format!("is empty; give {expected}"))),
        Some(other) => Err(wrong_type(name, &other, expected)),
        None => Err(Refusal::new(name, format!("is missing; give {expected}"))),
    }
}

/// The one text of a price that was taken, so that `5.40` sent again as `5.4` is the same offer.
fn one_text(price: &Value<'_>) -> String {
    match price {
        Value::Text(text) => Decimal::parse(text).map(|number| number.to_string()),
        Value::Number(digits) => Decimal::parse(digits).map(|number| number.to_string()),
        _ => Ok(String::new()),
    }
    .unwrap_or_default()
}

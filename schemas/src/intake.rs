//! One line of NDJSON to a bid, and back.
//!
//! Owns what a bidder may write and what a refusal says: the field, and what to do about it. Strict, because a bid
//! that is half understood is worse than one that is refused: unknown fields, fields given twice and fields of another
//! type are refused by name. Never sends a number through a float, and never asks what time it is.

mod json;
mod moment;
pub mod names;
pub mod openrtb;
#[cfg(test)]
mod tests;

use std::io::Write;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::json::{Malformed, Scanner, Value};
use crate::bid::Bid;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::{BasisPoints, MoneyError, Price};
use crate::time::Millis;

/// Characters of an unknown field's name that a refusal repeats.
const NAME_CHARS_MAX: usize = 64;

/// Why a line is no bid, in words for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Refusal {
    /// The field, or `line` when the line is no JSON object.
    pub field: String,
    /// What is wrong with it and what to do; reads on from the field's name.
    pub reason: String,
}

impl Refusal {
    fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }
}

impl From<Malformed> for Refusal {
    fn from(Malformed(fact): Malformed) -> Self {
        Self::new("line", format!("{fact}; write one JSON object per line"))
    }
}

/// What has been read of a line so far.
#[derive(Default)]
struct Draft {
    bid_id: Option<BidId>,
    slot_id: Option<SlotId>,
    account_id: Option<AccountId>,
    amount: Option<Price>,
    latency_ms: Option<u32>,
    quality: Option<BasisPoints>,
    event_time: Option<Millis>,
    region: Option<()>,
}

/// Reads one line; blanks around it do not matter.
///
/// `region` is the producer's own: the bid gets it, and a line that names another one is refused.
///
/// # Errors
/// The first thing that is wrong with the line.
pub fn parse_line(line: &[u8], region: Region) -> Result<Bid, Refusal> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed("is not UTF-8"))?;
    let mut scanner = Scanner::open(text)?;
    let mut draft = Draft::default();
    let mut first = true;
    while let Some(name) = scanner.poll_name(first)? {
        first = false;
        read_field(&name, &mut scanner, &mut draft, region)?;
    }
    finish(draft, region)
}

/// The elements of a JSON array of bids as they are written, each one a line for [`parse_line`].
///
/// # Errors
/// When the body is no array; what is wrong within an element is that element's own refusal.
pub fn elements(body: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    json::elements(body).map_err(|Malformed(fact)| {
        Refusal::new("body", format!("{fact}; write a JSON array of bids or one JSON object per line"))
    })
}

/// Appends the bid as one line with its newline. The region is not written: it is the producer's.
pub fn to_line(bid: &Bid, out: &mut Vec<u8>) {
    write_fields(bid, out);
    out.extend_from_slice(b"}\n");
}

/// [`to_line`] with the region, for whoever reads bids of several regions.
pub fn to_record_line(bid: &Bid, out: &mut Vec<u8>) {
    write_fields(bid, out);
    writeln!(out, r#","region":"{}"}}"#, bid.region).expect("memory takes every write");
}

/// All fields that the bidder gave, without the closing brace.
fn write_fields(bid: &Bid, out: &mut Vec<u8>) {
    let quality = bid.quality.to_string();
    let quality = quality.trim_end_matches('0').trim_end_matches('.');
    let quality = if quality.is_empty() { "0" } else { quality };
    write!(
        out,
        r#"{{"bid_id":"{}","slot_id":"{}","account_id":"{}","amount":"{}","latency_ms":{},"quality_score":{quality},"timestamp":"{}""#,
        bid.bid_id, bid.slot_id, bid.account_id, bid.amount, bid.latency_ms, bid.event_time
    )
    .expect("memory takes every write");
}

fn read_field(name: &str, from: &mut Scanner<'_>, draft: &mut Draft, region: Region) -> Result<(), Refusal> {
    match name {
        "bid_id" => set(&mut draft.bid_id, name, || Ok(BidId(uuid(name, from.value()?)?))),
        "slot_id" => set(&mut draft.slot_id, name, || Ok(SlotId(uuid(name, from.value()?)?))),
        "account_id" => set(&mut draft.account_id, name, || Ok(AccountId(uuid(name, from.value()?)?))),
        "amount" => set(&mut draft.amount, name, || amount(from.value()?)),
        "latency_ms" => set(&mut draft.latency_ms, name, || latency(from.value()?)),
        "quality_score" => set(&mut draft.quality, name, || quality(from.value()?)),
        "timestamp" => set(&mut draft.event_time, name, || timestamp(from.value()?)),
        "region" => set(&mut draft.region, name, || same_region(from.value()?, region)),
        "" => Err(Refusal::new("line", "has a field without a name; leave it out")),
        unknown => {
            let name: String = unknown.chars().take(NAME_CHARS_MAX).collect();
            Err(Refusal::new(&name, "is no field of a bid; leave it out"))
        }
    }
}

fn set<T>(
    field: &mut Option<T>,
    name: &str,
    read: impl FnOnce() -> Result<T, Refusal>,
) -> Result<(), Refusal> {
    if field.is_some() {
        return Err(Refusal::new(name, "is given twice; give it once"));
    }
    *field = Some(read()?);
    Ok(())
}

fn finish(draft: Draft, region: Region) -> Result<Bid, Refusal> {
    fn need<T>(field: Option<T>, name: &str, give: &str) -> Result<T, Refusal> {
        field.ok_or_else(|| Refusal::new(name, format!("is missing; give {give}")))
    }
    let bid_id = need(draft.bid_id, "bid_id", "a UUID of your choice, a new one for each bid")?;
    Ok(Bid {
        bid_id,
        slot_id: need(draft.slot_id, "slot_id", "the UUID of the slot")?,
        account_id: need(draft.account_id, "account_id", "the UUID of the account that pays")?,
        region,
        amount: need(draft.amount, "amount", "what is offered, such as \"5.4000\"")?,
        latency_ms: need(draft.latency_ms, "latency_ms", "a whole number of milliseconds")?,
        quality: need(draft.quality, "quality_score", "a number from 0 to 1")?,
        event_time: draft.event_time.map_or_else(|| time_of_id(bid_id), Ok)?,
    })
}

/// The time within a version 7 id, so that sending the same line again is the same bid.
fn time_of_id(bid_id: BidId) -> Result<Millis, Refusal> {
    if bid_id.0.get_version_num() != 7 || bid_id.0.get_variant() != uuid::Variant::RFC4122 {
        let reason =
            "is missing and bid_id is no version 7 UUID; give an RFC 3339 time or a version 7 bid_id";
        return Err(Refusal::new("timestamp", reason));
    }
    let ms = bid_id.0.as_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    if ms > Millis::MAX.0 {
        let reason = "is missing and the time in bid_id is past the year 9999; give an RFC 3339 time";
        return Err(Refusal::new("timestamp", reason));
    }
    Ok(Millis(ms))
}

/// A null where the field could have been left out, or a value of another type.
fn wrong_type(name: &str, value: &Value<'_>, expected: &str) -> Refusal {
    match value {
        Value::Null => Refusal::new(name, format!("is null; give {expected}")),
        _ => Refusal::new(name, format!("has another type; give {expected}")),
    }
}

fn uuid(name: &str, value: Value<'_>) -> Result<Uuid, Refusal> {
    const EXPECTED: &str = "a UUID in quotes, 8-4-4-4-12 hexadecimal digits";
    let Value::Text(text) = value else { return Err(wrong_type(name, &value, EXPECTED)) };
    let hyphenated =
        (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(&text).ok()).flatten();
    hyphenated.ok_or_else(|| Refusal::new(name, format!("is no UUID; give {EXPECTED}")))
}

fn amount(value: Value<'_>) -> Result<Price, Refusal> {
    let text = match &value {
        Value::Text(text) => text.as_ref(),
        Value::Number(digits) => digits,
        _ => return Err(wrong_type("amount", &value, "a decimal number such as \"5.4000\"")),
    };
    if let Some(price) = short_amount(text.as_bytes()) {
        return Ok(price);
    }
    text.parse().map_err(|error| {
        let reason = match error {
            MoneyError::NotDecimal => {
                "is no decimal number; write digits with at most one point, such as \"5.4000\""
            }
            MoneyError::TooPrecise => "has more than 4 decimals; round it to 4",
            MoneyError::TooLarge => "has more than 14 digits before the point; offer less",
            MoneyError::NotPositive => "is not above zero; offer more",
        };
        Refusal::new("amount", reason)
    })
}

/// The usual form of an amount, at most 14 digits with at most 4 decimals, without 128 bits. What it does not know it
/// leaves to [`Price`].
fn short_amount(text: &[u8]) -> Option<Price> {
    let point = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (whole, decimals) = (text.get(..point)?, text.get(point + 1..).unwrap_or_default());
    let fits = (1..=14).contains(&whole.len()) && decimals.len() <= 4;
    if !fits || (decimals.is_empty() && point < text.len()) {
        return None;
    }
    let digit = |sum: u64, b: &u8| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0'));
    let units = whole.iter().chain(decimals).try_fold(0, digit)?;
    let scale = [10_000, 1_000, 100, 10, 1].get(decimals.len())?;
    Price::from_units(units * scale).ok()
}

fn latency(value: Value<'_>) -> Result<u32, Refusal> {
    const EXPECTED: &str = "a whole number of milliseconds from 0 to 4294967295";
    let Value::Number(digits) = value else { return Err(wrong_type("latency_ms", &value, EXPECTED)) };
    digits.parse().map_err(|_| Refusal::new("latency_ms", format!("is out of range; give {EXPECTED}")))
}

fn quality(value: Value<'_>) -> Result<BasisPoints, Refusal> {
    const EXPECTED: &str = "a number from 0 to 1 without exponent";
    let Value::Number(digits) = value else { return Err(wrong_type("quality_score", &value, EXPECTED)) };
    basis_points(digits).ok_or_else(|| {
        Refusal::new("quality_score", format!("is out of range or has an exponent; give {EXPECTED}"))
    })
}

/// Rounds to the nearest basis point, halves up, from at most five decimals; those after the fifth are only held to be
/// zero above one. So a float's `0.9299999999999999` is the `0.93` that was meant.
fn basis_points(digits: &str) -> Option<BasisPoints> {
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match whole {
        "0" => {
            let five = decimals.bytes().chain(std::iter::repeat(b'0')).take(5);
            let hundred_thousandths = five.fold(0_u32, |sum, b| sum * 10 + u32::from(b - b'0'));
            BasisPoints::new(u16::try_from((hundred_thousandths + 5) / 10).ok()?)
        }
        "1" => decimals.bytes().all(|b| b == b'0').then_some(BasisPoints::ONE),
        _ => None,
    }
}

fn timestamp(value: Value<'_>) -> Result<Millis, Refusal> {
    const EXPECTED: &str =
        "an RFC 3339 time between 1970 and 9999 in quotes, such as \"2026-11-23T21:20:10.123Z\"";
    let Value::Text(text) = value else { return Err(wrong_type("timestamp", &value, EXPECTED)) };
    moment::read(&text).ok_or_else(|| Refusal::new("timestamp", format!("is no time; give {EXPECTED}")))
}

fn same_region(value: Value<'_>, region: Region) -> Result<(), Refusal> {
    match &value {
        Value::Text(text) if text == region.as_str() => Ok(()),
        Value::Text(_) => {
            let reason =
                format!("is not this producer's, {region}; leave it out or send the bid to its own region");
            Err(Refusal::new("region", reason))
        }
        _ => Err(wrong_type("region", &value, "the producer's own region in quotes, or leave it out")),
    }
}

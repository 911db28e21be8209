//! What the fields of a bid may say: one function a field, from a value as it is written to what it means.

use uuid::Uuid;

use super::json::Value;
use super::{Refusal, moment};
use crate::decimal::{Decimal, DecimalError, Places, Rest};
use crate::ids::{BidId, Region};
use crate::money::{BasisPoints, MoneyError, Price, Rounding};
use crate::time::Millis;

/// A null where the field could have been left out, or a value of another type.
pub(super) fn wrong_type(name: &str, value: &Value<'_>, expected: &str) -> Refusal {
    match value {
        Value::Null => Refusal::new(name, format!("is null; give {expected}")),
        _ => Refusal::new(name, format!("has another type, {}; give {expected}", value.kind())),
    }
}

#[inline]
pub(super) fn uuid(name: &str, value: &Value<'_>) -> Result<Uuid, Refusal> {
    const EXPECTED: &str = "a UUID in quotes, 8-4-4-4-12 hexadecimal digits";
    let Value::Text(text) = value else { return Err(wrong_type(name, value, EXPECTED)) };
    hyphenated(text).ok_or_else(|| Refusal::new(name, format!("is no UUID; give {EXPECTED}")))
}

/// The UUID that is written 8-4-4-4-12.
#[inline]
pub(super) fn hyphenated(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// The text of a number, or a text that should hold one.
#[inline]
fn decimal_text<'a>(name: &str, value: &'a Value<'_>) -> Result<&'a str, Refusal> {
    match value {
        Value::Text(text) => Ok(text.as_ref()),
        Value::Number(digits) => Ok(digits),
        _ => Err(wrong_type(name, value, "a decimal number such as \"5.4000\"")),
    }
}

/// The price of a number; one that was rounded is put into `offered` as it was, in its one text.
#[inline]
pub(super) fn amount(
    name: &str,
    value: &Value<'_>,
    rounding: Option<Rounding>,
    offered: &mut Option<Box<str>>,
) -> Result<Price, Refusal> {
    let text = decimal_text(name, value)?;
    if let Some(price) = short_amount(text.as_bytes()) {
        return Ok(price);
    }
    let refused = |error: MoneyError| Refusal::new(name, error.reason());
    match (text.parse(), rounding) {
        (Ok(price), _) => Ok(price),
        (Err(MoneyError::TooPrecise), Some(rounding)) => {
            let number = Decimal::parse(text).map_err(|error| refused(error.into()))?;
            let price = Price::rounded(&number, rounding).map_err(refused)?;
            *offered = Some(number.to_string().into());
            Ok(price)
        }
        (Err(error), _) => Err(refused(error)),
    }
}

/// The usual form of an amount, at most 14 digits with at most 4 decimals, without 128 bits. What it does not know it
/// leaves to [`Price`].
#[inline]
pub(super) fn short_amount(text: &[u8]) -> Option<Price> {
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

/// What a bid says was offered before it was rounded, in the one text of that number.
pub(super) fn offered(value: &Value<'_>) -> Result<Box<str>, Refusal> {
    let number = Decimal::parse(decimal_text("offered", value)?);
    let number = number.map_err(|error| Refusal::new("offered", error.reason()))?;
    Ok(number.to_string().into())
}

#[inline]
pub(super) fn latency(name: &str, value: &Value<'_>) -> Result<u32, Refusal> {
    const EXPECTED: &str = "a whole number of milliseconds from 0 to 4294967295";
    let Value::Number(digits) = value else { return Err(wrong_type(name, value, EXPECTED)) };
    if let Ok(latency) = digits.parse() {
        return Ok(latency);
    }
    let refused = |fact: &str| Refusal::new(name, format!("{fact}; give {EXPECTED}"));
    let number = number(name, digits)?;
    let whole = number.scaled(Places { whole: 10, decimals: 0 }).ok_or_else(|| refused("is out of range"))?;
    if number.is_negative() {
        return Err(refused("is below zero"));
    }
    if whole.rest != Rest::None {
        return Err(refused("is no whole number"));
    }
    u32::try_from(whole.floor).map_err(|_| refused("is out of range"))
}

#[inline]
pub(super) fn quality(name: &str, value: &Value<'_>) -> Result<BasisPoints, Refusal> {
    const EXPECTED: &str = "a number from 0 to 1";
    let Value::Number(digits) = value else { return Err(wrong_type(name, value, EXPECTED)) };
    if let Some(points) = short_share(digits.as_bytes()) {
        return Ok(points);
    }
    let out_of_range = || Refusal::new(name, format!("is out of range; give {EXPECTED}"));
    BasisPoints::nearest(&number(name, digits)?).ok_or_else(out_of_range)
}

/// The usual form of a share below one, `0.` and digits, by its first five decimals. What it does not know it leaves to
/// [`BasisPoints::nearest`].
#[inline]
pub(super) fn short_share(text: &[u8]) -> Option<BasisPoints> {
    let decimals = text.strip_prefix(b"0.").filter(|decimals| (1..=20).contains(&decimals.len()))?;
    let step = |(sum, place): (u32, u32), b: &u8| {
        b.is_ascii_digit().then(|| (sum + u32::from(b - b'0') * place, place / 10))
    };
    let (hundred_thousandths, _) = decimals.iter().try_fold((0, 10_000), step)?;
    BasisPoints::new(u16::try_from((hundred_thousandths + 5) / 10).ok()?)
}

/// A number of JSON, which can only be too long.
fn number<'a>(name: &str, digits: &'a str) -> Result<Decimal<'a>, Refusal> {
    Decimal::parse(digits).map_err(|error: DecimalError| Refusal::new(name, error.reason()))
}

#[inline]
pub(super) fn timestamp(name: &str, value: &Value<'_>) -> Result<Millis, Refusal> {
    const EXPECTED: &str =
        "an RFC 3339 time between 1970 and 9999 in quotes, such as \"2026-11-23T21:20:10.123Z\"";
    let Value::Text(text) = value else { return Err(wrong_type(name, value, EXPECTED)) };
    moment::read(text).ok_or_else(|| Refusal::new(name, format!("is no time; give {EXPECTED}")))
}

/// The time within a version 7 id, so that sending the same line again is the same bid.
#[inline]
pub(super) fn time_of_id(bid_id: BidId) -> Result<Millis, Refusal> {
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

#[inline]
pub(super) fn same_region(value: &Value<'_>, region: Region) -> Result<(), Refusal> {
    match value {
        Value::Text(text) if text == region.as_str() => Ok(()),
        Value::Text(_) => {
            let reason =
                format!("is not this producer's, {region}; leave it out or send the bid to its own region");
            Err(Refusal::new("region", reason))
        }
        _ => Err(wrong_type("region", value, "the producer's own region in quotes, or leave it out")),
    }
}

//! One line of NDJSON to a bid, and back.
//!
//! Owns what a bidder may write and what a refusal says: the field, and what to do about it. Strict, because a bid
//! that is half understood is worse than one that is refused: unknown fields, fields given twice and fields of another
//! type are refused by name. Never sends a number through a float, and never asks what time it is.

mod fields;
mod foreign;
mod json;
mod moment;
pub mod names;
pub mod openrtb;
mod split;
#[cfg(test)]
mod tests;

use std::io::Write;

use serde::{Deserialize, Serialize};

pub use self::foreign::{Unreadable, objects, read_foreign};

use self::fields::{amount, latency, offered, quality, same_region, time_of_id, timestamp, uuid};
use self::json::{Malformed, Scanner};
use crate::bid::Bid;
use crate::decimal::Decimal;
use crate::ids::{AccountId, BidId, Region, SlotId};
use crate::money::{BasisPoints, Price, Rounding};
use crate::time::Millis;

/// What some programs write before their first line; it says nothing but that UTF-8 follows.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Characters of an unknown field's name that a refusal repeats.
const NAME_CHARS_MAX: usize = 64;

/// How an edge reads what bidders send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeRules {
    /// The edge's own: every bid gets it, and one that names another is refused.
    pub region: Region,
    /// What becomes of an amount's decimals beyond the fourth; without a rule such a bid is refused.
    pub rounding: Option<Rounding>,
}

/// A bid as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferedBid {
    /// Its amount is what was offered.
    Exact(Bid),
    /// Its amount was rounded.
    Rounded(Box<RoundedBid>),
}

/// A bid whose amount is not what was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundedBid {
    /// The bid with its rounded amount.
    pub bid: Bid,
    /// What was offered: a decimal number in its shortest text.
    pub offered: Box<str>,
}

impl OfferedBid {
    fn new(bid: Bid, offered: Option<Box<str>>) -> Self {
        match offered {
            None => Self::Exact(bid),
            Some(offered) => Self::Rounded(Box::new(RoundedBid { bid, offered })),
        }
    }

    /// The bid.
    #[must_use]
    pub fn bid(&self) -> &Bid {
        match self {
            Self::Exact(bid) => bid,
            Self::Rounded(rounded) => &rounded.bid,
        }
    }

    /// What was offered, when the amount is not that.
    #[must_use]
    pub fn offered(&self) -> Option<&str> {
        match self {
            Self::Exact(_) => None,
            Self::Rounded(rounded) => Some(&rounded.offered),
        }
    }
}

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
    /// What was offered, when the amount was rounded here.
    rounded: Option<Box<str>>,
    /// What was offered, when the line says so.
    offered: Option<Box<str>>,
    latency_ms: Option<u32>,
    quality: Option<BasisPoints>,
    event_time: Option<Millis>,
    region: Option<()>,
}

/// Reads one line and takes no amount but an exact one; blanks around it do not matter.
///
/// `region` is the producer's own: the bid gets it, and a line that names another one is refused.
///
/// # Errors
/// The first thing that is wrong with the line.
pub fn parse_line(line: &[u8], region: Region) -> Result<Bid, Refusal> {
    read_line(line, IntakeRules { region, rounding: None }).map(|read| *read.bid())
}

/// Reads one line; blanks around it do not matter.
///
/// # Errors
/// The first thing that is wrong with the line.
pub fn read_line(line: &[u8], rules: IntakeRules) -> Result<OfferedBid, Refusal> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed("is not UTF-8"))?;
    let mut scanner = Scanner::open(text)?;
    let mut draft = Draft::default();
    let mut first = true;
    while let Some(name) = scanner.poll_name(first)? {
        first = false;
        read_field(&name, &mut scanner, &mut draft, rules)?;
    }
    finish(draft, rules.region)
}

/// The elements of a JSON array of bids as they are written, each one a line for [`parse_line`].
///
/// # Errors
/// When the body is no array; what is wrong within an element is that element's own refusal.
pub fn elements(body: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    split::elements(body).and_then(Iterator::collect).map_err(|Malformed(fact)| {
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

/// [`to_record_line`] with what was offered beside the amount it was rounded to, so that reading the line again gives
/// the same bid and still tells the offer.
pub fn to_offered_line(bid: &Bid, offered: &str, out: &mut Vec<u8>) {
    write_fields(bid, out);
    writeln!(out, r#","offered":"{offered}","region":"{}"}}"#, bid.region).expect("memory takes every write");
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

fn read_field(
    name: &str,
    from: &mut Scanner<'_>,
    draft: &mut Draft,
    rules: IntakeRules,
) -> Result<(), Refusal> {
    if read_bid_field(name, from, draft, rules.rounding)? {
        return Ok(());
    }
    match name {
        "region" => set(&mut draft.region, name, || same_region(&from.value()?, rules.region)),
        "" => Err(Refusal::new("line", "has a field without a name; leave it out")),
        unknown => {
            let name: String = unknown.chars().take(NAME_CHARS_MAX).collect();
            Err(Refusal::new(&name, "is no field of a bid; leave it out"))
        }
    }
}

/// Reads a field that a bid has wherever it is written, and says whether it is one; of another nothing is read.
fn read_bid_field(
    name: &str,
    from: &mut Scanner<'_>,
    draft: &mut Draft,
    rounding: Option<Rounding>,
) -> Result<bool, Refusal> {
    match name {
        "bid_id" => set(&mut draft.bid_id, name, || Ok(BidId(uuid(name, &from.value()?)?))),
        "slot_id" => set(&mut draft.slot_id, name, || Ok(SlotId(uuid(name, &from.value()?)?))),
        "account_id" => set(&mut draft.account_id, name, || Ok(AccountId(uuid(name, &from.value()?)?))),
        "amount" => {
            let rounded = &mut draft.rounded;
            set(&mut draft.amount, name, || amount(name, &from.value()?, rounding, rounded))
        }
        "offered" => set(&mut draft.offered, name, || offered(&from.value()?)),
        "latency_ms" => set(&mut draft.latency_ms, name, || latency(name, &from.value()?)),
        "quality_score" => set(&mut draft.quality, name, || quality(name, &from.value()?)),
        "timestamp" => set(&mut draft.event_time, name, || timestamp(name, &from.value()?)),
        _ => return Ok(false),
    }?;
    Ok(true)
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

fn finish(draft: Draft, region: Region) -> Result<OfferedBid, Refusal> {
    fn need<T>(field: Option<T>, name: &str, give: &str) -> Result<T, Refusal> {
        field.ok_or_else(|| Refusal::new(name, format!("is missing; give {give}")))
    }
    let bid_id = need(draft.bid_id, "bid_id", "a UUID of your choice, a new one for each bid")?;
    let slot_id = need(draft.slot_id, "slot_id", "the UUID of the slot")?;
    let account_id = need(draft.account_id, "account_id", "the UUID of the account that pays")?;
    let amount = need(draft.amount, "amount", "what is offered, such as \"5.4000\"")?;
    let bid = Bid {
        bid_id,
        slot_id,
        account_id,
        region,
        amount,
        latency_ms: need(draft.latency_ms, "latency_ms", "a whole number of milliseconds")?,
        quality: need(draft.quality, "quality_score", "a number from 0 to 1")?,
        event_time: draft.event_time.map_or_else(|| time_of_id(bid_id), Ok)?,
    };
    let Some(offered) = draft.offered else { return Ok(OfferedBid::new(bid, draft.rounded)) };
    same_offer(&offered, &bid)?;
    Ok(OfferedBid::new(bid, Some(offered)))
}

/// A line of ours says what was offered before it was rounded; it must be what its amount comes from.
fn same_offer(offered: &str, bid: &Bid) -> Result<(), Refusal> {
    let number = Decimal::parse(offered).map_err(|error| Refusal::new("offered", error.reason()))?;
    if bid.amount.is_rounded_from(&number) {
        return Ok(());
    }
    Err(Refusal::new("offered", format!("does not round to the amount {}; leave it out", bid.amount)))
}

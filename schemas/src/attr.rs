//! Attribute values of an item, without a client: what stands in DynamoDB, as plain data.

use std::collections::BTreeMap;

use crate::money::Money;
use crate::time::Millis;

/// An item or a map: attributes by name.
pub type Attrs = BTreeMap<String, Attr>;

/// One attribute value, of the types our items use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    /// Text.
    S(String),
    /// A number as its decimal text.
    N(String),
    /// A truth value.
    Bool(bool),
    /// Attributes by name.
    M(Attrs),
    /// Values in order.
    L(Vec<Attr>),
    /// A set of texts; never empty.
    Ss(Vec<String>),
    /// Bytes.
    B(Vec<u8>),
}

/// Why an item cannot be read: which attribute, and what was wanted there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {name} is not {wanted}")]
pub struct AttrError {
    /// The attribute.
    pub name: String,
    /// What was wanted.
    pub wanted: &'static str,
}

/// Text.
pub fn s(value: impl ToString) -> Attr {
    Attr::S(value.to_string())
}

/// A number.
pub fn n(value: impl ToString) -> Attr {
    Attr::N(value.to_string())
}

fn wrong<T>(name: &str, wanted: &'static str) -> Result<T, AttrError> {
    Err(AttrError { name: name.to_owned(), wanted })
}

/// Text of an item, read as `T`.
///
/// # Errors
/// When the attribute is absent, is no text, or is not a `T`.
pub fn text<T: std::str::FromStr>(attrs: &Attrs, name: &str) -> Result<T, AttrError> {
    match attrs.get(name) {
        Some(Attr::S(text)) => text.parse().or_else(|_| wrong(name, "a text of the right form")),
        _ => wrong(name, "a text"),
    }
}

/// A whole number of an item.
///
/// # Errors
/// When the attribute is absent or is no whole number that fits.
pub fn number<T: std::str::FromStr>(attrs: &Attrs, name: &str) -> Result<T, AttrError> {
    match attrs.get(name) {
        Some(Attr::N(text)) => text.parse().or_else(|_| wrong(name, "a whole number that fits")),
        _ => wrong(name, "a number"),
    }
}

/// Money of an item. DynamoDB cuts trailing zeros, so `5.4` and `5.4000` are the same.
///
/// # Errors
/// When the attribute is absent or no decimal of at most 38 digits and 4 decimals.
pub fn money(attrs: &Attrs, name: &str) -> Result<Money, AttrError> {
    let Some(Attr::N(text)) = attrs.get(name) else { return wrong(name, "a number") };
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if decimals.len() > 4 || whole.is_empty() || whole.len() > 34 {
        return wrong(name, "a decimal with at most 4 decimals");
    }
    let padded = format!("{whole}{decimals:0<4}");
    if !padded.bytes().all(|b| b.is_ascii_digit()) {
        return wrong(name, "a decimal with at most 4 decimals");
    }
    let units: i128 = padded.parse().or_else(|_| wrong(name, "a decimal that fits"))?;
    Ok(Money(if negative { -units } else { units }))
}

/// A time of an item, written as RFC 3339.
///
/// # Errors
/// When the attribute is absent or no such text.
pub fn millis(attrs: &Attrs, name: &str) -> Result<Millis, AttrError> {
    text(attrs, name)
}

/// Bytes of an item.
///
/// # Errors
/// When the attribute is absent or no binary.
pub fn bytes<'a>(attrs: &'a Attrs, name: &str) -> Result<&'a [u8], AttrError> {
    match attrs.get(name) {
        Some(Attr::B(bytes)) => Ok(bytes),
        _ => wrong(name, "a binary"),
    }
}

/// A map of an item.
///
/// # Errors
/// When the attribute is absent or no map.
pub fn map<'a>(attrs: &'a Attrs, name: &str) -> Result<&'a Attrs, AttrError> {
    match attrs.get(name) {
        Some(Attr::M(map)) => Ok(map),
        _ => wrong(name, "a map"),
    }
}

/// A list of maps of an item.
///
/// # Errors
/// When the attribute is absent or no list of maps.
pub fn maps<'a>(attrs: &'a Attrs, name: &str) -> Result<Vec<&'a Attrs>, AttrError> {
    let Some(Attr::L(list)) = attrs.get(name) else { return wrong(name, "a list") };
    let one = |value: &'a Attr| match value {
        Attr::M(map) => Ok(map),
        _ => wrong(name, "a list of maps"),
    };
    list.iter().map(one).collect()
}

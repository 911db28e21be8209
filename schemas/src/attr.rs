//! Attribute values of an item, without a client: what stands in DynamoDB, as plain data.

use std::collections::BTreeMap;

use crate::decimal::{Decimal, Places, Rest};
use crate::money::Money;
use crate::time::Millis;

/// The digits that DynamoDB's numbers have, as whole numbers and as money.
const WHOLE: Places = Places { whole: 38, decimals: 0 };
const MONEY: Places = Places { whole: 34, decimals: 4 };

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

/// A whole number of an item, whether it is written as `42`, `42.0` or `4.2e1`.
///
/// # Errors
/// When the attribute is absent or is no whole number that fits.
pub fn number<T: std::str::FromStr>(attrs: &Attrs, name: &str) -> Result<T, AttrError> {
    let Some(Attr::N(text)) = attrs.get(name) else { return wrong(name, "a number") };
    let read = text.parse().ok().or_else(|| units(text, WHOLE)?.to_string().parse().ok());
    read.ok_or(()).or_else(|()| wrong(name, "a whole number that fits"))
}

/// The largest count: more than a stream can hold, and thousands of them can be added up.
pub const COUNT_MAX: u64 = 1 << 48;

/// A count of an item: a whole number up to [`COUNT_MAX`], so that sums of counts fit.
///
/// # Errors
/// When the attribute is absent, is no whole number, or is larger.
pub fn count(attrs: &Attrs, name: &str) -> Result<u64, AttrError> {
    match number(attrs, name)? {
        count if count > COUNT_MAX => wrong(name, "a whole number of at most 2^48"),
        count => Ok(count),
    }
}

/// Money of an item. DynamoDB cuts trailing zeros, and other programs write some or an exponent: `5.4`, `5.40000` and
/// `54e-1` are the same.
///
/// # Errors
/// When the attribute is absent or no decimal of at most 38 digits and 4 decimals.
pub fn money(attrs: &Attrs, name: &str) -> Result<Money, AttrError> {
    let Some(Attr::N(text)) = attrs.get(name) else { return wrong(name, "a number") };
    match units(text, MONEY) {
        Some(units) => Ok(Money(units)),
        None => wrong(name, "a decimal of at most 38 digits and 4 decimals"),
    }
}

/// A number that these places hold exactly, in units of the last one.
fn units(text: &str, places: Places) -> Option<i128> {
    let number = Decimal::parse(text).ok()?;
    let scaled = number.scaled(places).filter(|scaled| scaled.rest == Rest::None)?;
    let units = i128::try_from(scaled.floor).ok()?;
    Some(if number.is_negative() { -units } else { units })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_read_alike_however_it_is_written() {
        let item = |text: &str| Attrs::from([("n".to_owned(), n(text))]);
        for text in ["5.4", "5.40000", "5.400000000000000000", "54e-1", "0.54E+1", "05.4"] {
            assert_eq!(money(&item(text), "n"), Ok(Money(54_000)), "{text}");
        }
        assert_eq!(money(&item("-5.40000"), "n"), Ok(Money(-54_000)));
        let largest = format!("{}.9999", "9".repeat(34));
        assert_eq!(money(&item(&largest), "n"), Ok(Money(10_i128.pow(38) - 1)));
        for bad in ["5.40001", "1e34", "1e999999999", "", "x", "5.", "1e-5"] {
            assert_eq!(money(&item(bad), "n").unwrap_err().name, "n", "{bad}");
        }
        for text in ["42", "42.0", "4.2e1", "4200E-2", "42.000000000000000000"] {
            assert_eq!(number::<u32>(&item(text), "n"), Ok(42), "{text}");
        }
        for bad in ["41.7", "4294967296", "-1", "1e10", "1e999999999", ""] {
            assert!(number::<u32>(&item(bad), "n").is_err(), "{bad}");
        }
        assert_eq!(count(&item("281474976710656"), "n"), Ok(COUNT_MAX));
        assert_eq!(
            count(&item("281474976710657"), "n").unwrap_err().wanted,
            "a whole number of at most 2^48"
        );
        assert_eq!(
            number::<u128>(&item("99999999999999999999999999999999999999"), "n"),
            Ok(10_u128.pow(38) - 1)
        );
    }
}

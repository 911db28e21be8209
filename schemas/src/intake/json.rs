//! A scanner for one flat JSON object over borrowed text: a bid needs no tree.
//!
//! Owns the grammar (RFC 8259) of what a bid's line may hold: texts and numbers. A number stays the digits it was
//! written with. Never recurses and never allocates, but for a text with escapes.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::split::closing;

/// A field's value, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A text without its quotes and escapes.
    Text(Cow<'a, str>),
    /// A number as it was written; it keeps the grammar of JSON.
    Number(&'a str),
    /// `null`.
    Null,
    /// `true` or `false`.
    Truth,
    /// The beginning of an object, which is not read further.
    Object,
    /// The beginning of an array, which is not read further.
    Array,
}

impl Value<'_> {
    /// What kind of value it is, in a bidder's words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Null => "null",
            Self::Truth => "true or false",
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

/// The text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A place in a line.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner past the object's opening brace.
    pub(super) fn open(text: &'a str) -> Result<Self, Malformed> {
        let mut scanner = Self { text, at: 0 };
        scanner.expect(b'{', "does not begin with {")?;
        Ok(scanner)
    }

    /// The next field's name, nothing after the last; `first` when no field has been read yet.
    pub(super) fn poll_name(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Malformed> {
        if self.accept(b'}') {
            return if self.rest().is_empty() {
                Ok(None)
            } else {
                Err(Malformed("goes on after the object"))
            };
        }
        if !first {
            self.expect(b',', "lacks a comma between fields")?;
        }
        self.expect(b'"', "has a field name without quotes")?;
        let name = self.text_to_quote()?;
        self.expect(b':', "lacks a colon after a field name")?;
        Ok(Some(name))
    }

    /// The value after a name.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        if self.accept(b'"') {
            return self.text_to_quote().map(Value::Text);
        }
        let rest = self.rest();
        match rest.as_bytes().first() {
            Some(b'{') => return Ok(Value::Object),
            Some(b'[') => return Ok(Value::Array),
            _ => {}
        }
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count();
        let word = &rest[..length];
        self.at += length;
        match word {
            "null" => Ok(Value::Null),
            "true" | "false" => Ok(Value::Truth),
            word if is_number(word.as_bytes()) => Ok(Value::Number(word)),
            _ => Err(Malformed("has a value that is neither text nor number")),
        }
    }

    /// Where the scanner stands; [`Scanner::skip_from`] goes back there.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Passes over the value that begins there, whatever it holds.
    pub(super) fn skip_from(&mut self, at: usize) -> Result<(), Malformed> {
        self.at = at;
        if !matches!(self.value()?, Value::Object | Value::Array) {
            return Ok(());
        }
        let rest = self.rest();
        let length = 1 + closing(&rest.as_bytes()[1..]).ok_or(Malformed("opens what is never closed"))?;
        serde_json::from_str::<IgnoredAny>(&rest[..length])
            .map_err(|_| Malformed("has a value that is no JSON"))?;
        self.at += length;
        Ok(())
    }

    fn rest(&mut self) -> &'a str {
        let blanks = self.text.as_bytes()[self.at..].iter().take_while(|b| b" \t\r\n".contains(b)).count();
        self.at += blanks;
        &self.text[self.at..]
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.rest().as_bytes().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Malformed> {
        if self.accept(byte) { Ok(()) } else { Err(Malformed(otherwise)) }
    }

    /// The text up to the closing quote; the opening one has been read.
    fn text_to_quote(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let rest = &self.text[self.at..];
        let stop = special_at(rest.as_bytes());
        match stop.map(|stop| (stop, rest.as_bytes()[stop])) {
            Some((stop, b'"')) => {
                self.at += stop + 1;
                Ok(Cow::Borrowed(&rest[..stop]))
            }
            Some((_, b'\\')) => self.escaped_text(rest),
            Some(_) => Err(Malformed("has a control character in a text")),
            None => Err(Malformed("ends within a text")),
        }
    }

    fn escaped_text(&mut self, rest: &'a str) -> Result<Cow<'a, str>, Malformed> {
        let length = quoted_length(rest.as_bytes()).ok_or(Malformed("ends within a text"))?;
        let quoted = &self.text[self.at - 1..self.at + length];
        self.at += length;
        serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| Malformed("has a bad escape in a text"))
    }
}

/// Where the first quote, backslash or control character stands, eight bytes at a step.
fn special_at(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The highest bit of each byte that is zero. Borrows may mark bytes above the first such byte, never below it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while let Some((eight, _)) = text.get(at..).and_then(|rest| rest.split_first_chunk()) {
        let word = u64::from_le_bytes(*eight);
        // Below a blank are bytes whose upper three bits are zero.
        let found = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5C)) | zeros(word & (ONES * 0xE0));
        if found != 0 {
            return Some(at + usize::try_from(found.trailing_zeros() / 8).expect("at most 8"));
        }
        at += 8;
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..b' ');
    text.get(at..).and_then(|rest| rest.iter().position(special)).map(|found| at + found)
}

/// Bytes up to and including the closing quote.
pub(super) fn quoted_length(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let closing = rest.iter().position(|&b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    });
    closing.map(|at| at + 1)
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
pub(super) fn is_number(word: &[u8]) -> bool {
    let digits = |from: &[u8]| from.iter().take_while(|b| b.is_ascii_digit()).count();
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(word);
    if whole == 0 || (whole > 1 && word[0] == b'0') {
        return false;
    }
    let mut rest = &word[whole..];
    if let Some(decimals) = rest.strip_prefix(b".") {
        let count = digits(decimals);
        if count == 0 {
            return false;
        }
        rest = &decimals[count..];
    }
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_character_is_found(text in proptest::collection::vec(prop_oneof![
            6 => 0x20_u8..0x7F, 1 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0_u8..0x22,
        ], 0..60)) {
            let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < b' ';
            prop_assert_eq!(special_at(&text), text.iter().position(special));
        }
    }
}

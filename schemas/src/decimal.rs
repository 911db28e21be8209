//! Decimal numbers exactly as their digits say: trailing zeros and exponents change how a number is written, not
//! what it is.
//!
//! Never goes through a float and never allocates while reading, whatever the exponent. What a number may be used
//! for, and how large or fine it may be, is its reader's matter.

use std::fmt;

#[cfg(test)]
mod tests;

/// Most characters of a number: an exact expansion of a double between 10^-30 and 10^30 has fewer.
pub const CHARS_MAX: usize = 256;
/// A number further from one than this is written with an exponent.
const PLAIN_DIGITS_MAX: i64 = 40;

/// A decimal number over borrowed text: `0.d1d2d3... * 10^point`, where the first and the last digit are not zero.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    /// Digits that stood before the point and after it; both empty for zero.
    whole: &'a [u8],
    fraction: &'a [u8],
    point: i64,
}

/// Why a text is no decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Nothing at all.
    #[error("empty")]
    Empty,
    /// More than [`CHARS_MAX`] characters.
    #[error("longer than 256 characters")]
    TooLong,
    /// A plus sign at the beginning.
    #[error("a number with a leading +")]
    Plus,
    /// No digit before the point.
    #[error("a number without a digit before the point")]
    NoWhole,
    /// A point without a digit after it.
    #[error("a number without a digit after the point")]
    NoFraction,
    /// An exponent without digits.
    #[error("a number without digits in its exponent")]
    NoExponent,
    /// Something other than digits, one point and one exponent.
    #[error("not a decimal number")]
    NotDigits,
}

impl DecimalError {
    /// What is wrong and what to do; reads on from a field's name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "is empty; write digits, such as \"5.4000\"",
            Self::TooLong => "is longer than 256 characters; write fewer digits",
            Self::Plus => "begins with a +; leave the sign out",
            Self::NoWhole => "has no digit before its point; write 0 there",
            Self::NoFraction => "has no digit after its point; write one or leave the point out",
            Self::NoExponent => "has no digits in its exponent; write some or leave the e out",
            Self::NotDigits => {
                "is no decimal number; write digits with at most one point, such as \"5.4000\""
            }
        }
    }
}

/// What is left of a number below its last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the number is exact.
    None,
    /// Less than half of the last place.
    BelowHalf,
    /// Exactly half of it.
    Half,
    /// More than half of it.
    AboveHalf,
}

/// A number without its sign, counted in units of its last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Whole units, cut off.
    pub floor: u128,
    /// What was cut off.
    pub rest: Rest,
}

/// Where a number's last place is, and how many digits it may have before the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Most digits before the point.
    pub whole: u8,
    /// Decimals; both together are at most 38.
    pub decimals: u8,
}

impl<'a> Decimal<'a> {
    /// Reads `[-]digits[.digits][e[+|-]digits]`, with `e` or `E`.
    ///
    /// # Errors
    /// What keeps the text from being such a number.
    pub fn parse(text: &'a str) -> Result<Self, DecimalError> {
        let text = text.as_bytes();
        match text {
            [] => return Err(DecimalError::Empty),
            [b'+', ..] => return Err(DecimalError::Plus),
            _ if text.len() > CHARS_MAX => return Err(DecimalError::TooLong),
            _ => {}
        }
        let (negative, unsigned) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let (digits, exponent) = match split_at(unsigned, |b| matches!(b, b'e' | b'E')) {
            (digits, Some(exponent)) => (digits, read_exponent(exponent)?),
            (digits, None) => (digits, 0),
        };
        let (whole, fraction) = split_at(digits, |b| b == b'.');
        let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        match (whole, fraction) {
            (whole, fraction) if !all_digits(whole) || !all_digits(fraction.unwrap_or_default()) => {
                return Err(DecimalError::NotDigits);
            }
            ([], None) => return Err(DecimalError::NotDigits),
            ([], _) => return Err(DecimalError::NoWhole),
            (_, Some([])) => return Err(DecimalError::NoFraction),
            _ => {}
        }
        Ok(Self::trimmed(negative, whole, fraction.unwrap_or_default(), exponent))
    }

    fn trimmed(negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64) -> Self {
        let whole = &whole[zeros(whole.iter())..];
        let fraction = &fraction[..fraction.len() - zeros(fraction.iter().rev())];
        let (whole, fraction, point) = match (whole, fraction) {
            ([], fraction) => {
                let leading = zeros(fraction.iter());
                (whole, &fraction[leading..], -length(leading))
            }
            (whole, []) => (&whole[..whole.len() - zeros(whole.iter().rev())], fraction, length(whole.len())),
            (whole, fraction) => (whole, fraction, length(whole.len())),
        };
        let is_zero = whole.is_empty() && fraction.is_empty();
        let point = if is_zero { 0 } else { point.saturating_add(exponent) };
        Self { negative: negative && !is_zero, whole, fraction, point }
    }

    /// Whether it is below zero; a zero with a sign is not.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.count() == 0
    }

    /// The number without its sign in units of its last place; nothing when it has too many digits before the point.
    #[must_use]
    pub fn scaled(&self, places: Places) -> Option<Scaled> {
        if self.is_zero() {
            return Some(Scaled { floor: 0, rest: Rest::None });
        }
        if self.point > i64::from(places.whole) {
            return None;
        }
        let Ok(kept) = usize::try_from(self.point.saturating_add(i64::from(places.decimals))) else {
            // The first digit stands behind the place after the last.
            return Some(Scaled { floor: 0, rest: Rest::BelowHalf });
        };
        let digits = self.digits().take(kept).chain(std::iter::repeat(0)).take(kept);
        let floor = digits.fold(0_u128, |sum, digit| sum * 10 + u128::from(digit));
        Some(Scaled { floor, rest: self.rest(kept) })
    }

    /// What is left behind the first `kept` digits.
    fn rest(&self, kept: usize) -> Rest {
        let mut behind = self.digits().skip(kept);
        match (behind.next(), behind.next()) {
            (None, _) => Rest::None,
            (Some(5), None) => Rest::Half,
            (Some(5..), _) => Rest::AboveHalf,
            (Some(_), _) => Rest::BelowHalf,
        }
    }

    fn count(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// From the first to the last that is not zero, each 0 to 9.
    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).map(|b| b - b'0')
    }
}

/// The one text of all that are the same number: without zeros that say nothing, and without an exponent unless it
/// would be long.
impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negative { "-" } else { "" })?;
        let mut digits = self.digits().map(|digit| char::from(b'0' + digit));
        let mut write = |count: Option<usize>, pad: &str, f: &mut fmt::Formatter<'_>| -> fmt::Result {
            for _ in 0..count.unwrap_or(usize::MAX) {
                match digits.next() {
                    Some(digit) => fmt::Write::write_char(f, digit)?,
                    None if count.is_some() => f.write_str(pad)?,
                    None => break,
                }
            }
            Ok(())
        };
        if self.is_zero() {
            return f.write_str("0");
        }
        if self.point.unsigned_abs() > PLAIN_DIGITS_MAX.unsigned_abs() {
            f.write_str("0.")?;
            write(None, "", f)?;
            return write!(f, "e{}", self.point);
        }
        let whole = usize::try_from(self.point).unwrap_or(0);
        if whole == 0 {
            f.write_str("0")?
        } else {
            write(Some(whole), "0", f)?
        }
        if self.count() > whole {
            f.write_str(".")?;
            let leading = usize::try_from(-self.point).unwrap_or(0);
            f.write_str(&"0".repeat(leading))?;
            write(None, "", f)?;
        }
        Ok(())
    }
}

fn read_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(DecimalError::NoExponent);
    }
    let step = |sum: i64, b: &u8| {
        b.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(i64::from(b - b'0')))
    };
    let exponent = digits.iter().try_fold(0, step).ok_or(DecimalError::NotDigits)?;
    Ok(if negative { -exponent } else { exponent })
}

/// What stands before the first such byte, and what stands after it.
fn split_at(text: &[u8], at: impl Fn(u8) -> bool) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|b| at(*b)) {
        Some(place) => (&text[..place], Some(&text[place + 1..])),
        None => (text, None),
    }
}

fn zeros<'a>(digits: impl Iterator<Item = &'a u8>) -> usize {
    digits.take_while(|b| **b == b'0').count()
}

fn length(count: usize) -> i64 {
    i64::try_from(count).expect("at most CHARS_MAX")
}

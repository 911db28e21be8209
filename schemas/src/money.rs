//! Money in integers of 1/10,000 of a unit; never through a float.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Parts of one unit: four decimals.
pub const SCALE: u64 = 10_000;
/// Most digits before the point, so that a price fits NUMERIC(18,4).
pub const INTEGER_DIGITS_MAX: usize = 14;

/// A price or a bid's amount: above zero, below 10^14 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(NonZeroU64);

/// Why a text or number is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Something other than digits with at most one point.
    #[error("not a decimal number")]
    NotDecimal,
    /// A fifth decimal.
    #[error("more than 4 decimals")]
    TooPrecise,
    /// A fifteenth digit before the point.
    #[error("more than 14 integer digits")]
    TooLarge,
    /// Zero or below where more is needed.
    #[error("not above zero")]
    NotPositive,
}

impl Price {
    /// The highest price: 14 integer digits and 4 decimals, all nines.
    pub const MAX: Price = Price(NonZeroU64::new(999_999_999_999_999_999).expect("not zero"));

    /// A price of `units` ten-thousandths.
    ///
    /// # Errors
    /// [`MoneyError::NotPositive`] for zero, [`MoneyError::TooLarge`] above [`Price::MAX`].
    pub fn from_units(units: u64) -> Result<Self, MoneyError> {
        match NonZeroU64::new(units) {
            None => Err(MoneyError::NotPositive),
            Some(units) if units > Self::MAX.0 => Err(MoneyError::TooLarge),
            Some(units) => Ok(Self(units)),
        }
    }

    /// Ten-thousandths of a unit, at least 1.
    #[must_use]
    pub fn units(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Price {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let money: Money = text.parse()?;
        let units = u64::try_from(money.0).map_err(|_| MoneyError::NotPositive)?;
        Self::from_units(units)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money(i128::from(self.units())).fmt(f)
    }
}

/// A sum or balance in ten-thousandths; may be negative, and cannot overflow for 10^20 prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i128);

impl Money {
    /// The most that NUMERIC(18,4) holds: 14 integer digits and 4 decimals, all nines. The least is its opposite.
    pub const MAX: Money = Money(999_999_999_999_999_999);

    /// The sum, when NUMERIC(18,4) holds it: nothing that is stored can overflow unnoticed.
    #[must_use]
    pub fn stored_sum(self, other: Money) -> Option<Money> {
        self.0
            .checked_add(other.0)
            .map(Money)
            .filter(|sum| sum.0.unsigned_abs() <= Self::MAX.0.unsigned_abs())
    }
}

impl From<Price> for Money {
    fn from(price: Price) -> Self {
        Self(i128::from(price.units()))
    }
}

impl FromStr for Money {
    type Err = MoneyError;
    /// Reads `[-]digits[.decimals]` with at most 4 decimals that matter and 14 integer digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let point_without_decimals = decimals.is_empty() && digits.contains('.');
        if whole.is_empty() || point_without_decimals || !all_digits(whole) || !all_digits(decimals) {
            return Err(MoneyError::NotDecimal);
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() > INTEGER_DIGITS_MAX {
            return Err(MoneyError::TooLarge);
        }
        if decimals.len() > 4 {
            return Err(MoneyError::TooPrecise);
        }
        let digits =
            whole.bytes().chain(decimals.bytes()).chain(std::iter::repeat_n(b'0', 4 - decimals.len()));
        let units = digits.fold(0_i128, |sum, b| sum * 10 + i128::from(b - b'0'));
        Ok(Self(if negative { -units } else { units }))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:04}", units / u128::from(SCALE), units % u128::from(SCALE))
    }
}

/// A share of one in basis points, 0 to 10,000 inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BasisPoints(u16);

impl BasisPoints {
    /// All of it.
    pub const ONE: BasisPoints = BasisPoints(10_000);

    /// `points` hundredths of a percent, or nothing above 10,000.
    #[must_use]
    pub fn new(points: u16) -> Option<Self> {
        (points <= Self::ONE.0).then_some(Self(points))
    }

    /// 0 to 10,000 inclusive.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_from_their_digits() {
        for (text, units) in
            [("5.4", 54_000), ("0.0001", 1), ("007.10", 71_000), ("99999999999999.9999", Price::MAX.units())]
        {
            assert_eq!(text.parse::<Price>().map(Price::units), Ok(units), "{text}");
        }
        let bad = [
            ("0", MoneyError::NotPositive),
            ("-1", MoneyError::NotPositive),
            ("1.00001", MoneyError::TooPrecise),
            ("100000000000000", MoneyError::TooLarge),
            ("1e3", MoneyError::NotDecimal),
            ("", MoneyError::NotDecimal),
            (".5", MoneyError::NotDecimal),
            ("5.", MoneyError::NotDecimal),
            ("+5", MoneyError::NotDecimal),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<Price>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_stored_sum_is_exact_or_refused(
            a in -999_999_999_999_999_999_i128..=999_999_999_999_999_999,
            b in -999_999_999_999_999_999_i128..=999_999_999_999_999_999,
        ) {
            let fits = (a + b).abs() <= 999_999_999_999_999_999;
            prop_assert_eq!(Money(a).stored_sum(Money(b)), fits.then_some(Money(a + b)));
            if fits {
                // What is stored is read back from its text: 14 integer digits and 4 decimals.
                prop_assert_eq!(Money(a + b).to_string().parse::<Money>(), Ok(Money(a + b)));
            }
            prop_assert_eq!(Money(i128::MAX).stored_sum(Money(1)), None);
        }

        #[test]
        fn money_survives_its_own_text(units in -999_999_999_999_999_999_i128..=999_999_999_999_999_999) {
            prop_assert_eq!(Money(units).to_string().parse::<Money>(), Ok(Money(units)));
        }
    }
}

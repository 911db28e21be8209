//! Money in integers of 1/10,000 of a unit; never through a float.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::decimal::{Decimal, DecimalError, Places, Rest};

/// Parts of one unit: four decimals.
pub const SCALE: u64 = 10_000;
/// Most digits before the point, so that a price fits NUMERIC(18,4).
pub const INTEGER_DIGITS_MAX: u8 = 14;
/// What NUMERIC(18,4) holds.
const PLACES: Places = Places { whole: INTEGER_DIGITS_MAX, decimals: 4 };
/// A share of one in basis points.
const SHARE_PLACES: Places = Places { whole: 1, decimals: 4 };

/// A price or a bid's amount: above zero, below 10^14 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(NonZeroU64);

/// Why a text or number is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is no number.
    #[error(transparent)]
    NotDecimal(#[from] DecimalError),
    /// A fifth decimal that is not zero.
    #[error("more than 4 decimals")]
    TooPrecise,
    /// A fifteenth digit before the point.
    #[error("more than 14 integer digits")]
    TooLarge,
    /// Zero or below where more is needed.
    #[error("not above zero")]
    NotPositive,
    /// Above zero, and zero after rounding.
    #[error("rounded to zero")]
    RoundsToZero,
}

impl MoneyError {
    /// What is wrong and what to do; reads on from a field's name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotDecimal(error) => error.reason(),
            Self::TooPrecise => "has more than 4 decimals; round it to 4",
            Self::TooLarge => "has more than 14 digits before the point; give less",
            Self::NotPositive => "is not above zero; offer more",
            Self::RoundsToZero => "rounds to zero; offer at least 0.0001",
        }
    }
}

/// What becomes of a price's decimals beyond the fourth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// They are cut off, so that nobody offers more than they said.
    Down,
    /// To the nearest price, and of two as near to the one whose last digit is even.
    HalfEven,
}

/// Why a text is no rule of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prices are rounded down or half-even")]
pub struct RoundingError;

impl FromStr for Rounding {
    type Err = RoundingError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "down" => Ok(Self::Down),
            "half-even" => Ok(Self::HalfEven),
            _ => Err(RoundingError),
        }
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::HalfEven => "half-even",
        })
    }
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

    /// The price of a number with more decimals than a price has.
    ///
    /// # Errors
    /// When no rounding makes it a price.
    pub fn rounded(number: &Decimal<'_>, rounding: Rounding) -> Result<Self, MoneyError> {
        if number.is_negative() || number.is_zero() {
            return Err(MoneyError::NotPositive);
        }
        let scaled = number.scaled(PLACES).ok_or(MoneyError::TooLarge)?;
        let goes_up = match (rounding, scaled.rest) {
            (Rounding::HalfEven, Rest::AboveHalf) => true,
            (Rounding::HalfEven, Rest::Half) => scaled.floor % 2 == 1,
            _ => false,
        };
        match scaled.floor + u128::from(goes_up) {
            0 => Err(MoneyError::RoundsToZero),
            units => Self::from_units(u64::try_from(units).map_err(|_| MoneyError::TooLarge)?),
        }
    }

    /// Whether some rule of rounding makes this price of the number, and the number is not exactly this price.
    #[must_use]
    pub fn is_rounded_from(self, number: &Decimal<'_>) -> bool {
        let units = u128::from(self.units());
        number.scaled(PLACES).is_some_and(|scaled| {
            let is_near = scaled.floor == units || scaled.floor + 1 == units;
            !number.is_negative() && scaled.rest != Rest::None && is_near
        })
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
    /// Reads a number with at most 4 decimals that matter and 14 integer digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = Decimal::parse(text)?;
        let scaled = number.scaled(PLACES).ok_or(MoneyError::TooLarge)?;
        if scaled.rest != Rest::None {
            return Err(MoneyError::TooPrecise);
        }
        let units = i128::try_from(scaled.floor).map_err(|_| MoneyError::TooLarge)?;
        Ok(Self(if number.is_negative() { -units } else { units }))
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

    /// A number from 0 to 1 to the nearest basis point, halves up: a float's `0.9299999999999999` is the `0.93` that
    /// was meant. Nothing outside 0 to 1.
    #[must_use]
    pub fn nearest(number: &Decimal<'_>) -> Option<Self> {
        let scaled = number.scaled(SHARE_PLACES).filter(|_| !number.is_negative())?;
        let one = u128::from(Self::ONE.0);
        if scaled.floor > one || (scaled.floor == one && scaled.rest != Rest::None) {
            return None;
        }
        let goes_up = matches!(scaled.rest, Rest::Half | Rest::AboveHalf);
        Self::new(u16::try_from(scaled.floor).ok()? + u16::from(goes_up))
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
                .into_iter()
                .chain([
                    ("5.40000", 54_000),
                    ("5.400000000000000000", 54_000),
                    ("99999999999999.99990", Price::MAX.units()),
                ])
                .chain([("5.0E-4", 5), ("1.0E7", 100_000_000_000), ("1e2", 1_000_000), ("54000e-4", 54_000)])
        {
            assert_eq!(text.parse::<Price>().map(Price::units), Ok(units), "{text}");
        }
        let bad = [
            ("0", MoneyError::NotPositive),
            ("-1", MoneyError::NotPositive),
            ("1.00001", MoneyError::TooPrecise),
            ("100000000000000", MoneyError::TooLarge),
            ("1e14", MoneyError::TooLarge),
            ("1e999999999", MoneyError::TooLarge),
            ("1e-5", MoneyError::TooPrecise),
            ("", DecimalError::Empty.into()),
            (".5", DecimalError::NoWhole.into()),
            ("5.", DecimalError::NoFraction.into()),
            ("+5", DecimalError::Plus.into()),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<Price>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_price_is_rounded_by_the_stated_rule_and_never_to_zero() {
        let rounded =
            |text: &str, rounding| Price::rounded(&Decimal::parse(text).unwrap(), rounding).map(Price::units);
        for (text, down, half_even) in [
            ("5.40004", Ok(54_000), Ok(54_000)),
            ("5.40005", Ok(54_000), Ok(54_000)),
            ("5.40015", Ok(54_001), Ok(54_002)),
            ("5.4000500001", Ok(54_000), Ok(54_001)),
            ("5.40009", Ok(54_000), Ok(54_001)),
            ("5.4", Ok(54_000), Ok(54_000)),
            ("0.00005", Err(MoneyError::RoundsToZero), Err(MoneyError::RoundsToZero)),
            ("0.00006", Err(MoneyError::RoundsToZero), Ok(1)),
            ("1e-999999999", Err(MoneyError::RoundsToZero), Err(MoneyError::RoundsToZero)),
            ("0", Err(MoneyError::NotPositive), Err(MoneyError::NotPositive)),
            ("-1.00001", Err(MoneyError::NotPositive), Err(MoneyError::NotPositive)),
            ("99999999999999.99999", Ok(Price::MAX.units()), Err(MoneyError::TooLarge)),
            ("100000000000000.00001", Err(MoneyError::TooLarge), Err(MoneyError::TooLarge)),
        ] {
            let both = [Rounding::Down, Rounding::HalfEven].map(|rule| rounded(text, rule));
            assert_eq!(both, [down, half_even], "{text}");
        }
        for rule in [Rounding::Down, Rounding::HalfEven] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!("up".parse::<Rounding>(), Err(RoundingError));
    }

    proptest! {
        #[test]
        fn a_rounded_price_is_next_to_what_was_offered(
            units in 1..10_u128.pow(17), below in 1..10_u128.pow(9), half_even: bool,
        ) {
            // In units of 10^-13: every price and what lies behind it are whole numbers.
            let offered = units * 10_u128.pow(9) + below;
            let text = format!("{offered}e-13");
            let number = Decimal::parse(&text).unwrap();
            let price = Price::rounded(&number, if half_even { Rounding::HalfEven } else { Rounding::Down }).unwrap();
            let distance = offered.abs_diff(u128::from(price.units()) * 10_u128.pow(9));
            let is_exact = below % 10_u128.pow(9) == 0;
            let is_nearest = if half_even { distance * 2 <= 10_u128.pow(9) } else { u128::from(price.units()) == units };
            prop_assert!(is_nearest);
            prop_assert_eq!(price.is_rounded_from(&number), !is_exact);
            prop_assert!(!Price::from_units(price.units() + 2).unwrap().is_rounded_from(&number));
        }

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

//! Numbers against an oracle that counts in whole numbers of 128 bits.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

const PRICE: Places = Places { whole: 14, decimals: 4 };

/// `digits / 10^decimals * 10^exponent` in units of 10^-4, cut off, and what is left, by division.
fn oracle(digits: u128, decimals: i32, exponent: i32) -> Option<Scaled> {
    let shift = exponent - decimals + 4;
    let ten = |power: i32| 10_u128.pow(power.unsigned_abs());
    let (floor, rest) = if shift >= 0 {
        (digits * ten(shift), Rest::None)
    } else {
        let (floor, left) = (digits / ten(shift), digits % ten(shift));
        let rest = match (left, (left * 2).cmp(&ten(shift))) {
            (0, _) => Rest::None,
            (_, Ordering::Less) => Rest::BelowHalf,
            (_, Ordering::Equal) => Rest::Half,
            (_, Ordering::Greater) => Rest::AboveHalf,
        };
        (floor, rest)
    };
    (floor < 10_u128.pow(18)).then_some(Scaled { floor, rest })
}

fn read(text: &str) -> Option<Scaled> {
    Decimal::parse(text).unwrap().scaled(PRICE)
}

#[test]
fn a_huge_exponent_costs_nothing() {
    let began = std::time::Instant::now();
    for _ in 0..1_000 {
        assert_eq!(read("1e999999999"), None);
        assert_eq!(read("1e99999999999999999999999999"), None);
        assert_eq!(read("0e999999999"), Some(Scaled { floor: 0, rest: Rest::None }));
        let tiny = Some(Scaled { floor: 0, rest: Rest::BelowHalf });
        assert_eq!([read("1e-999999999"), read("9e-99999999999999999999999")], [tiny, tiny]);
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(Decimal::parse("1e-999999999").unwrap().to_string(), "0.1e-999999998");
}

#[test]
fn what_is_no_number_is_told_apart() {
    for (text, error) in [
        ("", DecimalError::Empty),
        ("+5", DecimalError::Plus),
        (".5", DecimalError::NoWhole),
        ("-.5", DecimalError::NoWhole),
        ("5.", DecimalError::NoFraction),
        ("5.e1", DecimalError::NoFraction),
        ("5e", DecimalError::NoExponent),
        ("5e+", DecimalError::NoExponent),
        ("5e1.5", DecimalError::NotDigits),
        ("5e1e1", DecimalError::NotDigits),
        ("e5", DecimalError::NotDigits),
        ("-", DecimalError::NotDigits),
        ("--5", DecimalError::NotDigits),
        ("1.2.3", DecimalError::NotDigits),
        ("1,5", DecimalError::NotDigits),
        (" 5", DecimalError::NotDigits),
        ("NaN", DecimalError::NotDigits),
        ("0x10", DecimalError::NotDigits),
        ("٥", DecimalError::NotDigits),
    ] {
        assert_eq!(Decimal::parse(text).map(|_| ()), Err(error), "{text}");
    }
    let long = format!("5.{}", "0".repeat(CHARS_MAX));
    assert_eq!(Decimal::parse(&long).map(|_| ()), Err(DecimalError::TooLong));
    assert_eq!(read(&long[..CHARS_MAX]), Some(Scaled { floor: 50_000, rest: Rest::None }));
}

#[test]
fn one_number_has_one_text() {
    for (one, texts) in [
        ("5.4", ["5.4", "5.40000", "5.400000000000000000", "0005.4", "54e-1", "0.54E1", "5.4e+0"]),
        ("0.0005", ["5.0E-4", "0.0005", "5e-4", "0.5e-3", "50e-5", "0.00050", "0.000000005e5"]),
        ("10000000", ["1.0E7", "1e7", "10000000", "10000000.0", "1E+7", "100e5", "0.1e8"]),
        ("0", ["0", "0.0", "-0", "-0.00", "0e5", "0E-99", "000"]),
        ("-1.5", ["-1.5", "-1.50", "-15e-1", "-0.15e1", "-001.5", "-1.5E0", "-1.5e+0"]),
    ] {
        for text in texts {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), one, "{text}");
        }
    }
}

proptest! {
    #[test]
    fn digits_point_and_exponent_are_read_as_whole_numbers_are_divided(
        digits in prop_oneof![0..10_u128.pow(20), 0..1_000_u128, (0..1_000_u128).prop_map(|n| n * 10_u128.pow(9))],
        decimals in 0..20_usize,
        exponent in -12..=12_i32,
        zeros in (0..4_usize, 0..30_usize),
    ) {
        let plain = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = plain.split_at(plain.len() - decimals);
        let (before, after) = ("0".repeat(zeros.0), "0".repeat(zeros.1));
        let point = if fraction.is_empty() && after.is_empty() { "" } else { "." };
        let text = format!("{before}{whole}{point}{fraction}{after}e{exponent}");
        let expected = oracle(digits, i32::try_from(decimals).unwrap(), exponent);
        prop_assert_eq!(read(&text), expected, "{}", text);
        // The one text of the number is read as the same number.
        let one = Decimal::parse(&text).unwrap().to_string();
        prop_assert_eq!(read(&one), expected, "{} of {}", one, text);
        prop_assert_eq!(Decimal::parse(&one).unwrap().to_string(), one);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9eE.+-]{0,40}|.{0,20}") {
        if let Ok(number) = Decimal::parse(&text) {
            drop((number.scaled(PRICE), number.scaled(Places { whole: 34, decimals: 4 }), number.to_string()));
        }
    }
}

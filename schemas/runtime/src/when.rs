//! Times on the command line: RFC 3339, and what `psql` prints, so that a time can be taken from either.

use schemas::time::{Millis, MillisError};

/// Reads `2026-11-23T21:20:10.000Z`, or `2026-11-23 21:20:10+00` with any offset.
///
/// # Errors
/// [`MillisError`] when it is neither.
pub fn parse(text: &str) -> Result<Millis, MillisError> {
    text.parse().or_else(|error| psql(text).and_then(|text| text.parse().ok()).ok_or(error))
}

/// The same time as RFC 3339, whose offsets have minutes.
fn psql(text: &str) -> Option<String> {
    let (date, clock) = text.split_once(' ')?;
    let offset = &clock[clock.find(['+', '-'])?..];
    let minutes = if offset.len() == "+00".len() { ":00" } else { "" };
    Some(format!("{date}T{clock}{minutes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same_time_and_others_are_none() {
        let at = parse("2026-11-23T21:20:10.000Z");
        for same in ["2026-11-23 21:20:10+00", "2026-11-23 21:20:10.000+00", "2026-11-24 02:50:10+05:30"] {
            assert_eq!(parse(same), at, "{same}");
        }
        for other in ["2026-11-23 21:20:10", "2026-11-23", "now", "", " ", "2026-11-23 +"] {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}

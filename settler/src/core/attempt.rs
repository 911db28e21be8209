//! What a failed attempt means, by its SQLSTATE.

/// What the runner does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A conflict: the whole attempt again, after full jitter.
    Conflict,
    /// No answer, so the outcome is unknown: the whole attempt again on a new connection. It begins by reading its own
    /// keys, which is how it finds out.
    Unknown,
    /// Too many connections or too much load: again, slower.
    Slower,
    /// Refused for good.
    Refused,
}

/// Says what a failed attempt means; `None` is a lost connection.
///
/// 40001 is the conflict of Aurora DSQL and PostgreSQL; 40P01 and 55P03 are PostgreSQL's own ways to say so; 23505 can
/// only be a derived key that another settler inserted first.
#[must_use]
pub fn next(sqlstate: Option<&str>) -> Next {
    match sqlstate {
        None | Some("XX000" | "57P01" | "57P02" | "57P03") => Next::Unknown,
        Some(code) if code.starts_with("08") => Next::Unknown,
        Some("40001" | "40P01" | "55P03" | "23505") => Next::Conflict,
        Some("53300" | "53400") => Next::Slower,
        Some(_) => Next::Refused,
    }
}

/// The code in the text of a DSQL conflict: `(OC000)` for data, `(OC001)` for schema.
#[must_use]
pub fn occ_code(message: &str) -> Option<&str> {
    let from = message.find("(OC")?;
    let code = message.get(from + 1..from + 6)?;
    let digits = code.bytes().skip(2).all(|b| b.is_ascii_digit());
    (digits && message.get(from + 6..from + 7) == Some(")")).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_tried_again_and_refusals_are_not() {
        assert_eq!(next(Some("40001")), Next::Conflict);
        assert_eq!(next(None), Next::Unknown);
        assert_eq!(next(Some("XX000")), Next::Unknown);
        assert_eq!(next(Some("53300")), Next::Slower);
        for refused in ["54000", "0A000", "23502", "42P01"] {
            assert_eq!(next(Some(refused)), Next::Refused, "{refused}");
        }
    }

    #[test]
    fn the_conflict_code_is_found_in_any_wording() {
        assert_eq!(
            occ_code("change conflicts with another transaction, please retry: (OC000)"),
            Some("OC000")
        );
        assert_eq!(occ_code("schema has been updated (OC001), retry"), Some("OC001"));
        assert_eq!(occ_code("could not serialize access"), None);
        assert_eq!(occ_code("(OC"), None);
    }
}

//! What a failed attempt means, by its SQLSTATE.
//!
//! Codes: PostgreSQL manual, appendix A; Aurora DSQL user guide, "Concurrency control" and "Quotas and limits".

use std::time::Duration;

/// What the runner does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Another transaction was faster: the whole attempt again, after full jitter.
    Conflict,
    /// No answer, so the outcome is unknown: the whole attempt again on a new connection. It begins by reading its own
    /// keys, which is how it finds out.
    Unknown,
    /// No connection could be made, so nothing was done: again, and an outage may last.
    Away,
    /// The ledger answers and lets nobody in: as [`Meaning::Away`], and it passes only when someone acts.
    Unauthorized,
    /// The schema changed under a prepared statement, so nothing was done: again, prepared anew.
    Stale,
    /// Too many connections or too much load: again, slower.
    Slower,
    /// The work itself is refused, and will be again.
    Refused,
    /// The statements, the role or the schema are refused, whatever the work is: someone must act.
    Broken,
}

/// Whether a connection may be used after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// After a rollback.
    Keep,
    /// Never: close it.
    Close,
}

/// Whether the ledger itself refused, or the local engine did so on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The ledger.
    Genuine,
    /// A fault that was asked for.
    Injected,
}

impl Origin {
    /// The word in `conflict_events.origin`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Injected => "injected",
        }
    }
}

/// What stands in a code's place when the connection went away before an answer.
pub const LOST: &str = "lost";

/// Why an attempt did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub meaning: Meaning,
    /// The code, [`LOST`] for a connection that went away, `away` for one that was never made.
    pub sqlstate: String,
    /// What was said.
    pub text: String,
    /// Whose doing it is.
    pub origin: Origin,
}

impl Failure {
    /// A refusal that the ledger worded.
    #[must_use]
    pub fn answered(sqlstate: &str, text: String, origin: Origin) -> Self {
        let meaning = if is_stale(sqlstate, &text) { Meaning::Stale } else { meaning(sqlstate) };
        Self { meaning, sqlstate: sqlstate.to_owned(), text, origin }
    }

    /// An answer that never came.
    #[must_use]
    pub fn lost(text: String) -> Self {
        Self { meaning: Meaning::Unknown, sqlstate: LOST.to_owned(), text, origin: Origin::Genuine }
    }

    /// A connection that was never made.
    #[must_use]
    pub fn away(text: String) -> Self {
        Self { meaning: Meaning::Away, sqlstate: "away".to_owned(), text, origin: Origin::Genuine }
    }

    /// A connection that was refused for who asked.
    #[must_use]
    pub fn not_let_in(sqlstate: String, text: String) -> Self {
        Self { meaning: Meaning::Unauthorized, sqlstate, text, origin: Origin::Genuine }
    }

    /// Whether the connection may be used again.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self.meaning {
            Meaning::Conflict | Meaning::Refused | Meaning::Slower => Fate::Keep,
            Meaning::Unknown | Meaning::Away | Meaning::Unauthorized | Meaning::Stale | Meaning::Broken => {
                Fate::Close
            }
        }
    }
}

/// One attempt that did not end well, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 0.
    pub number: u32,
    /// Why it failed.
    pub failure: Failure,
    /// The pause that followed; zero for the last.
    pub delay: Duration,
}

/// Says what a code means.
///
/// 40001 is the conflict of Aurora DSQL and PostgreSQL; 40P01 and 55P03 are PostgreSQL's own ways to say so; 23505 can
/// only be a derived key that another settler inserted first; 22012 is the answer of the settler's own guard when fewer
/// rows changed than were planned. Never tried again: 54000, other 22xxx and 23xxx (the work), 0A000 and 42xxx (the
/// statements).
#[must_use]
pub fn meaning(sqlstate: &str) -> Meaning {
    match sqlstate {
        "40001" | "40P01" | "55P03" | "23505" | "22012" => Meaning::Conflict,
        "XX000" | "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "40003" | "25006" | "25P02" | "25P03"
        | "26000" => Meaning::Unknown,
        code if code.starts_with("08") || code.starts_with("58") => Meaning::Unknown,
        code if code.starts_with("53") => Meaning::Slower,
        code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Meaning::Refused,
        _ => Meaning::Broken,
    }
}

/// Whether a statement was prepared for what a table was before (PostgreSQL, `plancache.c`: 0A000 with this text; any
/// other 0A000 is a feature that the ledger does not have).
fn is_stale(sqlstate: &str, text: &str) -> bool {
    sqlstate == "0A000" && text.contains("cached plan must not change result type")
}

/// The code in the text of a DSQL conflict: `(OC000)` for data, `(OC001)` for schema. The wording varies.
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
        for code in ["40001", "40P01", "55P03", "23505", "22012"] {
            assert_eq!(meaning(code), Meaning::Conflict, "{code}");
        }
        for code in ["XX000", "57P01", "08006", "40003"] {
            assert_eq!(meaning(code), Meaning::Unknown, "{code}");
        }
        for code in ["53300", "53400"] {
            assert_eq!(meaning(code), Meaning::Slower, "{code}");
        }
        for code in ["54000", "23502", "23514", "22003"] {
            assert_eq!(meaning(code), Meaning::Refused, "{code}");
        }
        for code in ["0A000", "42P01", "42501", "28P01"] {
            assert_eq!(meaning(code), Meaning::Broken, "{code}");
        }
    }

    #[test]
    fn a_connection_of_unknown_state_is_never_used_again() {
        let fate = |code| Failure::answered(code, String::new(), Origin::Genuine).fate();
        assert_eq!((fate("40001"), fate("XX000")), (Fate::Keep, Fate::Close));
        assert_eq!(Failure::lost(String::new()).fate(), Fate::Close);
    }

    #[test]
    fn only_a_plan_of_before_is_prepared_anew() {
        let failure = |code: &str, text: &str| Failure::answered(code, text.to_owned(), Origin::Genuine);
        let stale = failure("0A000", "cached plan must not change result type");
        assert_eq!((stale.meaning, stale.fate()), (Meaning::Stale, Fate::Close));
        assert_eq!(failure("0A000", "SAVEPOINT is not supported").meaning, Meaning::Broken);
        assert_eq!(failure("42P01", "cached plan must not change result type").meaning, Meaning::Broken);
    }

    #[test]
    fn the_conflict_code_is_found_in_any_wording() {
        let told = "change conflicts with another transaction, please retry: (OC000)";
        assert_eq!(occ_code(told), Some("OC000"));
        assert_eq!(occ_code("schema has been updated (OC001), retry"), Some("OC001"));
        assert_eq!(occ_code("could not serialize access"), None);
        assert_eq!(occ_code("(OC"), None);
    }
}

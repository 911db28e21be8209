//! A difference between what the log says and what was found, and the list of them.

use schemas::ids::SlotId;
use schemas::item::State;
use schemas::time::Millis;
use serde::{Serialize, Serializer};

/// One thing that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What differs: a stored thing and its attribute, such as `aggregate bids` or `settlement winner_account`.
    pub what: String,
    /// What else names it: a region and shard, an account, an entry; empty when slot and window say it all.
    pub subject: String,
    /// The auction's slot, when one auction is concerned.
    pub slot_id: Option<SlotId>,
    /// The start of its window, or of the window that was counted; RFC 3339 in JSON, as in the table's keys.
    #[serde(serialize_with = "as_text")]
    pub window_start: Option<Millis>,
    /// What follows from the log or from the other rows.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

fn as_text<S: Serializer>(start: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
    start.map(|start| start.to_string()).serialize(to)
}

impl Difference {
    /// Whether time alone may mend it: an item that a processor has yet to write, or an auction that a settler has yet to
    /// decide. What one transaction or one write leaves is there as a whole or never.
    #[must_use]
    pub fn may_still_come(&self) -> bool {
        let is_item = ["aggregate", "region totals", "hot slots"].contains(&self.what.as_str());
        let is_undecided = self.what == "aggregate state" && self.found == State::Pending.as_str();
        (is_item && self.found == "nothing") || is_undecided
    }
}

/// What a difference is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// See [`Difference::subject`].
    pub subject: String,
    /// See [`Difference::slot_id`].
    pub slot_id: Option<SlotId>,
    /// See [`Difference::window_start`].
    pub window_start: Option<Millis>,
}

impl About {
    /// An auction.
    #[must_use]
    pub fn auction(slot: SlotId, window: Millis) -> Self {
        Self { subject: String::new(), slot_id: Some(slot), window_start: Some(window) }
    }

    /// Something else.
    #[must_use]
    pub fn subject(subject: impl ToString) -> Self {
        Self { subject: subject.to_string(), ..Self::default() }
    }

    /// The same, with a subject beside it.
    #[must_use]
    pub fn with(mut self, subject: impl ToString) -> Self {
        self.subject = subject.to_string();
        self
    }
}

/// Differences in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Difference>);

impl Findings {
    /// Adds a difference.
    pub fn add(&mut self, what: impl ToString, about: &About, expected: impl ToString, found: impl ToString) {
        self.0.push(Difference {
            what: what.to_string(),
            subject: about.subject.clone(),
            slot_id: about.slot_id,
            window_start: about.window_start,
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    /// Adds a difference when the two are not the same.
    pub fn same(&mut self, what: &str, about: &About, expected: impl ToString, found: impl ToString) {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            self.add(what, about, expected, found);
        }
    }
}

/// A value, or `nothing`.
pub(super) fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(slot) = self.slot_id {
            write!(f, " of slot {slot}")?;
        }
        if let Some(window) = self.window_start {
            write!(f, " in window {window}")?;
        }
        if !self.subject.is_empty() {
            write!(f, " ({})", self.subject)?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

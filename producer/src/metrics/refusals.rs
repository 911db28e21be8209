//! Refusals by region and reason: whose bids do not get in, and why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use schemas::ids::Region;
use serde::Serialize;

use crate::core::admission::AdmissionError;

/// Why a bid was refused: a closed set, so that no bidder can make a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The line as a whole cannot be read.
    Line,
    /// A field of a bid, by its name, is absent or wrong.
    Field(&'static str),
    /// A field that no bid has, or that only another format has.
    OtherField,
    /// Dated too far ahead.
    Ahead,
    /// The account is not agreed.
    Account,
    /// The window is closed.
    Expired,
    /// The stream refuses the record that it is in.
    Record,
}

/// The fields of a bid.
const FIELDS: [&str; 13] = [
    "bid_id",
    "slot_id",
    "account_id",
    "amount",
    "latency_ms",
    "quality_score",
    "timestamp",
    "region",
    // Of a bid response.
    "seat",
    "tagid",
    "impid",
    "price",
    "bid",
];

impl Reason {
    /// The reason of a refusal that blames this field.
    #[must_use]
    pub fn of_field(field: &str) -> Self {
        match FIELDS.iter().find(|known| **known == field) {
            Some(known) => Self::Field(known),
            None if field == "line" => Self::Line,
            None => Self::OtherField,
        }
    }

    /// Its name in metrics and summaries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Field(field) => field,
            Self::OtherField => "other_field",
            Self::Ahead => "ahead",
            Self::Account => "unknown_account",
            Self::Expired => "expired",
            Self::Record => "record",
        }
    }
}

impl From<&AdmissionError> for Reason {
    fn from(error: &AdmissionError) -> Self {
        match error {
            AdmissionError::Ahead { .. } | AdmissionError::Full { .. } => Self::Ahead,
            AdmissionError::Account { .. } => Self::Account,
        }
    }
}

/// Region and reason as labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// The region.
    pub region: String,
    /// The reason's name.
    pub reason: &'static str,
}

/// Bids of a region that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The region.
    pub region: String,
    /// The reason's name.
    pub reason: &'static str,
    /// How many.
    pub bids: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.region, self.reason, self.bids)
    }
}

/// Counters by region and reason.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(Region, Reason), u64>>);

impl Refusals {
    pub(crate) fn add(&self, region: Region, reason: Reason) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((region, reason)).or_default() += 1;
    }

    /// The counters as they stand, by region and reason.
    #[must_use]
    pub fn counts(&self) -> Vec<Refused> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |((region, reason), bids): (&(Region, Reason), &u64)| Refused {
            region: region.to_string(),
            reason: reason.name(),
            bids: *bids,
        };
        counts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bidder_writes_makes_no_reason() {
        let (refusals, region) = (Refusals::default(), "eu-1".parse().unwrap());
        for field in ["amount", "line", "frobnicate", "seatbid[0]", "amount"] {
            refusals.add(region, Reason::of_field(field));
        }
        refusals.add("us-1".parse().unwrap(), Reason::Expired);
        let told: Vec<String> = refusals.counts().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["eu-1 line 1", "eu-1 amount 2", "eu-1 other_field 2", "us-1 expired 1"]);
    }
}

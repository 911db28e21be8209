//! What goes wrong on purpose, each with its own probability and all from one seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Probabilities from 0 to 1 and the chance they are drawn from.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A request is dropped before it is carried out.
    pub lost_request: f64,
    /// A request is carried out and its answer dropped.
    pub lost_reply: f64,
    /// A request is answered with status 500 and not carried out.
    pub server_error: f64,
    /// A whole request is throttled.
    pub throttle: f64,
    /// An entry of PutRecords fails with `InternalFailure`.
    pub entry: f64,
    /// A GetRecords call finds its iterator expired.
    pub expired_iterator: f64,
    chance: StdRng,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    LostRequest,
    LostReply,
    ServerError,
    Throttled,
    ExpiredIterator,
}

impl Default for Faults {
    fn default() -> Self {
        Self::none(0)
    }
}

impl Faults {
    /// Nothing goes wrong; set the probabilities on this.
    #[must_use]
    pub fn none(seed: u64) -> Self {
        Self {
            lost_request: 0.0,
            lost_reply: 0.0,
            server_error: 0.0,
            throttle: 0.0,
            entry: 0.0,
            expired_iterator: 0.0,
            chance: StdRng::seed_from_u64(seed),
        }
    }

    pub(crate) fn fate(&mut self, operation: &str) -> Fate {
        let records = matches!(operation, "PutRecords" | "PutRecord" | "GetRecords");
        let drawn = [
            (self.lost_request, Fate::LostRequest),
            (self.lost_reply, Fate::LostReply),
            (self.server_error, Fate::ServerError),
            (if records { self.throttle } else { 0.0 }, Fate::Throttled),
            (if operation == "GetRecords" { self.expired_iterator } else { 0.0 }, Fate::ExpiredIterator),
        ];
        drawn
            .into_iter()
            .find(|(probability, _)| self.happens(*probability))
            .map_or(Fate::Served, |(_, fate)| fate)
    }

    /// Whether the next entry fails.
    pub(crate) fn entry_fails(&mut self) -> bool {
        let probability = self.entry;
        self.happens(probability)
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.chance.random_bool(probability.min(1.0))
    }
}

//! What goes wrong on purpose, each with its own probability and all from one seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

/// Longest latency, so that a mistyped one cannot hang a client for ever.
const LATENCY_MS_MAX: u64 = 600_000;

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
    /// An entry of PutRecords fails with `ProvisionedThroughputExceededException`.
    pub entry_throttle: f64,
    /// A GetRecords call finds its iterator expired.
    pub expired_iterator: f64,
    /// A request waits before it is carried out.
    pub delay: f64,
    /// The longest such wait, in ms; each is drawn evenly from 1 to this.
    pub delay_ms_max: u64,
    chance: StdRng,
}

/// Faults as the control door takes them; what is not given does not happen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    seed: u64,
    lost_request: f64,
    lost_reply: f64,
    server_error: f64,
    throttle: f64,
    entry: f64,
    entry_throttle: f64,
    expired_iterator: f64,
    delay: f64,
    delay_ms_max: u64,
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
            entry_throttle: 0.0,
            expired_iterator: 0.0,
            delay: 0.0,
            delay_ms_max: 0,
            chance: StdRng::seed_from_u64(seed),
        }
    }

    /// The faults that a body of the control door asks for.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let wanted: Wanted = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let faults = Self {
            lost_request: wanted.lost_request,
            lost_reply: wanted.lost_reply,
            server_error: wanted.server_error,
            throttle: wanted.throttle,
            entry: wanted.entry,
            entry_throttle: wanted.entry_throttle,
            expired_iterator: wanted.expired_iterator,
            delay: wanted.delay,
            delay_ms_max: wanted.delay_ms_max,
            ..Self::none(wanted.seed)
        };
        let probabilities = faults.probabilities();
        match probabilities.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => Err(format!("{name} must be from 0 to 1 and is {value}")),
            None if faults.delay_ms_max > LATENCY_MS_MAX => {
                Err(format!("delay_ms_max must be at most {LATENCY_MS_MAX}"))
            }
            None => Ok(faults),
        }
    }

    fn probabilities(&self) -> [(&'static str, f64); 8] {
        [
            ("lost_request", self.lost_request),
            ("lost_reply", self.lost_reply),
            ("server_error", self.server_error),
            ("throttle", self.throttle),
            ("entry", self.entry),
            ("entry_throttle", self.entry_throttle),
            ("expired_iterator", self.expired_iterator),
            ("delay", self.delay),
        ]
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

    /// How long the next request waits.
    pub(crate) fn wait(&mut self) -> Option<Duration> {
        let most = self.delay_ms_max.min(LATENCY_MS_MAX);
        let waits = most > 0 && self.happens(self.delay);
        waits.then(|| Duration::from_millis(self.chance.random_range(1..=most)))
    }

    /// The codes with which the next entries fail; nothing at all when none can.
    pub(crate) fn entries(&mut self, count: usize) -> std::vec::IntoIter<Option<&'static str>> {
        if self.entry <= 0.0 && self.entry_throttle <= 0.0 {
            return Vec::new().into_iter();
        }
        let code = |_| {
            if self.happens(self.entry) {
                return Some("InternalFailure");
            }
            self.happens(self.entry_throttle).then_some("ProvisionedThroughputExceededException")
        };
        (0..count).map(code).collect::<Vec<_>>().into_iter()
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.chance.random_bool(probability.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_history() {
        let history = |seed: u64| {
            let mut faults = Faults { lost_reply: 0.3, throttle: 0.3, entry: 0.2, ..Faults::none(seed) };
            let fates: Vec<Fate> = (0..100).map(|_| faults.fate("PutRecords")).collect();
            (fates, faults.entries(100).collect::<Vec<_>>())
        };
        assert_eq!(history(7), history(7));
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn entries_fail_with_both_codes_about_as_often_as_asked() {
        let mut faults = Faults { entry: 0.25, entry_throttle: 0.25, ..Faults::none(1) };
        let failed: Vec<Option<&str>> = faults.entries(4_000).collect();
        let count = |code: &str| failed.iter().filter(|one| **one == Some(code)).count();
        assert!((900..1_100).contains(&count("InternalFailure")));
        assert!((650..850).contains(&count("ProvisionedThroughputExceededException")));
    }

    #[test]
    fn what_the_control_door_cannot_mean_is_refused_by_name() {
        assert!(Faults::parse(br#"{"lost_reply":1.5}"#).unwrap_err().contains("lost_reply"));
        assert!(Faults::parse(br#"{"lost_replies":0.5}"#).unwrap_err().contains("lost_replies"));
        assert!(Faults::parse(br#"{"delay":1,"delay_ms_max":600001}"#).is_err());
        assert!(Faults::parse(b"[").is_err());
        let faults = Faults::parse(br#"{"seed":3,"throttle":1}"#).unwrap();
        assert_eq!((faults.throttle, faults.lost_reply), (1.0, 0.0));
    }
}

//! What goes wrong on purpose, each with its own probability and all from one seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

/// Longest delay, so that a mistyped one cannot hang a client for ever.
const DELAY_MS_MAX: u64 = 600_000;

/// What goes wrong, as probabilities from 0 to 1; by default nothing does. The control door takes the same fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Where chance begins: the same seed and the same requests give the same history.
    pub seed: u64,
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
}

/// Faults and the chance they are drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    faults: Faults,
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

impl Faults {
    /// Nothing goes wrong; set the probabilities on this.
    #[must_use]
    pub fn none(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The faults that a body of the control door asks for.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let faults: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let probabilities = [
            ("lost_request", faults.lost_request),
            ("lost_reply", faults.lost_reply),
            ("server_error", faults.server_error),
            ("throttle", faults.throttle),
            ("entry", faults.entry),
            ("entry_throttle", faults.entry_throttle),
            ("expired_iterator", faults.expired_iterator),
            ("delay", faults.delay),
        ];
        match probabilities.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => Err(format!("{name} must be from 0 to 1 and is {value}")),
            None if faults.delay_ms_max > DELAY_MS_MAX => {
                Err(format!("delay_ms_max must be at most {DELAY_MS_MAX}"))
            }
            None => Ok(faults),
        }
    }
}

impl Dice {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, chance: StdRng::seed_from_u64(faults.seed) }
    }

    pub(crate) fn fate(&mut self, operation: &str) -> Fate {
        let faults = self.faults;
        let records = matches!(operation, "PutRecords" | "PutRecord" | "GetRecords");
        let drawn = [
            (faults.lost_request, Fate::LostRequest),
            (faults.lost_reply, Fate::LostReply),
            (faults.server_error, Fate::ServerError),
            (if records { faults.throttle } else { 0.0 }, Fate::Throttled),
            (if operation == "GetRecords" { faults.expired_iterator } else { 0.0 }, Fate::ExpiredIterator),
        ];
        drawn
            .into_iter()
            .find(|(probability, _)| self.happens(*probability))
            .map_or(Fate::Served, |(_, fate)| fate)
    }

    /// How long the next request waits.
    pub(crate) fn wait(&mut self) -> Option<Duration> {
        let most = self.faults.delay_ms_max.min(DELAY_MS_MAX);
        let waits = most > 0 && self.happens(self.faults.delay);
        waits.then(|| Duration::from_millis(self.chance.random_range(1..=most)))
    }

    /// The codes with which the next entries fail; nothing at all when none can.
    pub(crate) fn entries(&mut self, count: usize) -> std::vec::IntoIter<Option<&'static str>> {
        if self.faults.entry <= 0.0 && self.faults.entry_throttle <= 0.0 {
            return Vec::new().into_iter();
        }
        let code = |_| {
            if self.happens(self.faults.entry) {
                return Some("InternalFailure");
            }
            self.happens(self.faults.entry_throttle).then_some("ProvisionedThroughputExceededException")
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
            let faults = Faults { lost_reply: 0.3, throttle: 0.3, entry: 0.2, ..Faults::none(seed) };
            let mut dice = Dice::new(faults);
            let fates: Vec<Fate> = (0..100).map(|_| dice.fate("PutRecords")).collect();
            (fates, dice.entries(100).collect::<Vec<_>>())
        };
        assert_eq!(history(7), history(7));
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn entries_fail_with_both_codes_about_as_often_as_asked() {
        let mut dice = Dice::new(Faults { entry: 0.25, entry_throttle: 0.25, ..Faults::none(1) });
        let failed: Vec<Option<&str>> = dice.entries(4_000).collect();
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

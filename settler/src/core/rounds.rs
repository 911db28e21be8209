//! When the outbox is looked at, and in which order: so that many settlers need no leases.
//!
//! Each round has an order of its own, so that two settlers most often begin at different buckets; what both take is
//! decided once by the ledger. An idle outbox is looked at less and less often, and one that held something at once
//! again.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

/// Shortest pause after a round that found nothing.
const IDLE_MIN: Duration = Duration::from_millis(20);
/// Longest pause while the outbox does not answer.
const IDLE_AWAY: Duration = Duration::from_secs(2);

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Auctions left the outbox.
    Found,
    /// There were none.
    Idle,
    /// The outbox did not answer.
    Away,
}

/// Rounds over the buckets of an outbox.
#[derive(Debug)]
pub struct Rounds {
    buckets: Vec<u32>,
    /// Longest pause of an idle outbox.
    idle_max: Duration,
    pause: Duration,
}

impl Rounds {
    /// Rounds over so many buckets.
    #[must_use]
    pub fn new(buckets: u32, idle_max: Duration) -> Self {
        Self { buckets: (0..buckets).collect(), idle_max, pause: IDLE_MIN }
    }

    /// The buckets in an order drawn for the next round.
    pub fn order(&mut self, rng: &mut impl Rng) -> &[u32] {
        self.buckets.shuffle(rng);
        &self.buckets
    }

    /// How long to wait after a round.
    pub fn pause(&mut self, round: Round) -> Duration {
        let longest = match round {
            Round::Found => {
                self.pause = IDLE_MIN;
                return Duration::ZERO;
            }
            Round::Idle => self.idle_max,
            Round::Away => IDLE_AWAY,
        };
        let pause = self.pause.min(longest);
        self.pause = (pause * 2).min(longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn rounds() -> Rounds {
        Rounds::new(16, Duration::from_millis(200))
    }

    #[test]
    fn every_round_has_all_buckets_in_an_order_of_its_own() {
        let orders = |seed| {
            let (mut rounds, mut rng) = (rounds(), StdRng::seed_from_u64(seed));
            (0..20).map(|_| rounds.order(&mut rng).to_vec()).collect::<Vec<_>>()
        };
        let (one, other) = (orders(1), orders(2));
        for order in &one {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..16).collect::<Vec<_>>());
        }
        assert!(one.windows(2).all(|pair| pair[0] != pair[1]), "a round is not like the one before");
        assert!(one.iter().zip(&other).all(|(one, other)| one != other), "settlers differ");
        assert_eq!(one, orders(1), "chance is an argument");
    }

    #[test]
    fn an_idle_outbox_is_looked_at_less_often_and_a_busy_one_at_once() {
        let mut rounds = rounds();
        let mut pause = |round| rounds.pause(round).as_millis();
        assert_eq!([Round::Idle; 6].map(&mut pause), [20, 40, 80, 160, 200, 200]);
        assert_eq!([Round::Found, Round::Found, Round::Idle, Round::Idle].map(&mut pause), [0, 0, 20, 40]);
        assert_eq!([Round::Away; 7].map(&mut pause), [80, 160, 320, 640, 1_280, 2_000, 2_000]);
        assert_eq!(pause(Round::Idle), 200, "it answers again: no longer than an idle one");
    }

    #[test]
    fn the_longest_pause_holds_from_the_first_one_on() {
        let mut rounds = Rounds::new(1, Duration::from_millis(5));
        assert_eq!([Round::Idle; 2].map(|round| rounds.pause(round).as_millis()), [5, 5]);
    }
}

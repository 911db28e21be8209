//! Whether the stream takes bids, by what it last said.
//!
//! A call that fails says nothing yet: what was taken waits and is sent again. A stream that was asked and has not
//! answered for a while is away, whether the calls failed or are still under way; one that is not there or refuses is so
//! at once. A refusal for a rate is an answer.

use std::time::{Duration, Instant};

use runtime::failure::Failure;

/// So long after its last answer a stream that is asked is away; what lasts less long is not told as health.
pub const AWAY_AFTER: Duration = Duration::from_secs(10);
/// So long at least it must have been asked: one that nobody sent anything owes no answer.
pub const ASKED_FOR: Duration = Duration::from_secs(5);

/// A stream that is not ACTIVE gives no list of its shards (Kinesis API reference, ListShards).
const BUSY: &str = "ResourceInUseException";

/// Whether a producer is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The stream was not looked at yet.
    Starting,
    /// It answers.
    Well,
    /// It has not answered for [`AWAY_AFTER`].
    Away,
    /// It does not exist.
    Missing,
    /// It refuses the credentials, or a policy denies the call.
    Unauthorized,
    /// It refuses for another reason.
    Refused,
    /// No more bids are taken.
    Ending,
}

impl Health {
    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Well => "ok",
            Self::Away => "away",
            Self::Missing => "missing",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::Ending => "ending",
        }
    }

    /// What is wrong, in words that name nothing; none when all is well.
    #[must_use]
    pub fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Starting => Some("the stream was not looked at yet"),
            Self::Well => None,
            Self::Away => Some("the stream does not answer"),
            Self::Missing => Some("the stream does not exist"),
            Self::Unauthorized => Some("the stream refuses the credentials, or a policy denies the call"),
            Self::Refused => Some("the stream refuses what is sent"),
            Self::Ending => Some("no more bids are taken"),
        }
    }

    /// Whether it is the stream that keeps bids from being delivered.
    #[must_use]
    pub fn is_of_the_stream(self) -> bool {
        matches!(self, Self::Away | Self::Missing | Self::Unauthorized | Self::Refused)
    }
}

/// What the stream last said.
#[derive(Clone, Copy, Debug, Default)]
enum Said {
    #[default]
    Nothing,
    Answered,
    /// Nothing since its last answer.
    Failed,
    Missing,
    Unauthorized,
    Refused,
}

/// How the stream stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    said: Said,
    /// When it last answered, well or not.
    answered: Option<Instant>,
    /// When it was first asked since then.
    asked: Option<Instant>,
    is_ending: bool,
}

impl Standing {
    /// It is asked, or asked again.
    pub fn on_ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// It answered a call.
    pub fn on_answer(&mut self, now: Instant) {
        self.on_said(Said::Answered, now);
    }

    /// A call failed.
    pub fn on_failure(&mut self, failure: &Failure, now: Instant) {
        let said = match failure {
            Failure::Throttled { .. } => Said::Answered,
            // It changes its shards, or is made or deleted; records may be taken all the same, and whether they are is
            // what those say.
            Failure::Refused { code, .. } if code == BUSY => Said::Answered,
            Failure::Missing { .. } => Said::Missing,
            Failure::Unauthorized { .. } => Said::Unauthorized,
            Failure::Refused { .. } => Said::Refused,
            _ => {
                self.said = Said::Failed;
                self.asked.get_or_insert(now);
                return;
            }
        };
        self.on_said(said, now);
    }

    fn on_said(&mut self, said: Said, now: Instant) {
        (self.said, self.answered, self.asked) = (said, Some(now), None);
    }

    fn is_away(&self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        self.asked.is_some_and(|asked| since(asked) >= ASKED_FOR)
            && self.answered.is_none_or(|answered| since(answered) >= AWAY_AFTER)
    }

    /// No more bids are taken.
    pub fn on_end(&mut self) {
        self.is_ending = true;
    }

    /// How it stands now.
    #[must_use]
    pub fn health(&self, now: Instant) -> Health {
        match self.said {
            Said::Missing => Health::Missing,
            Said::Unauthorized => Health::Unauthorized,
            Said::Refused => Health::Refused,
            _ if self.is_ending => Health::Ending,
            Said::Nothing => Health::Starting,
            Said::Failed | Said::Answered if self.is_away(now) => Health::Away,
            Said::Failed | Said::Answered => Health::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Failure {
        Failure::said(code, String::new())
    }

    /// A standing of a stream that answered, and when.
    fn answered() -> (Standing, Instant) {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.on_answer(now);
        (standing, now)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stream_that_never_answers_is_away_ten_seconds_after_its_last_answer() {
        let (mut standing, now) = answered();
        assert_eq!(standing.health(now + 60 * SECOND), Health::Well, "nobody asked it anything");
        standing.on_ask(now + SECOND);
        standing.on_ask(now + 9 * SECOND);
        assert_eq!(standing.health(now + AWAY_AFTER - SECOND), Health::Well, "a short absence is waited for");
        assert_eq!(
            standing.health(now + AWAY_AFTER),
            Health::Away,
            "no call has failed yet, and none has to"
        );
        let lost = Failure::Unknown { message: String::new() };
        standing.on_failure(&lost, now + 20 * SECOND);
        assert_eq!(standing.health(now + 20 * SECOND), Health::Away);
        standing.on_answer(now + 21 * SECOND);
        assert_eq!(standing.health(now + 21 * SECOND), Health::Well);
        standing.on_ask(now + 22 * SECOND);
        assert_eq!(standing.health(now + 30 * SECOND), Health::Well, "counted from the last answer");
        assert_eq!(standing.health(now + 31 * SECOND), Health::Away);
    }

    #[test]
    fn a_stream_that_was_silent_because_nobody_asked_has_time_to_answer() {
        let (mut standing, now) = answered();
        let asked = now + 60 * SECOND;
        standing.on_ask(asked);
        assert_eq!(standing.health(asked), Health::Well);
        assert_eq!(standing.health(asked + ASKED_FOR), Health::Away);
    }

    #[test]
    fn what_is_gone_is_told_at_once_and_what_fails_after_a_while() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        assert_eq!(standing.health(now), Health::Starting);
        standing.on_answer(now);
        assert_eq!(standing.health(now), Health::Well);
        let (away, soon) = (Failure::Unreachable { message: String::new() }, now + AWAY_AFTER / 2);
        standing.on_failure(&away, now);
        standing.on_failure(&away, soon);
        assert_eq!(standing.health(soon), Health::Well, "a short absence is waited for");
        assert_eq!(standing.health(now + AWAY_AFTER), Health::Away, "counted from the last answer");
        standing.on_failure(&Failure::Throttled { code: String::new() }, soon);
        assert_eq!(standing.health(now + AWAY_AFTER), Health::Well, "a refusal for the rate is an answer");
        standing.on_failure(&refused("ResourceNotFoundException"), now);
        assert_eq!(standing.health(now), Health::Missing);
        standing.on_failure(&refused("InvalidArgumentException"), now);
        assert_eq!(standing.health(now), Health::Refused);
        for code in ["AccessDeniedException", "ExpiredTokenException"] {
            standing.on_failure(&refused(code), now);
            assert_eq!(
                (standing.health(now), standing.health(now).word()),
                (Health::Unauthorized, "unauthorized")
            );
        }
        standing.on_answer(now);
        assert_eq!(standing.health(now), Health::Well, "it was made again");
        standing.on_failure(&refused(BUSY), now);
        assert_eq!(standing.health(now), Health::Well, "a stream that changes its shards takes bids");
    }

    #[test]
    fn the_end_is_told_by_its_reason() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.on_end();
        standing.on_answer(now);
        assert_eq!(standing.health(now), Health::Ending, "an answer that was under way changes nothing");
        standing.on_failure(&refused("ResourceNotFoundException"), now);
        assert_eq!(standing.health(now), Health::Missing);
    }

    #[test]
    fn only_who_is_well_has_no_trouble() {
        let all = [
            Health::Starting,
            Health::Well,
            Health::Away,
            Health::Missing,
            Health::Unauthorized,
            Health::Refused,
            Health::Ending,
        ];
        for health in all {
            assert_eq!(health.trouble().is_none(), health == Health::Well, "{health:?}");
        }
        assert_eq!(all.map(Health::is_of_the_stream), [false, false, true, true, true, true, false]);
    }
}

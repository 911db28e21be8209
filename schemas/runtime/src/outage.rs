//! What a stage does when a service fails after a good start: one rule for all calls of all stages.
//!
//! Until a service has given its first good answer, what a person must mend (credentials, a policy, a name, a request)
//! ends the stage at once. After it, everything that is not certain is an outage: it is told, tried again with full
//! jitter, and its end is told too. [`Outage`] is the rule as a value; [`Watched`] keeps one for a service, with a
//! clock and a log.
//!
//! | class | before the first good answer | after it |
//! |---|---|---|
//! | throttled | again | again |
//! | unknown, unreachable, unexpected reply | final for the caller that starts | again, without an end |
//! | unauthorized, refused | final | again for [`PATIENCE`], then final |
//! | missing | final | final |

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::failure::Failure;

/// How long credentials, policies and refused requests are given to be mended: longer than an operator needs to
/// rotate a key or to roll back a policy, and than IAM needs to spread it.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Between two attempts while a service fails.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// Between two lines about one outage.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// An outage that ends sooner is not worth a line about its end.
const BLINK: Duration = Duration::from_secs(1);

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this long.
    Again(Duration),
    /// Trying on is of no use: end.
    GiveUp,
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It answers.
    Well,
    /// It does not answer, or fails.
    Away,
    /// It refuses the credentials, or a policy denies the call.
    Unauthorized,
    /// It refuses what it is asked.
    Refused,
}

impl State {
    /// One word for it, in health and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Away => "away",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
        }
    }

    /// What a failure makes of a service that was well; none where it is an answer.
    #[must_use]
    pub fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Throttled { .. } => None,
            Failure::Unknown { .. } | Failure::Unreachable { .. } | Failure::Unexpected { .. } => {
                Some(Self::Away)
            }
            Failure::Unauthorized { .. } => Some(Self::Unauthorized),
            Failure::Missing { .. } | Failure::Refused { .. } => Some(Self::Refused),
        }
    }
}

/// An outage that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// From the first failure to the next good answer.
    pub lasted: Duration,
    /// Calls that failed.
    pub failures: u32,
}

/// The rule, for one service of one stage. Times are since any fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    has_answered: bool,
    ongoing: Option<Ongoing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ongoing {
    since: Duration,
    /// Since when the service has said no, without a good answer in between.
    refused_since: Option<Duration>,
    failures: u32,
    state: State,
}

impl Outage {
    /// A service that has answered before.
    #[must_use]
    pub fn after_a_good_start() -> Self {
        Self { has_answered: true, ongoing: None }
    }

    /// A good answer came. Returns the outage that it ends, if it ends one.
    pub fn on_success(&mut self, now: Duration) -> Option<Over> {
        self.has_answered = true;
        let Ongoing { since, failures, .. } = self.ongoing.take()?;
        Some(Over { lasted: now.saturating_sub(since), failures })
    }

    /// A call failed. `unit` is drawn from `[0, 1)`.
    #[must_use]
    pub fn on_failure(&mut self, failure: &Failure, now: Duration, unit: f64) -> Verdict {
        let Some(state) = State::of(failure) else {
            // A refusal for the rate is an answer, though not a good one.
            let failures = self.ongoing.map_or(0, |ongoing| ongoing.failures);
            return Verdict::Again(BACKOFF.delay(failures, unit));
        };
        if matches!(failure, Failure::Missing { .. }) || (!self.has_answered && !failure.is_transient()) {
            return Verdict::GiveUp;
        }
        let fresh = Ongoing { since: now, refused_since: None, failures: 0, state };
        let ongoing = self.ongoing.get_or_insert(fresh);
        let attempt = ongoing.failures;
        ongoing.failures = attempt.saturating_add(1);
        ongoing.state = state;
        if !failure.is_transient() {
            let since = *ongoing.refused_since.get_or_insert(now);
            if now.saturating_sub(since) >= patience() {
                return Verdict::GiveUp;
            }
        }
        Verdict::Again(BACKOFF.delay(attempt, unit))
    }

    /// How the service stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.ongoing.map_or(State::Well, |ongoing| ongoing.state)
    }

    /// Since when it has failed.
    #[must_use]
    pub fn since(&self) -> Option<Duration> {
        Some(self.ongoing?.since)
    }
}

/// How long a refusal is tried: not at all with the mistake that takes an authorization as final.
fn patience() -> Duration {
    if schemas::mutant::is(schemas::mutant::Mutant::AuthorizationIsFinal) { Duration::ZERO } else { PATIENCE }
}

/// The outage of a service, with a clock and a log; shared by all who call it.
#[derive(Debug)]
pub struct Watched {
    /// What is called, as a person knows it: `stream bids`, `outbox of table t`.
    what: String,
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    outage: Outage,
    /// When the outage was told last, and as what.
    told: Option<(Duration, State)>,
}

impl Watched {
    /// A service that has not answered yet.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), started: Instant::now(), inner: Mutex::default() }
    }

    /// A service that has answered before.
    #[must_use]
    pub fn after_a_good_start(what: impl Into<String>) -> Self {
        let watched = Self::new(what);
        watched.lock().outage = Outage::after_a_good_start();
        watched
    }

    /// What is called.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// A good answer came; says so when it ends an outage that was told.
    pub fn on_success(&self) {
        let mut inner = self.lock();
        let Some(Over { lasted, failures }) = inner.outage.on_success(self.started.elapsed()) else { return };
        let told = inner.told.take();
        drop(inner);
        let (what, after_s) = (self.what(), lasted.as_secs());
        if told.is_some() && lasted >= BLINK {
            tracing::info!(what, after_s, failures, "answers again after {after_s} s");
        }
    }

    /// A call failed; tells it, now and then while it lasts, and says what to do.
    pub fn on_failure(&self, failure: &Failure) -> Verdict {
        let (now, unit) = (self.started.elapsed(), crate::chance::unit());
        let mut inner = self.lock();
        let verdict = inner.outage.on_failure(failure, now, unit);
        let state = inner.outage.state();
        let is_due =
            inner.told.is_none_or(|(at, as_what)| as_what != state || now.saturating_sub(at) >= TELL_EVERY);
        if verdict == Verdict::GiveUp || state == State::Well || !is_due {
            tracing::debug!(%failure, what = self.what, "call failed");
            return verdict;
        }
        inner.told = Some((now, state));
        let failing_s = now.saturating_sub(inner.outage.since().unwrap_or(now)).as_secs();
        drop(inner);
        let trouble = failure.told(&self.what);
        match state {
            State::Unauthorized | State::Refused => {
                let final_after_s = PATIENCE.as_secs();
                tracing::error!(
                    trouble,
                    state = state.word(),
                    failing_s,
                    final_after_s,
                    "call refused, tried again"
                );
            }
            State::Away | State::Well => {
                tracing::warn!(trouble, state = state.word(), failing_s, "no answer, tried again");
            }
        }
        verdict
    }

    /// How the service stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().outage.state()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

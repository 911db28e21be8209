//! The service's own clock, from the `Date` of its replies and the monotonic clock between them.
//!
//! The wall clock of this machine takes no part in it. A reply's `Date` has whole seconds, and was written after the
//! request left and before the reply came; so each reply bounds the service's clock from both sides. The bounds of
//! about a minute are taken together, which narrows them to some round trip. A reply that contradicts them may be of
//! one server with a wrong clock, or the service was set to another time: it is followed once three replies in a row
//! agree with it and not with what was known, and at least 3 s lie between the first of them and the last. Until then
//! the clock is in doubt, and what was known counts.
//!
//! A server with a clock must send `Date` (RFC 9110, section 6.6.1). While no reply had one, nothing is known: callers
//! get `None` and must not fall back to the wall clock where a decision depends on it.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use schemas::time::Millis;
pub use schemas::time::Span;

/// How long a bound counts at most is twice this: clocks drift apart by less than the width of a bound meanwhile.
const BOUNDS_EVERY: Duration = Duration::from_secs(30);
/// So many replies in a row that contradict what is known are believed,
const CONTRADICTIONS_MIN: u32 = 3;
/// when so much time lies between the first and the last.
const CONTRADICTED_FOR: Duration = Duration::from_secs(3);
/// A `Date` is cut to whole seconds.
const DATE_MS: i64 = 999;

/// Where monotonic time of this process begins.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock of the service that a client calls; clones share what is known of it.
///
/// Attached to a client as an interceptor, as [`crate::clients`] does for the Kinesis client.
#[derive(Clone, Debug, Default)]
pub struct ServiceClock {
    known: Arc<Mutex<Option<Known>>>,
}

impl ServiceClock {
    /// Where the service's clock stands now; none before the first reply with a `Date`.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        let Bounds { lower, upper } = self.bounds()?;
        let at = elapsed_ms(Instant::now());
        let moment = |offset: i64| Millis(u64::try_from(offset.saturating_add(at)).unwrap_or_default());
        Some(Span { earliest: moment(lower), latest: moment(upper) })
    }

    /// The service's time, off by at most half a second and half a round trip; none before the first reply with a
    /// `Date`.
    #[must_use]
    pub fn now(&self) -> Option<Millis> {
        self.span().map(Span::middle)
    }

    /// By how many ms the service's clock is ahead of the wall clock here, negative when it is behind, as exactly as
    /// [`Self::now`]; none before the first reply with a `Date`.
    #[must_use]
    pub fn offset_ms(&self) -> Option<i64> {
        let (service, local) = (i64::try_from(self.now()?.0), i64::try_from(crate::clock::now().0));
        Some(service.ok()?.saturating_sub(local.ok()?))
    }

    /// A reply came whose `Date` says so many ms since the epoch.
    pub fn on_reply(&self, date_ms: i64, sent: Instant, received: Instant) {
        let lower = date_ms.saturating_sub(elapsed_ms(received));
        let upper = date_ms.saturating_add(DATE_MS).saturating_sub(elapsed_ms(sent));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Known::with(known.take(), Bounds { lower, upper }, received));
    }

    /// Whether the last reply contradicts those before it, so that it is not known which are right.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| known.contradicted.is_some())
    }

    fn bounds(&self) -> Option<Bounds> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(Known::bounds)
    }
}

fn elapsed_ms(at: Instant) -> i64 {
    // Before the first use of this clock nothing was sent.
    i64::try_from(at.saturating_duration_since(*BEGAN).as_millis()).unwrap_or(i64::MAX)
}

/// The service's clock less monotonic time, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    lower: i64,
    upper: i64,
}

impl Bounds {
    /// What both allow; none when they contradict each other.
    fn and(self, other: Self) -> Option<Self> {
        let both = Self { lower: self.lower.max(other.lower), upper: self.upper.min(other.upper) };
        (both.lower <= both.upper).then_some(both)
    }
}

/// What the replies of the last minute say.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Of the span of time before the running one.
    before: Option<Bounds>,
    /// Of the running one.
    running: Bounds,
    began: Instant,
    contradicted: Option<Contradicted>,
}

/// Replies in a row that say something else, and agree among themselves.
#[derive(Clone, Copy, Debug)]
struct Contradicted {
    say: Bounds,
    count: u32,
    since: Instant,
}

impl Known {
    /// What is known once a reply said this.
    fn with(known: Option<Self>, said: Bounds, at: Instant) -> Self {
        let anew = Self { before: None, running: said, began: at, contradicted: None };
        let Some(known) = known else { return anew };
        if known.bounds().and(said).is_none() {
            let first = Contradicted { say: said, count: 0, since: at };
            let before = known.contradicted.unwrap_or(first);
            let agreed = before.say.and(said).map(|say| Contradicted { say, ..before });
            let now = agreed.unwrap_or(first);
            let now = Contradicted { count: now.count + 1, ..now };
            let is_set = now.count >= CONTRADICTIONS_MIN
                && at.saturating_duration_since(now.since) >= CONTRADICTED_FOR;
            return if is_set {
                Self { running: now.say, ..anew }
            } else {
                Self { contradicted: Some(now), ..known }
            };
        }
        let known = Self { contradicted: None, ..known };
        if at.saturating_duration_since(known.began) >= BOUNDS_EVERY {
            return Self { before: Some(known.running), ..anew };
        }
        Self { running: known.running.and(said).unwrap_or(said), ..known }
    }

    fn bounds(&self) -> Bounds {
        self.before.and_then(|before| before.and(self.running)).unwrap_or(self.running)
    }
}

/// When a request left.
#[derive(Clone, Copy, Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        LazyLock::force(&BEGAN);
        config.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let received = Instant::now();
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        let date_ms = date.and_then(|date| date.to_millis().ok());
        if let (Some(date_ms), Some(Sent(sent))) = (date_ms, config.load::<Sent>()) {
            self.on_reply(date_ms, *sent, received);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_795_000_000_000;

    fn later(ms: u64) -> Instant {
        *BEGAN + Duration::from_millis(ms)
    }

    /// The service's clock is this much ahead of monotonic time, by a reply that took `trip` ms each way.
    fn reply(clock: &ServiceClock, ahead: i64, (sent, trip): (u64, u64)) -> Bounds {
        let stamped = ahead + i64::try_from(sent + trip).unwrap();
        clock.on_reply(stamped - stamped.rem_euclid(1_000), later(sent), later(sent + 2 * trip));
        clock.bounds().unwrap()
    }

    #[test]
    fn replies_narrow_down_where_the_services_clock_stands() {
        let clock = ServiceClock::default();
        assert_eq!((clock.now(), clock.offset_ms()), (None, None), "nothing is known before a reply");
        let first = reply(&clock, AT + 300, (0, 20));
        assert!(first.upper - first.lower <= 1_039, "{first:?}");
        // Replies right before and right after the second changes pin it down.
        let mut last = first;
        for sent in [650, 690, 5_000, 9_660] {
            last = reply(&clock, AT + 300, (sent, 20));
        }
        assert!((last.lower..=last.upper).contains(&(AT + 300)), "{last:?}");
        assert!(last.upper - last.lower <= 100, "{last:?}");
    }

    #[test]
    fn a_clock_that_was_set_is_followed_once_replies_agree() {
        let clock = ServiceClock::default();
        reply(&clock, AT, (0, 5));
        let day = 86_400_000;
        for (ahead, sent) in [(AT + day, 10_000), (AT - day, 20_000), (AT + 3_000, 30_000)] {
            let before = clock.bounds().unwrap();
            for later in [0, 1_000, 2_000] {
                assert_eq!(reply(&clock, ahead, (sent + later, 5)), before, "{later}");
                assert!(clock.is_in_doubt());
            }
            let now = reply(&clock, ahead, (sent + 3_000, 5));
            assert!((now.lower..=now.upper).contains(&ahead) && !clock.is_in_doubt(), "{now:?}");
        }
    }

    #[test]
    fn replies_that_contradict_each_other_are_not_followed() {
        let clock = ServiceClock::default();
        let first = reply(&clock, AT, (0, 5));
        let wrong = AT + 108_000_000;
        // One odd reply among right ones, however often, and odd ones that differ.
        for sent in (1_000..20_000).step_by(1_000) {
            reply(&clock, wrong, (sent, 5));
            assert!(clock.is_in_doubt());
            let known = reply(&clock, AT, (sent + 500, 5));
            assert!(known.and(first).is_some() && !clock.is_in_doubt(), "{known:?}");
        }
        for sent in (20_000..29_000).step_by(1_000) {
            let known = reply(&clock, wrong + 10 * i64::try_from(sent).unwrap(), (sent, 5));
            assert!(known.and(first).is_some() && clock.is_in_doubt(), "{known:?}");
        }
    }

    #[test]
    fn a_bound_is_forgotten_after_a_minute() {
        let clock = ServiceClock::default();
        // A clock that drifts: 1 ms in each second.
        reply(&clock, AT, (0, 5));
        for second in 1..600_u64 {
            let drifted = AT + i64::try_from(second).unwrap();
            let last = reply(&clock, drifted, (second * 1_007, 5));
            assert!((last.lower - 61..=last.upper + 61).contains(&drifted), "{last:?} at {second}");
        }
    }
}

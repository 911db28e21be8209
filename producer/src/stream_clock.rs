//! The time by which windows and leads are judged: this machine's, held within what the stream's replies say.
//!
//! A reply's `Date` is that of the service's front, in whole seconds; when a shard stores a record is not told to who
//! puts it. So this knows a wrong clock of this machine, and not a shard whose arrivals run ahead: processors see those.

use std::time::{Duration, Instant};

use runtime::clock;
use runtime::service_clock::{ServiceClock, Span};
use schemas::time::Millis;

/// From here on a difference is told: half of the lead that bids have by default.
const OFFSET_TOLD_MS: u64 = 500;
/// Between two lines about a clock that stays wrong.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The stream's clock as it is known here.
#[derive(Debug)]
pub(crate) struct StreamClock {
    service: ServiceClock,
    wrong: Option<Wrong>,
}

/// A clock of this machine that differs.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    since: Millis,
    told: Instant,
}

impl StreamClock {
    pub(crate) fn new(service: ServiceClock) -> Self {
        Self { service, wrong: None }
    }

    /// The stream's clock; this machine's while no reply contradicts it.
    pub(crate) fn now(&self) -> Millis {
        within(clock::now(), self.service.span())
    }

    /// By how many ms this machine's clock is ahead of the stream's, at least; below 0 when it is behind, and 0 while
    /// nothing contradicts it. Tells a difference when it begins, now and then, and when it ends.
    pub(crate) fn look(&mut self) -> i64 {
        let (local, now) = (clock::now(), Instant::now());
        let stream = within(local, self.service.span());
        let offset_ms = offset_ms(local, stream);
        if offset_ms.unsigned_abs() <= OFFSET_TOLD_MS {
            if let Some(Wrong { since, .. }) = self.wrong.take() {
                tracing::info!(offset_ms, %since, "the clock of this machine agrees with the stream's again");
            }
            return offset_ms;
        }
        let wrong = *self.wrong.get_or_insert(Wrong { since: stream, told: now });
        if wrong.told == now || now.saturating_duration_since(wrong.told) >= TOLD_EVERY {
            let (direction, since) = (if offset_ms > 0 { "ahead of" } else { "behind" }, wrong.since);
            tracing::warn!(
                offset_ms,
                %since,
                "the clock of this machine is {} ms {direction} the stream's: bids are judged by the stream's; synchronise this machine's clock (chronyd, systemd-timesyncd), and that of whatever dates the bids",
                offset_ms.unsigned_abs()
            );
            self.wrong = Some(Wrong { told: now, ..wrong });
        }
        offset_ms
    }
}

/// The local time where the span allows it, else the nearest that it allows.
fn within(local: Millis, span: Option<Span>) -> Millis {
    span.map_or(local, |span| local.clamp(span.earliest, span.latest.max(span.earliest)))
}

fn offset_ms(local: Millis, stream: Millis) -> i64 {
    let size = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    size(local.since(stream)) - size(stream.since(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_until_the_stream_contradicts_it() {
        let at = |ms: u64| Millis(1_800_000_000_000 + ms);
        let span = Span { earliest: at(4_000), latest: at(4_900) };
        assert_eq!(within(at(9), None), at(9), "nothing is known yet");
        for (local, stream, offset) in
            [(4_000, 4_000, 0), (4_900, 4_900, 0), (6_900, 4_900, 2_000), (1_000, 4_000, -3_000)]
        {
            let judged = within(at(local), Some(span));
            assert_eq!((judged, offset_ms(at(local), judged)), (at(stream), offset), "{local}");
        }
    }

    #[test]
    fn a_wrong_clock_is_noticed_once_replies_agree() {
        let service = ServiceClock::default();
        let mut stream = StreamClock::new(service.clone());
        assert_eq!(stream.look(), 0);
        let date = |behind_ms: u64| i64::try_from(clock::now().0 - behind_ms).unwrap();
        service.on_reply(date(0) / 1_000 * 1_000, Instant::now(), Instant::now());
        assert_eq!((stream.look(), stream.wrong.is_some()), (0, false));
        // The stream's clock is an hour behind this one: one reply that says so is not enough.
        let agree = |behind_ms: u64, stream: &mut StreamClock| {
            let now = Instant::now();
            for seconds in 0..4 {
                assert_eq!(stream.wrong.is_some(), behind_ms == 0, "{seconds}");
                let (at, date_ms) =
                    (now + Duration::from_secs(seconds), i64::try_from(seconds * 1_000).unwrap());
                service.on_reply((date(behind_ms) + date_ms) / 1_000 * 1_000, at, at);
            }
        };
        agree(3_600_000, &mut stream);
        let offset_ms = stream.look();
        assert!((3_598_900..=3_600_000).contains(&offset_ms), "{offset_ms}");
        assert!(stream.wrong.is_some());
        assert!(clock::now().since(stream.now()) >= 3_598_000, "judged by the stream's");
        agree(0, &mut stream);
        assert!(stream.look().unsigned_abs() <= OFFSET_TOLD_MS && stream.wrong.is_none());
    }
}

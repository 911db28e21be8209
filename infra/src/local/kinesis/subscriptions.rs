//! Who is subscribed to which shard: one subscription for each consumer and shard, and the newest call has it.

use std::collections::BTreeMap;

use super::model::{Refusal, ShardId, refuse};

/// How long a call holds its subscription against another (Kinesis API reference, `SubscribeToShard`).
const HELD_MS: u64 = 5_000;

/// What is subscribed to: a stream, one of its consumers, one of its shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) shard: ShardId,
}

/// A subscription: its number, since when, and whether it still runs.
#[derive(Clone, Copy, Debug)]
struct Holder {
    number: u64,
    since_ms: u64,
    running: bool,
}

/// All subscriptions that run, or ran a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    seats: BTreeMap<Seat, Holder>,
    made: u64,
}

impl Subscriptions {
    /// Takes a seat, from another when that has had it for five seconds; answers the subscription's number.
    pub(crate) fn begin(&mut self, seat: &Seat, now_ms: u64) -> Result<u64, Refusal> {
        let fresh = |holder: &Holder| now_ms.saturating_sub(holder.since_ms) < HELD_MS;
        self.seats.retain(|_, holder| holder.running || fresh(holder));
        if self.seats.get(seat).is_some_and(fresh) {
            return refuse(
                "ResourceInUseException",
                format!("consumer {} subscribed to {} less than 5 s ago", seat.consumer, seat.shard),
            );
        }
        self.made += 1;
        let holder = Holder { number: self.made, since_ms: now_ms, running: true };
        self.seats.insert(seat.clone(), holder);
        Ok(self.made)
    }

    /// Whether the subscription of this number still has the seat.
    pub(crate) fn holds(&self, seat: &Seat, number: u64) -> bool {
        self.seats.get(seat).is_some_and(|holder| holder.number == number)
    }

    /// Ends a subscription.
    pub(crate) fn end(&mut self, seat: &Seat, number: u64) {
        if let Some(holder) = self.seats.get_mut(seat).filter(|holder| holder.number == number) {
            holder.running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_held_for_five_seconds_and_then_goes_to_the_newest_call() {
        let seat = Seat { stream: "s".into(), consumer: "c".into(), shard: ShardId(0) };
        let mut subscriptions = Subscriptions::default();
        let first = subscriptions.begin(&seat, 1_000).unwrap();
        assert_eq!(subscriptions.begin(&seat, 5_999).unwrap_err().code, "ResourceInUseException");
        let second = subscriptions.begin(&seat, 6_000).unwrap();
        assert!(!subscriptions.holds(&seat, first) && subscriptions.holds(&seat, second));
        subscriptions.end(&seat, first);
        assert!(subscriptions.holds(&seat, second), "who lost the seat does not end its successor");
    }

    #[test]
    fn a_subscription_that_ended_at_once_still_holds_its_five_seconds() {
        let seat = Seat { stream: "s".into(), consumer: "c".into(), shard: ShardId(0) };
        let mut subscriptions = Subscriptions::default();
        let first = subscriptions.begin(&seat, 0).unwrap();
        subscriptions.end(&seat, first);
        assert!(subscriptions.begin(&seat, 4_999).is_err());
        assert!(subscriptions.begin(&seat, 5_000).is_ok());
        assert_eq!(subscriptions.seats.len(), 1);
    }
}

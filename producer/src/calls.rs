//! Callers that wait for the answers to their bids.

use std::collections::BTreeMap;
use std::ops::Range;

use schemas::intake::OfferedBid;
use tokio::sync::oneshot;

use crate::core::delivery::Outcome;
use crate::room::Held;

/// Bids whose sender waits for all of their answers.
#[derive(Debug)]
pub struct Call {
    /// The bids, at least one.
    pub(crate) bids: Vec<OfferedBid>,
    /// The memory they were given.
    pub(crate) held: Held,
    /// Where the answers go, in the order of the bids.
    pub(crate) reply: oneshot::Sender<Vec<Outcome>>,
}

/// Calls under way.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// By the ticket of their first bid; a call's tickets follow one another.
    open: BTreeMap<u64, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    reply: oneshot::Sender<Vec<Outcome>>,
    /// Given back with the last answer.
    _held: Held,
}

impl Calls {
    /// Takes a call; its bids come out with the tickets they get.
    pub(crate) fn on_call(&mut self, call: Call) -> (Range<u64>, Vec<OfferedBid>) {
        let Call { bids, held, reply } = call;
        let first = self.next;
        self.next += u64::try_from(bids.len()).expect("memory is below 2^64");
        let outcomes = vec![None; bids.len()];
        self.open.insert(first, Open { outcomes, left: bids.len(), reply, _held: held });
        (first..self.next, bids)
    }

    /// Takes an answer; the call's last one sends them all.
    pub(crate) fn on_outcome(&mut self, ticket: u64, outcome: Outcome) {
        let Some(mut entry) = self.open.range_mut(..=ticket).next_back() else { return };
        let (first, open) = (*entry.0, &mut entry.1);
        let Some(place) = usize::try_from(ticket - first).ok().and_then(|at| open.outcomes.get_mut(at))
        else {
            return;
        };
        open.left -= usize::from(place.replace(outcome).is_none());
        if open.left == 0 {
            let open = self.open.remove(&first).expect("found above");
            // Whoever asked may have gone.
            let _ = open.reply.send(open.outcomes.into_iter().flatten().collect());
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{Generator, GeneratorConfig, Made};
    use crate::room::Room;

    fn bids(count: usize) -> Vec<OfferedBid> {
        let mut generator = Generator::new(GeneratorConfig::default(), "eu-west-1".parse().unwrap());
        let mut next = || match generator.next(schemas::time::Millis(1)) {
            Made::Bid(bid) => OfferedBid::Exact(bid),
            other => panic!("{other:?}"),
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn each_call_is_answered_once_with_its_last_bid_in_the_order_of_its_bids() {
        let (room, mut calls) = (Room::new(5 * 512), Calls::default());
        let mut call = |count: usize| {
            let (reply, answer) = oneshot::channel();
            let held = room.take(count).unwrap();
            let (tickets, _) = calls.on_call(Call { bids: bids(count), held, reply });
            (tickets, answer)
        };
        let ((one, mut first), (two, mut second)) = (call(2), call(3));
        assert_eq!((one, two), (0..2, 2..5));
        assert!(room.take(1).is_none(), "all of it is held");
        calls.on_outcome(4, Outcome::Unknown);
        calls.on_outcome(1, Outcome::Expired);
        calls.on_outcome(0, Outcome::Undelivered);
        assert_eq!(first.try_recv().unwrap(), [Outcome::Undelivered, Outcome::Expired]);
        assert!(room.take(3).is_none() && room.take(2).is_some(), "the answered call gave back its share");
        assert!(second.try_recv().is_err());
        calls.on_outcome(2, Outcome::Expired);
        calls.on_outcome(3, Outcome::Expired);
        assert_eq!(second.try_recv().unwrap()[2], Outcome::Unknown);
        assert!(calls.is_empty());
    }
}

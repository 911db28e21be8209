//! What producers answered, held against the stream: what was accepted lies where the answer says, in the shard that
//! owns it; what was refused lies nowhere, then and later; and nothing is answered twice or not at all.

use std::collections::{BTreeMap, BTreeSet};

use producer::core::delivery::{Answer, Outcome};
use schemas::ids::BidId;

use super::log::Log;

/// Which process took a bid: its place among the producers, and which of its lives.
pub(super) type Taker = (usize, u32);

#[derive(Debug, Default)]
pub(super) struct Bids {
    /// Taken and not answered, by taker and ticket.
    waiting: BTreeMap<(Taker, u64), BidId>,
    /// How often a bid was handed in.
    handed: BTreeMap<BidId, u32>,
    accepted: BTreeSet<BidId>,
    /// Refused, and handed in once: never to be seen in the stream.
    refused: BTreeSet<BidId>,
}

impl Bids {
    pub(super) fn on_taken(&mut self, taker: Taker, ticket: u64, bid: BidId) {
        self.waiting.insert((taker, ticket), bid);
        *self.handed.entry(bid).or_default() += 1;
        self.refused.remove(&bid);
    }

    /// A producer died: what it held is answered by no one.
    pub(super) fn on_death(&mut self, taker: Taker) {
        self.waiting.retain(|(by, _), _| *by != taker);
    }

    pub(super) fn on_answer(&mut self, log: &Log, taker: Taker, answer: &Answer) -> Result<(), String> {
        let id = answer.bid.bid_id;
        if self.waiting.remove(&(taker, answer.ticket)) != Some(id) {
            return Err(format!("bid {id} is answered and was not waited for"));
        }
        match &answer.outcome {
            Outcome::Accepted(place) => {
                let shard = log.shards.get(&place.shard_id);
                let records = shard.map(|shard| shard.records.as_slice()).unwrap_or_default();
                let at = records.binary_search_by(|record| {
                    record.sequence.to_string().parse().map_or(std::cmp::Ordering::Less, |own| {
                        let own: schemas::ids::SequenceNumber = own;
                        own.cmp(&place.sequence)
                    })
                });
                let owned = at.is_ok_and(|at| records[at].owned.contains(&id));
                if !owned {
                    return Err(format!(
                        "bid {id} is accepted at {} in {} and no owned bid of that record",
                        place.sequence, place.shard_id
                    ));
                }
                self.accepted.insert(id);
            }
            // Its stream is there all the time, and everything else passes while the bid has time.
            Outcome::StreamRefuses(failure) => {
                return Err(format!("bid {id} is answered while its time is not over: {failure}"));
            }
            Outcome::Expired | Outcome::Refused(_) | Outcome::RecordRefused(_) | Outcome::Undelivered
                if self.handed[&id] == 1 =>
            {
                if log.landed.contains(&id) {
                    return Err(format!("bid {id} is refused and lies in the stream"));
                }
                self.refused.insert(id);
            }
            Outcome::Expired
            | Outcome::Refused(_)
            | Outcome::RecordRefused(_)
            | Outcome::Undelivered
            | Outcome::Unknown => {}
        }
        Ok(())
    }

    /// Bids that a record brought to the stream.
    pub(super) fn on_landed(&self, bids: impl Iterator<Item = BidId>) -> Result<(), String> {
        let wrong = bids.into_iter().find(|bid| self.refused.contains(bid));
        wrong.map_or(Ok(()), |bid| Err(format!("bid {bid} was refused and comes to lie in the stream")))
    }

    /// At the end no one waits any more.
    pub(super) fn on_end(&self) -> Result<(), String> {
        let waiting = self.waiting.first_key_value();
        waiting.map_or(Ok(()), |(_, bid)| Err(format!("bid {bid} was never answered")))
    }
}

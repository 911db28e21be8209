//! The whole of a producer as one value: bids, replies and shard maps in; requests and answers out.
//!
//! Every bid that goes in is answered exactly once. Never waits, never reads a clock, never draws a number.

#[cfg(test)]
mod tests;

use runtime::failure::Failure;
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::ids::ShardId;
use schemas::mutant::{self, Mutant};
use schemas::record::Envelope;

use super::delivery::{
    Answer, Delivery, Elsewhere, Moment, REQUESTS_MAX, Reply, Request, accept, give_up, is_final,
};
use super::events::{Counts, Events};
use super::packer::{Item, Packer, Wait};
use super::shard_map::ShardMap;

/// Memory that one bid on its way is counted with: the bid, its share of a record's bytes and of the answers.
pub const HELD_BYTES: usize = 512;

/// What a sender is told once.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How bids are wrapped.
    pub envelope: Envelope,
    /// Most bids of one record.
    pub record_bids_max: usize,
    /// Longest time a bid waits for company. It goes at once when nothing of its shard is on its way, unless the shard's
    /// bids come so fast that waiting pays ([`Company`](super::company::Company)).
    pub linger_ms: u64,
    /// How long a bid is tried.
    pub deliver_ms: u64,
    /// When bids expire; never without one.
    pub geometry: Option<Geometry>,
}

/// What a stream does with the keys of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// It puts each record into the shard that owns its key.
    Kept,
    /// It put one into a shard that never owned its key: it is to be asked.
    Doubted,
    /// It ignores them, as it says.
    Ignored,
}

/// Bids on their way.
#[derive(Debug)]
pub struct Sender {
    rules: Rules,
    packer: Packer,
    delivery: Delivery,
    /// Stored where they were not predicted, until the map is known again.
    elsewhere: Vec<Elsewhere>,
    map_is_old: bool,
    /// What the stream is known or suspected to do with keys.
    keys: Keys,
    answers: Vec<Answer>,
    wait: Wait,
    held: usize,
    refusal: Option<Failure>,
}

impl Sender {
    /// A sender over a shard map.
    #[must_use]
    pub fn new(rules: Rules, map: ShardMap) -> Self {
        Self {
            packer: Packer::new(rules.envelope, rules.record_bids_max, rules.linger_ms, map),
            delivery: Delivery::new(rules.envelope, rules.geometry, rules.deliver_ms),
            rules,
            elsewhere: Vec::new(),
            map_is_old: false,
            keys: Keys::Kept,
            answers: Vec::new(),
            wait: Wait::Linger,
            held: 0,
            refusal: None,
        }
    }

    /// Takes a bid. `ticket` comes back with its answer.
    pub fn on_bid(&mut self, ticket: u64, bid: Bid, now: Moment) {
        let hash = self.packer.hash(&bid.slot_id);
        self.held += 1;
        self.pack(Item { ticket, bid, hash, taken_ms: now.elapsed_ms, doubtful: false }, now);
    }

    /// No more bids come: nothing waits for company any more.
    pub fn on_end(&mut self) {
        self.wait = Wait::Over;
    }

    /// The next request to send, if one is due; call again until there is none.
    pub fn poll_request(&mut self, now: Moment) -> Option<Request> {
        if self.delivery.in_flight() >= REQUESTS_MAX {
            return None;
        }
        self.give_up_elsewhere(now);
        let idle = |shard: &ShardId| self.delivery.is_idle(shard);
        for record in self.packer.poll(now.elapsed_ms, self.wait, idle) {
            self.delivery.on_record(record, now);
        }
        self.delivery.poll_request(now, &mut self.answers)
    }

    /// Takes the replies to a request, or why there are none. `unit` draws from `[0, 1)`.
    pub fn on_replies(
        &mut self,
        id: u64,
        replies: Result<Vec<Reply>, Failure>,
        now: Moment,
        unit: &mut dyn FnMut() -> f64,
    ) {
        if let Err(failure) = &replies
            && is_final(failure)
        {
            self.refusal.get_or_insert_with(|| failure.clone());
        }
        let mut elsewhere = self.delivery.on_replies(id, replies, now, unit, &mut self.answers);
        for item in elsewhere.iter_mut().flat_map(|one| &mut one.record.items) {
            item.doubtful = true;
        }
        if self.keys == Keys::Ignored {
            return self.give_up_all(elsewhere);
        }
        let map = self.packer.map();
        let range = |one: &Elsewhere| map.range(&one.place.shard_id);
        // What a shard owns never changes: one that lies in a shard which is known and does not own its key was put there
        // without regard to it.
        if elsewhere.iter().any(|one| range(one).is_some_and(|range| !range.owns(one.hash))) {
            self.keys = Keys::Doubted;
        }
        // What was sent before the map was last read is judged by it at once.
        let owned = |one: &Elsewhere| range(one).is_some_and(|range| range.owns(one.hash));
        let (here, unsure) = elsewhere.into_iter().partition::<Vec<_>, _>(owned);
        self.map_is_old |= !unsure.is_empty();
        self.elsewhere.extend(unsure);
        self.settle(here, now);
    }

    /// Whether a fresh shard map is needed.
    #[must_use]
    pub fn wants_map(&self) -> bool {
        self.map_is_old
    }

    /// Whether the stream is to be asked if it keeps keys.
    #[must_use]
    pub fn doubts_keys(&self) -> bool {
        self.keys == Keys::Doubted
    }

    /// The stream says that it ignores keys: what lies in any shard but the predicted one can never be told to count.
    pub fn on_keys_ignored(&mut self) {
        (self.keys, self.map_is_old) = (Keys::Ignored, false);
        let elsewhere = std::mem::take(&mut self.elsewhere);
        self.give_up_all(elsewhere);
    }

    fn give_up_all(&mut self, elsewhere: Vec<Elsewhere>) {
        self.answers.extend(elsewhere.iter().flat_map(|one| &one.record.items).map(give_up));
    }

    /// The shard map by which bids are packed.
    #[must_use]
    pub fn map(&self) -> &ShardMap {
        self.packer.map()
    }

    /// Takes a fresh shard map. What the answering shards own is accepted; the rest is sent again.
    pub fn on_map(&mut self, map: ShardMap, now: Moment) {
        self.map_is_old = false;
        if self.keys == Keys::Doubted {
            self.keys = Keys::Kept;
        }
        let mut items = self.packer.on_map(map);
        let known = self.packer.map();
        items.extend(self.delivery.recall(|shard| known.range(shard).is_some()));
        let elsewhere = std::mem::take(&mut self.elsewhere);
        self.settle(elsewhere, now);
        for item in items {
            self.pack(item, now);
        }
    }

    /// Accepts what the answering shards are known to own and packs the rest anew.
    fn settle(&mut self, elsewhere: Vec<Elsewhere>, now: Moment) {
        let mut again = Vec::new();
        for Elsewhere { record, hash: first, place } in elsewhere {
            let range = self.packer.map().range(&place.shard_id);
            // Another consumer's library drops an aggregate whole when one of its items lies in the wrong shard.
            let whole = self.rules.envelope == Envelope::Aggregated;
            let assumed = |item: &Item| mutant::is(Mutant::DistributionIgnored) && item.hash == first;
            let owned = |item: &Item| assumed(item) || range.is_some_and(|range| range.owns(item.hash));
            let all_owned = record.items.iter().all(owned);
            for item in record.items {
                if all_owned || (!whole && owned(&item)) {
                    self.answers.push(accept(&item, &place));
                } else {
                    again.push(item);
                }
            }
        }
        if mutant::is(Mutant::NeverResent) {
            again.clear();
        }
        self.delivery.on_resent(again.len());
        for item in again {
            self.pack(item, now);
        }
    }

    /// The answers that are ready; each bid's comes once.
    pub fn poll_answers(&mut self) -> Vec<Answer> {
        self.held -= self.answers.len();
        std::mem::take(&mut self.answers)
    }

    /// When [`Sender::poll_request`] may have something to do without any further event.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        if self.delivery.in_flight() >= REQUESTS_MAX {
            return None;
        }
        let elsewhere = self.elsewhere.iter().flat_map(|one| &one.record.items);
        let elsewhere = elsewhere.map(|item| item.taken_ms.saturating_add(self.rules.deliver_ms)).min();
        let idle = |shard: &ShardId| self.delivery.is_idle(shard);
        [self.packer.next_due_ms(idle), self.delivery.next_due_ms(), elsewhere].into_iter().flatten().min()
    }

    /// How long the oldest bid without an answer has been on its way, in ms; looks at every bid that is held.
    #[must_use]
    pub fn lag_ms(&self, now: Moment) -> u64 {
        let elsewhere = self.elsewhere.iter().flat_map(|one| &one.record.items).map(|item| item.taken_ms);
        let oldest = [self.packer.oldest_ms(), self.delivery.oldest_ms(), elsewhere.min()];
        oldest.into_iter().flatten().min().map_or(0, |oldest_ms| now.elapsed_ms.saturating_sub(oldest_ms))
    }

    /// What happened to records since the last look.
    pub fn poll_events(&mut self) -> Events {
        self.delivery.poll_events()
    }

    /// Bids taken and not yet answered.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.delivery.in_flight()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.delivery.counts()
    }

    /// Why no request can be taken any more, once that is certain: trying on is of no use.
    #[must_use]
    pub fn refusal(&self) -> Option<&Failure> {
        self.refusal.as_ref()
    }

    /// Ends everything now; every bid that is held is answered.
    pub fn abandon(&mut self) {
        self.delivery.abandon(&mut self.answers);
        self.answers.extend(self.packer.clear().iter().map(give_up));
        let elsewhere = std::mem::take(&mut self.elsewhere);
        self.give_up_all(elsewhere);
    }

    fn pack(&mut self, item: Item, now: Moment) {
        if let Some(record) = self.packer.on_item(item, now.elapsed_ms) {
            self.delivery.on_record(record, now);
        }
    }

    fn give_up_elsewhere(&mut self, now: Moment) {
        for one in &mut self.elsewhere {
            let deliver_ms = self.rules.deliver_ms;
            let over = |item: &mut Item| item.taken_ms.saturating_add(deliver_ms) <= now.elapsed_ms;
            let late = one.record.items.extract_if(.., over);
            self.answers.extend(late.map(|item| give_up(&item)));
        }
        self.elsewhere.retain(|one| !one.record.items.is_empty());
    }
}

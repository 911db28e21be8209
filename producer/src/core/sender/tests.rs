//! A model stream answers a sender: entries are stored or not, replies are lost, shards split. The checker knows what
//! the model stored and nothing of how the sender works.

mod away;
mod company;
mod keys;
mod refused;
mod refused_record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use schemas::hash::{HashKey, HashRange};
use schemas::ids::{AccountId, BidId, Region, ShardId, SlotId};
use schemas::money::{BasisPoints, Price};
use schemas::record::decode;
use schemas::time::Millis;

use super::*;
use crate::core::delivery::{Outcome, Place};
use crate::core::packer::Entry;

const WALL: u64 = 1_700_000_000_000;
const WINDOW: Geometry = Geometry {
    window_ms: 1_000,
    grace_ms: 500,
    ahead_max_ms: 1_000,
    ranking: schemas::geometry::Ranking::Amount,
    pricing: schemas::geometry::Pricing::First,
    candidates: 4,
};

fn at(elapsed_ms: u64) -> Moment {
    Moment { elapsed_ms, wall: Millis(WALL + elapsed_ms) }
}

fn bid(number: u64, event_time: u64) -> Bid {
    let wide = u128::from(number);
    Bid {
        bid_id: BidId::from_bytes((wide + 1).to_be_bytes()),
        slot_id: SlotId::from_bytes((wide % 64 + 1).to_be_bytes()),
        account_id: AccountId::from_bytes((wide % 7 + 1).to_be_bytes()),
        region: "eu-central-1".parse::<Region>().unwrap(),
        amount: Price::from_units(number + 1).unwrap(),
        latency_ms: 9,
        quality: BasisPoints::ONE,
        event_time: Millis(event_time),
    }
}

fn rules(envelope: Envelope) -> Rules {
    Rules { envelope, record_bids_max: 20, linger_ms: 10, deliver_ms: 3_000, geometry: None }
}

/// A stream that keeps what it is given and can be split.
struct Stream {
    shards: Vec<(HashRange, ShardId)>,
    /// Bid id to the shards that hold a copy.
    stored: BTreeMap<BidId, BTreeSet<ShardId>>,
    made: u64,
}

impl Stream {
    fn new() -> Self {
        let shards = vec![(HashRange::ALL, ShardId("s0".to_owned()))];
        let mut stream = Self { shards, stored: BTreeMap::new(), made: 0 };
        stream.split(0);
        stream
    }

    fn map(&self) -> ShardMap {
        ShardMap::new(self.shards.clone())
    }

    fn split(&mut self, which: usize) {
        let (range, _) = self.shards.remove(which % self.shards.len());
        let middle = range.start.0 + (range.end.0 - range.start.0) / 2;
        for (start, end) in [(range.start, HashKey(middle)), (HashKey(middle + 1), range.end)] {
            self.made += 1;
            self.shards.push((HashRange { start, end }, ShardId(format!("s{}", self.made))));
        }
    }

    fn owner(&self, key: HashKey) -> ShardId {
        self.shards.iter().find(|(range, _)| range.owns(key)).expect("the shards cover everything").1.clone()
    }

    fn store(&mut self, entry: &Entry) -> Arc<Place> {
        let own = HashKey::of_partition_key(&entry.partition_key);
        let shard_id = self.owner(entry.explicit_hash_key.unwrap_or(own));
        self.put(entry, shard_id)
    }

    /// Stores an entry in the n-th shard, whatever its key.
    fn store_in(&mut self, entry: &Entry, nth: usize) -> Arc<Place> {
        let shard_id = self.shards[nth % self.shards.len()].1.clone();
        self.put(entry, shard_id)
    }

    fn put(&mut self, entry: &Entry, shard_id: ShardId) -> Arc<Place> {
        for item in decode(&entry.data).items {
            self.stored.entry(item.expect("a valid bid").bid_id).or_default().insert(shard_id.clone());
        }
        Arc::new(Place { shard_id, sequence: "1".parse().unwrap() })
    }

    fn holds(&self, bid: &Bid) -> bool {
        self.stored.contains_key(&bid.bid_id)
    }
}

/// Accepted: a copy lies where its slot belongs. Refused: there is none at all.
fn check(stream: &Stream, answers: &[Answer], ever_owned: &BTreeMap<ShardId, HashRange>) {
    for answer in answers {
        match &answer.outcome {
            Outcome::Accepted(place) => {
                let hash = HashKey::of_slot(&answer.bid.slot_id);
                assert!(stream.stored[&answer.bid.bid_id].contains(&place.shard_id));
                assert!(ever_owned[&place.shard_id].owns(hash), "accepted from a shard that does not own it");
            }
            Outcome::Expired
            | Outcome::Refused(_)
            | Outcome::RecordRefused(_)
            | Outcome::Undelivered
            | Outcome::StreamRefuses(_) => {
                assert!(!stream.holds(&answer.bid), "refused, but stored")
            }
            Outcome::Unknown => {}
        }
    }
}

fn once(answers: &[Answer], bids: u64) {
    let tickets: BTreeSet<u64> = answers.iter().map(|answer| answer.ticket).collect();
    assert_eq!(
        (answers.len(), tickets.len()),
        (usize::try_from(bids).unwrap(), answers.len()),
        "answered once each"
    );
}

/// What the model does with one request or between two of them.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stores,
    LosesRequest,
    LosesReply,
    Unreachable,
    ThrottlesWhole,
    ThrottlesSome,
    FailsSome,
    Splits,
    /// It puts records anywhere, whatever their keys.
    IgnoresKeys,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Stores),
        1 => Just(Fate::LosesRequest),
        1 => Just(Fate::LosesReply),
        1 => Just(Fate::Unreachable),
        1 => Just(Fate::ThrottlesWhole),
        1 => Just(Fate::ThrottlesSome),
        1 => Just(Fate::FailsSome),
        1 => Just(Fate::Splits),
        1 => Just(Fate::IgnoresKeys),
    ]
}

fn serve(stream: &mut Stream, request: &Request, fate: Fate) -> Result<Vec<Reply>, Failure> {
    let unknown = || Err(Failure::Unknown { message: "no reply".to_owned() });
    let mut some = |reply: Reply| {
        let each = request.entries.iter().enumerate();
        each.map(
            |(place, entry)| if place % 2 == 0 { reply.clone() } else { Reply::Stored(stream.store(entry)) },
        )
        .collect()
    };
    match fate {
        Fate::LosesRequest => unknown(),
        Fate::Unreachable => Err(Failure::Unreachable { message: "refused".to_owned() }),
        Fate::ThrottlesWhole => Err(Failure::Throttled { code: "slow".to_owned() }),
        Fate::ThrottlesSome => Ok(some(Reply::Throttled)),
        Fate::FailsSome => Ok(some(Reply::Unknown)),
        Fate::LosesReply => {
            let _ = request.entries.iter().map(|entry| stream.store(entry)).count();
            unknown()
        }
        Fate::IgnoresKeys => {
            let places = (0..).zip(&request.entries);
            Ok(places.map(|(nth, entry)| Reply::Stored(stream.store_in(entry, nth))).collect())
        }
        Fate::Stores | Fate::Splits => {
            Ok(request.entries.iter().map(|entry| Reply::Stored(stream.store(entry))).collect())
        }
    }
}

fn history(envelope: Envelope, geometry: Option<Geometry>, fates: &[Fate], late_maps: bool) -> Vec<Answer> {
    let mut stream = Stream::new();
    let mut ever: BTreeMap<ShardId, HashRange> =
        stream.shards.iter().map(|(range, id)| (id.clone(), *range)).collect();
    let mut sender = Sender::new(Rules { geometry, ..rules(envelope) }, stream.map());
    let (mut answers, mut waiting, mut fates, mut made) = (Vec::new(), Vec::new(), fates.iter(), 0);
    for turn in 0..2_000_u64 {
        let now = at(turn * 7);
        for _ in 0..if turn < 40 { 5 } else { 0 } {
            sender.on_bid(made, bid(made, now.wall.0), now);
            made += 1;
        }
        if turn == 40 {
            sender.on_end();
        }
        while let Some(request) = sender.poll_request(now) {
            waiting.push(request);
        }
        if turn % 3 == 0 {
            // Replies come in any order: the newest first.
            while let Some(request) = waiting.pop() {
                let fate = fates.next().copied().unwrap_or(Fate::Stores);
                if matches!(fate, Fate::Splits) && stream.shards.len() < 12 {
                    stream.split(usize::try_from(turn).unwrap());
                    ever.extend(stream.shards.iter().map(|(range, id)| (id.clone(), *range)));
                }
                let replies = serve(&mut stream, &request, fate);
                sender.on_replies(request.id, replies, now, &mut || 0.5);
            }
        }
        if sender.wants_map() && (!late_maps || turn % 50 == 0) {
            sender.on_map(stream.map(), now);
        }
        answers.extend(sender.poll_answers());
        if turn > 40 && sender.held() == 0 {
            break;
        }
    }
    assert_eq!(sender.held(), 0, "everything is answered in the end");
    once(&answers, made);
    check(&stream, &answers, &ever);
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_bid_is_answered_exactly_once_and_truly(
        fates in prop::collection::vec(fate(), 0..60),
        envelope in prop_oneof![Just(Envelope::Block), Just(Envelope::Aggregated), Just(Envelope::Plain)],
        geometry in prop_oneof![Just(None), Just(Some(WINDOW))],
        late_maps in any::<bool>(),
    ) {
        history(envelope, geometry, &fates, late_maps);
    }

    #[test]
    fn no_bid_takes_more_bytes_than_it_is_counted_with(count in 1_u64..300, wide in any::<u64>()) {
        for envelope in [Envelope::Block, Envelope::Aggregated] {
            let mut sender = Sender::new(Rules { record_bids_max: 1_000, ..rules(envelope) }, Stream::new().map());
            for number in 0..count {
                let wild = u128::from(number).wrapping_mul(u128::MAX / 7).wrapping_add(u128::from(wide));
                let offer = Bid {
                    slot_id: SlotId::from_bytes(wild.to_be_bytes()),
                    account_id: AccountId::from_bytes(wild.rotate_left(9).to_be_bytes()),
                    bid_id: BidId::from_bytes(wild.rotate_left(77).to_be_bytes()),
                    region: format!("{number:024}").parse().unwrap(),
                    amount: Price::MAX,
                    latency_ms: u32::MAX,
                    ..bid(number, wide.wrapping_mul(number) % Millis::MAX.0)
                };
                sender.on_bid(number, offer, at(0));
            }
            sender.on_end();
            while let Some(request) = sender.poll_request(at(0)) {
                for entry in &request.entries {
                    let bids = decode(&entry.data).items.len();
                    prop_assert!(entry.data.len() <= (bids + 1) * crate::core::packer::BID_BYTES_MAX);
                }
            }
        }
    }
}

fn two_bids(envelope: Envelope, geometry: Option<Geometry>) -> (Stream, Sender, Request) {
    let stream = Stream::new();
    let first = bid(0, WALL);
    let shard = stream.owner(HashKey::of_slot(&first.slot_id));
    let together =
        |bid: &Bid| stream.owner(HashKey::of_slot(&bid.slot_id)) == shard && bid.slot_id != first.slot_id;
    let second = (1..).map(|number| bid(number, WALL)).find(together).unwrap();
    let mut sender = Sender::new(Rules { geometry, ..rules(envelope) }, stream.map());
    sender.on_bid(1, first, at(0));
    sender.on_bid(2, second, at(0));
    let request = sender.poll_request(at(10)).unwrap();
    (stream, sender, request)
}

fn lost() -> Result<Vec<Reply>, Failure> {
    Err(Failure::Unknown { message: "no reply".to_owned() })
}

#[test]
fn a_lost_reply_is_sent_again_never_assumed() {
    let (mut stream, mut sender, request) = two_bids(Envelope::Block, None);
    stream.store(&request.entries[0]);
    sender.on_replies(request.id, lost(), at(20), &mut || 0.5);
    assert!(sender.poll_answers().is_empty());
    assert!(sender.poll_request(at(44)).is_none(), "half of 50 ms must pass");
    let again = sender.poll_request(at(45)).unwrap();
    assert_eq!(again.entries, request.entries);
    let place = stream.store(&again.entries[0]);
    sender.on_replies(again.id, Ok(vec![Reply::Stored(place)]), at(50), &mut || 0.5);
    assert_eq!((sender.poll_answers().len(), sender.held(), sender.counts().retries), (2, 0, 1));
    let Events { stored, retried, .. } = sender.poll_events();
    assert_eq!((stored[0].buffered_ms, stored[0].waited_ms, retried.len()), (10, 50, 1));
}

#[test]
fn a_throttled_bid_expires_and_a_doubtful_one_never_does() {
    let late = at(WINDOW.window_ms + WINDOW.grace_ms + 1_000);
    let (_, mut sender, request) = two_bids(Envelope::Block, Some(WINDOW));
    sender.on_replies(request.id, Ok(vec![Reply::Throttled]), at(20), &mut || 0.5);
    assert!(sender.poll_request(late).is_none());
    assert!(sender.poll_answers().iter().all(|answer| answer.outcome == Outcome::Expired));
    let (_, mut sender, request) = two_bids(Envelope::Block, Some(WINDOW));
    sender.on_replies(request.id, lost(), at(20), &mut || 0.5);
    assert!(sender.poll_request(late).is_some(), "the stream may hold it, so it is sent again");
    sender.abandon();
    assert!(sender.poll_answers().iter().all(|answer| answer.outcome == Outcome::Unknown));
    assert_eq!(sender.held(), 0);
}

/// Answers from `other`, then hands over a map in which the first bid's shard was split between the two slots.
fn answered_elsewhere(envelope: Envelope) -> (Vec<Answer>, Sender) {
    let (mut stream, mut sender, request) = two_bids(envelope, None);
    for _ in 0..6 {
        stream.split(0);
    }
    let place = stream.store(&request.entries[0]);
    sender.on_replies(request.id, Ok(vec![Reply::Stored(place)]), at(20), &mut || 0.5);
    assert!(sender.wants_map() && sender.poll_answers().is_empty());
    sender.on_map(stream.map(), at(30));
    (sender.poll_answers(), sender)
}

#[test]
fn what_another_shard_answered_is_accepted_only_as_far_as_it_owns_it() {
    let (accepted, sender) = answered_elsewhere(Envelope::Block);
    assert!(
        accepted.iter().any(|answer| answer.ticket == 1),
        "the record lies with the owner of its first slot"
    );
    let resent = u64::try_from(sender.held()).unwrap();
    assert_eq!(sender.counts().resends, resent);
    let (accepted, mut sender) = answered_elsewhere(Envelope::Aggregated);
    assert_eq!(
        (accepted.len(), sender.held(), sender.counts().resends),
        (0, 2, 2),
        "an aggregate goes again whole"
    );
    sender.abandon();
    let unknown = |answer: &Answer| answer.outcome == Outcome::Unknown;
    assert!(sender.poll_answers().iter().all(unknown), "a copy lies in the stream, so nothing is refused");
}

#[test]
fn a_bid_does_not_inherit_the_place_of_a_first_bid_that_was_given_up() {
    let mut stream = Stream::new();
    let (old, first) = (stream.map(), bid(0, WALL));
    let owner = |stream: &Stream, bid: &Bid| stream.owner(HashKey::of_slot(&bid.slot_id));
    let shard = owner(&stream, &first);
    let fellows: Vec<Bid> =
        (1..64).map(|number| bid(number, WALL)).filter(|bid| owner(&stream, bid) == shard).collect();
    stream.split(stream.shards.iter().position(|(_, id)| *id == shard).unwrap());
    let apart = |bid: &&Bid| owner(&stream, bid) != owner(&stream, &first);
    let second = *fellows.iter().find(apart).unwrap();
    let mut sender = Sender::new(rules(Envelope::Block), old);
    sender.on_bid(1, first, at(0));
    sender.on_bid(2, second, at(9));
    let request = sender.poll_request(at(10)).unwrap();
    let place = stream.store(&request.entries[0]);
    sender.on_replies(request.id, Ok(vec![Reply::Stored(place)]), at(20), &mut || 0.5);
    assert!(sender.poll_request(at(3_000)).is_none());
    let given_up = sender.poll_answers();
    assert_eq!((given_up[0].ticket, &given_up[0].outcome), (1, &Outcome::Unknown));
    sender.on_map(stream.map(), at(3_001));
    assert!(sender.poll_answers().is_empty(), "the shard that answered does not own the second bid");
    assert_eq!((sender.held(), sender.counts().resends), (1, 1));
}

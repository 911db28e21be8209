//! How long bids wait for company: not at all where few come, for the linger where many do.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const LINGER_MS: u64 = 100;

fn as_by_default(linger_ms: u64) -> Rules {
    Rules { record_bids_max: 2_500, linger_ms, deliver_ms: 120_000, ..rules(Envelope::Block) }
}

/// Four shards.
fn four() -> Stream {
    let mut stream = Stream::new();
    stream.split(0);
    stream.split(0);
    stream
}

/// What became of a load.
#[derive(Default)]
struct Sent {
    requests: usize,
    records: usize,
    /// How long each bid was on its way.
    took_ms: Vec<u64>,
}

impl Sent {
    fn bids_per_record(&self) -> usize {
        self.took_ms.len() / self.records
    }

    fn median_ms(&mut self) -> u64 {
        self.took_ms.sort_unstable();
        self.took_ms[self.took_ms.len() / 2]
    }
}

/// What is given to the sender each millisecond; it hears how many bids were answered so far.
type Load<'a> = &'a mut dyn FnMut(u64, u64) -> u64;

/// Runs a load over a stream that answers each request after `reply_ms`.
fn run(rules: Rules, reply_ms: u64, until_ms: u64, load: Load<'_>) -> Sent {
    let mut stream = four();
    let mut sender = Sender::new(rules, stream.map());
    let (mut sent, mut waiting, mut taken_ms) = (Sent::default(), VecDeque::new(), Vec::new());
    for now_ms in 0..until_ms {
        let now = at(now_ms);
        while waiting.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            let (_, request): (u64, Request) = waiting.pop_front().unwrap();
            let replies = request.entries.iter().map(|entry| Reply::Stored(stream.store(entry))).collect();
            sender.on_replies(request.id, Ok(replies), now, &mut || 0.5);
        }
        for answer in sender.poll_answers() {
            sent.took_ms.push(now_ms - taken_ms[usize::try_from(answer.ticket).unwrap()]);
        }
        for _ in 0..load(now_ms, u64::try_from(sent.took_ms.len()).unwrap()) {
            let number = u64::try_from(taken_ms.len()).unwrap();
            sender.on_bid(number, bid(number, now.wall.0), now);
            taken_ms.push(now_ms);
        }
        while let Some(request) = sender.poll_request(now) {
            sent.requests += 1;
            sent.records += request.entries.len();
            waiting.push_back((now_ms + reply_ms, request));
        }
    }
    sent
}

#[test]
fn a_bid_alone_goes_at_once_and_company_forms_behind_it() {
    let mut stream = Stream::new();
    let first = bid(0, WALL);
    let shard = stream.owner(HashKey::of_slot(&first.slot_id));
    let (fellows, others): (Vec<Bid>, Vec<Bid>) = (1..40)
        .map(|number| bid(number, WALL))
        .partition(|bid| stream.owner(HashKey::of_slot(&bid.slot_id)) == shard);
    let mut sender = Sender::new(as_by_default(LINGER_MS), stream.map());
    sender.on_bid(0, first, at(5));
    let alone = sender.poll_request(at(5)).expect("nothing of its shard is under way");
    (1..).zip(&fellows).for_each(|(ticket, bid)| sender.on_bid(ticket, *bid, at(6)));
    assert!(sender.poll_request(at(6)).is_none(), "they wait behind the request");
    sender.on_bid(90, others[0], at(7));
    let other = sender.poll_request(at(7)).expect("another shard waits for nobody");
    assert_eq!(decode(&other.entries[0].data).items.len(), 1);
    let place = stream.store(&alone.entries[0]);
    sender.on_replies(alone.id, Ok(vec![Reply::Stored(place)]), at(9), &mut || 0.5);
    let together = sender.poll_request(at(9)).expect("the request that they waited for is answered");
    assert_eq!((together.entries.len(), decode(&together.entries[0].data).items.len()), (1, fellows.len()));
    sender.on_bid(91, others[1], at(10));
    assert!(sender.poll_request(at(10 + LINGER_MS - 1)).is_none());
    let lingered =
        sender.poll_request(at(10 + LINGER_MS)).expect("behind a request they wait for the linger");
    assert_eq!(lingered.entries.len(), 1);
}

#[test]
fn company_forms_behind_a_record_that_waits_to_be_sent_again() {
    let (_, mut sender, request) = two_bids(Envelope::Block, None);
    let fellow = decode(&request.entries[0].data).items.remove(0).unwrap();
    sender.on_replies(request.id, Ok(vec![Reply::Throttled]), at(20), &mut || 0.999);
    for (number, ms) in [(3, 21), (4, 23)] {
        sender.on_bid(number, Bid { bid_id: BidId::from_bytes([7; 16]), ..fellow }, at(ms));
        assert!(sender.poll_request(at(ms)).is_none(), "its shard refuses for the rate");
    }
    let requests = (24..2_000).filter_map(|ms| sender.poll_request(at(ms)));
    let bids = |request: Request| decode(&request.entries[0].data).items.len();
    assert_eq!(requests.map(bids).collect::<Vec<_>>(), [2, 2], "more records are no help to such a shard");
}

#[test]
fn callers_that_wait_for_their_answers_are_answered_within_two_round_trips() {
    for (callers, linger_ms) in [(1, LINGER_MS), (1, 1_000), (8, LINGER_MS), (256, LINGER_MS)] {
        let mut given = 0;
        let mut load = |_: u64, answered: u64| {
            let more = answered + callers - given;
            given += more;
            more
        };
        let mut sent = run(as_by_default(linger_ms), 4, 20_000, &mut load);
        assert!(sent.median_ms() <= 8, "{callers} callers: {} ms", sent.median_ms());
        let lingered = sent.took_ms.iter().filter(|took_ms| **took_ms >= linger_ms).count();
        assert!(
            lingered * 50 < sent.took_ms.len(),
            "{callers} callers: {lingered} of {}",
            sent.took_ms.len()
        );
    }
}

/// Waiting alone, as it was before bids could go at once: a record of each shard a linger.
#[test]
fn under_load_a_record_holds_what_comes_in_a_linger() {
    for (per_s, reply_ms) in [(24_000, 2), (24_000, 20), (8_000, 2)] {
        let seconds = 10;
        let mut given = 0;
        let mut load = |now_ms: u64, _: u64| {
            // In turns of 10 ms, as the generator makes them.
            let due = now_ms / 10 * per_s / 100;
            let more = due - given;
            given = due;
            more
        };
        let sent = run(as_by_default(LINGER_MS), reply_ms, seconds * 1_000, &mut load);
        let lingers = usize::try_from(seconds * 1_000 / LINGER_MS).unwrap();
        let (at_least, in_a_linger) = (sent.bids_per_record(), usize::try_from(per_s / 40).unwrap());
        assert!(at_least * 100 >= in_a_linger * 90, "{per_s}/s: {at_least} of {in_a_linger}");
        assert!(sent.requests * 10 <= lingers * 4 * 11, "{per_s}/s: {} requests", sent.requests);
    }
}

/// Bids that come independently of each other, as those of many callers do, have gaps that no caller waits in.
#[test]
fn under_medium_load_as_few_records_are_sent_as_by_waiting_alone() {
    for per_s in [320, 500, 1_000, 4_000] {
        let seconds = 60;
        let mut chance = StdRng::seed_from_u64(per_s);
        // Of eight callers each bids in a millisecond or does not.
        let mut load =
            |_: u64, _: u64| (0..8).map(|_| u64::from(chance.random_range(0..8_000) < per_s)).sum();
        let sent = run(as_by_default(LINGER_MS), 2, seconds * 1_000, &mut load);
        // A record begins with a bid and leaves a linger later; the next begins a gap after that.
        let alone = seconds * 1_000 * 4 / (LINGER_MS + 4_000 / per_s);
        let records = u64::try_from(sent.records).unwrap();
        assert!(records * 100 <= alone * 110, "{per_s}/s: {records} records, {alone} by waiting alone");
    }
}

#[test]
fn a_file_fills_records_although_its_first_bids_go_at_once() {
    let (mut given, all) = (0, 400_000);
    let mut load = |_: u64, _: u64| {
        let more = 600_u64.min(all - given);
        given += more;
        more
    };
    let sent = run(as_by_default(LINGER_MS), 2, 2_000, &mut load);
    assert_eq!(sent.took_ms.len(), usize::try_from(all).unwrap());
    assert!(sent.bids_per_record() >= 2_400, "{} bids of a record", sent.bids_per_record());
}

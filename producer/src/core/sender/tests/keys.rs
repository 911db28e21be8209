//! Streams that put records without regard to their keys, and splits, which look alike to one bid.

use super::*;

/// A bid that is sent alone, and the shards that do and do not own its slot.
fn alone() -> (Stream, Sender, Request, [usize; 2]) {
    let stream = Stream::new();
    let one = bid(0, WALL);
    let owner = stream.owner(HashKey::of_slot(&one.slot_id));
    let own = stream.shards.iter().position(|(_, id)| *id == owner).unwrap();
    let mut sender = Sender::new(rules(Envelope::Plain), stream.map());
    sender.on_bid(1, one, at(0));
    let request = sender.poll_request(at(10)).unwrap();
    (stream, sender, request, [own, (own + 1) % 2])
}

#[test]
fn a_bid_alone_in_a_shard_that_does_not_own_it_is_sent_again_and_never_accepted_there() {
    let (mut stream, mut sender, request, [own, other]) = alone();
    let astray = stream.store_in(&request.entries[0], other);
    sender.on_replies(request.id, Ok(vec![Reply::Stored(astray)]), at(20), &mut || 0.5);
    assert!(sender.poll_answers().is_empty() && sender.wants_map());
    assert!(sender.doubts_keys(), "no key of that shard's was put");
    sender.on_map(stream.map(), at(30));
    assert!(sender.poll_answers().is_empty() && !sender.doubts_keys());
    let again = sender.poll_request(at(40)).expect("it goes again");
    let right = stream.store_in(&again.entries[0], own);
    sender.on_replies(again.id, Ok(vec![Reply::Stored(Arc::clone(&right))]), at(50), &mut || 0.5);
    let answers = sender.poll_answers();
    assert_eq!((answers.len(), &answers[0].outcome), (1, &Outcome::Accepted(right)));
}

#[test]
fn a_bid_alone_in_a_shard_that_nobody_knows_waits_for_the_map_and_is_accepted_where_that_owns_it() {
    let (mut stream, mut sender, request, [own, _]) = alone();
    stream.split(own);
    let place = stream.store(&request.entries[0]);
    sender.on_replies(request.id, Ok(vec![Reply::Stored(Arc::clone(&place))]), at(20), &mut || 0.5);
    assert!(sender.poll_answers().is_empty() && sender.wants_map());
    assert!(!sender.doubts_keys(), "a split is no reason to ask");
    sender.on_map(stream.map(), at(30));
    let answers = sender.poll_answers();
    assert_eq!((answers.len(), &answers[0].outcome), (1, &Outcome::Accepted(place)));
}

#[test]
fn once_a_stream_says_that_it_ignores_keys_what_lies_astray_is_unknown_and_nothing_goes_again() {
    let (mut stream, mut sender, request, [own, other]) = alone();
    let astray = stream.store_in(&request.entries[0], other);
    sender.on_replies(request.id, Ok(vec![Reply::Stored(astray)]), at(20), &mut || 0.5);
    sender.on_bid(2, bid(64, WALL), at(20));
    let next = sender.poll_request(at(30)).unwrap();
    sender.on_keys_ignored();
    let unknown = sender.poll_answers();
    assert_eq!((unknown.len(), unknown[0].ticket, &unknown[0].outcome), (1, 1, &Outcome::Unknown));
    sender.on_bid(3, bid(128, WALL), at(31));
    let last = sender.poll_request(at(41)).unwrap();
    let (astray, right) = (stream.store_in(&next.entries[0], other), stream.store_in(&last.entries[0], own));
    sender.on_replies(next.id, Ok(vec![Reply::Stored(astray)]), at(42), &mut || 0.5);
    sender.on_replies(last.id, Ok(vec![Reply::Stored(Arc::clone(&right))]), at(43), &mut || 0.5);
    let answers = sender.poll_answers();
    let outcomes: Vec<_> = answers.iter().map(|answer| (answer.ticket, &answer.outcome)).collect();
    assert_eq!(outcomes, [(2, &Outcome::Unknown), (3, &Outcome::Accepted(right))], "the slots are the same");
    assert_eq!((sender.held(), sender.wants_map()), (0, false));
}

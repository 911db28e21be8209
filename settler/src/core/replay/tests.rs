//! Claims about reading one window again: windows of 10 s, 2 s of grace, 1 s ahead, and amounts that are powers of two.

use schemas::ids::Region;
use schemas::item::State;
use schemas::lease::Beginning;
use schemas::money::{BasisPoints, Price};
use schemas::record::Kind;

use super::*;

const WINDOW: Millis = Millis(100_000);

fn slot(number: u8) -> SlotId {
    SlotId::from_bytes([number; 16])
}

fn shard(number: u8) -> ShardId {
    ShardId(format!("shardId-{number:012}"))
}

/// A bid of an account, so many ms after the window's start.
fn bid(slot_id: SlotId, account: u8, units: u64, after_ms: u64) -> Bid {
    Bid {
        bid_id: BidId::from_bytes([account; 16]),
        slot_id,
        account_id: AccountId::from_bytes([account; 16]),
        region: "eu-central-1".parse::<Region>().unwrap(),
        amount: Price::from_units(units).unwrap(),
        latency_ms: 1,
        quality: BasisPoints::ONE,
        event_time: WINDOW.plus(after_ms),
    }
}

fn record(reading: &mut Reading, after_ms: u64, sequence: u64, bids: &[Bid]) {
    let items = bids.iter().copied().map(Ok).collect();
    let decoded = Decoded { kind: Kind::Block, items };
    reading.on_record(WINDOW.plus(after_ms), &sequence.to_string().parse().unwrap(), &decoded);
}

fn place(checkpoint: Checkpoint, clock: Millis, tails: Vec<Tail>) -> Replay {
    Replay { checkpoint, clock, tails }
}

fn tail(number: u8, range: HashRange, closed_through: Millis, tails: Vec<Tail>) -> Tail {
    let (checkpoint, beginning) = (Checkpoint::After("3".parse().unwrap()), Beginning::Whole);
    let replay_clock = WINDOW;
    Tail { shard_id: shard(number), range, checkpoint, replay_clock, closed_through, beginning, tails }
}

/// Amounts by account, and duplicates.
fn amounts(found: &Found) -> (Vec<u64>, u64) {
    (found.best.values().map(|best| best.amount.units()).collect(), found.duplicates)
}

/// The item of an auction with these bids of distinct accounts, best first, of which so many are candidates.
fn item(found: &Found, named: usize) -> Aggregate {
    let mut best: Vec<Candidate> = found.best.values().cloned().collect();
    best.sort_by_key(|bid| std::cmp::Reverse(bid.amount));
    Aggregate {
        slot_id: slot(1),
        window_start: WINDOW,
        window_end: WINDOW.plus(10_000),
        bids: found.seen.len().try_into().unwrap(),
        bidders: best.len().try_into().unwrap(),
        amount_sum: Money(found.amount_sum),
        amount_min: best.last().unwrap().amount,
        amount_max: best[0].amount,
        duplicates: found.duplicates,
        regions: BTreeMap::new(),
        next_amount: best.get(named).map(|next| next.amount),
        candidates: best.into_iter().take(named).collect(),
        next_score: None,
        shard_id: shard(9),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

#[test]
fn bids_are_judged_as_the_shard_machine_judges_them_until_the_clock_has_passed_the_window() {
    let replay = place(Checkpoint::After("7".parse().unwrap()), WINDOW, Vec::new());
    let mut reading =
        Reading::new(Geometry::default(), WINDOW, (&shard(9), &replay), [slot(1), slot(2), slot(1)]);
    assert_eq!(reading.reading(), Some((&shard(9), &replay.checkpoint)));
    let early = bid(slot(1), 3, 4, 2_001);
    record(&mut reading, 1_000, 8, &[bid(slot(1), 1, 1, 5), bid(slot(1), 2, 2, 2_000), early]);
    // A copy, a better bid of the same account, and one of another slot and of another window.
    let better = Bid { bid_id: BidId::from_bytes([77; 16]), ..bid(slot(1), 2, 8, 9) };
    record(
        &mut reading,
        900,
        9,
        &[bid(slot(1), 1, 16, 5), better, bid(slot(2), 4, 32, 5), bid(slot(1), 5, 64, 10_000)],
    );
    record(&mut reading, 12_000, 10, &[bid(slot(1), 6, 128, 1), bid(slot(3), 6, 128, 1)]);
    assert_eq!(reading.reading().unwrap().1, &Checkpoint::After("10".parse().unwrap()));
    record(&mut reading, 12_001, 11, &[bid(slot(1), 7, 256, 1)]);
    assert_eq!(reading.reading(), None, "nothing behind it is read");
    let mut found = reading.finish().unwrap();
    assert_eq!(amounts(&found[&slot(2)]), (vec![32], 0));
    let found = found.remove(&slot(1)).unwrap();
    assert_eq!((amounts(&found), found.amount_sum), ((vec![1, 8, 128], 1), 1 + 2 + 8 + 128));
    let behind = found.clone().behind(&item(&found, 1), Ranking::Amount).unwrap();
    let behind: Vec<(u64, String)> =
        behind.iter().map(|bid| (bid.amount.units(), bid.sequence.to_string())).collect();
    assert_eq!(behind, [(8, "9".to_owned()), (1, "8".to_owned())], "in rank order, each with its place");
}

/// A merge of two parents, one of which still had a tail itself.
#[test]
fn what_parents_left_is_read_first_each_by_its_own_clock_and_range() {
    let hash = HashKey::of_slot(&slot(1)).0;
    let (own, other) = if hash > u128::MAX / 2 { (upper(), lower()) } else { (lower(), upper()) };
    let grandparent = tail(1, HashRange::ALL, Millis(0), Vec::new());
    let tails = vec![tail(2, own, Millis(0), vec![grandparent]), tail(3, other, Millis(0), Vec::new())];
    let replay = place(Checkpoint::TrimHorizon, Millis(0), tails);
    let mut reading = Reading::new(Geometry::default(), WINDOW, (&shard(9), &replay), [slot(1)]);
    let mut order = Vec::new();
    let mut end = |reading: &mut Reading| {
        order.push(reading.reading().unwrap().0.clone());
        reading.on_end();
    };
    record(&mut reading, 100, 1, &[bid(slot(1), 1, 1, 0)]);
    end(&mut reading);
    record(&mut reading, 200, 1, &[bid(slot(1), 2, 2, 0), bid(slot(1), 1, 4, 0)]);
    end(&mut reading);
    // The other parent does not own the slot, and is 11 s further.
    record(&mut reading, 11_000, 1, &[bid(slot(1), 3, 8, 0)]);
    end(&mut reading);
    // The child begins at the highest end clock of its parents: this bid is not early.
    record(&mut reading, 300, 1, &[bid(slot(1), 4, 16, 9_999)]);
    assert_eq!(reading.reading().unwrap().0, &shard(9));
    record(&mut reading, 12_001, 2, &[]);
    assert_eq!(order, [shard(1), shard(2), shard(3)]);
    let found = reading.finish().unwrap();
    assert_eq!(amounts(&found[&slot(1)]), (vec![1, 2, 16], 1));
}

fn lower() -> HashRange {
    HashRange { start: HashKey(0), end: HashKey(u128::MAX / 2) }
}

fn upper() -> HashRange {
    HashRange { start: HashKey(u128::MAX / 2 + 1), end: HashKey(u128::MAX) }
}

#[test]
fn what_a_tail_closed_or_wrote_itself_is_not_inherited() {
    let closed_through = WINDOW.plus(12_001);
    let replay = place(
        Checkpoint::TrimHorizon,
        Millis(0),
        vec![tail(1, lower(), closed_through, Vec::new()), tail(2, upper(), Millis(0), Vec::new())],
    );
    let mut reading = Reading::new(Geometry::default(), WINDOW, (&shard(9), &replay), [slot(1)]);
    record(&mut reading, 100, 1, &[bid(slot(1), 1, 1, 0)]);
    reading.on_end();
    record(&mut reading, 100, 1, &[bid(slot(1), 2, 2, 0)]);
    record(&mut reading, 12_001, 2, &[]);
    assert!(reading.reading().is_some(), "a tail is read to its end for its clock");
    reading.on_end();
    assert_eq!(reading.reading(), None, "the clocks of the parents have closed the window");
    assert_eq!(amounts(&reading.finish().unwrap()[&slot(1)]), (Vec::new(), 0));
}

#[test]
fn a_log_that_holds_something_else_than_the_item_is_not_used() {
    let replay = place(Checkpoint::TrimHorizon, WINDOW, Vec::new());
    let mut reading = Reading::new(Geometry::default(), WINDOW, (&shard(9), &replay), [slot(1)]);
    record(&mut reading, 100, 1, &[bid(slot(1), 1, 4, 0), bid(slot(1), 2, 2, 0), bid(slot(1), 2, 2, 0)]);
    assert!(Reading::new(Geometry::default(), WINDOW, (&shard(9), &replay), [slot(1)]).finish().is_none());
    record(&mut reading, 12_001, 2, &[]);
    let found = reading.finish().unwrap().remove(&slot(1)).unwrap();
    let whole = item(&found, 1);
    assert_eq!(found.clone().behind(&whole, Ranking::Amount).unwrap().len(), 1);
    let mut candidate = whole.clone();
    candidate.candidates[0].sub_sequence = 9;
    for wrong in [
        Aggregate { bids: 3, ..whole.clone() },
        Aggregate { bidders: 3, ..whole.clone() },
        Aggregate { amount_sum: Money(7), ..whole.clone() },
        Aggregate { duplicates: 0, ..whole },
        candidate,
    ] {
        let refused = found.clone().behind(&wrong, Ranking::Amount).unwrap_err();
        assert!(refused.starts_with("the log gives"), "{refused}");
    }
}

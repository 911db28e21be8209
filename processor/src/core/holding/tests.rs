use super::*;
use crate::core::trimmed::{Kept, Read};
use schemas::attr::{Attr, s};
use schemas::bid::Bid;
use schemas::geometry::Geometry;
use schemas::hash::HashRange;
use schemas::ids::{AccountId, BidId, SequenceNumber, SlotId};
use schemas::lease::Beginning;
use schemas::money::{BasisPoints, Price};
use schemas::record::Kind;
use schemas::seal::Seal;
use schemas::time::Span;

const WINDOW_MS: u64 = 10_000;
const HOUR: u64 = 3_600_000;

fn at(ms: u64) -> Now {
    Now { monotonic: Duration::from_millis(ms), service: Span::at(Millis(ms)) }
}

fn row() -> Lease {
    let row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
    Lease { owner: Some("me".into()), counter: 7, inherited: true, ..row }
}

fn holding(row: Lease) -> Holding {
    let geometry = Geometry { window_ms: WINDOW_MS, grace_ms: 2_000, ..Geometry::default() };
    let agreed = GeometryItem { geometry, ttl_after_ms: 1_000, outbox_buckets: 4 };
    let timing = Timing {
        checkpoint_every: Duration::from_millis(1_000),
        renew_every: Duration::from_millis(3_000),
        tick_every: Duration::from_millis(200),
        retry_after: Duration::from_millis(200),
    };
    let mut holding = Holding::new(row, "me".into(), (agreed, BidEvents::None), timing, at(0));
    assert!(matches!(effects(&mut holding)[..], [Effect::Read { .. }]));
    holding
}

fn effects(holding: &mut Holding) -> Vec<Effect> {
    std::iter::from_fn(|| holding.poll_effect()).collect()
}

/// The row that is written at a time, and the counter that it is written over; none when none is.
fn written(holding: &mut Holding, ms: u64) -> Option<(Lease, u64)> {
    holding.on_time(at(ms));
    match effects(holding).pop() {
        Some(Effect::Write { row, seen }) => Some((*row, seen)),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn finish(holding: &mut Holding) -> Option<Finish> {
    effects(holding).into_iter().find_map(|effect| match effect {
        Effect::Finish(finish) => Some(finish),
        _ => None,
    })
}

fn sequence(number: u64) -> SequenceNumber {
    number.to_string().parse().unwrap()
}

fn bid(number: u128, event_time: u64) -> Bid {
    Bid {
        bid_id: BidId::from_bytes(number.to_be_bytes()),
        slot_id: SlotId::from_bytes(number.to_be_bytes()),
        account_id: AccountId::from_bytes(number.to_be_bytes()),
        region: "us-east-1".parse().unwrap(),
        amount: Price::from_units(1).unwrap(),
        latency_ms: 1,
        quality: BasisPoints::new(1).unwrap(),
        event_time: Millis(event_time),
    }
}

/// A record of so many bids for slots of their own arrives at a time.
fn take(holding: &mut Holding, number: u64, arrival: u64, bids: u128) {
    let items = (0..bids).map(|one| Ok(bid(one, arrival))).collect();
    let kind = if bids == 0 { Kind::Tick } else { Kind::Block };
    holding.on_decoded(Millis(arrival), &sequence(number), &Decoded { kind, items });
}

fn ticks(holding: &mut Holding, ms: u64) -> usize {
    holding.on_tip(at(ms));
    effects(holding).iter().filter(|effect| matches!(effect, Effect::Tick { .. })).count()
}

#[test]
fn a_renewal_whose_reply_was_lost_is_found_out_and_the_lease_is_kept() {
    let mut holding = holding(row());
    assert!(written(&mut holding, 2_999).is_none());
    let (first, seen) = written(&mut holding, 3_000).expect("a renewal is due");
    assert_eq!((first.counter, seen), (8, 7));
    holding.on_row(Written::Unknown);
    assert!(written(&mut holding, 3_199).is_none(), "not at once");
    let (again, seen) = written(&mut holding, 3_200).expect("nobody knows whether the first one stands");
    assert_eq!((again.counter, seen), (8, 7));
    holding.on_row(Written::Refused(Some(Box::new(first))));
    assert_eq!(finish(&mut holding), None);
    let (_, seen) = written(&mut holding, 6_200).expect("the next renewal");
    assert_eq!(seen, 8, "goes on from what stands");
}

#[test]
fn a_renewal_over_another_workers_row_ends_the_holding() {
    let mut lost = holding(row());
    let (mine, _) = written(&mut lost, 3_000).expect("a renewal is due");
    lost.on_row(Written::Refused(Some(Box::new(Lease { owner: Some("you".into()), ..mine.clone() }))));
    assert_eq!(finish(&mut lost), Some(Finish::Lost(Loss::Taken("you".to_owned()))));
    // Two steps ahead is no reply that was lost: somebody had it in between.
    let mut lost = holding(row());
    written(&mut lost, 3_000).expect("a renewal is due");
    lost.on_row(Written::Refused(Some(Box::new(Lease { counter: 9, ..mine }))));
    assert_eq!(finish(&mut lost), Some(Finish::Lost(Loss::Changed)));
    // Deleted, or made unreadable.
    let mut lost = holding(row());
    written(&mut lost, 3_000).expect("a renewal is due");
    lost.on_row(Written::Refused(None));
    assert_eq!(finish(&mut lost), Some(Finish::Lost(Loss::Missing)));
}

#[test]
fn a_release_whose_reply_was_lost_is_a_release() {
    let mut holding = holding(row());
    holding.on_stop();
    let (free, _) = written(&mut holding, 10).expect("nothing is left to write");
    assert_eq!(free.owner, None);
    holding.on_row(Written::Unknown);
    holding.on_seen(&free);
    assert_eq!(finish(&mut holding), None, "the row may be its own");
    written(&mut holding, 210).expect("tried again");
    holding.on_row(Written::Refused(Some(Box::new(free))));
    assert_eq!(finish(&mut holding), Some(Finish::Released));
}

/// The row as a tool leaves it that sets one attribute of it.
fn edited(row: &Lease, name: &str, value: Attr) -> Lease {
    let mut attrs = row.to_attrs();
    attrs.insert(name.to_owned(), value);
    Lease::from_attrs(&attrs).unwrap()
}

#[test]
fn a_place_that_a_tool_set_while_it_is_held_is_written_over_with_the_one_that_was_reached() {
    for place in ["9", "1", "TRIM_HORIZON", "LATEST"] {
        let mut holding = holding(row());
        take(&mut holding, 1, 50_000, 1);
        take(&mut holding, 2, 70_000, 0);
        holding.on_written(0);
        let (stands, _) = written(&mut holding, 1_000).expect("a checkpoint");
        holding.on_row(Written::Done);
        let found = edited(&stands, "checkpoint", s(place));
        assert_eq!(found.seal, Seal::Broken(vec!["checkpoint"]), "{place}");
        holding.on_seen(&found);
        let told = holding.altered().expect("it is told").found.as_text().to_owned();
        assert_eq!((told.as_str(), finish(&mut holding)), (place, None));
        assert!(written(&mut holding, 1_199).is_none());
        let (again, seen) = written(&mut holding, 1_200).expect("it does not wait for the next renewal");
        let reached = (Checkpoint::After(sequence(2)), Millis(70_000), stands.counter);
        assert_eq!((again.checkpoint, again.closed_through, seen), reached, "{place}");
        holding.on_row(Written::Done);
        assert_eq!(holding.altered(), None);
    }
}

#[test]
fn a_row_of_this_holding_whose_counter_a_tool_moved_is_written_over_and_never_read_from() {
    // A renewal is refused: a tool set place and counter. One ahead is what a reply that was lost looks like.
    for ahead in [1, 5] {
        let mut holding = holding(row());
        take(&mut holding, 1, 50_000, 1);
        take(&mut holding, 2, 70_000, 0);
        holding.on_written(0);
        let (tried, _) = written(&mut holding, 1_000).expect("a checkpoint");
        let found = edited(&tried, "checkpoint", s("999"));
        let found = Lease { counter: row().counter + ahead, ..found };
        holding.on_row(Written::Refused(Some(Box::new(found))));
        assert_eq!((finish(&mut holding), holding.altered().is_some()), (None, true), "{ahead}");
        let (again, seen) = written(&mut holding, 1_200).expect("tried again");
        assert_eq!((again.checkpoint, seen), (Checkpoint::After(sequence(2)), 7 + ahead));
    }
}

#[test]
fn a_row_that_a_tool_replaced_is_lost_and_not_read_from() {
    // What the Java library writes: no attribute of ours, its own owner or none, the next counter.
    for owner in [None, Some("java".to_owned())] {
        let mut holding = holding(row());
        take(&mut holding, 1, 50_000, 1);
        let (tried, _) = written(&mut holding, 1_000).expect("a checkpoint");
        let place = Checkpoint::After(sequence(9));
        let loss = owner.clone().map_or(Loss::Changed, Loss::Taken);
        let found = Lease { owner, checkpoint: place, seal: Seal::Foreign, ..tried };
        holding.on_row(Written::Refused(Some(Box::new(found))));
        assert_eq!(finish(&mut holding), Some(Finish::Lost(loss)));
    }
}

#[test]
fn who_asks_for_a_lease_that_a_tool_changed_gets_the_place_that_was_reached() {
    let mut holding = holding(row());
    take(&mut holding, 1, 50_000, 1);
    take(&mut holding, 2, 70_000, 0);
    holding.on_written(0);
    let asked = Lease {
        owner: Some("you".into()),
        checkpoint_owner: Some("me".into()),
        counter: 8,
        checkpoint: Checkpoint::After(sequence(1_000)),
        beginning: Beginning::Cut,
        ..row()
    };
    holding.on_seen(&asked);
    let (over, seen) = written(&mut holding, 10).expect("nothing waits to be durable");
    assert_eq!(
        (over.checkpoint, over.beginning, seen),
        (Checkpoint::After(sequence(2)), Beginning::Whole, 8)
    );
}

#[test]
fn who_asks_for_a_lease_gets_it_with_the_last_checkpoint() {
    let mut holding = holding(row());
    take(&mut holding, 1, 50_000, 1);
    let asked = Lease { owner: Some("you".into()), checkpoint_owner: Some("me".into()), counter: 8, ..row() };
    holding.on_seen(&asked);
    assert!(!holding.wants_records());
    let (over, seen) = written(&mut holding, 10).expect("nothing waits to be durable");
    assert_eq!((over.owner.as_deref(), over.checkpoint_owner.as_deref(), seen), (Some("you"), None, 8));
    assert_eq!((over.closed_through, over.checkpoint), (Millis(50_000), Checkpoint::TrimHorizon));
    holding.on_row(Written::Done);
    assert_eq!(finish(&mut holding), Some(Finish::HandedOver));
}

#[test]
fn nothing_is_read_while_too_much_is_closed_and_not_durable() {
    let mut holding = holding(row());
    take(&mut holding, 1, 50_000, u128::try_from(UNWRITTEN_MAX).unwrap());
    assert!(holding.wants_records(), "what is open is no part of it");
    take(&mut holding, 2, 70_000, 0);
    assert!(!holding.wants_records());
    let (row, _) = written(&mut holding, 1_000).expect("a checkpoint");
    assert_eq!((row.checkpoint, row.closed_through), (Checkpoint::TrimHorizon, Millis(50_000)));
    holding.on_row(Written::Done);
    holding.on_written(0);
    assert!(holding.wants_records());
    let (row, _) = written(&mut holding, 2_000).expect("a checkpoint");
    assert_eq!((row.checkpoint, row.closed_through), (Checkpoint::After(sequence(2)), Millis(70_000)));
}

#[test]
fn an_idle_shard_is_ticked_when_something_is_due_and_never_more_than_five_times_a_second() {
    let mut holding = holding(row());
    assert_eq!(ticks(&mut holding, 40_000), 0, "nothing is open");
    take(&mut holding, 1, 50_000, 1);
    assert_eq!(ticks(&mut holding, 62_000), 0, "the window is within its grace");
    let sent: usize = (62_001..63_001).map(|ms| ticks(&mut holding, ms)).sum();
    assert_eq!(sent, 5);
    take(&mut holding, 2, 62_500, 0);
    assert_eq!(ticks(&mut holding, 64_000), 0, "it was read");
    holding.on_stop();
    take(&mut holding, 3, 70_000, 1);
    assert_eq!(ticks(&mut holding, 90_000), 0, "who leaves sends none");
}

#[test]
fn a_quiet_shard_gets_a_tick_before_a_later_reader_would_take_it_for_trimmed() {
    let kept = Kept { created: Millis(0), retention_ms: 24 * HOUR };
    let look = |holding: &mut Holding, ms: u64| {
        assert!(!holding.on_page(Read::new(&kept, Millis(ms), Millis(ms), 0)), "nothing is missed at {ms}");
        ticks(holding, ms)
    };
    let mut reader = holding(row());
    assert_eq!(look(&mut reader, HOUR), 0, "a new stream");
    assert_eq!(look(&mut reader, HOUR + 1), 1, "nothing was ever written");
    assert_eq!(look(&mut reader, HOUR + 60_000), 0, "it has not come back yet");
    assert_eq!(look(&mut reader, HOUR + 60_001), 1, "it may be lost");
    let (mut arrived, mut number, mut sent) = (HOUR + 60_001, 1, 0);
    take(&mut reader, number, arrived, 0);
    for ms in (arrived..60 * HOUR).step_by(30_000) {
        if look(&mut reader, ms) == 1 {
            (arrived, number, sent) = (ms, number + 1, sent + 1);
            take(&mut reader, number, arrived, 0);
        }
    }
    assert_eq!(sent, 58, "one an hour");
    let (last, _) = written(&mut reader, 60 * HOUR).expect("a checkpoint");
    assert_eq!(
        (last.checkpoint.clone(), last.replay_clock),
        (Checkpoint::After(sequence(number)), Millis(arrived))
    );
    // A successor that comes within retention finds nothing missing, and its first bid's window is whole.
    let mut successor = holding(last);
    assert_eq!(look(&mut successor, 80 * HOUR), 1);
    take(&mut successor, number + 1, 80 * HOUR, 1);
    take(&mut successor, number + 2, 80 * HOUR + 20_000, 0);
    let closed = effects(&mut successor).into_iter().any(|effect| matches!(effect, Effect::Put(_)));
    assert!(closed, "the window is written");
}

/// A shard whose first window is closed, with its ticket; a second one is closed when `more`.
fn closed(windows: u64) -> (Holding, Vec<u64>) {
    let mut holding = holding(row());
    for window in 0..windows {
        take(&mut holding, window + 1, 1_000 + window * WINDOW_MS, 3);
    }
    take(&mut holding, windows + 1, 2_001 + windows * WINDOW_MS, 0);
    let tickets = effects(&mut holding).into_iter().filter_map(|effect| match effect {
        Effect::Put(closed) => Some(closed.ticket),
        _ => None,
    });
    let tickets = tickets.collect();
    (holding, tickets)
}

#[test]
fn nothing_passes_what_the_table_refuses_and_other_windows_go_on() {
    let (mut holding, tickets) = closed(2);
    assert_eq!(tickets, [0, 1]);
    holding.on_refused(0, 1);
    holding.on_written(1);
    let held = holding.safe_row();
    assert_eq!((held.checkpoint, held.closed_through), (Checkpoint::TrimHorizon, Millis(11_000)));
    assert!(holding.wants_records(), "reading goes on");
    holding.on_written(0);
    let free = holding.safe_row();
    assert_eq!((free.checkpoint, free.closed_through), (Checkpoint::After(sequence(3)), Millis(22_001)));
}

#[test]
fn a_lease_with_a_refused_item_is_released_before_its_window_and_never_said_to_have_ended() {
    let (mut released, _) = closed(1);
    released.on_stop();
    assert!(written(&mut released, 10).is_none(), "the write is under way");
    released.on_refused(0, 1);
    let (free, _) = written(&mut released, 20).expect("the rest is durable");
    assert_eq!((free.owner.as_deref(), &free.checkpoint), (None, &Checkpoint::TrimHorizon));
    assert_eq!(free.closed_through, Millis(1_000), "the refused window is closed again by a successor");
    released.on_row(Written::Done);
    assert_eq!(finish(&mut released), Some(Finish::Released));

    let (mut ended, _) = closed(1);
    ended.on_end(vec![ShardId("child".into())]);
    ended.on_refused(0, 1);
    let (row, _) = written(&mut ended, 3_000).expect("a renewal");
    assert_eq!(row.checkpoint, Checkpoint::TrimHorizon, "the children wait");
    ended.on_row(Written::Done);
    ended.on_stop();
    let (free, _) = written(&mut ended, 3_010).expect("it is given up");
    assert_eq!((free.owner.as_deref(), &free.checkpoint), (None, &Checkpoint::TrimHorizon));
    ended.on_row(Written::Done);
    assert_eq!(finish(&mut ended), Some(Finish::Released));
}

#[test]
fn refused_items_of_many_windows_stop_reading_at_the_bound_of_what_is_unwritten() {
    let (mut holding, tickets) = closed(2);
    holding.on_refused(tickets[0], UNWRITTEN_MAX - 1);
    holding.on_written(tickets[1]);
    assert!(holding.wants_records());
    let (mut holding, tickets) = closed(2);
    holding.on_refused(tickets[0], UNWRITTEN_MAX - 1);
    holding.on_refused(tickets[1], 1);
    assert!(!holding.wants_records(), "memory is bounded whatever the table says");
}

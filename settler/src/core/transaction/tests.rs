//! Claims about the machine: each is a short list of events and the effects they must lead to.

use std::sync::Arc;

use proptest::{prop_assert_eq, proptest};
use schemas::ids::{AccountId, SlotId};

use super::*;
use crate::core::attempt::Origin;
use crate::core::choose::tests::auction;
use crate::core::choose::{Account, Slot};
use crate::core::rows::{Auction, Change};

/// An auction of slot `number`, won by the account of the same number.
fn auctions(numbers: &[u128], account: impl Fn(u128) -> u128) -> Vec<Arc<Auction>> {
    let one = |number: &u128| {
        let mut aggregate = auction(&[32], None);
        aggregate.slot_id = SlotId::from_bytes(number.to_be_bytes());
        aggregate.candidates[0].account_id = AccountId::from_bytes(account(*number).to_be_bytes());
        Arc::new(Auction::of(aggregate))
    };
    numbers.iter().map(one).collect()
}

/// What stands in a ledger that knows everyone and has decided nothing.
fn seen(reads: &Reads) -> Snapshot {
    let slot = Slot { publisher: AccountId::from_bytes([9; 16]), floor: schemas::money::Money(1) };
    let (balance, credit_limit) = (schemas::money::Money(1_000), schemas::money::Money(0));
    let status = schemas::settlement::AccountStatus::Active;
    let account = Account { balance, credit_limit, version: 0, status };
    Snapshot {
        slots: reads.slots.iter().map(|id| (*id, slot)).collect(),
        accounts: reads.accounts.iter().map(|id| (*id, account)).collect(),
        ..Snapshot::default()
    }
}

fn code(sqlstate: &str) -> Event {
    Event::Failed(Failure::answered(sqlstate, "told".to_owned(), Origin::Genuine))
}

/// Carries out what a machine asks for against a ledger that answers every commit with what `fate` says of its changes.
fn drive(machine: &mut Transaction, mut fate: impl FnMut(&Writes) -> Event) -> Vec<Ended> {
    let mut ended = Vec::new();
    let mut now = Moment::default();
    let mut event = Event::Ready;
    for _ in 0..10_000 {
        event = match machine.on(event, now, 0.999) {
            Effect::Read(reads) => Event::Seen(seen(&reads)),
            Effect::Write(writes) => fate(&writes),
            Effect::Pause(delay) => {
                now.steady += delay;
                Event::Ready
            }
            Effect::Ended(one) => {
                ended.push(one);
                Event::Ready
            }
            Effect::Finished => return ended,
        };
    }
    panic!("the machine never ends");
}

fn sizes(ended: &[Ended]) -> Vec<usize> {
    ended.iter().map(|one| one.job.len()).collect()
}

#[test]
fn a_batch_that_keeps_conflicting_is_halved_down_to_the_one_that_does() {
    let batch = auctions(&[1, 2, 3, 4, 5, 6, 7, 8], |number| number);
    let culprit = AccountId::from_bytes(6_u128.to_be_bytes());
    let mut machine = Transaction::new(Job::Settle(batch), Rules::default());
    let hits = |changes: &[Change]| changes.iter().any(|change| change.account == culprit);
    let ended =
        drive(&mut machine, |writes| if hits(&writes.changes) { code("40001") } else { Event::Committed });
    assert_eq!(sizes(&ended), [4, 1, 1, 2], "left halves first");
    let given_back: Vec<_> = ended.iter().filter(|one| matches!(one.end, End::GivenBack(_))).collect();
    assert_eq!(given_back.len(), 1);
    assert_eq!(given_back[0].end, End::GivenBack(Meaning::Conflict));
    assert_eq!(given_back[0].tries, Rules::default().attempts_max);
    let Job::Settle(left) = &given_back[0].job else { panic!("a batch") };
    assert_eq!(left[0].aggregate.candidates[0].account_id, culprit);
}

#[test]
fn a_batch_whose_conflict_is_one_account_is_not_halved() {
    let batch = auctions(&[1, 2, 3, 4], |_| 7);
    let mut machine = Transaction::new(Job::Settle(batch), Rules::default());
    let mut left = 9;
    let ended = drive(&mut machine, |_| {
        left -= 1;
        if left > 0 { code("40001") } else { Event::Committed }
    });
    assert_eq!(sizes(&ended), [4]);
    assert_eq!((ended[0].tries, ended[0].attempts.len()), (9, 8));
    assert!(matches!(ended[0].end, End::Done(_)));
}

#[test]
fn a_refused_batch_is_halved_down_to_the_culprit_and_nothing_is_tried_again() {
    for refused in ["54000", "23514", "22003"] {
        let batch = auctions(&[1, 2, 3, 4], |number| number);
        let mut machine = Transaction::new(Job::Settle(batch), Rules::default());
        let culprit = AccountId::from_bytes(3_u128.to_be_bytes());
        let ended = drive(&mut machine, |writes| {
            if writes.changes.iter().any(|change| change.account == culprit) {
                code(refused)
            } else {
                Event::Committed
            }
        });
        assert_eq!(sizes(&ended), [2, 1, 1], "{refused}");
        assert!(matches!(ended[1].end, End::Refused(_)), "{refused}");
        assert!(ended.iter().all(|one| one.tries <= 1), "{refused}");
    }
}

#[test]
fn a_ledger_that_refuses_the_statements_themselves_holds_nobody() {
    let mut machine = Transaction::new(Job::Settle(auctions(&[1, 2], |n| n)), Rules::default());
    let ended = drive(&mut machine, |_| code("0A000"));
    assert_eq!(sizes(&ended)[..1], [2], "a batch is not halved for it");
    assert!(matches!(ended[0].end, End::Broken(_)));
}

#[test]
fn a_lost_reply_is_tried_again_never_assumed() {
    let batch = auctions(&[1], |number| number);
    let mut machine = Transaction::new(Job::Settle(batch), Rules::default());
    let now = Moment::default();
    let Effect::Read(reads) = machine.on(Event::Ready, now, 0.0) else { panic!("reads first") };
    let Effect::Write(_) = machine.on(Event::Seen(seen(&reads)), now, 0.0) else { panic!("writes") };
    let lost = Event::Failed(Failure::lost("gone".to_owned()));
    assert_eq!(machine.on(lost, now, 0.0), Effect::Pause(Duration::ZERO));
    assert_eq!(machine.on(Event::Ready, now, 0.0), Effect::Read(reads), "it reads its own keys again");
}

#[test]
fn an_outage_costs_time_and_neither_attempts_nor_halves() {
    let batch = auctions(&[1, 2], |number| number);
    let rules = Rules { deadline: Duration::from_secs(600), ..Rules::default() };
    let mut machine = Transaction::new(Job::Settle(batch), rules);
    let away = Event::Failed(Failure::away("refused".to_owned()));
    let (mut now, mut event, mut pauses) = (Moment::default(), Event::Ready, 0);
    while now.steady < Duration::from_secs(500) {
        event = match machine.on(event, now, 0.5) {
            Effect::Read(_) => away.clone(),
            Effect::Pause(delay) => {
                assert!(delay <= rules.away.cap);
                (now.steady, pauses) = (now.steady + delay, pauses + 1);
                Event::Ready
            }
            other => panic!("{other:?}"),
        };
    }
    assert!((150..300).contains(&pauses), "{pauses} in 500 s: not in a hurry, and not asleep");
    let ended = drive(&mut machine, |_| Event::Committed);
    assert_eq!(sizes(&ended), [2]);
}

#[test]
fn a_stop_leaves_what_was_begun_a_grace_and_no_more() {
    let mut machine = Transaction::new(Job::Settle(auctions(&[1, 2], |_| 1)), Rules::default());
    machine.hurry(Moment::default(), Duration::from_millis(50));
    let ended = drive(&mut machine, |_| code("40001"));
    assert!(matches!(ended[0].end, End::GivenBack(Meaning::Conflict)));
    assert!(ended[0].tries < 8, "{}", ended[0].tries);
}

#[test]
fn what_one_transaction_cannot_hold_is_halved_before_it_is_sent() {
    let numbers: Vec<u128> = (0..1_000).collect();
    let mut machine = Transaction::new(Job::Settle(auctions(&numbers, |number| number)), Rules::default());
    let ended = drive(&mut machine, |writes| {
        assert!(
            writes.rows() <= schemas::limits::DSQL_ROWS_MAX
                && writes.bytes() <= schemas::limits::DSQL_BYTES_MAX
        );
        Event::Committed
    });
    assert_eq!(ended.iter().map(|one| one.job.len()).sum::<usize>(), 1_000);
    assert_eq!(ended.len(), 4);
}

#[test]
fn what_is_too_large_for_one_transaction_is_halved_before_it_is_sent() {
    let long = |auction: Arc<Auction>| {
        let mut aggregate = auction.aggregate.clone();
        aggregate.candidates[0].shard_id = schemas::ids::ShardId("s".repeat(1 << 20));
        Arc::new(Auction::of(aggregate))
    };
    let batch = auctions(&(0..16).collect::<Vec<_>>(), |number| number).into_iter().map(long).collect();
    let mut machine = Transaction::new(Job::Settle(batch), Rules::default());
    let ended = drive(&mut machine, |writes| {
        let sent: usize =
            writes.settlements.iter().map(|row| row.outcome.as_ref().unwrap().0.shard_id.0.len()).sum();
        assert!(sent <= schemas::limits::DSQL_BYTES_MAX, "{sent} bytes of text alone");
        Event::Committed
    });
    assert_eq!(sizes(&ended), [8, 8]);
}

#[test]
fn an_overloaded_ledger_is_asked_more_slowly_than_one_that_conflicts() {
    let pause = |sqlstate| {
        let mut machine = Transaction::new(Job::Settle(auctions(&[1], |n| n)), Rules::default());
        let now = Moment::default();
        let Effect::Read(_) = machine.on(Event::Ready, now, 0.9) else { panic!("reads first") };
        let Effect::Pause(delay) = machine.on(code(sqlstate), now, 0.9) else { panic!("waits") };
        delay
    };
    assert!(pause("40001") < Duration::from_millis(5));
    assert!(pause("53300") >= Duration::from_millis(80) && pause("53400") >= Duration::from_millis(80));
}

proptest! {
    /// Whatever happens, every auction ends in exactly one part, and time is bounded.
    #[test]
    fn every_auction_ends_once_whatever_happens(
        count in 1_u128..20,
        fates in proptest::collection::vec(0_usize..8, 1..60),
    ) {
        let codes = ["40001", "XX000", "53300", "54000", "23505", "40P01"];
        let numbers: Vec<u128> = (0..count).collect();
        let mut machine = Transaction::new(Job::Settle(auctions(&numbers, |number| number % 5)), Rules::default());
        let mut turn = 0;
        let ended = drive(&mut machine, |_| {
            turn += 1;
            codes.get(fates[turn % fates.len()]).map_or(Event::Committed, |sqlstate| code(sqlstate))
        });
        let mut slots: Vec<SlotId> = ended
            .iter()
            .flat_map(|one| match &one.job { Job::Settle(batch) => batch.clone(), Job::Deposit(_) => vec![] })
            .map(|one| one.aggregate.slot_id)
            .collect();
        slots.sort_unstable();
        let expected: Vec<SlotId> = numbers.iter().map(|number| SlotId::from_bytes(number.to_be_bytes())).collect();
        prop_assert_eq!(slots, expected);
    }
}

use std::collections::BTreeSet;

use super::*;
use crate::generator::{Generator, GeneratorConfig, Made};

const NOW: Millis = Millis(1_800_000_000_000);
const AHEAD_MAX_MS: u64 = 1_000;

fn bid(ahead_ms: u64) -> Bid {
    let mut generator = Generator::new(GeneratorConfig::default(), "eu-central-1".parse().unwrap());
    let Made::Bid(bid) = generator.next(NOW.plus(ahead_ms)) else { panic!("a bid") };
    bid
}

fn admission(hold_ahead_ms: u64, kept_max: usize) -> Admission {
    Admission::new(
        Some(Geometry { ahead_max_ms: AHEAD_MAX_MS, ..Geometry::default() }),
        hold_ahead_ms,
        kept_max,
    )
}

#[test]
fn a_bid_from_beyond_the_lead_is_refused_with_how_far_it_is_ahead() {
    let mut admission = admission(0, 10);
    for ahead_ms in [0, 1, AHEAD_MAX_MS] {
        assert_eq!(admission.on_bid(1, &bid(ahead_ms), NOW), Verdict::Send, "{ahead_ms}");
    }
    for ahead_ms in [AHEAD_MAX_MS + 1, 1_500, 30 * 86_400_000] {
        let refused = AdmissionError::Ahead { ahead_ms, ahead_max_ms: AHEAD_MAX_MS };
        assert_eq!(admission.on_bid(1, &bid(ahead_ms), NOW), Verdict::Refuse(refused));
        let said = format!("{} {refused}", refused.field());
        assert!(said.starts_with(&format!("timestamp is {ahead_ms} ms ahead ")), "{said}");
    }
    let old = Bid { event_time: Millis(0), ..bid(0) };
    assert_eq!(admission.on_bid(1, &old, NOW), Verdict::Send, "what is too old is for the sender to say");
    let unknowing = &mut Admission::default();
    assert_eq!(unknowing.on_bid(1, &bid(86_400_000), NOW), Verdict::Send, "nothing is known of a lead");
}

#[test]
fn a_bid_that_is_a_little_ahead_is_kept_until_it_is_not_early() {
    let (mut admission, geometry) = (admission(2_000, 2), Geometry::default());
    let (near, far) = (bid(AHEAD_MAX_MS + 500), bid(AHEAD_MAX_MS + 2_000));
    assert_eq!(admission.on_bid(2, &far, NOW), Verdict::Kept);
    assert_eq!(admission.on_bid(1, &near, NOW), Verdict::Kept);
    let beyond = bid(AHEAD_MAX_MS + 2_001);
    assert!(matches!(admission.on_bid(3, &beyond, NOW), Verdict::Refuse(AdmissionError::Ahead { .. })));
    let third = admission.on_bid(3, &near, NOW);
    assert_eq!(third, Verdict::Refuse(AdmissionError::Full { ahead_ms: AHEAD_MAX_MS + 500 }));
    assert_eq!((admission.kept(), admission.poll_due(NOW)), (2, None));
    for (ticket, kept) in [(1, near), (2, far)] {
        let due = admission.next_due().unwrap();
        assert!(!geometry.early(kept.event_time, due), "not early any more when it is sent");
        assert_eq!(admission.poll_due(Millis(due.0 - 1)), None);
        assert_eq!(admission.poll_due(due), Some((ticket, kept)));
    }
    assert_eq!((admission.kept(), admission.next_due()), (0, None));
    admission.on_bid(4, &near, NOW);
    assert_eq!(admission.clear(), [(4, near)]);
    assert_eq!(admission.kept(), 0);
}

#[test]
fn an_account_that_is_not_agreed_is_refused_by_its_name_and_by_the_latest_roster() {
    let mut admission = admission(0, 0);
    let (known, mut other) = (bid(0), bid(0));
    other.account_id = AccountId::from_bytes([7; 16]);
    assert_eq!(admission.on_bid(1, &other, NOW), Verdict::Send, "without a roster nobody is refused");
    let roster = |version, accounts: &[AccountId]| {
        let accounts: BTreeSet<AccountId> = accounts.iter().copied().collect();
        Some(Arc::new(Roster::decode(version, &Roster::encode(&accounts)).unwrap()))
    };
    admission.on_roster(roster(3, &[known.account_id]));
    assert_eq!(admission.on_bid(1, &known, NOW), Verdict::Send);
    let Verdict::Refuse(refused) = admission.on_bid(1, &other, NOW) else { panic!("not agreed") };
    let said = format!("{} {refused}", refused.field());
    for word in ["account_id", &other.account_id.to_string(), "version 3", "exchange provision --accounts"] {
        assert!(said.contains(word), "{said}");
    }
    admission.on_roster(roster(4, &[known.account_id, other.account_id]));
    assert_eq!(admission.on_bid(1, &other, NOW), Verdict::Send);
    admission.on_roster(roster(5, &[]));
    assert!(matches!(admission.on_bid(1, &known, NOW), Verdict::Refuse(_)), "nobody is agreed");
}

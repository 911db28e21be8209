use super::*;
use crate::error_class::{CODES, Class, without_code};

const SECOND: Duration = Duration::from_secs(1);

fn began() -> Outage {
    Outage::after_a_good_start()
}

#[test]
fn every_code_of_the_table_is_treated_as_its_class_says() {
    for (class, codes) in CODES {
        for code in codes.iter().copied().chain((class == Class::Refused).then_some("NobodyKnowsIt")) {
            let failure = Failure::said(code, "no".to_owned());
            let at_start = Outage::default().on_failure(&failure, SECOND, 0.5);
            let mut outage = began();
            let later = outage.on_failure(&failure, SECOND, 0.5);
            let much_later = outage.on_failure(&failure, SECOND + PATIENCE, 0.5);
            let is_again = |verdict| matches!(verdict, Verdict::Again(_));
            let right = match class {
                Class::Throttled | Class::Unknown => [true, true, true],
                Class::Unauthorized | Class::Refused => [false, true, false],
                Class::Missing => [false, false, false],
            };
            assert_eq!([at_start, later, much_later].map(is_again), right, "{code}");
        }
    }
    for status in 100..600 {
        let (mut outage, failure) = (began(), without_code(status, String::new()));
        let hours = Duration::from_secs(36_000);
        for now in [SECOND, hours] {
            assert!(matches!(outage.on_failure(&failure, now, 0.5), Verdict::Again(_)), "{status}");
        }
    }
}

#[test]
fn a_good_answer_ends_the_outage_and_the_patience_begins_anew() {
    let (mut outage, denied) = (began(), Failure::said("AccessDeniedException", String::new()));
    assert!(matches!(outage.on_failure(&denied, SECOND, 0.5), Verdict::Again(_)));
    assert_eq!((outage.state(), outage.since()), (State::Unauthorized, Some(SECOND)));
    let away = Failure::Unreachable { message: String::new() };
    assert!(matches!(outage.on_failure(&away, 2 * SECOND, 0.5), Verdict::Again(_)));
    assert_eq!(outage.state(), State::Away);
    let soon = PATIENCE;
    assert_eq!(outage.on_success(soon), Some(Over { lasted: soon - SECOND, failures: 2 }));
    assert_eq!((outage.on_success(soon), outage.state()), (None, State::Well));
    assert!(matches!(outage.on_failure(&denied, soon + SECOND, 0.5), Verdict::Again(_)));
    assert_eq!(outage.on_failure(&denied, soon + SECOND + PATIENCE, 0.5), Verdict::GiveUp);
}

#[test]
fn an_answer_that_never_came_does_not_start_the_patience_of_a_refusal() {
    let (mut outage, lost) = (began(), Failure::Unknown { message: String::new() });
    let denied = Failure::said("ExpiredTokenException", String::new());
    assert!(matches!(outage.on_failure(&lost, SECOND, 0.5), Verdict::Again(_)));
    let hour = Duration::from_secs(3_600);
    assert!(matches!(outage.on_failure(&denied, hour, 0.5), Verdict::Again(_)), "it was refused just now");
    assert_eq!(outage.on_failure(&denied, hour + PATIENCE, 0.5), Verdict::GiveUp);
}

#[test]
fn waits_grow_with_full_jitter_and_a_throttle_is_an_answer() {
    let (mut outage, lost) = (began(), Failure::Unknown { message: String::new() });
    let waits: Vec<Verdict> = (0..20).map(|_| outage.on_failure(&lost, SECOND, 0.5)).collect();
    let ms = |ms| Verdict::Again(Duration::from_millis(ms));
    assert_eq!((waits[0], waits[1], waits[19]), (ms(100), ms(200), ms(2_500)));
    let (mut outage, slow) = (began(), Failure::said("ThrottlingException", String::new()));
    assert!(matches!(outage.on_failure(&slow, SECOND, 0.5), Verdict::Again(_)));
    assert_eq!((outage.state(), outage.on_success(SECOND)), (State::Well, None));
}

#[test]
fn many_who_call_one_service_share_its_outage() {
    let watched = Watched::after_a_good_start("stream bids");
    assert_eq!(watched.state(), State::Well);
    let denied = Failure::said("ExpiredTokenException", "old".to_owned());
    assert!(matches!(watched.on_failure(&denied), Verdict::Again(_)));
    assert_eq!(watched.state().word(), "unauthorized");
    watched.on_success();
    assert_eq!(watched.state().word(), "ok");
    assert_eq!(Watched::new("stream bids").on_failure(&denied), Verdict::GiveUp, "it never began well");
}

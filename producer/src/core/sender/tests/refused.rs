//! Requests that the service refuses whole, and replies that are no answer.

use super::*;

#[test]
fn a_refused_request_says_why_and_answers_its_bids() {
    let (_, mut sender, request) = two_bids(Envelope::Block, None);
    let refused = Failure::said("ResourceNotFoundException", "gone".to_owned());
    sender.on_replies(request.id, Err(refused.clone()), at(20), &mut || 0.5);
    assert_eq!(sender.refusal(), Some(&refused));
    let answers = sender.poll_answers();
    let why = Outcome::StreamRefuses(Arc::new(refused));
    assert!(answers.len() == 2 && answers.iter().all(|answer| answer.outcome == why), "{answers:?}");
}

#[test]
fn a_refusal_after_a_lost_reply_stays_unknown() {
    let (_, mut sender, request) = two_bids(Envelope::Block, None);
    sender.on_replies(request.id, lost(), at(20), &mut || 0.5);
    let again = sender.poll_request(at(100)).unwrap();
    let refused = Failure::said("ResourceNotFoundException", "gone".to_owned());
    sender.on_replies(again.id, Err(refused), at(110), &mut || 0.5);
    assert!(sender.poll_answers().iter().all(|answer| answer.outcome == Outcome::Unknown));
}

/// Every class whose cause may pass: a bid that still has time is sent again, and is answered by what comes of that.
#[test]
fn a_refusal_that_may_pass_answers_nothing_while_the_bids_have_time() {
    for code in
        ["ExpiredTokenException", "AccessDeniedException", "InvalidArgumentException", "NobodyKnowsIt"]
    {
        let (mut stream, mut sender, request) = two_bids(Envelope::Block, None);
        let refused = || Err(Failure::said(code, "no".to_owned()));
        sender.on_replies(request.id, refused(), at(20), &mut || 0.5);
        assert!(sender.poll_answers().is_empty() && sender.refusal().is_none(), "{code}");
        let again = sender.poll_request(at(100)).unwrap();
        assert_eq!(again.entries, request.entries, "{code}");
        let stored = serve(&mut stream, &again, Fate::Stores);
        sender.on_replies(again.id, stored, at(110), &mut || 0.5);
        let answers = sender.poll_answers();
        let accepted = |answer: &Answer| matches!(answer.outcome, Outcome::Accepted(_));
        assert!(answers.len() == 2 && answers.iter().all(accepted), "{code}: {answers:?}");

        // It never passes: answered when the time is over, and the stream does not have it.
        let (_, mut sender, mut request) = two_bids(Envelope::Block, None);
        for now_ms in (20..2_000).step_by(400) {
            sender.on_replies(request.id, refused(), at(now_ms), &mut || 0.5);
            assert!(sender.poll_answers().is_empty(), "{code} at {now_ms}");
            request = (now_ms..).find_map(|ms| sender.poll_request(at(ms))).unwrap();
        }
        sender.on_replies(request.id, refused(), at(4_000), &mut || 0.5);
        assert!(sender.poll_request(at(60_000)).is_none());
        let answers = sender.poll_answers();
        assert!(
            answers.len() == 2 && answers.iter().all(|one| one.outcome == Outcome::Undelivered),
            "{answers:?}"
        );
    }
}

#[test]
fn a_reply_that_something_else_wrote_makes_bids_doubtful() {
    let (_, mut sender, request) = two_bids(Envelope::Block, None);
    let page = Failure::Unexpected { status: 404, message: "<html>".to_owned() };
    sender.on_replies(request.id, Err(page), at(20), &mut || 0.5);
    assert!(sender.poll_answers().is_empty());
    assert!(sender.poll_request(at(60_000)).is_none());
    assert!(sender.poll_answers().iter().all(|answer| answer.outcome == Outcome::Unknown));
}

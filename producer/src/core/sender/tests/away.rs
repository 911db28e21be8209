//! A minute without Kinesis, at the producer's own settings.

use clap::Parser;

use super::*;

/// Tries as often as there is something to send, and Kinesis is not there until `back_ms`.
fn away_until(back_ms: u64, rules: Rules) -> Vec<Answer> {
    let mut stream = Stream::new();
    let mut sender = Sender::new(rules, stream.map());
    let (mut answers, mut now) = (Vec::new(), at(0));
    let mut made = 0;
    while now.elapsed_ms < back_ms + 20_000 {
        if now.elapsed_ms < back_ms && now.elapsed_ms % 1_000 == 0 {
            sender.on_bid(made, bid(made, now.wall.0), now);
            made += 1;
        }
        while let Some(request) = sender.poll_request(now) {
            let fate = if now.elapsed_ms < back_ms { Fate::Unreachable } else { Fate::Stores };
            let replies = serve(&mut stream, &request, fate);
            sender.on_replies(request.id, replies, now, &mut || 0.999);
        }
        answers.extend(sender.poll_answers());
        now = at(now.elapsed_ms + 10);
    }
    once(&answers, made);
    answers
}

#[test]
fn what_was_taken_while_kinesis_was_away_for_a_minute_arrives_when_it_is_still_in_time() {
    let config = crate::Config::try_parse_from(["producer", "--region", "eu-central-1"]).unwrap();
    let as_configured = Rules { deliver_ms: config.deliver_s * 1_000, ..rules(Envelope::Block) };
    let answers = away_until(60_000, as_configured);
    let arrived = |answer: &&Answer| matches!(answer.outcome, Outcome::Accepted(_));
    assert_eq!(answers.iter().filter(arrived).count(), 60, "without windows all of it is in time");
    let window = Geometry { window_ms: 10_000, grace_ms: 2_000, ..WINDOW };
    let answers = away_until(60_000, Rules { geometry: Some(window), ..as_configured });
    for answer in &answers {
        let start = window.window_start(answer.bid.event_time);
        // The wait after the longest series of failures is the longest there is: what closes within it may go by.
        let closes_ms = start.0 + window.window_ms + window.grace_ms - WALL;
        match closes_ms {
            0..60_000 => assert_eq!(answer.outcome, Outcome::Expired, "{closes_ms}"),
            62_100.. => assert!(arrived(&answer), "{closes_ms}: {:?}", answer.outcome),
            _ => {}
        }
    }
    assert!(answers.iter().filter(arrived).count() >= 10);
}

//! A request that the service refuses for one of its records: that one is found, and its companions go on.

use super::*;

/// Codes that may speak of one entry alone.
const OF_AN_ENTRY: [&str; 3] =
    ["ValidationException", "InvalidArgumentException", "RequestEntityTooLargeException"];

fn refusal(code: &str) -> Failure {
    Failure::said(code, "one of the records".to_owned())
}

/// A stream that refuses every request in which a bad bid is.
struct Strict {
    stream: Stream,
    sender: Sender,
    is_bad: fn(u64) -> bool,
    code: &'static str,
    requests: usize,
    answers: Vec<Answer>,
}

impl Strict {
    /// A sender of `bids` records of one bid each, all of which go in the first request.
    fn new(bids: u64, code: &'static str, is_bad: fn(u64) -> bool) -> Self {
        let stream = Stream::new();
        let mut sender = Sender::new(rules(Envelope::Plain), stream.map());
        (0..bids).for_each(|number| sender.on_bid(number, bid(number, WALL), at(0)));
        Self { stream, sender, is_bad, code, requests: 0, answers: Vec::new() }
    }

    fn serve(&mut self, request: &Request) -> Result<Vec<Reply>, Failure> {
        self.requests += 1;
        let numbers = |entry: &Arc<Entry>| -> Vec<u64> {
            let bids = decode(&entry.data).items.into_iter();
            bids.map(|item| item.unwrap().amount.units() - 1).collect()
        };
        if request.entries.iter().flat_map(numbers).any(self.is_bad) {
            return Err(refusal(self.code));
        }
        serve(&mut self.stream, request, Fate::Stores)
    }

    /// Everything that is due between two moments.
    fn run(&mut self, ms: std::ops::Range<u64>) {
        for now_ms in ms {
            while let Some(request) = self.sender.poll_request(at(now_ms)) {
                let replies = self.serve(&request);
                self.sender.on_replies(request.id, replies, at(now_ms), &mut || 0.5);
            }
            self.answers.extend(self.sender.poll_answers());
        }
    }

    fn tickets(&self, of: impl Fn(&Outcome) -> bool) -> Vec<u64> {
        let mut tickets: Vec<u64> =
            self.answers.iter().filter(|one| of(&one.outcome)).map(|one| one.ticket).collect();
        tickets.sort_unstable();
        tickets
    }
}

fn accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted(_))
}

#[test]
fn one_bad_record_is_refused_with_the_reason_and_holds_up_none_of_500() {
    for code in OF_AN_ENTRY {
        let mut strict = Strict::new(500, code, |number| number == 137);
        strict.run(0..1);
        let companions = (0..500).filter(|number| *number != 137).collect::<Vec<_>>();
        assert_eq!(strict.tickets(accepted), companions, "{code}: at once, in no second round of waiting");
        strict.run(1..2_000);
        let why = Outcome::RecordRefused(Arc::new(refusal(code)));
        assert_eq!(strict.tickets(|outcome| *outcome == why), [137], "{code}: {:?}", strict.answers.last());
        assert_eq!((strict.sender.held(), strict.answers.len()), (0, 500));
        // Whole, two of each of nine halvings, and the last half twice more.
        assert!(strict.requests <= 1 + 2 * 9 + 2, "{code}: {} requests", strict.requests);
    }
}

#[test]
fn many_bad_records_are_each_refused_and_all_others_accepted() {
    let mut strict = Strict::new(500, "ValidationException", |number| number % 2 == 1);
    strict.run(0..3_000);
    let even: Vec<u64> = (0..500).filter(|number| number % 2 == 0).collect();
    assert_eq!(strict.tickets(accepted), even);
    let refused = strict.tickets(|outcome| matches!(outcome, Outcome::RecordRefused(_)));
    assert_eq!((refused.len(), strict.sender.held()), (250, 0));
    assert!(strict.requests < 1_000 + 2 * 250, "{} requests", strict.requests);
}

#[test]
fn a_bad_record_of_which_a_reply_was_lost_stays_unknown() {
    let mut strict = Strict::new(8, "ValidationException", |number| number == 3);
    let request = strict.sender.poll_request(at(0)).unwrap();
    strict.sender.on_replies(request.id, lost(), at(0), &mut || 0.5);
    strict.run(1..2_000);
    assert_eq!(strict.tickets(accepted), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(strict.tickets(|outcome| *outcome == Outcome::Unknown), [3]);
}

#[test]
fn one_odd_answer_refuses_no_record() {
    let mut strict = Strict::new(1, "ValidationException", |_| false);
    let request = strict.sender.poll_request(at(0)).unwrap();
    for number in 1..4 {
        strict.sender.on_bid(number, bid(number, WALL), at(0));
    }
    strict.sender.on_replies(request.id, Err(refusal("ValidationException")), at(0), &mut || 0.5);
    strict.run(0..2_000);
    assert_eq!(strict.tickets(accepted), [0, 1, 2, 3]);
}

#[test]
fn a_stream_that_refuses_everything_gets_few_requests_and_refuses_no_bid() {
    let mut strict = Strict::new(500, "InvalidArgumentException", |_| true);
    strict.run(0..2_900);
    assert!(strict.answers.is_empty(), "it may pass: {:?}", strict.answers.first());
    // Halves, single records three times, and what is tried again whole.
    assert!(strict.requests < 2 * 64 + 3 * 64 + 40, "{} requests", strict.requests);
    // It passes.
    strict.is_bad = |_| false;
    let mut passing = Strict::new(500, "InvalidArgumentException", |_| true);
    passing.run(0..1_000);
    passing.is_bad = |_| false;
    passing.run(1_000..2_900);
    assert_eq!(passing.tickets(accepted).len(), 500);
    // It does not pass in time.
    strict.is_bad = |_| true;
    strict.run(2_900..4_000);
    assert_eq!(strict.tickets(|outcome| *outcome == Outcome::Undelivered).len(), 500);
}

#[test]
fn what_does_not_speak_of_an_entry_takes_no_request_apart() {
    for code in ["AccessDeniedException", "ResourceInUseException", "SerializationException", "NobodyKnowsIt"]
    {
        let mut strict = Strict::new(40, code, |number| number == 7);
        strict.run(0..1);
        assert!(strict.answers.is_empty() && strict.requests == 1, "{code}");
        let again = (1..200).find_map(|ms| strict.sender.poll_request(at(ms))).unwrap();
        assert_eq!(again.entries.len(), 40, "{code}");
    }
}

#[test]
fn what_travels_apart_is_answered_at_an_end() {
    let mut strict = Strict::new(40, "ValidationException", |_| true);
    strict.run(0..5);
    strict.sender.abandon();
    strict.answers.extend(strict.sender.poll_answers());
    assert_eq!((strict.sender.held(), strict.answers.len()), (0, 40));
    assert_eq!(strict.tickets(|outcome| *outcome == Outcome::Undelivered).len(), 40);
}

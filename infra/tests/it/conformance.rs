//! The local engines beside engines that no one here wrote, driven by the same calls of the same client.
//!
//! Each call's outcome becomes one line of text; where two engines' lines differ, the difference must stand in a list
//! with its reason. A difference that is not listed fails, and so does one that is listed and not seen.

mod dynamodb;
mod dynamodb_batches;
mod dynamodb_differences;
mod kinesis;
mod kinesis_differences;
mod peers;

use std::fmt::Debug;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

/// What the calls of a scenario led to, in order: the call's name and its outcome.
#[derive(Default)]
struct Record(Vec<(&'static str, String)>);

/// A difference that is known: the call, what each engine says, and why.
struct Difference {
    call: &'static str,
    ours: &'static str,
    theirs: &'static str,
    #[allow(dead_code, reason = "read by people")]
    reason: &'static str,
}

impl Record {
    /// Notes a call's outcome: what `say` makes of its answer, or the code with which it was refused.
    fn note<T: Debug, E>(
        &mut self,
        call: &'static str,
        result: Result<T, SdkError<E>>,
        say: impl FnOnce(T) -> String,
    ) where
        E: ProvideErrorMetadata + Debug,
    {
        let outcome = match result {
            Ok(answer) => say(answer),
            Err(error) => match (error.code(), error.raw_response()) {
                (Some(code), _) => code.to_owned(),
                (None, Some(raw)) => format!("status {} without a code", raw.status()),
                (None, None) => panic!("{call} did not come to an answer: {error:?}"),
            },
        };
        assert!(self.0.iter().all(|(other, _)| *other != call), "two calls are named {call}");
        self.0.push((call, outcome));
    }

    fn say(&mut self, call: &'static str, outcome: String) {
        self.0.push((call, outcome));
    }
}

/// Holds two engines' outcomes against each other and against what is known.
#[allow(clippy::print_stdout, reason = "shown when the test fails or runs with --nocapture")]
fn compare(ours: &Record, theirs: &Record, known: &[Difference]) {
    let calls = |record: &Record| record.0.iter().map(|(call, _)| *call).collect::<Vec<_>>();
    assert_eq!(calls(ours), calls(theirs), "both engines were sent the same calls");
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for ((call, one), (_, other)) in ours.0.iter().zip(&theirs.0) {
        let listed = known.iter().find(|difference| difference.call == *call);
        let expected = listed.is_some_and(|listed| listed.ours == one && listed.theirs == other);
        println!("{call}: {one}");
        if one != other && !expected {
            wrong.push(format!("{call}\n    ours:   {one}\n    theirs: {other}"));
        } else if one != other {
            seen.push(*call);
        }
    }
    for stale in known.iter().filter(|difference| !seen.contains(&difference.call)) {
        wrong.push(format!("{} is listed as a difference and was not seen as listed", stale.call));
    }
    println!("{} calls, {} known differences", ours.0.len(), seen.len());
    assert!(wrong.is_empty(), "{} unexpected:\n{}", wrong.len(), wrong.join("\n"));
}

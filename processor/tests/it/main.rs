//! The processor as a program, as far as it needs no service. That there is a test here also means that whoever tests
//! the workspace has the program as it is now.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::process::{Command, Output};

fn processor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_processor")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn what_cannot_be_meant_is_told_before_anything_is_asked() {
    let wrong = [
        (&["--poll-ms", "199"][..], "--poll-ms"),
        (&["--worker", ""], "--worker"),
        (&["--stream", ""], "--stream"),
        (&["leases", "rewind", "shardId-000000000000"], "--to"),
        (&["--no-such-option"], "--no-such-option"),
    ];
    for (arguments, named) in wrong {
        let ended = processor(arguments);
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(i32::from(schemas::exit::USAGE)), "{arguments:?}: {told}");
        assert!(told.contains(named), "{arguments:?}: {told}");
        assert!(ended.stdout.is_empty(), "{arguments:?} wrote to standard output");
    }
}

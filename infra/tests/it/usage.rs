//! What every binary answers to a command line that it does not work on.

use std::fs::File;
use std::process::Stdio;

use crate::harness::{command, exchange, run, stage};

const IO: i32 = 74;
const STAGES: [&str; 3] = ["producer", "processor", "settler"];

#[test]
fn help_that_cannot_be_written_is_not_done() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let of_a_stage = STAGES.map(|name| (name, command(stage(name))));
    for (name, program) in of_a_stage.into_iter().chain([("exchange", exchange(&[]))]) {
        let program = program.get_program().to_owned();
        for asked in ["--help", "--version"] {
            let status = command(&program).arg(asked).stdout(full()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.code(), Some(IO), "{name} {asked}");
            assert_eq!(run(command(&program).arg(asked)).done().stderr, "", "{name} {asked}");
        }
    }
}

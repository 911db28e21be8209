//! What every binary answers to a command line that it does not work on.

use std::fs::File;
use std::process::Stdio;

use crate::harness::{Local, aws, command, exchange, run, stage};

const USAGE: i32 = 64;
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

/// An empty variable in a script must not lead to a table without a name.
#[test]
fn an_empty_name_is_usage_and_its_option_is_named() {
    let of = |name: &str| match name {
        "exchange" => exchange(&["audit"]),
        name => command(stage(name)),
    };
    for (name, options) in [
        ("producer", &["--stream", "--table"][..]),
        ("processor", &["--stream", "--table", "--lease-table", "--worker", "--fan-out"]),
        ("settler", &["--table", "--worker"]),
        ("exchange", &["--stream", "--table", "--lease-table"]),
    ] {
        for option in options {
            let mut program = of(name);
            if name == "producer" {
                program.args(["--region", "eu-1"]);
            }
            run(program.args([option, ""])).says(USAGE, &[option]);
        }
    }
    run(command(stage("settler")).env("AGGREGATES_TABLE", "")).says(USAGE, &["--table"]);
}

/// A region without a weight is more likely a slip of the pen, and load of a region that nobody meant is hard to find.
#[test]
fn a_mix_that_is_none_is_usage_and_its_form_is_named() {
    for mix in ["foo", "eu-1=2,foo", "eu-1=2@", "eu-1@5"] {
        let load = ["--region", "eu-1", "--generate", "1", "--mix", mix];
        run(command(stage("producer")).args(load)).says(USAGE, &["--mix", "REGION=WEIGHT@SKEW_MS"]);
    }
}

/// Told with its name and what to do, also by the stages, which meet it first.
#[test]
fn a_table_of_another_kind_is_named_and_no_stage_begins_with_it() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    let table = ["dynamodb", "create-table", "--billing-mode", "PAY_PER_REQUEST", "--table-name", "theirs"];
    let key = ["--key-schema", "AttributeName=id,KeyType=HASH"];
    let attributes = ["--attribute-definitions", "AttributeName=id,AttributeType=S"];
    aws(&local, &[&table[..], &key[..], &attributes[..]].concat());
    let words = ["table theirs", "not those of a table of this pipeline", "exchange provision", "--table"];
    for name in STAGES {
        let mut program = command(stage(name));
        if name == "producer" {
            program.args(["--region", "eu-1"]);
        }
        let ended = run(local.environed(&mut program).args(["--table", "theirs"]));
        assert_eq!(ended.status.code(), Some(USAGE), "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{name} does not say {word}: {ended:?}");
        }
    }
    let theirs = ["--table", "theirs"];
    for command in [[&["report"][..], &theirs], [&["audit"], &theirs]] {
        local.exchange(&command.concat()).says(USAGE, &words);
    }
    local.exchange(&["query", "--table", "theirs", "outbox"]).says(USAGE, &words);
    // One that was never made: a command names its own option and no other.
    let mut settler = command(stage("settler"));
    let ended = run(local.environed(&mut settler).args(["--table", "none"]));
    assert!(ended.stderr.contains("name another with --table"), "{ended:?}");
    assert!(!ended.stderr.contains("--stream") && !ended.stderr.contains("--lease-table"), "{ended:?}");
}

/// Who repeats `provision` after a reshard has said nothing about shards.
#[test]
fn a_stream_that_was_resharded_is_no_surprise_to_whoever_did_not_ask_for_shards() {
    let local = Local::start();
    local.exchange(&["provision", "--shards", "2"]).done();
    let again = local.exchange(&["provision"]).done();
    assert!(!again.stderr.contains("shards"), "{again:?}");
    let other = local.exchange(&["provision", "--shards", "3"]).done();
    assert!(other.stderr.contains("keeps its shards"), "{other:?}");
}

#[test]
fn certificates_for_a_ledger_that_is_reached_without_tls_are_usage() {
    let mut report = exchange(&["report", "--dsql-ca-file", "/nowhere/ca.pem"]);
    report.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    run(&mut report).says(USAGE, &["--dsql-ca-file", "DSQL_ENDPOINT"]);
}

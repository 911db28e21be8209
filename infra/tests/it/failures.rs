//! What goes wrong around `exchange`: one clear sentence each, and the exit code that says whose turn it is.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::harness::{
    DEADLINE, Ended, Local, Process, aws, command, exchange, folder, free_port, psql, run, text, wait_for,
};

const DONE: i32 = 0;
const FOUND: i32 = 1;
const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const IO: i32 = 74;

#[test]
fn an_unknown_flag_is_named_and_is_usage() {
    for arguments in [&["--durations", "3"][..], &["demo", "--durations", "3"], &["audit", "--durations"]] {
        run(&mut exchange(arguments)).says(USAGE, &["--durations"]);
    }
    run(&mut exchange(&["demo", "--duration", "0"])).says(USAGE, &["--duration"]);
    run(&mut exchange(&["demo", "--region", "eu-west-1"])).says(USAGE, &["required arguments"]);
}

fn with_credentials(command: &mut Command) -> &mut Command {
    let names = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    command.envs(names.map(|name| (name, "us-east-1")))
}

#[test]
fn an_environment_that_leads_nowhere_is_usage_and_what_is_wrong_is_named() {
    let audit = |set: &[(&str, &str)]| {
        let mut audit = exchange(&["audit"]);
        audit.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/postgres").envs(set.iter().copied());
        run(&mut audit)
    };
    audit(&[]).says(USAGE, &["no region", "AWS_REGION"]);
    audit(&[("AWS_REGION", "us-east-1")]).says(USAGE, &["no AWS credentials", "AWS_PROFILE"]);
    for variable in ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"] {
        audit(&[(variable, "notaurl")]).says(USAGE, &[&format!("{variable}='notaurl'"), "no URL"]);
    }
    audit(&[("DATABASE_URL", "")]).says(USAGE, &["no ledger", "DATABASE_URL"]);
}

#[test]
fn a_stream_log_that_is_none_is_told_once_with_its_folder() {
    let dir = folder();
    let log = dir.path().join("kinesis");
    std::fs::create_dir_all(&log).expect("a folder");
    std::fs::write(log.join("operations.log"), "nothing that this engine wrote").expect("a file");
    let up = run(&mut exchange(&["up", "--dir", text(dir.path()), "--kinesis-port", "0"]));
    up.says(IO, &[text(&log), "is not a stream log of this version", "move it away"]);
    assert_eq!(up.stderr.matches("is not a stream log").count(), 1, "{up:?}");
}

#[test]
fn what_is_absent_or_away_is_named_with_what_to_do() {
    let local = Local::start();
    local.exchange(&["audit"]).says(USAGE, &["table bid_aggregates", "exchange provision"]);
    local.exchange(&["provision"]).done();
    local.exchange(&["report", "--table", "other"]).says(USAGE, &["table other", "--table"]);
    local.exchange(&["audit", "--stream", "other"]).says(USAGE, &["stream other", "--stream"]);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let mut audit = exchange(&["audit"]);
    let away = run(local.environed(&mut audit).env("AWS_ENDPOINT_URL_KINESIS", &nowhere));
    away.says(UNAVAILABLE, &["stream bids cannot be read", &format!("AWS_ENDPOINT_URL_KINESIS={nowhere}")]);
    assert!(!away.stderr.contains("dispatch failure"), "{away:?}");

    let (user, server) = local.variable("DATABASE_URL").rsplit_once('@').unwrap();
    let user = user.rsplit_once(':').unwrap().0;
    let mut audit = exchange(&["audit"]);
    let stranger = local.environed(&mut audit).env("DATABASE_URL", format!("{user}:secret@{server}"));
    let stranger = run(stranger);
    stranger.says(USAGE, &["lets nobody in that way", "DATABASE_URL"]);
    assert!(!stranger.stderr.contains("secret"), "{stranger:?}");
    let mut audit = exchange(&["audit"]);
    run(local.environed(&mut audit).env("DSQL_ENDPOINT", "a b")).says(USAGE, &["DSQL_ENDPOINT a b"]);
}

#[test]
fn a_ledger_that_is_not_named_is_usage_and_one_that_is_away_is_unavailable() {
    run(&mut exchange(&["report"])).says(USAGE, &["DSQL_ENDPOINT", "DATABASE_URL"]);
    let url = format!("postgres://admin:secret@127.0.0.1:{}/postgres", free_port());
    for command in ["report", "audit"] {
        let ended = run(with_credentials(&mut exchange(&[command])).env("DATABASE_URL", &url));
        ended.says(UNAVAILABLE, &["postgres (DSQL stand-in) cannot be reached", "DATABASE_URL"]);
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
}

#[test]
fn an_endpoint_that_nobody_listens_on_is_unavailable_and_its_variable_is_named() {
    let local = Local::start();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let endpoints = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB"];
    for (endpoint, what) in endpoints.iter().zip(["stream bids", "table bid_aggregates"]) {
        let mut provision = exchange(&["provision"]);
        let ended = run(local.environed(&mut provision).env(endpoint, &nowhere));
        ended.says(UNAVAILABLE, &[what, endpoint]);
    }
}

#[test]
fn what_is_there_and_is_not_ours_is_left_alone_and_named() {
    let local = Local::start();
    let hash = |name: &str, kind: &str| format!("AttributeName={name},{kind}");
    let key = [
        "--key-schema",
        &hash("id", "KeyType=HASH"),
        "--attribute-definitions",
        &hash("id", "AttributeType=S"),
    ];
    let table = ["dynamodb", "create-table", "--table-name", "theirs", "--billing-mode", "PAY_PER_REQUEST"];
    aws(&local, &[&table[..], &key[..]].concat());
    local.exchange(&["provision", "--table", "theirs"]).says(USAGE, &["table theirs", "id", "PK", "SK"]);

    psql(&local, "CREATE TABLE settlements (id UUID PRIMARY KEY, amount NUMERIC(9,2))");
    let refused = local.exchange(&["provision"]);
    refused.says(USAGE, &["schema", "table settlements should have the column"]);
    assert_eq!(
        psql(&local, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'ad_slots'"),
        ["0"]
    );
    psql(&local, "DROP TABLE settlements");

    local.exchange(&["provision", "--window-ms", "500"]).done();
    local.exchange(&["provision", "--window-ms", "500"]).done();
    // What is not given is as it was agreed, and what is given must be.
    local.exchange(&["provision"]).done();
    let other = local.exchange(&["provision", "--window-ms", "10000"]);
    other.says(USAGE, &["window_ms is 500, not 10000"]);
    // A sample that a file has is the file's.
    let slots = local.path("slots.ndjson");
    let (slot, publisher) = (producer::generator::slot(0), producer::generator::account(0));
    let line = format!(
        "{{\"slot_id\":\"{slot}\",\"publisher_account_id\":\"{publisher}\",\"floor_price\":\"7.0000\"}}\n"
    );
    std::fs::write(&slots, line).unwrap();
    local.exchange(&["provision", "--slots", slots.to_str().unwrap(), "--sample-slots", "2"]).done();
    assert_eq!(psql(&local, "SELECT count(*) FROM ad_slots WHERE floor_price = 7"), ["1"]);
    assert_eq!(psql(&local, "SELECT count(*) FROM ad_slots"), ["2"]);
    local
        .exchange(&["provision", "--window-ms", "500", "--ttl-hours", "47"])
        .says(USAGE, &["24 h", "least 48"]);
    let longer = ["--stream-name", "bids", "--retention-period-hours", "168"];
    aws(&local, &[&["kinesis", "increase-stream-retention-period"][..], &longer[..]].concat());
    local.exchange(&["provision", "--window-ms", "500"]).says(USAGE, &["168 h", "least 192"]);
}

#[test]
fn a_missing_postgres_says_what_to_install() {
    let empty = folder();
    let mut demo = exchange(&["demo", "--duration", "1"]);
    run(demo.env("PG_BIN_DIR", empty.path())).says(USAGE, &["PG_BIN_DIR", "apt-get install postgresql"]);

    // Programs that do not run, and nothing on PATH that could fetch others.
    for name in ["postgres", "initdb", "pg_ctl"] {
        let path = empty.path().join(name);
        std::fs::write(&path, "#!/bin/false\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut demo = exchange(&["demo", "--duration", "1"]);
    let nothing = run(demo.env("PG_BIN_DIR", empty.path()).env("PATH", empty.path()));
    nothing.says(UNAVAILABLE, &["no PostgreSQL found", "apt-get install postgresql"]);
}

#[test]
fn a_port_in_use_is_unavailable_and_its_flag_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for flag in ["--kinesis-port", "--dynamodb-port", "--dsql-port"] {
        let dir = folder();
        let mut ports = vec!["up", "--dir", text(dir.path())];
        for other in ["--kinesis-port", "--dynamodb-port", "--dsql-port"] {
            ports.extend([other, if other == flag { &port } else { "0" }]);
        }
        run(&mut exchange(&ports)).says(UNAVAILABLE, &[&port, "in use", flag]);
    }
}

#[test]
fn a_second_up_in_one_folder_is_refused_and_the_first_goes_on() {
    let mut local = Local::start();
    let dir = local.path(".local");
    run(&mut exchange(&["up", "--dir", text(&dir)])).says(USAGE, &[text(&dir), "another `exchange up`"]);
    local.exchange(&["provision"]).done();
    local.process().signal("TERM");
    assert_eq!(local.take().end().status.code(), Some(DONE));
}

#[test]
fn a_folder_that_cannot_be_used_is_an_io_failure() {
    let dir = folder();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    run(&mut exchange(&["up", "--dir", text(&file)])).says(IO, &[text(&file), "--dir"]);
}

#[test]
fn paths_that_cannot_be_used_are_found_out_before_the_run() {
    let began = Instant::now();
    let long = ["demo", "--duration", "3600"];
    let absent = |arguments: &[&str]| run(&mut exchange(&[&long[..], arguments].concat()));
    absent(&["--bids", "/nowhere/bids.ndjson"]).says(IO, &["/nowhere/bids.ndjson"]);
    absent(&["--bids", "/"]).says(IO, &["bids /", "folder"]);
    absent(&["--json", "/nowhere/report.json"]).says(IO, &["/nowhere/report.json"]);
    absent(&["--bids", "-", "--rejects", "/nowhere/rejects"]).says(IO, &["/nowhere/rejects"]);
    for command in ["report", "audit"] {
        run(&mut exchange(&[command, "--json", "/nowhere/it.json"])).says(IO, &["/nowhere/it.json"]);
    }
    run(&mut exchange(&["provision", "--accounts", "/nowhere/a.csv"])).says(IO, &["/nowhere/a.csv"]);
    assert!(began.elapsed() < DEADLINE, "an hour's run was begun");
}

/// Runs a command whose standard output goes there.
fn into(stdout: impl Into<Stdio>, command: &mut Command) -> Ended {
    let errors = folder();
    let path = errors.path().join("stderr");
    let mut process = Process::detached(command.stdout(stdout).stderr(File::create(&path).unwrap()));
    let status = wait_for("its end", || process.ended().ok_or_else(|| "it running".to_owned()));
    Ended { status, stdout: String::new(), stderr: std::fs::read_to_string(&path).unwrap() }
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_closed_or_full_standard_output_ends_the_work_without_a_panic() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    for arguments in [&["report"][..], &["audit"], &["audit", "--json", "-"], &["provision"]] {
        into(closed(), local.environed(&mut exchange(arguments))).says(IO, &["standard output was closed"]);
        into(full(), local.environed(&mut exchange(arguments)))
            .says(IO, &["standard output", "No space left"]);
    }
    let demo = || exchange(&["demo", "--duration", "3600"]);
    into(closed(), &mut demo()).says(IO, &["standard output was closed"]);
    let dir = folder();
    let up =
        ["up", "--dir", text(dir.path()), "--kinesis-port", "0", "--dynamodb-port", "0", "--dsql-port", "0"];
    into(closed(), &mut exchange(&up)).says(IO, &["standard output was closed"]);
    // With both outputs closed there is nobody to tell; it still ends in order.
    let mut silent = exchange(&up);
    let mut silent = Process::detached(silent.stdout(closed()).stderr(closed()));
    let status = wait_for("its end", || silent.ended().ok_or_else(|| "it running".to_owned()));
    assert_eq!(status.code(), Some(IO));
}

#[test]
fn a_full_disk_is_an_io_failure() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    for command in ["report", "audit"] {
        local.exchange(&[command, "--json", "/dev/full"]).says(IO, &["/dev/full", "No space left"]);
    }
}

#[test]
fn an_interrupted_demo_drains_reports_and_ends_by_its_audit() {
    let dir = folder();
    let json = dir.path().join("report.json");
    for signal in ["INT", "TERM"] {
        let arguments =
            ["demo", "--duration", "3600", "--rate", "400", "--window", "500", "--json", text(&json)];
        let mut demo = Process::start(&mut exchange(&arguments));
        demo.wait_for_line("t=2.");
        demo.signal(signal);
        let ended = demo.end().done();
        assert!(ended.stdout.contains("differences        0"), "{ended:?}");
        let report = crate::harness::read_json(&json);
        assert!(report["bids_accepted"].as_u64().unwrap() > 0 && report["pending"] == 0, "{report}");
    }
}

#[test]
fn a_second_signal_ends_the_demo_at_once() {
    let mut demo =
        Process::start(&mut exchange(&["demo", "--duration", "3600", "--rate", "400", "--window", "60000"]));
    demo.wait_for_line("t=1.");
    demo.signal("INT");
    // The first is on its way; a window of a minute keeps the draining from ending before the second.
    demo.signal("TERM");
    let code = demo.end().status.code();
    assert!([Some(130), Some(143)].contains(&code), "{code:?}");
}

#[test]
fn a_small_disk_keeps_up_from_starting_and_says_so() {
    let dir = folder();
    let script = format!(
        "mount -t tmpfs -o size=256k,mode=0755 tmpfs {dir} && exec {exchange} up --dir {dir}/.local \
         --kinesis-port 0 --dynamodb-port 0 --dsql-port 0",
        dir = text(dir.path()),
        exchange = env!("CARGO_BIN_EXE_exchange")
    );
    // A mount of its own, seen by nobody else and gone with the process.
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-c", &script]);
    let ended = run(&mut unshare);
    ended.says(IO, &["local", "cannot start"]);
    assert!(!ended.stderr.contains("INFO"), "no engine is told to have started: {ended:?}");
}

#[test]
fn bad_lines_of_accounts_and_slots_are_all_told_and_nothing_is_made() {
    let local = Local::start();
    let (accounts, slots) = (local.path("accounts.csv"), local.path("slots.ndjson"));
    let (a, b) = ("aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002");
    std::fs::write(
        &accounts,
        format!("account_id,name,balance,credit_limit\n{a},Acme,1.00001,0\nx,Bolt,1,0\n"),
    )
    .unwrap();
    std::fs::write(
        &slots,
        format!("{{\"slot_id\":\"{b}\",\"publisher_account_id\":\"{a}\",\"floor_price\":-1}}\n"),
    )
    .unwrap();
    let provision = ["provision", "--accounts", text(&accounts), "--slots", text(&slots)];
    let refused = local.exchange(&provision);
    refused.says(FOUND, &["3 lines are bad", "nothing was provisioned"]);
    for place in ["accounts.csv:2: balance ", "accounts.csv:3: account_id ", "slots.ndjson:1: floor_price "] {
        assert!(refused.stderr.contains(place), "{refused:?}");
    }
    assert_eq!(aws(&local, &["kinesis", "list-streams"])["StreamNames"], serde_json::json!([]));

    std::fs::write(&accounts, format!("account_id,name,balance,credit_limit\n{a},Acme,100.5,1\n")).unwrap();
    local.exchange(&provision).says(FOUND, &["1 line is bad", "correct that and"]);
    std::fs::write(
        &slots,
        format!("{{\"slot_id\":\"{b}\",\"publisher_account_id\":\"{a}\",\"floor_price\":2.5}}\n"),
    )
    .unwrap();
    local.exchange(&provision).done();
    let deposit = ["deposit", "--account", a, "--amount", "9.5", "--id", b];
    for _ in 0..2 {
        local.exchange(&deposit).done();
    }
    std::fs::write(&accounts, format!("account_id,name,balance,credit_limit\n{a},Acme,7000,9\n")).unwrap();
    local.exchange(&provision).done();
    let money = psql(&local, "SELECT opening_balance, balance, credit_limit FROM enterprise_accounts");
    assert_eq!(money, ["100.5000|110.0000|1.0000"]);
    assert_eq!(psql(&local, "SELECT slot_id, floor_price FROM ad_slots"), [format!("{b}|2.5000")]);
    let unknown = ["deposit", "--account", b, "--amount", "1", "--id", a];
    local.exchange(&unknown).says(FOUND, &[b, "unknown"]);
}

/// On a pipe the reason of an early end is met by whoever filters the log.
#[test]
fn a_stage_that_ends_early_says_so_in_its_log() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for stage in ["producer", "processor", "settler"] {
        let mut command = command(crate::harness::stage(stage));
        if stage == "producer" {
            command.args(["--region", "eu-1"]);
        }
        for name in ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB"] {
            command.env(name, &nowhere);
        }
        let url = format!("postgres://admin:secret@127.0.0.1:{}/postgres", free_port());
        let ended = run(with_credentials(&mut command).env("DATABASE_URL", url).env_remove("RUST_LOG"));
        assert_eq!(ended.status.code(), Some(UNAVAILABLE), "{ended:?}");
        let lines = ended.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let lines: Vec<_> = lines.collect();
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{ended:?}");
        assert_eq!((&last["stage"], &last["exit_code"]), (&stage.into(), &UNAVAILABLE.into()), "{ended:?}");
    }
}

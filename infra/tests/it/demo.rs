//! `exchange demo` end to end, as a real process.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Process, exchange, folder, read_json, run, text};

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn a_run_settles_what_it_sent_and_its_report_says_so() {
    let dir = folder();
    let json = dir.path().join("report.json");
    let arguments = ["--duration", "6", "--rate", "2000", "--window", "1000", "--json", text(&json)];
    // Names of another pipeline in the environment lead nowhere.
    let names = [("STREAM_NAME", "theirs"), ("AGGREGATES_TABLE", "theirs"), ("LEASE_TABLE", "theirs")];
    let ended = run(exchange(&arguments).envs(names)).done();
    assert!(
        ended.stdout.contains("t=1.") && !ended.stdout.contains('\u{1b}'),
        "a pipe gets plain lines: {ended:?}"
    );

    let report = read_json(&json);
    let names = "bids_sent bids_accepted bids_per_second late early stray duplicates rejected expired auctions_closed \
        settled no_sale settle_latency_ms_p50 settle_latency_ms_p99 conflicts retries resolved resolutionRate ledger_sum \
        audit_differences regions";
    for name in names.split_whitespace() {
        assert!(!report[name].is_null(), "{name} is missing in {report}");
    }
    let of = |name: &str| number(&report, name);
    assert_eq!(of("bids_sent"), of("bids_accepted"));
    assert!((10_000..=12_000).contains(&of("bids_sent")), "{report}");
    assert!((1_000..=2_400).contains(&of("bids_per_second")), "{report}");
    let counted: u64 =
        ["bids_counted", "late", "early", "stray", "duplicates", "rejected"].map(of).iter().sum();
    assert_eq!(counted, of("bids_accepted"), "{report}");
    assert_eq!(of("settled") + of("no_sale"), of("auctions_closed"), "{report}");
    assert!(of("settled") > 200 && of("pending") == 0 && of("held") == 0, "{report}");
    assert_eq!((&report["ledger_sum"], of("audit_differences")), (&json!("0.0000"), 0));
    assert!(of("settle_latency_ms_p50") > 0, "{report}");
    assert!(of("settle_latency_ms_p50") <= of("settle_latency_ms_p99"), "{report}");
    assert!(of("resolved") <= of("conflicts") && of("conflicts") <= of("retries"), "{report}");

    let regions = report["regions"].as_object().unwrap();
    assert_eq!(regions.len(), 4);
    let sum = |name: &str| regions.values().map(|region| region[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("bids"), sum("wins")), (of("bids_counted"), of("settled")));
}

#[test]
fn injected_conflicts_are_seen_retried_and_resolved() {
    let dir = folder();
    let json = dir.path().join("report.json");
    let load = ["--duration", "3", "--rate", "1000", "--window", "500", "--conflicts", "400"];
    run(exchange(&load).args(["--json", text(&json)])).done();
    let report = read_json(&json);
    let of = |name: &str| number(&report, name);
    assert!(of("conflicts_injected") > 0, "{report}");
    assert!(of("conflicts") > 0 && of("resolved") > 0, "{report}");
    assert_eq!((of("audit_differences"), of("pending")), (0, 0), "{report}");
}

/// A bid of now for sample slots and accounts: number 0 of each, by the load generator's own derivation.
fn line(number: u128, more: &str) -> String {
    format!(
        r#"{{"bid_id":"{}","slot_id":"{}","account_id":"{}","amount":"{}.5","latency_ms":3,"quality_score":0.5{more}}}"#,
        uuid_v7(number),
        producer::generator::slot(0),
        producer::generator::account(0),
        1_u128 << number,
    )
}

fn uuid_v7(number: u128) -> uuid::Uuid {
    let now = u128::from(runtime::clock::now().0);
    uuid::Uuid::from_u128(now << 80 | 0x7000_8000_0000_0000_0000 | number)
}

#[test]
fn bids_from_outside_are_answered_line_by_line_and_the_rest_goes_on() {
    let dir = folder();
    let (json, rejects) = (dir.path().join("report.json"), dir.path().join("rejects.ndjson"));
    let arguments =
        ["demo", "--bids", "-", "--region", "eu-west-1", "--window", "1000", "--json", text(&json)];
    let mut command = exchange(&arguments);
    let (input, mut bids) = std::io::pipe().unwrap();
    let mut demo = Process::start(command.args(["--rejects", text(&rejects)]).stdin(input));
    drop(command);
    demo.wait_for_line("bids=");
    let lines = [
        line(0, ""),
        line(1, r#","region":"eu-west-1""#),
        line(2, r#","region":"us-east-1""#),
        "no json".to_owned(),
        line(3, "").replace(".5\"", ".00001\""),
        line(4, r#","timestamp":"2020-01-01T00:00:00Z""#),
        line(5, ""),
    ];
    writeln!(bids, "{}", lines.join("\n")).unwrap();
    drop(bids);
    let ended = demo.end();
    ended.says(1, &["4 bids refused"]);
    for told in
        ["line 3 refused: region ", "line 4 refused: line ", "line 5 refused: amount ", "line 6 expired: "]
    {
        assert!(ended.stdout.contains(told), "no {told:?} in {ended:?}");
    }
    let kept = std::fs::read_to_string(&rejects).unwrap();
    assert_eq!(kept.lines().count(), 4, "{kept}");
    let report = read_json(&json);
    let of = |name: &str| number(&report, name);
    assert_eq!((of("bids_sent"), of("bids_accepted"), of("expired")), (7, 3, 1), "{report}");
    assert_eq!((of("bids_counted"), of("audit_differences")), (3, 0), "{report}");
    assert_eq!(report["regions"]["eu-west-1"]["bids"], 3, "{report}");
}

#[test]
fn json_on_standard_output_stands_there_alone() {
    let arguments = ["--duration", "1", "--rate", "100", "--window", "500", "--json", "-"];
    let ended = run(&mut exchange(&arguments)).done();
    let report: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(report["audit_differences"], 0);
    assert!(ended.stderr.contains("auctions closed"), "{ended:?}");
}

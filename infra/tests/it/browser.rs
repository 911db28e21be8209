//! A real browser's pages of other origins: nothing of the local engines and the stages is read or changed by them.
//!
//! The pages come from a name of their own, from another port of this machine, and by a name that leads to the very
//! program it wants to reach (DNS rebinding). A program without any check stands beside those under test, so that it is
//! seen that the pages would reach it.

mod pages;

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};

use self::pages::{Pages, Target};
use crate::harness::{Local, Process, command, folder, psql, wait_for};
use crate::listeners::{address, ask};

/// As the browser is named by distributions.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Without a screen, without a sandbox that root cannot have, and without its own calls to elsewhere.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

fn get(path: &str) -> Value {
    json!({ "path": path, "method": "GET" })
}

fn post(path: &str, headers: Value, body: Value) -> Value {
    json!({ "path": path, "method": "POST", "headers": headers, "body": body.to_string() })
}

fn service(target: &str, kind: &str, body: Value) -> Value {
    post("/", json!({ "content-type": kind, "x-amz-target": target }), body)
}

/// The programs, where each listens and what a page would like of it.
fn targets(local: &Local, stages: &BTreeMap<&'static str, String>) -> Vec<Target> {
    let bid = json!({
        "bid_id": "0190c0de-0000-7000-8000-000000000001", "slot_id": "11111111-2222-4333-8444-000000000001",
        "account_id": "aaaaaaaa-bbbb-4ccc-8ddd-000000000001", "amount": "5.4", "latency_ms": 1, "quality_score": 0.5,
        "timestamp": runtime::clock::now().to_string()
    });
    let plain = json!({ "content-type": "application/json" });
    let shown = || vec![get("/health"), get("/metrics")];
    let at = |variable: &str| local.variable(variable).trim_start_matches("http://").to_owned();
    let ledger = local.variable("DATABASE_URL");
    let ledger =
        ledger.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let stage = |name: &str, calls| Target { name: name.to_owned(), address: stages[name].clone(), calls };
    vec![
        Target {
            name: "kinesis".to_owned(),
            address: at("AWS_ENDPOINT_URL_KINESIS"),
            calls: vec![
                get("/"),
                service("Kinesis_20131202.ListStreams", "application/x-amz-json-1.1", json!({})),
                service(
                    "Kinesis_20131202.CreateStream",
                    "text/plain",
                    json!({ "StreamName": "evil", "ShardCount": 1 }),
                ),
            ],
        },
        Target {
            name: "dynamodb".to_owned(),
            address: at("AWS_ENDPOINT_URL_DYNAMODB"),
            calls: vec![
                get("/"),
                service("DynamoDB_20120810.ListTables", "application/x-amz-json-1.0", json!({})),
                service(
                    "DynamoDB_20120810.DeleteTable",
                    "application/x-amz-json-1.0",
                    json!({ "TableName": "bid_aggregates" }),
                ),
            ],
        },
        Target {
            name: "ledger".to_owned(),
            address: ledger,
            calls: vec![get("/"), post("/", plain.clone(), json!({ "q": "create table evil (x int);" }))],
        },
        stage(
            "producer",
            [shown(), vec![post("/v1/bids", plain, bid.clone()), post("/v1/bids", json!({}), bid)]].concat(),
        ),
        stage("processor", shown()),
        stage("settler", shown()),
    ]
}

/// The browser with a profile of its own; both names lead to this machine.
fn browse(profile: &str, url: &str) -> Process {
    let found = BROWSERS.iter().find(|name| {
        let version = command(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    });
    let mut browser =
        command(found.unwrap_or_else(|| panic!("none of {BROWSERS:?} is installed: apt install chromium")));
    browser.args(FLAGS).arg(format!("--user-data-dir={profile}"));
    browser.arg("--host-resolver-rules=MAP page.test 127.0.0.1, MAP rebound.test 127.0.0.1").arg(url);
    Process::detached(browser.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// What the engines and stages hold that a page would have changed.
fn held(local: &Local, stages: &BTreeMap<&'static str, String>) -> Vec<String> {
    let list = |variable: &str, target: &str| {
        let address = local.variable(variable).trim_start_matches("http://").to_owned();
        let headers = format!(
            "x-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: 2\r\n"
        );
        pages::asked(
            &address,
            &format!("POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n{{}}"),
        )
    };
    let lists = [
        list("AWS_ENDPOINT_URL_KINESIS", "Kinesis_20131202.ListStreams"),
        list("AWS_ENDPOINT_URL_DYNAMODB", "DynamoDB_20120810.ListTables"),
    ];
    let lists = lists.map(|list| list.split_once("\r\n\r\n").expect("a body").1.to_owned());
    let tables =
        psql(local, "SELECT string_agg(schemaname || tablename, ',' ORDER BY 1) FROM pg_tables").join(",");
    let (_, metrics) = ask(&stages["producer"], "GET /metrics", "");
    let bids = metrics.lines().filter(|line| line.starts_with("producer_bids_") || line.contains("accepted"));
    [&lists[..], &[tables], &bids.map(str::to_owned).collect::<Vec<_>>()].concat()
}

#[test]
fn no_page_of_a_browser_reads_or_changes_anything() {
    let local = Local::start();
    local.exchange(&["provision"]).done();
    let arguments: [(&str, &[&str]); 3] =
        [("producer", &["--region", "eu-central-1"]), ("processor", &[]), ("settler", &[])];
    let mut running = Vec::new();
    let stages: BTreeMap<&'static str, String> = arguments
        .into_iter()
        .map(|(stage, more)| {
            let log = format!("{stage}.log");
            running.push(local.stage(stage, &log, &[&["--listen", "127.0.0.1:0"], more].concat()));
            (stage, address(&local, &log))
        })
        .collect();
    for (stage, address) in &stages {
        wait_for(&format!("{stage} is well"), || {
            let (head, body) = ask(address, "GET /health", "");
            if head.starts_with("http/1.1 200 ") { Ok(()) } else { Err(body) }
        });
    }
    let before = held(&local, &stages);
    let pages = Pages::serve(targets(&local, &stages));
    let profile = folder();
    let browser = browse(profile.path().to_str().expect("UTF-8"), &pages.first());
    let reports = wait_for("reports of all pages", || pages.reports());
    browser.kill();

    for attempt in &reports {
        let got = attempt["got"].as_str().unwrap();
        // A page that came by the program's own address may read that it is refused.
        let is_refusal =
            got.contains("for programs on this machine") || got.contains("is for programs on it");
        let is_open = attempt["target"] == "open";
        assert!(is_open || got.is_empty() || is_refusal, "{attempt}");
    }
    assert_eq!(held(&local, &stages), before);
    // The same pages read and change what checks nothing.
    for (page, how) in ["elsewhere", "another port", "open"]
        .iter()
        .flat_map(|page| ["fetch http", "script", "style"].map(|how| (*page, how)))
    {
        let tried = |one: &&Value| one["target"] == "open" && one["page"] == page;
        let mut tried =
            reports.iter().filter(tried).filter(|one| one["how"].as_str().unwrap().starts_with(how));
        assert!(tried.any(|one| one["got"] != ""), "{page} {how}: {reports:#?}");
    }
    let changed = pages.changes();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json"]
    {
        assert!(changed.iter().any(|change| change.contains(kind)), "{kind}: {changed:#?}");
    }
    assert!(reports.len() > 300, "{} attempts", reports.len());
    running.into_iter().for_each(Process::kill);
}

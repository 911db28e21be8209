//! Writers and readers of the stream that others wrote: the examples of schemas/README.md, boto3, `aws_kinesis_agg` and
//! the AWS SDK for JavaScript, each as a process of its own against the local engines and running stages.

use std::path::{Path, PathBuf};
use std::process::Command;

use schemas::bid::Bid;
use schemas::money::{BasisPoints, Price};
use schemas::record::encode_plain;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Local, Process, command, installed, psql, python, run, text};

/// AWS's SDK for Python and its library for aggregates.
const PYTHON: [&str; 4] =
    ["boto3==1.43.106", "botocore==1.43.127", "aws_kinesis_agg==1.2.3", "protobuf==7.36.2"];
/// AWS's SDK for JavaScript.
const SDK_JS: &str = "@aws-sdk/client-kinesis@3.1143.0";
/// The examples, and the word that marks their text in the page.
const EXAMPLES: [(&str, &str); 5] = [
    ("plain.py", "python"),
    ("json_bid.py", "python"),
    ("plain.mjs", "javascript"),
    ("json_bid.mjs", "javascript"),
    ("plain/main.go", "go"),
];

fn schemas_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("infra lies in the workspace").join("schemas")
}

fn example(name: &str) -> PathBuf {
    schemas_folder().join("examples").join(name)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/writers").join(name)
}

fn slot(number: u32) -> String {
    format!("11111111-2222-4333-8444-{number:012}")
}

fn account(number: u32) -> String {
    format!("aaaaaaaa-bbbb-4ccc-8ddd-{number:012}")
}

fn python_script(path: &Path) -> Command {
    let mut command = command(python("python-kinesis", &PYTHON));
    command.arg(path);
    command
}

/// Node.js looks for modules beside the script.
fn node_script(path: &Path) -> Command {
    let folder = installed("kinesis-js", |folder| {
        let mut npm = command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        run(npm.arg(folder).arg(SDK_JS)).done();
    });
    let beside = folder.join(path.file_name().expect("a file"));
    std::fs::copy(path, &beside).unwrap();
    let mut node = command("node");
    node.arg(beside);
    node
}

/// Engines with accounts 1 to 4, slots 1 to 4 and windows of 2 s with a grace that busy machines keep.
fn provisioned() -> Local {
    let local = Local::start();
    let (accounts, slots) = (local.path("accounts.csv"), local.path("slots.csv"));
    let line = |number| format!("{},n{number},1000.0000,0.0000\n", account(number));
    let rows: String = [1, 2, 3, 4, 9].map(line).concat();
    std::fs::write(&accounts, format!("account_id,name,balance,credit_limit\n{rows}")).unwrap();
    let rows: String =
        [1, 2, 3, 4].map(|number| format!("{},{},0.5000\n", slot(number), account(9))).concat();
    std::fs::write(&slots, format!("slot_id,publisher_account_id,floor_price\n{rows}")).unwrap();
    let files = ["--accounts", text(&accounts), "--slots", text(&slots)];
    local
        .exchange(&[["provision", "--window-ms", "2000", "--grace-ms", "4000"].as_slice(), &files].concat())
        .done();
    local
}

fn stages(local: &Local) -> [Process; 2] {
    [local.stage("processor", "processor.log", &[]), local.stage("settler", "settler.log", &[])]
}

#[test]
fn the_page_holds_the_examples_as_they_run() {
    let page = std::fs::read_to_string(schemas_folder().join("README.md")).unwrap();
    for (name, language) in EXAMPLES {
        let code = std::fs::read_to_string(example(name)).unwrap();
        assert!(
            page.contains(&format!("```{language}\n{code}```\n")),
            "{name} differs from its text in the page"
        );
    }
}

/// One auction each, so that the winner is the bid that the example made, whatever window it fell into.
#[test]
fn the_bids_of_every_example_win_their_auctions() {
    let local = provisioned();
    let _stages = stages(&local);
    let mut examples = [
        (python_script(&example("plain.py")), "51000"),
        (python_script(&example("json_bid.py")), "6.2"),
        (node_script(&example("plain.mjs")), "73000"),
        (node_script(&example("json_bid.mjs")), "8.4"),
    ];
    for (number, (example, amount)) in (1..).zip(&mut examples) {
        run(local.environed(example).args([&slot(number), &account(number), *amount])).done();
    }
    let found = local.settle(4);
    for refused in ["stray", "rejected", "late", "early", "duplicates"] {
        assert_eq!(found[refused], 0, "{found}");
    }
    let settled = psql(
        &local,
        "SELECT slot_id, winner_account, clearing_price FROM settlements WHERE outcome = 'SALE' ORDER BY slot_id",
    );
    let expected: Vec<String> = (1..)
        .zip(["5.1000", "6.2000", "7.3000", "8.4000"])
        .map(|(number, price)| format!("{}|{}|{price}", slot(number), account(number)))
        .collect();
    assert_eq!(settled, expected);
}

#[test]
fn boto3_and_aws_kinesis_agg_write_and_read_what_we_do() {
    let local = provisioned();
    let _stages = stages(&local);
    // Packages are installed before the bids are dated.
    let mut agg = python_script(&script("with_aws_kinesis_agg.py"));
    let now = runtime::clock::now();
    let bid = Bid {
        bid_id: schemas::ids::BidId(Uuid::from_u128(1)),
        slot_id: slot(1).parse().unwrap(),
        account_id: account(1).parse().unwrap(),
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(51_000).unwrap(),
        latency_ms: 42,
        quality: BasisPoints::ONE,
        event_time: now,
    };
    let hex: String = encode_plain(&bid).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = json!({
        "bid_id": Uuid::from_u128(2), "slot_id": slot(1), "account_id": account(2), "region": "eu-central-1",
        "amount": "6.2", "latency_ms": 42, "quality_score": 1, "timestamp": now.to_string(),
    });
    agg.arg(schemas_folder().join("golden")).args([slot(1), hex.clone(), line.to_string()]);
    run(local.environed(&mut agg)).done();
    let found = local.settle(3);
    assert_eq!((&found["bids"], &found["duplicates"]), (&json!(2), &json!(1)), "{found}");
    let mut query = python_script(&script("query.py"));
    let aggregates: Value =
        serde_json::from_str(&run(local.environed(query.arg(slot(1)))).done().stdout).unwrap();
    let expected = json!([{"bids": "2", "duplicates": "1", "amounts": ["6.2", "5.1"], "state": "SETTLED"}]);
    assert_eq!(aggregates, expected);
    let mut reader = node_script(&script("read.mjs"));
    let read = run(local.environed(&mut reader)).done().stdout;
    let held: Vec<&str> = read.lines().filter(|record| record.contains(&hex)).collect();
    assert_eq!(held.len(), 2, "{read}");
}

//! Our aggregated records and those of PyPI `aws_kinesis_agg`: each takes the other's apart.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use producer::generator::{Generator, GeneratorConfig, Made};
use schemas::bid::Bid;
use schemas::record::{Kind, decode, encode_aggregated, encode_plain, tick};
use schemas::time::Millis;

/// What is installed, pinned; the package does not name `six` itself.
const PACKAGES: [&str; 3] = ["aws_kinesis_agg==1.2.3", "protobuf==5.29.5", "six==1.17.0"];

/// Takes `take` and a record in hex a line, and answers each with its items; takes `make` and items, and answers with
/// the record.
const SCRIPT: &str = r#"
import base64, json, sys
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records

def take(line):
    record = {"kinesis": {"kinesisSchemaVersion": "1.0", "sequenceNumber": "1", "partitionKey": "outer",
              "approximateArrivalTimestamp": 1, "data": base64.b64encode(bytes.fromhex(line)).decode()}}
    items = [one["kinesis"] for one in deaggregate_records([record])]
    return [[one["partitionKey"], base64.b64decode(one["data"]).hex(), bool(one.get("aggregated"))] for one in items]

def make(line):
    aggregator = RecordAggregator()
    for key, data in json.loads(line):
        assert aggregator.add_user_record(key, bytes.fromhex(data)) is None
    key, explicit, data = aggregator.clear_and_get().get_contents()
    return [key, explicit, data.hex()]

for line in sys.stdin:
    verb, rest = line.rstrip("\n").split(" ", 1)
    print(json.dumps({"take": take, "make": make}[verb](rest)), flush=True)
"#;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; this test needs python3 with its venv module (apt-get install python3-venv)")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

/// The interpreter of an environment with the packages, made once and kept beside what cargo makes.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aws_kinesis_agg-1.2.3");
    let (python, made) = (folder.join("bin/python"), folder.join("made"));
    if !made.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        run(Command::new(&python).args(pip).args(PACKAGES));
        std::fs::write(made, "").unwrap();
    }
    python
}

/// One line in, one line of JSON out.
fn asked(lines: &[String]) -> Vec<serde_json::Value> {
    let mut child = Command::new(python())
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writes = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let wrote = writes.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wrote.unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

fn bids(count: usize) -> Vec<Bid> {
    let mut generator = Generator::new(GeneratorConfig::default(), "eu-central-1".parse().unwrap());
    let next = |_| match generator.next(Millis(1_795_000_000_000)) {
        Made::Bid(bid) => bid,
        other => panic!("{other:?}"),
    };
    (0..count).map(next).collect()
}

#[test]
fn each_takes_the_others_aggregates_apart() {
    let bids = bids(500);
    let item = |bid: &Bid| serde_json::json!([bid.slot_id.to_string(), hex(&encode_plain(bid))]);
    let items: Vec<_> = bids.iter().map(item).collect();
    let asks = [
        format!("take {}", hex(&encode_aggregated(&bids))),
        format!("take {}", hex(&encode_aggregated(&bids[..1]))),
        format!("take {}", hex(&encode_plain(&bids[0]))),
        format!("take {}", hex(&tick())),
        format!("make {}", serde_json::Value::from(items)),
    ];
    let answers = asked(&asks);
    let [ours, one, plain, nothing, theirs] = answers.as_slice() else { panic!("{answers:?}") };
    let expected = |bids: &[Bid]| -> Vec<serde_json::Value> {
        bids.iter()
            .map(|bid| serde_json::json!([bid.slot_id.to_string(), hex(&encode_plain(bid)), true]))
            .collect()
    };
    assert_eq!(*ours, serde_json::Value::from(expected(&bids)));
    assert_eq!(*one, serde_json::Value::from(expected(&bids[..1])));
    assert_eq!(
        *plain,
        serde_json::json!([["outer", hex(&encode_plain(&bids[0])), false]]),
        "no aggregate, whole"
    );
    assert_eq!(*nothing, serde_json::json!([]), "a tick shows nothing to other consumers");
    let theirs = unhex(theirs[2].as_str().unwrap());
    let decoded = decode(&theirs);
    let back: Vec<Bid> = decoded.items.into_iter().map(Result::unwrap).collect();
    assert_eq!((decoded.kind, back), (Kind::Aggregated, bids));
}

//! Generated load, and what it says it sent: from the record alone another program can compute what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use infra::local::kinesis::Limits;
use serde_json::Value;

use super::process::{Process, summary};
use super::*;

const COUNT: u64 = 12_000;
/// Seven tenths, two tenths and one tenth, by clocks of their own.
const MIX: &str = "us-east-1=7@-1500,eu-west-1=2@700,sa-east-1=1";
/// How far a late or early bid is off.
const OFF_MS: i64 = 600_000;

/// A line as any program reads it.
fn recorded(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"))
}

fn ms(line: &Value) -> i64 {
    let time: Millis = text(line, "timestamp").parse().unwrap();
    time.0.try_into().unwrap()
}

/// Runs the generator to its end; its summary and its record.
async fn generated(stream: &Stream, folder: &Path) -> (Value, Vec<Value>) {
    let (json, record) = (folder.join("summary.json"), folder.join("sent.ndjson"));
    let (url, paths) = (stream.handle.endpoint_url(), [json.clone(), record.clone()]);
    let ended = tokio::task::spawn_blocking(move || {
        let [json, record] = paths.map(|path| path.to_str().unwrap().to_owned());
        let count = COUNT.to_string();
        let load =
            ["--generate", "20000", "--count", &count, "--slots", "50", "--accounts", "40", "--seed", "7"];
        let odd =
            ["--duplicates", "0.05", "--late", "0.04", "--early", "0.03", "--invalid", "0.02", "--mix", MIX];
        let files = ["--json", &json, "--record", &record];
        Process::start(&url, &[&load[..], &odd, &files].concat()).end()
    });
    let (status, log) = ended.await.unwrap();
    assert_eq!(status.code(), Some(1), "some lines are no bids: {log}");
    (summary(&json), recorded(&record))
}

/// What does not depend on when it was made.
fn timeless(line: &Value) -> Value {
    let mut line = line.clone();
    line.as_object_mut().unwrap().remove("timestamp");
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_record_says_is_what_the_stream_holds() {
    let stream = Stream::start(3, Limits::Off).await;
    let folder = tempfile::tempdir().unwrap();
    let began = i64::try_from(runtime::clock::now().0).unwrap();
    let (told, sent) = generated(&stream, folder.path()).await;
    let ended = i64::try_from(runtime::clock::now().0).unwrap();
    let count = |name: &str| told[name].as_u64().unwrap();
    let lines = u64::try_from(sent.len()).unwrap();
    assert_eq!((count("sent"), count("accepted"), count("refused")), (COUNT, lines, COUNT - lines));

    let mut copies: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    sent.iter().for_each(|line| copies.entry(text(line, "bid_id")).or_default().push(line));
    let duplicates = lines - u64::try_from(copies.len()).unwrap();
    assert_eq!(count("duplicates_generated"), duplicates);
    let share = |part: u64, percent: u64| {
        assert!(part.abs_diff(COUNT * percent / 100) < COUNT / 100, "{part} of {COUNT} is not {percent} %");
    };
    share(duplicates, 5);
    share(count("refused"), 2);
    for (region, skew_ms, percent) in
        [("us-east-1", -1_500, 70), ("eu-west-1", 700, 20), ("sa-east-1", 0, 10)]
    {
        let of = |off_ms: i64| {
            let at = began + skew_ms + off_ms..=ended + skew_ms + off_ms;
            let here = sent.iter().filter(|line| text(line, "region") == region && at.contains(&ms(line)));
            u64::try_from(here.count()).unwrap()
        };
        let (now, late, early) = (of(0), of(-OFF_MS), of(OFF_MS));
        let all = u64::try_from(sent.iter().filter(|line| text(line, "region") == region).count()).unwrap();
        assert_eq!(now + late + early, all, "{region} dates its bids by its own clock, or ten minutes off");
        assert!(late > 0 && early > 0);
        share(all, percent * 98 / 100);
    }
    let distinct = |name: &str| sent.iter().map(|line| text(line, name)).collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("slot_id"), distinct("account_id")), (50, 40));

    let contents = stream.contents().await;
    assert_eq!(contents.len(), copies.len(), "neither more nor fewer bids than were recorded");
    for (id, lines) in copies {
        let stored = &contents[&id.parse().unwrap()];
        assert_eq!(stored.len(), lines.len(), "{id} is there as often as it was sent");
        for Copy { bid, .. } in stored {
            let mut expected = Vec::new();
            schemas::intake::to_record_line(bid, &mut expected);
            assert_eq!(serde_json::from_slice::<Value>(&expected).unwrap(), *lines[0]);
        }
    }

    let again = Stream::start(1, Limits::Off).await;
    let (_, second) = generated(&again, folder.path()).await;
    let same = |lines: &[Value]| lines.iter().map(timeless).collect::<Vec<_>>();
    assert_eq!(same(&sent), same(&second), "the same seed is the same load");
    again.handle.shutdown().await;
    stream.handle.shutdown().await;
}

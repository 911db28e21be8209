//! Every odd reply and every error of the credentials, in the middle of a run: the stages live through all of them, and
//! the audit finds nothing.

pub(crate) mod door;

use std::process::Stdio;
use std::time::{Duration, Instant};

use self::door::{ALL, Door};
use crate::harness::{DEADLINE, Local, Process, command, read_json, stage, text, wait_for};

/// One reply of so many is odd, here and as `OUTAGE_ONE_OF` says.
const ONE_OF: u64 = 20;
/// How long at least, here and as `OUTAGE_S` says.
const SECONDS: u64 = 12;

fn told(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

/// A stage behind the doors; what it says goes to a file of its name.
fn start(local: &Local, doors: &[Door; 2], name: &str, arguments: &[&str]) -> Process {
    let log = std::fs::File::create(local.path(&format!("{name}.log"))).unwrap();
    let mut command = command(stage(name));
    local.environed(&mut command).args(arguments).stdout(Stdio::null()).stderr(log);
    command.env("AWS_ENDPOINT_URL_KINESIS", doors[0].endpoint_url());
    command.env("AWS_ENDPOINT_URL_DYNAMODB", doors[1].endpoint_url());
    Process::detached(&mut command)
}

fn log(local: &Local, name: &str) -> String {
    std::fs::read_to_string(local.path(&format!("{name}.log"))).unwrap()
}

#[test]
fn stages_live_through_every_odd_reply_and_the_audit_finds_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let local = Local::start();
    let window = ["provision", "--window-ms", "1000", "--grace-ms", "500"];
    local.exchange(&[&window[..], &["--sample-accounts", "100", "--sample-slots", "20"]].concat()).done();
    let open = |name: &str| runtime.block_on(Door::open(local.variable(name)));
    let doors = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB"].map(open);
    let (seconds, one_of) = (told("OUTAGE_S", SECONDS), told("OUTAGE_ONE_OF", ONE_OF));
    let summary = local.path("summary.json");
    let load = ["--generate", "300", "--duration", "3600", "--slots", "20", "--accounts", "100"];
    let sent = ["--region", "eu-central-1", "--deliver-s", "60", "--json", text(&summary)];
    let mut stages = vec![
        ("processor", start(&local, &doors, "processor", &["--failover-ms", "3000"])),
        ("settler", start(&local, &doors, "settler", &[])),
        ("producer", start(&local, &doors, "producer", &[&load[..], &sent[..]].concat())),
    ];
    // A good start: each has done some of its work.
    wait_for("a first settlement", || {
        let settled = local.report()["settled"].as_u64().unwrap();
        if settled > 0 { Ok(()) } else { Err(format!("{settled} settled")) }
    });
    let before = local.report()["settled"].as_u64().unwrap();
    doors.iter().for_each(|door| door.set(one_of));
    let began = Instant::now();
    let all = u64::try_from(ALL.len()).unwrap();
    while began.elapsed() < Duration::from_secs(seconds) || doors.iter().any(|door| door.given() < all) {
        for (name, stage) in &mut stages {
            if let Some(status) = stage.ended() {
                panic!("{name} ended with {status} after {:?}:\n{}", began.elapsed(), log(&local, name));
            }
        }
        assert!(began.elapsed() < DEADLINE + Duration::from_secs(seconds), "{doors:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    doors.iter().for_each(|door| door.set(0));
    let settled = local.report()["settled"].as_u64().unwrap();
    assert!(settled > before, "work goes on meanwhile: {before} and then {settled}");
    let (_, producer) = stages.pop().expect("the producer");
    producer.signal("TERM");
    let ended = producer.end();
    assert!(ended.status.success(), "{ended:?}\n{}", log(&local, "producer"));
    let counts = read_json(&summary);
    assert_eq!(counts["undelivered"], 0, "{counts}");
    let audit = local.settle(counts["accepted"].as_u64().unwrap());
    assert!(audit["auctions"].as_u64().unwrap() > 0, "{audit}");
    for (name, stage) in stages {
        stage.signal("TERM");
        assert!(stage.end().status.success(), "{name}\n{}", log(&local, name));
    }
    let calls = doors.each_ref().map(|door| (door.calls(), door.given()));
    println!("calls and odd replies of Kinesis and DynamoDB: {calls:?}; {counts}");
    for name in ["producer", "processor", "settler"] {
        let log = log(&local, name);
        assert!(!log.contains("panicked"), "{name}\n{log}");
    }
}

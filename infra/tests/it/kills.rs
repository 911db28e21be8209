//! kill -9 of every stage and of the engines in the middle of a run: after a restart the audit finds nothing.

use crate::harness::{Local, Process, read_json, text, wait_for};

/// Long against a stall of a busy machine, short against the test.
const FAILOVER: [&str; 2] = ["--failover-ms", "3000"];

/// A pipeline under load, in which everything can be killed.
struct Running {
    local: Local,
    processors: Vec<Process>,
    settlers: Vec<Process>,
    started: u32,
}

impl Running {
    fn start() -> Self {
        let local = Local::start();
        let provision = ["provision", "--window-ms", "1000", "--grace-ms", "500"];
        let samples = ["--sample-accounts", "100", "--sample-slots", "20"];
        local.exchange(&[&provision[..], &samples[..]].concat()).done();
        let mut running = Self { local, processors: Vec::new(), settlers: Vec::new(), started: 0 };
        for _ in 0..2 {
            running.start_processor();
            running.start_settler();
        }
        running
    }

    fn log(&mut self, stage: &str) -> String {
        self.started += 1;
        format!("{stage}-{}.log", self.started)
    }

    fn start_processor(&mut self) {
        let log = self.log("processor");
        self.processors.push(self.local.stage("processor", &log, &FAILOVER));
    }

    fn start_settler(&mut self) {
        let log = self.log("settler");
        self.settlers.push(self.local.stage("settler", &log, &[]));
    }

    /// Starts a producer in a region of its own, so that its bids can be told from others'.
    fn producer(&mut self, region: &str, seconds: &str) -> Process {
        let (log, summary) = (self.log("producer"), self.local.path(&format!("{region}.json")));
        let load = ["--generate", "500", "--duration", seconds, "--slots", "20", "--accounts", "100"];
        let sent = ["--region", region, "--no-table", "--json", text(&summary)];
        self.local.stage("producer", &log, &[&load[..], &sent[..]].concat())
    }

    /// Starts anew what ended by itself, as its keeper would: a stage may give up on services that are away.
    fn keep(&mut self) {
        let gone = |stages: &mut Vec<Process>| stages.extract_if(.., |stage| stage.ended().is_some()).count();
        for _ in 0..gone(&mut self.processors) {
            self.start_processor();
        }
        for _ in 0..gone(&mut self.settlers) {
            self.start_settler();
        }
    }

    /// Waits until so many more auctions are closed and decided than were.
    fn wait_for_settlements(&mut self, more: u64) {
        let settled = |report: &serde_json::Value| report["settled"].as_u64().unwrap();
        let before = settled(&self.local.report());
        wait_for("more settlements", || {
            self.keep();
            let now = settled(&self.local.report());
            if now >= before + more { Ok(()) } else { Err(format!("{before} and then {now}")) }
        });
    }

    /// Sends some more, waits until all of that is settled, and holds that the audit finds nothing.
    fn finish(mut self) {
        let producer = self.producer("ap-northeast-1", "2");
        assert!(producer.end().status.success());
        let accepted = read_json(&self.local.path("ap-northeast-1.json"))["accepted"].as_u64().unwrap();
        assert_eq!(accepted, 1_000);
        // The last bids of all are in closed windows now, and so are those before them.
        wait_for("the last bids in closed windows", || {
            let report = self.local.report();
            let counted = report["regions"]["ap-northeast-1"]["bids"].as_u64().unwrap_or(0);
            let late = report["late"].as_u64().unwrap();
            if counted + late >= accepted { Ok(()) } else { Err(format!("{counted} and {late} late")) }
        });
        let audit = self.local.settle(accepted);
        let report = self.local.report();
        assert_eq!(
            report["settled"].as_u64().unwrap() + report["no_sale"].as_u64().unwrap(),
            audit["auctions"]
        );
        assert_eq!(report["ledger_sum"], "0.0000");
        for stage in self.processors.iter().chain(&self.settlers) {
            stage.signal("TERM");
        }
        for stage in self.processors.into_iter().chain(self.settlers) {
            assert!(stage.end().status.success());
        }
    }
}

#[test]
fn after_kill_9_of_every_stage_the_audit_finds_nothing() {
    let mut running = Running::start();
    let producer = running.producer("us-east-1", "60");
    running.wait_for_settlements(20);
    producer.kill();
    let producer = running.producer("eu-central-1", "60");
    running.processors.remove(0).kill();
    running.start_processor();
    running.wait_for_settlements(20);
    running.settlers.remove(0).kill();
    running.wait_for_settlements(10);
    running.start_settler();
    // Both of a kind at once: nobody reads, then nobody settles.
    for processor in running.processors.drain(..) {
        processor.kill();
    }
    running.start_processor();
    running.wait_for_settlements(20);
    for settler in running.settlers.drain(..) {
        settler.kill();
    }
    running.start_settler();
    running.wait_for_settlements(20);
    producer.kill();
    running.finish();
}

#[test]
fn after_kill_9_of_the_engines_the_audit_finds_nothing() {
    let mut running = Running::start();
    let mut producer = running.producer("us-east-1", "60");
    running.wait_for_settlements(20);
    running.local.kill();
    running.local.up();
    running.wait_for_settlements(20);
    assert!(producer.ended().is_none(), "a producer lives through an outage");
    producer.kill();
    running.finish();
}

//! Processors as processes of their own: this test binary, started again as one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use processor::{Config, Metrics};
use runtime::clients::{Clients, LOCAL_REGION};
use runtime::{shutdown, telemetry};
use rustix::process::{Pid, Signal, kill_process};

const ARGUMENTS: &str = "PROCESSOR_UNDER_TEST";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Does nothing in a run of tests; started by [`Process::start`] it is a processor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    telemetry::init(None);
    let config = Config::try_parse_from(arguments.split_whitespace()).expect("arguments of a processor");
    let (trigger, stop) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    let metrics = Arc::new(Metrics::default());
    processor::run(config, Clients::from_env().await.expect("an environment"), stop, metrics)
        .await
        .expect("a run to the end");
}

/// Where the services of a process are.
pub(super) struct Place<'a> {
    pub(super) kinesis_url: &'a str,
    pub(super) dynamodb_url: &'a str,
    pub(super) logs: &'a Path,
}

/// A running processor; killed when dropped.
pub(super) struct Process {
    child: Child,
    pub(super) log: PathBuf,
    out: PathBuf,
}

impl Process {
    pub(super) fn start(name: &str, place: &Place<'_>, arguments: &str) -> Self {
        let (log, out) = (place.logs.join(format!("{name}.log")), place.logs.join(format!("{name}.out")));
        let (errors, output) = (File::create(&log).unwrap(), File::create(&out).unwrap());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processor::process::as_a_process", "--nocapture", "--test-threads", "1"])
            .env(ARGUMENTS, format!("processor --worker {name} {arguments}"))
            .env("AWS_ENDPOINT_URL_KINESIS", place.kinesis_url)
            .env("AWS_ENDPOINT_URL_DYNAMODB", place.dynamodb_url)
            .env("AWS_REGION", LOCAL_REGION)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap();
        Self { child, log, out }
    }

    /// What it wrote to standard output that is JSON: one document a line, behind what the test binary says.
    pub(super) fn documents(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        let documents = text.lines().filter_map(|line| line.find('{').map(|at| &line[at..]));
        documents.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the process is gone; `true` when it said that all went well.
    pub(super) async fn wait(self) -> bool {
        self.ended().await.1
    }

    /// [`Self::wait`], after which it can still be asked what it said. Looks again and again: who gives up waiting
    /// drops the process, which a thread that waits for its end would keep alive, and the test with it.
    pub(super) async fn ended(mut self) -> (Self, bool) {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (self, status.success());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

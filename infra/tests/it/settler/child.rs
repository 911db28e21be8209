//! A settler in a process of its own, so that it can be killed: this test binary, run again for one test.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use clap::Parser;
use runtime::clients::Clients;
use runtime::shutdown;
use schemas::exit;
use settler::{Config, Error, Metrics};

use super::world::World;

/// Says where the table is; without it the test below is an ordinary one.
const DYNAMODB: &str = "SETTLER_TEST_DYNAMODB";

/// A settler that does not outlive its test, however that ends.
pub(super) struct Settler(Child);

impl Drop for Settler {
    fn drop(&mut self) {
        // It has often ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Settler {
    /// Sends a signal.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it has ended because no ledger was there when it started, as a supervisor would see it.
    pub(super) fn found_no_ledger(&mut self) -> bool {
        let ended = self.0.try_wait().unwrap();
        assert!(ended.is_none_or(|status| status.code() == Some(exit::UNAVAILABLE.into())), "{ended:?}");
        ended.is_some()
    }

    /// Waits for its end.
    pub(super) fn end(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

/// Starts a settler of this world; what it logs as an error, and why it ended, is told with the test's own output.
pub(super) fn spawn(world: &World, name: &str) -> Settler {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "settler::child::a_settler_without_a_ledger_says_so",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DYNAMODB, world.dynamodb.endpoint_url())
        .env("DATABASE_URL", world.dsql.database_url())
        .env("SETTLER_TEST_WORKER", name)
        .env("RUST_LOG", "error")
        .env_remove("DSQL_ENDPOINT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Settler(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settler_without_a_ledger_says_so() {
    let Ok(dynamodb) = std::env::var(DYNAMODB) else {
        let nowhere = settler::db::Ledger::default().connect().await.unwrap_err();
        assert!(matches!(&nowhere, Error::Usage(said) if said.contains("DSQL_ENDPOINT")), "{nowhere}");
        assert_eq!(nowhere.exit_code(), exit::USAGE);
        return;
    };
    // The child: a settler as its binary runs it, until SIGTERM.
    runtime::telemetry::init(None);
    let (trigger, asked) = shutdown::channel();
    tokio::spawn(shutdown::on_signals(trigger));
    let worker = std::env::var("SETTLER_TEST_WORKER").unwrap();
    let config = Config::try_parse_from(["settler", "--worker", &worker, "--batch", "40"]).unwrap();
    let clients = Clients::local("http://127.0.0.1:9", &dynamodb).await;
    if let Err(error) = settler::run(config, clients, asked, Arc::new(Metrics::default())).await {
        eprintln!("{worker}: {error}");
        std::process::exit(error.exit_code().into());
    }
}

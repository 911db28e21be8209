//! `exchange up` in a folder of its own, and programs pointed at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Ended, Process, exchange, folder, free_port, read_json, run, stage, wait_for};

/// Running engines.
#[derive(Debug)]
pub(crate) struct Local {
    up: Option<Process>,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: TempDir,
}

impl Local {
    /// Engines in a new folder, on ports that stay theirs over a restart.
    pub(crate) fn start() -> Self {
        let folder = folder();
        let text = |value: &dyn std::fmt::Display| value.to_string();
        let arguments = vec![
            text(&"up"),
            text(&"--dir"),
            text(&folder.path().join(".local").display()),
            text(&"--kinesis-port"),
            text(&free_port()),
            text(&"--dynamodb-port"),
            text(&free_port()),
            text(&"--dsql-port"),
            text(&free_port()),
        ];
        let mut local = Self { up: None, arguments, environment: BTreeMap::new(), folder };
        local.up();
        local
    }

    /// Starts the engines; they answer when this returns.
    pub(crate) fn up(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut up = Process::start(&mut exchange(&arguments));
        up.wait_for_line("engines run until interrupted");
        self.up = Some(up);
        let text = std::fs::read_to_string(self.path(".local/env")).unwrap();
        let pair = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        self.environment = text.lines().filter_map(pair).collect();
    }

    /// Kills the engines without a word.
    pub(crate) fn kill(&mut self) {
        self.up.take().expect("it runs").kill();
    }

    /// The running `exchange up`.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.up.as_mut().expect("it runs")
    }

    /// Takes the running `exchange up` out.
    pub(crate) fn take(&mut self) -> Process {
        self.up.take().expect("it runs")
    }

    /// A path in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A variable of the environment that `up` wrote.
    pub(crate) fn variable(&self, name: &str) -> &str {
        &self.environment[name]
    }

    /// The command with the environment that `up` wrote.
    pub(crate) fn environed<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(&self.environment)
    }

    /// Runs `exchange` against these engines.
    pub(crate) fn exchange(&self, arguments: &[&str]) -> Ended {
        run(self.environed(&mut exchange(arguments)))
    }

    /// Starts a stage against these engines; what it says goes to a file of that name.
    pub(crate) fn stage(&self, name: &str, log: &str, arguments: &[&str]) -> Process {
        let log = std::fs::File::create(self.path(log)).unwrap();
        let mut command = super::command(stage(name));
        self.environed(&mut command).args(arguments).stdout(Stdio::null()).stderr(log);
        Process::detached(&mut command)
    }

    /// The report as JSON.
    pub(crate) fn report(&self) -> Value {
        let path = self.path("report.json");
        self.exchange(&["report", "--json", text(&path)]).done();
        read_json(&path)
    }

    /// The audit as JSON, whatever it found.
    pub(crate) fn audit(&self) -> (i32, Value) {
        let path = self.path("audit.json");
        let ended = self.exchange(&["audit", "--expect-settled", "--json", text(&path)]);
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        let code = ended.status.code().unwrap_or(-1);
        assert!([0, 1].contains(&code), "{ended:?}");
        (code, read_json(&path))
    }

    /// Waits until at least so many bids were counted, their auctions are decided and the audit finds nothing.
    pub(crate) fn settle(&self, bids: u64) -> Value {
        const COUNTED: [&str; 6] = ["bids", "late", "early", "stray", "duplicates", "rejected"];
        wait_for("a clean audit of all bids", || {
            let (code, found) = self.audit();
            let counted: u64 = COUNTED.iter().map(|name| found[name].as_u64().unwrap()).sum();
            if code == 0 && counted >= bids {
                Ok(found)
            } else {
                Err(format!("{counted} of {bids} in {found}"))
            }
        })
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

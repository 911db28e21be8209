//! Real processes for tests: killed when dropped, each wait with a deadline, an environment of their own.

mod local;
mod tools;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::local::{Local, text};
pub(crate) use self::tools::{aws, installed, psql, python, stage};

/// How long a test waits for what it expects: minutes on a busy machine, seconds on a quiet one.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at what a test waits for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Variables that would lead a program to another pipeline.
const FOREIGN: [&str; 14] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_KINESIS",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "DATABASE_URL",
    "DSQL_ENDPOINT",
    "STREAM_NAME",
    "AGGREGATES_TABLE",
    "LEASE_TABLE",
    "RUST_LOG",
];

/// A command with nothing of ours in its environment.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null").stdin(Stdio::null());
    command
}

/// `exchange` with these arguments.
pub(crate) fn exchange(arguments: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_exchange"));
    command.args(arguments);
    command
}

/// A folder that a server of another user can enter, gone with the value.
pub(crate) fn folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    builder.permissions(mode).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A port that nobody listens on, below those that systems hand out for outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + u16::try_from(std::process::id() % 60).unwrap() * 200;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 200;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Looks again and again until there is an answer; what was seen instead is said when time runs out.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "waited in vain for {what}, saw {seen}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Holds that it ended with this code, with one sentence of its own on standard error, and without a panic.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        let own = |line: &&str| line.starts_with("exchange: ") || line.starts_with("error: ");
        let sentences: Vec<&str> = self.stderr.lines().filter(own).collect();
        assert_eq!(sentences.len(), 1, "{self:?}");
        for word in words {
            assert!(sentences[0].contains(word), "no {word:?} in {:?}", sentences[0]);
        }
    }

    /// Holds that all went well.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Process::start(command).end()
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    stdout: Option<Receiver<String>>,
    stderr: Option<Receiver<String>>,
}

impl Process {
    /// Starts a command whose output is read.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut started = Self::detached(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        started.stdout = started.child.stdout.take().map(lines);
        started.stderr = started.child.stderr.take().map(lines);
        started
    }

    /// Starts a command whose output goes where the command says.
    pub(crate) fn detached(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, name, stdout: None, stderr: None }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "no {signal} to {}", self.name);
    }

    /// Kills it as nothing can defend itself against, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for a line on standard output.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        let lines = self.stdout.as_ref().expect("its output is read");
        let deadline = Instant::now() + DEADLINE;
        let mut seen = String::new();
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push_str(&line),
                Err(_) => {
                    let _ = self.child.kill();
                    let errors: String = self.stderr.iter().flat_map(Receiver::iter).collect();
                    panic!("no {part:?} from {}:\n{seen}\n{errors}", self.name);
                }
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, || self.ended().ok_or_else(|| "it running".to_owned()));
        let text = |lines: &Option<Receiver<String>>| lines.iter().flat_map(Receiver::iter).collect();
        Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has often ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end on a thread of its own, so that nobody's pipe fills up.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// Where this package's `exchange` was built, which is where the stages are built too.
pub(crate) fn built_in() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_exchange")).parent().expect("a folder of binaries").to_owned()
}

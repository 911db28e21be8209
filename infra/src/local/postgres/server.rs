//! The server's process and the guard that ends it when we are gone.
//!
//! Owns starting, waiting until it answers, and stopping. A killed process runs no destructor, so a
//! second process, a few lines of shell, waits on a pipe that only we hold open: when that closes, for
//! whatever reason, the guard stops the server and removes a temporary folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::time::{self, Instant};
use tokio_postgres::NoTls;

use super::Error;
use super::find::Binaries;
use super::folder::{Folder, ROLE, last_line};

/// Reads until we close the pipe, then stops the server, unless another one has taken its place by then.
/// `$1` pg_ctl, `$2` data, `$3` the server's process id, `$4` a folder to remove, or nothing.
const GUARD: &str = r#"while read -r _; do :; done
read -r pid <"$2/postmaster.pid"
[ "$pid" != "$3" ] || "$1" stop --silent --wait --mode=immediate --pgdata "$2"
[ -z "$4" ] || rm -rf -- "$4""#;
/// Recovery after a kill reads the log since the last checkpoint; seconds on a slow disk.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks whether it answers yet.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// An orderly stop writes a checkpoint; past this the server is told to drop everything.
const FAST_STOP: Duration = Duration::from_secs(10);
/// Past this it is killed.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);

/// A server that answers.
#[derive(Debug)]
pub(super) struct Server {
    postgres: Child,
    guard: Child,
    port: u16,
}

/// Why one attempt came to nothing.
pub(super) enum Failed {
    /// Another port, or a little patience, may help: someone took the port, or the processes of a killed
    /// server are still leaving.
    Passing(Error),
    Final(Error),
}

impl Server {
    /// One attempt on `port`.
    pub(super) async fn start(
        folder: &Folder,
        binaries: &Binaries,
        port: u16,
        password: &str,
    ) -> Result<Self, Failed> {
        let log = File::options().create(true).append(true).open(folder.log());
        let log = log.map_err(|source| Failed::Final(Error::File { path: folder.log(), source }))?;
        let log_begins = log.metadata().map_or(0, |found| found.len());
        let final_error = |program: &str, error: std::io::Error| {
            Failed::Final(Error::Program { program: program.to_owned(), said: error.to_string() })
        };

        let mut command = folder.identity().command(&binaries.program("postgres"));
        command.arg("-D").arg(folder.data());
        for setting in settings(port, folder.is_temporary()) {
            command.arg("-c").arg(setting);
        }
        // A group of its own: an interrupt at the terminal is for us, who stop the server last.
        command
            .current_dir(folder.root())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let postgres = command.spawn().map_err(|error| final_error("postgres", error))?;
        let guard =
            guard(folder, binaries, postgres.id()).spawn().map_err(|error| final_error("sh", error))?;
        let mut server = Self { postgres, guard, port };

        match server.wait_until_ready(password).await {
            Ok(()) => Ok(server),
            Err(Waited::Ended) => {
                let said = log_since(folder.log(), log_begins);
                let passing = said.contains("could not bind") || said.contains("still in use");
                let error = Error::NotReady { log: folder.log(), said: reason(&said) };
                server.forget_guard().await;
                Err(if passing { Failed::Passing(error) } else { Failed::Final(error) })
            }
            Err(Waited::TooLong(said)) => {
                let _ = server.stop().await;
                Err(Failed::Final(Error::NotReady { log: folder.log(), said }))
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.postgres.id()
    }

    async fn wait_until_ready(&mut self, password: &str) -> Result<(), Waited> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if matches!(self.postgres.try_wait(), Ok(Some(_)) | Err(_)) {
                return Err(Waited::Ended);
            }
            match ping(self.port, password).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(Waited::TooLong(error.to_string())),
                Err(_) => time::sleep(READY_PAUSE).await,
            }
        }
    }

    /// Waits until the server has ended by itself.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.postgres.wait().await.ok()
    }

    /// Stops the server in order, then by force. It has ended when this returns.
    pub(super) async fn stop(mut self) -> Option<ExitStatus> {
        for (signal, patience) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
            let pid = self.postgres.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It fails when the server has ended, which the wait sees.
                let _ = rustix::process::kill_process(pid, signal);
            }
            if let Ok(status) = time::timeout(patience, self.postgres.wait()).await {
                self.forget_guard().await;
                return status.ok();
            }
        }
        let _ = self.postgres.kill().await;
        self.forget_guard().await;
        None
    }

    /// Ends the guard without its deed: there is nothing left to stop.
    async fn forget_guard(&mut self) {
        let _ = self.guard.kill().await;
    }
}

enum Waited {
    Ended,
    TooLong(String),
}

fn settings(port: u16, temporary: bool) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        // The level of DSQL: writes collide, write skew does not.
        "default_transaction_isolation=repeatable read".to_owned(),
        // DSQL knows no locks and so no deadlocks; here one should not cost the default second.
        "deadlock_timeout=50ms".to_owned(),
        "max_connections=200".to_owned(),
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        // Refused statements are ordinary here and the client's to log; keep what the server itself says.
        "log_min_messages=log".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    if temporary {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}

fn guard(folder: &Folder, binaries: &Binaries, pid: Option<u32>) -> Command {
    let mut command = folder.identity().command("/bin/sh".as_ref());
    command
        .arg("-c")
        .arg(GUARD)
        .arg("exchange-postgres-guard")
        .arg(binaries.program("pg_ctl"))
        .arg(folder.data());
    command.arg(pid.unwrap_or(0).to_string());
    let remove = if folder.is_temporary() { folder.root().as_os_str() } else { "".as_ref() };
    command.arg(remove).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn ping(port: u16, password: &str) -> Result<(), tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(ROLE).password(password).dbname("postgres");
    config.connect_timeout(Duration::from_secs(2));
    let (client, connection) = config.connect(NoTls).await?;
    let driven = tokio::spawn(connection);
    let answer = client.simple_query("SELECT 1").await.map(|_| ());
    drop(client);
    driven.abort();
    answer
}

fn log_since(path: PathBuf, offset: u64) -> String {
    let text = fs::read(path).unwrap_or_default();
    let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    String::from_utf8_lossy(&text[begin..]).into_owned()
}

/// What a log gives as the reason: the fatal line, or else its last.
fn reason(log: &str) -> String {
    log.lines()
        .find(|line| line.contains("FATAL"))
        .map_or_else(|| last_line(log), |line| line.trim().to_owned())
}

/// Whether nothing listens on `port`; port 0 asks for any free one.
pub(super) fn free_port(port: u16) -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|_| Error::PortInUse(port))
}

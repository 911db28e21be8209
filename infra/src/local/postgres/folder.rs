//! The folder of one server: its lock, its password and its data.
//!
//! Owns who may use the folder at a time, and brings the data into a state a server can be started on:
//! initialised whole or not at all, and without a server that an earlier run left behind.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, io::Write};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{self, Instant};
use tracing::{info, warn};

use super::Error;
use super::find::Binaries;
use super::identity::Identity;

/// The one database role, named as on DSQL.
pub(super) const ROLE: &str = "admin";
/// Seconds to wait for a server left behind to stop.
const ORPHAN_STOP_SECONDS: &str = "20";
/// How long one may take to leave that is being stopped by the guard of its own run, and how often is looked.
const ORPHAN_LEAVES_WITHIN: Duration = Duration::from_secs(20);
const ORPHAN_LOOK_EVERY: Duration = Duration::from_millis(20);

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    identity: Identity,
    is_temporary: bool,
    /// Removes a temporary folder when the start fails.
    until_started: Option<TempDir>,
    /// Held for as long as we live, and let go by the system when we are killed.
    lock: File,
}

impl Drop for Folder {
    /// Lets go at once: a program that another thread is just starting holds a copy of every open file until it runs.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Folder {
    /// Takes `dir`, or a temporary folder of its own.
    pub(super) fn open(dir: Option<&Path>, identity: Identity) -> Result<Self, Error> {
        let (root, until_started) = match dir {
            Some(dir) => (reachable(dir, identity)?, None),
            None => {
                let made =
                    tempfile::Builder::new().prefix("exchange-postgres-").tempdir_in(temp_dir(identity));
                let made = made.map_err(Error::file(env::temp_dir()))?;
                (made.path().to_owned(), Some(made))
            }
        };
        identity.create_private_dir(&root)?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(Error::file(&path))?;
        let is_temporary = until_started.is_some();
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, identity, is_temporary, until_started, lock }),
            Err(TryLockError::WouldBlock) => Err(Error::FolderInUse(root)),
            Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// From here on the server's guard removes a temporary folder, not this value.
    pub(super) fn hand_over(&mut self) {
        if let Some(temporary) = self.until_started.take() {
            let _ = temporary.keep();
        }
    }

    /// The major version the data was written by; `None` when there is no data yet.
    pub(super) fn major(&self) -> Option<String> {
        let version = fs::read_to_string(self.data().join("PG_VERSION")).ok()?;
        Some(version.trim().to_owned())
    }

    /// The role's password: the one kept here, or a new one.
    pub(super) fn password(&self) -> Result<String, Error> {
        let path = self.root.join("password");
        match fs::read_to_string(&path) {
            Ok(kept) if !kept.trim().is_empty() => return Ok(kept.trim().to_owned()),
            _ => {}
        }
        let password = format!("{:032x}", rand::random::<u128>());
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file(&path))?;
        file.write_all(password.as_bytes()).map_err(Error::file(&path))?;
        self.identity.own(&path)?;
        Ok(password)
    }

    /// Creates the data unless it is there. It is made beside its place and moved there whole, so that
    /// what is found under `data` was always initialised to the end.
    pub(super) async fn init(&self, binaries: &Binaries) -> Result<(), Error> {
        if self.major().is_some() {
            return Ok(());
        }
        let unfinished = self.root.join("data.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(Error::file(&unfinished))?;
        }
        let mut command = self.identity.command(&binaries.program("initdb"));
        command
            .arg("--pgdata")
            .arg(&unfinished)
            .args(["--username", ROLE, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--pwfile={}", self.root.join("password").display()));
        if self.is_temporary() {
            command.arg("--no-sync");
        }
        self.run("initdb", &mut command).await?;
        fs::rename(&unfinished, self.data()).map_err(Error::file(self.data()))
    }

    /// Stops a server that still runs on the data because whoever started it was killed, and clears the
    /// note that one left which no longer runs. We hold the lock, so it is nobody's.
    pub(super) async fn stop_orphan(&self, binaries: &Binaries) -> Result<(), Error> {
        let note = self.data().join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&note) else { return Ok(()) };
        let pid: Option<u32> = text.lines().next().and_then(|line| line.trim().parse().ok());
        if !pid.is_some_and(|pid| self.is_server(pid)) {
            // The number may meanwhile be another program's, which the server would take for its rival.
            return match fs::remove_file(&note) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file(&note)(error)),
                _ => Ok(()),
            };
        }
        warn!(dir = %self.root.display(), "stopping a postgres (DSQL stand-in) that an earlier run left behind");
        let mut command = self.identity.command(&binaries.program("pg_ctl"));
        command.args(["stop", "--wait", "--mode=immediate", "--timeout", ORPHAN_STOP_SECONDS, "--pgdata"]);
        if self.run("pg_ctl", command.arg(self.data())).await.is_ok() {
            return Ok(());
        }
        // The guard of the earlier run may be stopping it at this very moment: its note goes before the process does,
        // and without the note pg_ctl fails.
        let deadline = Instant::now() + ORPHAN_LEAVES_WITHIN;
        while pid.is_some_and(|pid| self.is_server(pid)) {
            if Instant::now() > deadline {
                return Err(Error::Orphan(self.root.clone()));
            }
            time::sleep(ORPHAN_LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Whether process `pid` is a PostgreSQL that works on this data: numbers are used again, and a
    /// server's working directory is its data.
    fn is_server(&self, pid: u32) -> bool {
        let process = Path::new("/proc").join(pid.to_string());
        if Path::new("/proc/self").exists() {
            let is_postgres =
                fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres");
            // Unreadable for a process that is ending; then the name decides.
            let works_here = fs::read_link(process.join("cwd")).map_or(true, |dir| dir == self.data());
            return is_postgres && works_here;
        }
        let listed = std::process::Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).output();
        listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains("postgres"))
    }

    async fn run(&self, program: &str, command: &mut Command) -> Result<(), Error> {
        let failed = |said: String| Error::Program { program: program.to_owned(), said };
        let output = command.current_dir(&self.root).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = if output.stderr.is_empty() { output.stdout } else { output.stderr };
        Err(failed(the_error(&String::from_utf8_lossy(&said))))
    }
}

/// The first line that begins as a program's error does, else the last one: after an error programs tell how they clean up.
fn the_error(text: &str) -> String {
    let is_error = |line: &&str| ["error:", "FATAL:", "could not"].iter().any(|word| line.contains(word));
    text.lines().map(str::trim).find(is_error).map_or_else(|| last_line(text), str::to_owned)
}

/// The last line that says something.
pub(super) fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing").to_owned()
}

/// `dir` as an absolute path, or a place of that name below `/var/tmp`, which outlives a reboot, when the
/// server's user cannot get there.
fn reachable(dir: &Path, identity: Identity) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    let real = dir.canonicalize().map_err(Error::file(dir))?;
    // The folder itself will be the user's own; only the way to it counts.
    if real.parent().is_none_or(|parent| identity.can_enter(parent)) {
        return Ok(real);
    }
    let name = real.to_string_lossy().replace('/', "_");
    let var_tmp = PathBuf::from("/var/tmp");
    let base = if var_tmp.is_dir() && identity.can_enter(&var_tmp) { var_tmp } else { temp_dir(identity) };
    let instead = base.join(format!("exchange-postgres{name}"));
    info!(asked = %real.display(), used = %instead.display(), "postgres (DSQL stand-in) cannot reach its folder");
    Ok(instead)
}

fn temp_dir(identity: Identity) -> PathBuf {
    let usual = env::temp_dir();
    if identity.can_enter(&usual) { usual } else { PathBuf::from("/tmp") }
}

//! PostgreSQL as the stand-in for DSQL: found or fetched, initialised, started, and stopped with us.
//!
//! Owns the server's life and its settings. It refuses nothing that DSQL refuses and injects nothing:
//! that is the proxy in [`super::dsql`]. Every log line calls it `postgres (DSQL stand-in)`.
//!
//! The server listens on 127.0.0.1 alone and asks for a password that is made up when the folder is
//! initialised and kept in it, readable by its owner only. `start` is the whole of it:
//!
//! 1. take the folder (a lock keeps a second process out), 2. find the programs, 3. initialise once,
//! 4. stop what an earlier run left behind, 5. start and wait until it answers.

mod error;
mod find;
mod folder;
mod identity;
mod packaged;
mod server;

use std::env;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{self, Instant};
use tracing::{debug, info};

pub use self::error::Error;
use self::find::Binaries;
use self::folder::{Folder, ROLE};
use self::identity::Identity;
use self::server::{Failed, Server};

/// How long to try again while the processes of a killed server are leaving, or ports are taken.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// Between two attempts.
const START_PAUSE: Duration = Duration::from_millis(100);

/// Where PostgreSQL's programs come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Programs {
    /// `PG_BIN_DIR`, PATH, the usual folders, and when none has them a packaged build.
    #[default]
    Any,
    /// The same without a packaged build: nothing is fetched.
    Installed,
    /// A packaged build, whatever is installed.
    Packaged,
    /// This folder and no other.
    In(PathBuf),
}

/// How to run PostgreSQL. The default is a temporary server on a free port.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Folder that keeps data, password and log across runs; `None` takes a temporary one, without
    /// syncs of the disk, which is removed at shutdown.
    pub dir: Option<PathBuf>,
    /// Port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// Where the programs come from.
    pub programs: Programs,
    /// Where a packaged build is kept; `None` takes the user's cache folder.
    pub cache: Option<PathBuf>,
}

impl PostgresOptions {
    /// A temporary server, for `demo` and tests.
    pub fn temporary() -> Self {
        Self::default()
    }

    /// A durable server in `dir`, for `up`.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..Self::default() }
    }
}

/// A running server. Dropping it stops the server without waiting, and so does killing this process.
#[derive(Debug)]
pub struct PostgresHandle {
    server: Server,
    folder: Folder,
    password: String,
}

impl PostgresHandle {
    /// What a client takes as `DATABASE_URL`. It holds the password: do not log it.
    pub fn database_url(&self) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/postgres", self.password, self.server.port())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The folder it works in, which is not the one asked for when the server's user cannot reach that.
    pub fn dir(&self) -> &std::path::Path {
        self.folder.root()
    }

    /// The folder of its data, in [`Self::dir`].
    pub fn data_dir(&self) -> PathBuf {
        self.folder.data()
    }

    /// The server's process id; `None` once it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.server.id()
    }

    /// Waits until the server ends without having been asked to.
    pub async fn ended(&mut self) -> Option<ExitStatus> {
        self.server.ended().await
    }

    /// Stops the server in order and removes a temporary folder. It has ended when this returns.
    pub async fn shutdown(self) {
        let temporary = self.folder.is_temporary();
        let status = self.server.stop().await;
        if temporary && let Err(error) = std::fs::remove_dir_all(self.folder.root()) {
            debug!(%error, "temporary folder of postgres (DSQL stand-in) not removed");
        }
        info!(status = status.map(tracing::field::display), "postgres (DSQL stand-in) stopped");
    }
}

/// Starts PostgreSQL; it answers when this returns.
pub async fn start(options: PostgresOptions) -> Result<PostgresHandle, Error> {
    if let Some(port) = options.port {
        server::free_port(port)?;
    }
    let identity = Identity::for_server();
    let mut folder = Folder::open(options.dir.as_deref(), identity)?;
    let binaries = choose(&options, &folder).await?;
    let password = folder.password()?;
    folder.init(&binaries).await?;
    folder.stop_orphan(&binaries).await?;
    let server = start_server(&folder, &binaries, options.port, &password).await?;
    folder.hand_over();
    info!(
        port = server.port(),
        dir = %folder.root().display(),
        programs = %binaries.dir().display(),
        "postgres (DSQL stand-in) started"
    );
    Ok(PostgresHandle { server, folder, password })
}

async fn start_server(
    folder: &Folder,
    binaries: &Binaries,
    port: Option<u16>,
    password: &str,
) -> Result<Server, Error> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let attempt = server::free_port(port.unwrap_or(0))?;
        match Server::start(folder, binaries, attempt, password).await {
            Ok(server) => return Ok(server),
            Err(Failed::Passing(error)) if Instant::now() < deadline => {
                debug!(%error, "postgres (DSQL stand-in) is started again");
                time::sleep(START_PAUSE).await;
            }
            Err(Failed::Passing(error) | Failed::Final(error)) => return Err(error),
        }
    }
}

/// The first programs that run and, when there is data, are of its version.
async fn choose(options: &PostgresOptions, folder: &Folder) -> Result<Binaries, Error> {
    let wanted = folder.major();
    let candidates = match (&options.programs, env::var_os("PG_BIN_DIR").filter(|dir| !dir.is_empty())) {
        (Programs::In(dir), _) => vec![in_dir(dir.clone())?],
        (Programs::Packaged, _) => Vec::new(),
        (Programs::Any | Programs::Installed, Some(dir)) => vec![in_dir(dir.into())?],
        (Programs::Any | Programs::Installed, None) => find::installed(env::var_os("PATH")),
    };
    let mut runs = false;
    for binaries in candidates {
        let found = major_of(&binaries, folder.identity()).await;
        runs |= found.is_some();
        if found.is_some() && (wanted.is_none() || wanted == found) {
            return Ok(binaries);
        }
    }
    if matches!(options.programs, Programs::Any | Programs::Packaged)
        && let Some(binaries) = packaged::fetch(options.cache.as_deref(), folder.identity()).await
    {
        let found = major_of(&binaries, folder.identity()).await;
        runs |= found.is_some();
        if found.is_some() && (wanted.is_none() || wanted == found) {
            return Ok(binaries);
        }
    }
    match wanted {
        Some(major) if runs => Err(Error::OtherVersion { dir: folder.root().to_owned(), major }),
        _ => Err(Error::NoPostgres),
    }
}

fn in_dir(dir: PathBuf) -> Result<Binaries, Error> {
    Binaries::in_dir(&dir).ok_or(Error::NotABinDir(dir))
}

/// The major version of these programs; `None` when the server's user cannot run them.
async fn major_of(binaries: &Binaries, identity: Identity) -> Option<String> {
    let mut command = identity.command(&binaries.program("postgres"));
    let output = command.arg("--version").current_dir("/").kill_on_drop(true).output().await.ok()?;
    find::major(&String::from_utf8_lossy(&output.stdout))
}

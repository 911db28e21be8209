//! What ends a producer early.

use runtime::failure::Failure;
use schemas::exit;

/// Why a producer stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream cannot be listed.
    #[error(
        "stream {stream} cannot be used: {failure}; check AWS_ENDPOINT_URL_KINESIS, or run `exchange provision`"
    )]
    Stream {
        /// The stream.
        stream: String,
        /// What the service said.
        failure: Failure,
    },
    /// Input or the file of refused lines failed.
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
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stream { failure: Failure::Refused { .. }, .. } => exit::USAGE,
            Self::Stream { .. } => exit::UNAVAILABLE,
            Self::Io { .. } => exit::IO,
        }
    }
}

//! What ends a producer early.

use runtime::agreed::AgreedError;
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
    /// Kinesis is not there.
    #[error("kinesis cannot be reached: {message}; check AWS_ENDPOINT_URL_KINESIS and AWS_REGION")]
    Unreachable {
        /// What is known.
        message: String,
    },
    /// The stream cannot be used for another reason.
    #[error("stream {stream} cannot be used: {failure}")]
    Stream {
        /// The stream.
        stream: String,
        /// What the service said.
        failure: Failure,
    },
    /// The configuration does not hold together.
    #[error("{message}")]
    Usage {
        /// What is wrong and what to do.
        message: String,
    },
    /// The geometry cannot be read.
    #[error(transparent)]
    Agreed(#[from] AgreedError),
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
            Failure::Unreachable { message } => Self::Unreachable { message },
            failure if failure.code() == "ResourceNotFoundException" => Self::Missing { stream },
            failure => Self::Stream { stream, failure },
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Missing { .. } => exit::USAGE,
            Self::Stream { failure: Failure::Refused { .. }, .. } => exit::USAGE,
            Self::Unreachable { .. } | Self::Stream { .. } => exit::UNAVAILABLE,
            Self::Agreed(error) => error.exit_code(),
            Self::Io { .. } => exit::IO,
        }
    }
}

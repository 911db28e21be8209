//! What ends a processor.

use runtime::agreed::AgreedError;
use runtime::failure::Failure;
use schemas::exit;
use schemas::ids::ShardId;

/// Why a processor stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No geometry, or another one.
    #[error(transparent)]
    Agreed(#[from] AgreedError),
    /// The pipeline agreed on another window.
    #[error(
        "this processor was started with windows of {given} ms, and the pipeline agreed on {agreed} ms; start it with the same"
    )]
    Window {
        /// What was given.
        given: u64,
        /// What was agreed.
        agreed: u64,
    },
    /// A service said no.
    #[error("{what}: {failure}")]
    Call {
        /// What was tried.
        what: String,
        /// What the service said.
        failure: Failure,
    },
    /// A command that cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// Output failed.
    #[error("output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// A loop of ours panicked.
    #[error(
        "the loop of shard {shard_id} failed: {message}; this is a fault of the processor, please report it"
    )]
    Fault {
        /// The shard.
        shard_id: ShardId,
        /// What is known.
        message: String,
    },
}

impl Error {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Agreed(error) => error.exit_code(),
            Self::Window { .. } | Self::Usage(_) | Self::Call { failure: Failure::Refused { .. }, .. } => {
                exit::USAGE
            }
            Self::Call { .. } => exit::UNAVAILABLE,
            Self::Output(_) => exit::IO,
            Self::Fault { .. } => exit::SOFTWARE,
        }
    }
}

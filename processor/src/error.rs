//! What ends a processor.

use runtime::agreed::AgreedError;
use runtime::clients::EnvError;
use runtime::distribution::ServiceManaged;
use runtime::expose::ExposeError;
use runtime::failure::Failure;
use schemas::exit;
use schemas::ids::ShardId;
use schemas::time::Millis;

/// Why a processor stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No geometry, or another one.
    #[error(transparent)]
    Agreed(#[from] AgreedError),
    /// The environment does not lead to the services.
    #[error(transparent)]
    Env(#[from] EnvError),
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
    #[error("{}", failure.told(what))]
    Call {
        /// What was tried.
        what: String,
        /// What the service said.
        failure: Failure,
    },
    /// The leases are of another stream.
    #[error(
        "{count} leases in table {table} are of a stream that was made at {then}, and stream {stream} was made at {now}; where it was deleted and made again, stop its processors and let `processor leases forget` remove them; where it is another stream, give it a table of its own with --lease-table"
    )]
    Former {
        /// How many.
        count: usize,
        /// The table.
        table: String,
        /// When their stream was made.
        then: Millis,
        /// The stream that is read.
        stream: String,
        /// When it was made.
        now: Millis,
    },
    /// The stream was deleted and made again while it was read.
    #[error(
        "stream {stream} was deleted and made again at {now} while it was read; stop its processors, let `processor leases forget` remove the leases of the one before, and start them again"
    )]
    Remade {
        /// The stream.
        stream: String,
        /// When it was made.
        now: Millis,
    },
    /// The stream ignores the keys of records.
    #[error(transparent)]
    Managed(#[from] ServiceManaged),
    /// The lease table was deleted while leases in it were held.
    #[error(
        "table {table} of leases was deleted while this processor held leases in it, so nobody knows any more how far shards were read; make it again with `exchange provision` and start the processors: what the stream still holds is read again, and items that stand stay"
    )]
    NoLeases {
        /// The table.
        table: String,
    },
    /// A command that cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// Metrics cannot be shown.
    #[error("metrics cannot be shown: {0}")]
    Expose(#[from] ExposeError),
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
            Self::Window { .. }
            | Self::Former { .. }
            | Self::Remade { .. }
            | Self::NoLeases { .. }
            | Self::Managed(_)
            | Self::Usage(_)
            | Self::Env(_)
            | Self::Expose(ExposeError::NoToken(_) | ExposeError::Token(_)) => exit::USAGE,
            Self::Call { failure, .. } => failure.exit_code(),
            Self::Expose(ExposeError::Listen { .. }) => exit::UNAVAILABLE,
            Self::Output(_) => exit::IO,
            Self::Fault { .. } => exit::SOFTWARE,
        }
    }
}

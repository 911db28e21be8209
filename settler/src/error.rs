//! What ends a settler or one of its commands.

use runtime::agreed::AgreedError;
use runtime::clients::EnvError;
use runtime::expose::ExposeError;
use runtime::failure::Failure;
use schemas::exit;

/// Why a settler stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No geometry, or another one.
    #[error(transparent)]
    Agreed(#[from] AgreedError),
    /// The environment does not lead to the services.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Metrics cannot be shown.
    #[error(transparent)]
    Expose(#[from] ExposeError),
    /// Neither `DSQL_ENDPOINT` nor `DATABASE_URL` is set, or one is wrong.
    #[error("{0}")]
    Usage(String),
    /// The ledger cannot be reached.
    #[error("{ledger} cannot be reached: {reason}; check DSQL_ENDPOINT or DATABASE_URL and that it runs")]
    Unreachable {
        /// The ledger's name.
        ledger: &'static str,
        /// What is known.
        reason: String,
    },
    /// The ledger is there and knows no such user, password or database.
    #[error(
        "{ledger} lets nobody in that way: {reason}; check user, password and database of DSQL_ENDPOINT and DSQL_USER, or of DATABASE_URL"
    )]
    NotLetIn {
        /// The ledger's name.
        ledger: &'static str,
        /// Its code.
        sqlstate: String,
        /// Its words.
        reason: String,
    },
    /// The ledger refused a statement for good.
    #[error("the ledger refused {what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// Its words, with its code.
        reason: String,
    },
    /// The ledger's tables are not those of this release.
    #[error(
        "the ledger's schema is not one that this release knows: {0}; use another database, or the release that made it"
    )]
    Schema(String),
    /// DynamoDB said no.
    #[error("{}", failure.told(what))]
    Call {
        /// What was tried.
        what: String,
        /// What the service said.
        failure: Failure,
    },
    /// What was asked for cannot be done as it is.
    #[error("{0}")]
    Input(String),
    /// A file cannot be written, or a port not be listened on.
    #[error("{0}")]
    Io(String),
}

impl Error {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Agreed(error) => error.exit_code(),
            Self::Expose(ExposeError::NoToken(_) | ExposeError::Token(_))
            | Self::Usage(_)
            | Self::Schema(_)
            | Self::Env(_)
            | Self::NotLetIn { .. }
            | Self::Refused { .. } => exit::USAGE,
            Self::Call { failure, .. } => failure.exit_code(),
            Self::Unreachable { .. } | Self::Expose(ExposeError::Listen { .. }) => exit::UNAVAILABLE,
            Self::Input(_) => exit::FOUND,
            Self::Io(_) => exit::IO,
        }
    }
}

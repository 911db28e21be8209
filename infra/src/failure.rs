//! A failure with the exit code it ends the program with.

use schemas::exit;

/// What went wrong, in one sentence, and how the program ends.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Failure {
    /// One of [`schemas::exit`].
    pub code: u8,
    /// What is wrong, where, and what to do next.
    pub sentence: String,
}

impl Failure {
    /// Bad usage or configuration.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self { code: exit::USAGE, sentence: sentence.into() }
    }

    /// A service cannot be reached.
    pub fn unavailable(sentence: impl Into<String>) -> Self {
        Self { code: exit::UNAVAILABLE, sentence: sentence.into() }
    }

    /// Input or output failed.
    pub fn io(sentence: impl Into<String>) -> Self {
        Self { code: exit::IO, sentence: sentence.into() }
    }

    /// The work found differences or refused input.
    pub fn found(sentence: impl Into<String>) -> Self {
        Self { code: exit::FOUND, sentence: sentence.into() }
    }
}

/// The exit code of an error chain: that of the first [`Failure`] in it, else "a fault of ours".
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map_or(exit::SOFTWARE, |failure| failure.code)
}

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

    /// A fault of ours.
    pub fn fault(sentence: impl Into<String>) -> Self {
        Self { code: exit::SOFTWARE, sentence: sentence.into() }
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

impl From<producer::Error> for Failure {
    fn from(error: producer::Error) -> Self {
        Self { code: error.exit_code(), sentence: error.to_string() }
    }
}

impl From<processor::Error> for Failure {
    fn from(error: processor::Error) -> Self {
        Self { code: error.exit_code(), sentence: error.to_string() }
    }
}

impl From<settler::Error> for Failure {
    fn from(error: settler::Error) -> Self {
        Self { code: error.exit_code(), sentence: error.to_string() }
    }
}

impl From<runtime::clients::EnvError> for Failure {
    fn from(error: runtime::clients::EnvError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<runtime::agreed::AgreedError> for Failure {
    fn from(error: runtime::agreed::AgreedError) -> Self {
        Self { code: error.exit_code(), sentence: error.to_string() }
    }
}

/// The exit code of an error chain: that of the first [`Failure`] in it, else what its source means: input or output
/// that failed, a ledger that said no or is gone, or a fault of ours.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if let Some(ledger) = cause.downcast_ref::<tokio_postgres::Error>() {
            return if ledger.code().is_some() { exit::USAGE } else { exit::UNAVAILABLE };
        }
        if cause.is::<std::io::Error>() {
            return exit::IO;
        }
    }
    exit::SOFTWARE
}

/// An error and everything it stems from, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_first_failure_in_a_chain_says_the_code() {
        let failure = || Err::<(), _>(Failure::unavailable("away"));
        assert_eq!(exit_code(&failure().context("more").unwrap_err()), exit::UNAVAILABLE);
        let io = || Err::<(), _>(std::io::Error::other("disk"));
        assert_eq!(exit_code(&io().context("more").unwrap_err()), exit::IO);
        assert_eq!(exit_code(&anyhow::anyhow!("what")), exit::SOFTWARE);
    }
}

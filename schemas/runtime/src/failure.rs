//! What a failed call means for the caller: try again, slower, or stop.

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

/// A failed call, shaped by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The service refused for the rate alone; nothing was done. Try again, slower.
    #[error("throttled ({code})")]
    Throttled {
        /// The service's error code.
        code: String,
    },
    /// No answer, or one that does not say whether it was done. Try again if that is harmless.
    #[error("outcome unknown: {message}")]
    Unknown {
        /// What is known.
        message: String,
    },
    /// The connection was never made: nothing was done.
    #[error("cannot be reached: {message}")]
    Unreachable {
        /// What is known.
        message: String,
    },
    /// The service says no, and will say so again.
    #[error("refused ({code}): {message}")]
    Refused {
        /// The service's error code.
        code: String,
        /// The service's words.
        message: String,
    },
}

impl Failure {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// The service's error code, empty when there was no answer.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Throttled { code } | Self::Refused { code, .. } => code,
            Self::Unknown { .. } | Self::Unreachable { .. } => "",
        }
    }
}

/// Error codes that mean "too fast" (Kinesis and DynamoDB API references, common errors).
const THROTTLES: [&str; 6] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "KMSThrottlingException",
    "TransactionInProgressException",
];

/// Says what a failed call means.
pub fn classify<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = chain(error);
    match error {
        SdkError::ConstructionFailure(_) => Failure::Refused { code: "Construction".to_owned(), message },
        SdkError::DispatchFailure(failure) if failure.is_io() && connecting(&message) => {
            Failure::Unreachable { message }
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            Failure::Refused { code: "Dispatch".to_owned(), message }
        }
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default().to_owned();
            if THROTTLES.contains(&code.as_str()) {
                return Failure::Throttled { code };
            }
            if service.raw().status().as_u16() >= 500 || code == "InternalFailure" {
                return Failure::Unknown { message };
            }
            let message = service.err().message().unwrap_or("no message").to_owned();
            Failure::Refused { code, message }
        }
        _ => Failure::Unknown { message },
    }
}

fn connecting(message: &str) -> bool {
    ["onnect error", "onnection refused", "dns error", "tcp connect"]
        .iter()
        .any(|words| message.contains(words))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

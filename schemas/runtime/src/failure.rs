//! What a failed call means for the caller: try again, slower, or stop.

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use schemas::exit;

use crate::clients;

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

    /// The exit code of a program that cannot go on because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_transient() { exit::UNAVAILABLE } else { exit::USAGE }
    }

    /// One sentence for a person: what was tried, what came of it, and what to do next.
    #[must_use]
    pub fn told(&self, what: &str) -> String {
        let next = match self {
            Self::Throttled { .. } => "try again later".to_owned(),
            Self::Unknown { .. } | Self::Unreachable { .. } => {
                format!("check that the service answers: {}", clients::whither())
            }
            Self::Refused { code, .. } => match code.as_str() {
                "ResourceNotFoundException" => {
                    format!("make it with `exchange provision`{}", or_another(what))
                }
                "AccessDeniedException" => "give the role that policy".to_owned(),
                "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
                    "check the AWS credentials".to_owned()
                }
                "ValidationException" if is_of_a_key(self) => format!(
                    "its keys are not those of a table of this pipeline, which `exchange provision` makes{}",
                    or_another(what)
                ),
                code if code.starts_with("HTTP") || code.starts_with("UnknownOperation") => {
                    format!("perhaps another service listens there: {}", clients::whither())
                }
                _ => return format!("{what}: {self}"),
            },
        };
        format!("{what}: {self}; {next}")
    }
}

/// The option that names another of what a call was about, where one does.
fn or_another(what: &str) -> &'static str {
    let is_of = |word: &str| what.starts_with(&format!("{word} ")) || what.contains(&format!(" {word} "));
    if what.contains("lease") && !is_of("stream") {
        ", or name another with --lease-table"
    } else if is_of("stream") {
        ", or name another with --stream"
    } else if is_of("table") {
        ", or name another with --table"
    } else {
        ""
    }
}

/// Whether a table refused a key because it has others (DynamoDB developer guide, "Error handling", and what its local
/// engines say).
fn is_of_a_key(failure: &Failure) -> bool {
    let Failure::Refused { message, .. } = failure else { return false };
    ["does not match the schema", "Missing the key", "not provided in the item", "missed key schema element"]
        .iter()
        .any(|words| message.contains(words))
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

/// What the SDK wraps around a cause, which says nothing to whoever reads it.
const WRAPPINGS: [&str; 8] = [
    "dispatch failure",
    "io error",
    "other",
    "service error",
    "response error",
    "unhandled error",
    "request has timed out",
    "client error (SendRequest)",
];

/// Says what a failed call means.
pub fn classify<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let causes = causes(error);
    let message = words(&causes);
    match error {
        SdkError::ConstructionFailure(_) => Failure::Refused { code: "Construction".to_owned(), message },
        SdkError::DispatchFailure(failure) if failure.is_io() && connecting(&causes) => {
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
            let status = service.raw().status().as_u16();
            let code = if code.is_empty() { format!("HTTP {status}") } else { code };
            let message = service.err().message().unwrap_or("no message").to_owned();
            if status >= 500 || code == "InternalFailure" {
                return Failure::Unknown { message: format!("{code}: {message}") };
            }
            Failure::Refused { code, message }
        }
        _ => Failure::Unknown { message },
    }
}

fn connecting(causes: &[String]) -> bool {
    let of_connecting = ["onnect error", "onnection refused", "dns error", "(Connect)"];
    causes.iter().any(|cause| of_connecting.iter().any(|words| cause.contains(words)))
}

/// An error and everything it stems from, outermost first.
fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut all = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        all.push(cause.to_string());
        source = cause.source();
    }
    all
}

/// The causes that say something, in one line.
fn words(causes: &[String]) -> String {
    let says = |cause: &&String| !WRAPPINGS.contains(&cause.as_str()) && !cause.ends_with("(Connect)");
    let mut said: Vec<&str> = Vec::new();
    for cause in causes.iter().filter(says) {
        if !said.iter().any(|before| before.contains(cause.as_str())) {
            said.push(cause);
        }
    }
    if said.is_empty() { causes.join(": ") } else { said.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappings_are_left_out_and_a_chain_of_nothing_else_is_told_whole() {
        let all = |causes: &[&str]| causes.iter().map(|cause| (*cause).to_owned()).collect::<Vec<_>>();
        let chain = [
            "dispatch failure",
            "io error",
            "client error (Connect)",
            "tcp connect error",
            "Connection refused (os error 111)",
        ];
        assert_eq!(words(&all(&chain)), "tcp connect error: Connection refused (os error 111)");
        assert!(connecting(&all(&chain)) && !connecting(&all(&["dispatch failure", "timed out"])));
        assert_eq!(words(&all(&["dispatch failure", "other"])), "dispatch failure: other");
    }

    #[test]
    fn a_table_with_other_keys_is_not_one_of_this_pipeline() {
        let other = |message: &str| {
            let (code, message) = ("ValidationException".to_owned(), message.to_owned());
            Failure::Refused { code, message }.told("table theirs cannot be read")
        };
        let told = other("The provided key element does not match the schema");
        for word in ["table theirs", "not those of a table of this pipeline", "exchange provision", "--table"]
        {
            assert!(told.contains(word), "{told}");
        }
        assert!(!other("Limit is too high").contains("provision"), "another complaint is another matter");
    }

    #[test]
    fn a_sentence_says_what_was_tried_what_came_of_it_and_what_to_do() {
        let missing =
            Failure::Refused { code: "ResourceNotFoundException".to_owned(), message: "no".to_owned() };
        let told = missing.told("table t cannot be read");
        assert!(
            told.starts_with("table t cannot be read: refused (ResourceNotFoundException): no; "),
            "{told}"
        );
        assert!(told.contains("exchange provision") && missing.exit_code() == exit::USAGE, "{told}");
        for (what, option) in [
            ("table t cannot be read", "--table"),
            ("outbox of table t", "--table"),
            ("stream s cannot be used", "--stream"),
            ("consumer c of stream s", "--stream"),
            ("table t of leases", "--lease-table"),
        ] {
            let told = missing.told(what);
            let options = ["--table", "--stream", "--lease-table"];
            let said: Vec<_> =
                options.iter().filter(|option| told.ends_with(&format!(" {option}"))).collect();
            assert_eq!(said, [&option], "a command has no other option for it: {told}");
        }
        let away = Failure::Unreachable { message: "refused".to_owned() };
        assert!(
            away.told("stream s").contains("AWS_ENDPOINT_URL_KINESIS")
                && away.exit_code() == exit::UNAVAILABLE
        );
    }
}

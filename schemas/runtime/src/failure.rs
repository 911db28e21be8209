//! What a failed call means for the caller: try again, slower, with other credentials, or stop.
//!
//! Reads errors of the SDK. Which code means what stands in [`crate::error_class`].

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use schemas::exit;

use crate::clients;
use crate::error_class::{self, Class, class_of, without_code};

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
    /// A reply that this service never gives, with a status alone: something else answered in its place, and nothing
    /// says whether the request was carried out.
    #[error("unexpected reply (HTTP {status}): {message}")]
    Unexpected {
        /// The status.
        status: u16,
        /// What is known.
        message: String,
    },
    /// The credentials or a policy; nothing was done. It passes with new credentials, or when someone mends the policy.
    #[error("unauthorized ({code}): {message}")]
    Unauthorized {
        /// The service's error code, [`NO_CREDENTIALS`] when there was nothing to sign the call with.
        code: String,
        /// The service's words.
        message: String,
    },
    /// What was asked for does not exist; nothing was done.
    #[error("missing ({code}): {message}")]
    Missing {
        /// The service's error code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// The service refuses the request itself; nothing was done.
    #[error("refused ({code}): {message}")]
    Refused {
        /// The service's error code.
        code: String,
        /// The service's words.
        message: String,
    },
}

/// What stands in a code's place when no credentials were found.
pub const NO_CREDENTIALS: &str = "no credentials";

impl Failure {
    /// What the service said, by its code.
    #[must_use]
    pub fn said(code: &str, message: String) -> Self {
        let named = code.to_owned();
        match class_of(code) {
            Class::Throttled => Self::Throttled { code: named },
            Class::Unknown => Self::Unknown { message: format!("{code}: {message}") },
            Class::Unauthorized => Self::Unauthorized { code: named, message },
            Class::Missing => Self::Missing { code: named, message },
            Class::Refused => Self::Refused { code: named, message },
        }
    }

    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::Unexpected { .. } => true,
            Self::Unauthorized { .. } | Self::Missing { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether it is certain that the request was not carried out.
    #[must_use]
    pub fn is_nothing_done(&self) -> bool {
        !matches!(self, Self::Unknown { .. } | Self::Unexpected { .. })
    }

    /// Whether the service may have refused a request of many parts for one of them alone.
    #[must_use]
    pub fn may_be_of_one_part(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if error_class::may_be_of_one_part(code))
    }

    /// The service's error code, empty when there was no answer.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Throttled { code }
            | Self::Unauthorized { code, .. }
            | Self::Missing { code, .. }
            | Self::Refused { code, .. } => code,
            Self::Unknown { .. } | Self::Unreachable { .. } | Self::Unexpected { .. } => "",
        }
    }

    /// The exit code of a program that cannot go on because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Throttled { .. } | Self::Unknown { .. } | Self::Unreachable { .. } => exit::UNAVAILABLE,
            // An endpoint that leads to another service is a matter of configuration.
            Self::Unexpected { .. }
            | Self::Unauthorized { .. }
            | Self::Missing { .. }
            | Self::Refused { .. } => exit::USAGE,
        }
    }

    /// One sentence for a person: what was tried, what came of it, and what to do next.
    #[must_use]
    pub fn told(&self, what: &str) -> String {
        let next = match self {
            Self::Throttled { .. } => "try again later".to_owned(),
            Self::Unknown { .. } | Self::Unreachable { .. } => {
                format!("check that the service answers: {}", clients::whither())
            }
            Self::Unexpected { .. } => {
                format!("perhaps another service listens there: {}", clients::whither())
            }
            Self::Missing { .. } => format!("make it with `exchange provision`{}", or_another(what)),
            Self::Unauthorized { code, .. } if code.contains("AccessDenied") => {
                "give the role that policy".to_owned()
            }
            Self::Unauthorized { code, .. } if code.starts_with("KMS") => {
                "check the KMS key and its policy".to_owned()
            }
            Self::Unauthorized { .. } => {
                "check the AWS credentials, and the clock of this machine".to_owned()
            }
            Self::Refused { code, .. } if code == "ValidationException" && is_of_a_key(self) => format!(
                "its keys are not those of a table of this pipeline, which `exchange provision` makes{}",
                or_another(what)
            ),
            Self::Refused { code, .. } if code.starts_with("UnknownOperation") => {
                format!("perhaps another service listens there: {}", clients::whither())
            }
            Self::Refused { .. } => return format!("{what}: {self}"),
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
pub fn classify<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let causes = causes(error);
    let message = words(&causes);
    match error {
        SdkError::ConstructionFailure(_) => Failure::Refused { code: "Construction".to_owned(), message },
        SdkError::DispatchFailure(_) if lacks_credentials(error) => {
            Failure::Unauthorized { code: NO_CREDENTIALS.to_owned(), message }
        }
        SdkError::DispatchFailure(failure) if failure.is_io() && connecting(&causes) => {
            Failure::Unreachable { message }
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            Failure::Refused { code: "Dispatch".to_owned(), message }
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let told = service.err().message().unwrap_or("no message").to_owned();
            match service.err().code().unwrap_or_default() {
                "" => without_code(status, message),
                // Where the service itself fails, its code says no more than that.
                code if status >= 500 => match Failure::said(code, told.clone()) {
                    Failure::Throttled { code } => Failure::Throttled { code },
                    _ => Failure::Unknown { message: format!("{code}: {told}") },
                },
                code => Failure::said(code, told),
            }
        }
        SdkError::ResponseError(reply) => without_code(reply.raw().status().as_u16(), message),
        _ => Failure::Unknown { message },
    }
}

/// Whether a call was never sent because nothing was found to sign it with.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    // The SDK has no type for the second.
    chain.into_iter().any(|error| {
        error.is::<CredentialsError>() || error.to_string().contains("identity resolver timed out")
    })
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
            Failure::said(&code, message).told("table theirs cannot be read")
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
        let missing = Failure::said("ResourceNotFoundException", "no".to_owned());
        let told = missing.told("table t cannot be read");
        assert!(
            told.starts_with("table t cannot be read: missing (ResourceNotFoundException): no; "),
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

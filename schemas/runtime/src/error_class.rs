//! The one table of error codes: what each code of Kinesis, DynamoDB and Aurora DSQL means for a caller.
//!
//! Owns the codes and the odd replies (a status without a code, a cut body, HTML). [`crate::failure`] turns a failed
//! call into a [`Failure`] by it, and [`crate::outage`] says how long each class is tried again. Codes: the modeled
//! exceptions of the three SDK crates, and the common errors of the Kinesis, DynamoDB and IAM API references.

use crate::failure::Failure;

/// What an error code means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Refused for the rate, or for another request that is under way; nothing was done. Try again, slower.
    Throttled,
    /// The service failed, and does not say whether it carried the request out.
    Unknown,
    /// The credentials or a policy; nothing was done. New credentials or a mended policy end it.
    Unauthorized,
    /// What the request names does not exist; nothing was done.
    Missing,
    /// The request itself; nothing was done. The code says what is wrong with it.
    Refused,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 5] =
        [Self::Throttled, Self::Unknown, Self::Unauthorized, Self::Missing, Self::Refused];
}

/// Every code that is known, by class.
pub const CODES: [(Class, &[&str]); 5] = [
    (Class::Throttled, THROTTLED),
    (Class::Unknown, UNKNOWN),
    (Class::Unauthorized, UNAUTHORIZED),
    (Class::Missing, MISSING),
    (Class::Refused, REFUSED),
];

/// The class of a code. A code that no service documents is a refusal that may pass.
#[must_use]
pub fn class_of(code: &str) -> Class {
    let is_in = |codes: &[&str]| codes.contains(&code);
    CODES.iter().find(|(_, codes)| is_in(codes)).map_or(Class::Refused, |(class, _)| *class)
}

/// Whether a service that refuses a request of many parts (entries of PutRecords, keys of BatchGetItem) may mean one of
/// them alone, and would take the others.
#[must_use]
pub fn may_be_of_one_part(code: &str) -> bool {
    OF_ONE_PART.contains(&code)
}

/// What a reply means that carries no error code: nothing says who wrote it, or whether the request was carried out.
///
/// A proxy, a load balancer or a captive portal answers so; a reply that was cut on its way has the status of a success.
#[must_use]
pub fn without_code(status: u16, message: String) -> Failure {
    let code = format!("HTTP {status}");
    match status {
        429 => Failure::Throttled { code },
        // A success that cannot be read was cut on its way.
        200..300 => {
            Failure::Unknown { message: format!("{code} with a body that cannot be read: {message}") }
        }
        408 | 500.. => Failure::Unknown { message: format!("{code}: {message}") },
        _ => Failure::Unexpected { status, message },
    }
}

/// Kinesis and DynamoDB API references, "Common Errors" and the errors of PutRecords and BatchGetItem. A request that is
/// too long is taken in halves, too.
const OF_ONE_PART: &[&str] =
    &["InvalidArgumentException", "RequestEntityTooLargeException", "ValidationError", "ValidationException"];

const THROTTLED: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KMSThrottlingException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    // Another Region's write of the same item came first.
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

const UNKNOWN: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "InternalFailureException",
    "InternalServerError",
    "InternalServerException",
    "RequestAbortedException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
];

const UNAUTHORIZED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "KMSOptInRequired",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "NotAuthorizedException",
    "OptInRequired",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

const MISSING: &[&str] = &[
    "BackupNotFoundException",
    "ExportNotFoundException",
    "GlobalTableNotFoundException",
    "ImportNotFoundException",
    "IndexNotFoundException",
    "PolicyNotFoundException",
    "ReplicaNotFoundException",
    "ResourceNotFoundException",
    "TableNotFoundException",
];

const REFUSED: &[&str] = &[
    "BackupInUseException",
    "ConditionalCheckFailedException",
    "ConflictException",
    "ContinuousBackupsUnavailableException",
    "DryRunOperationException",
    "DuplicateItemException",
    "ExpiredIteratorException",
    "ExpiredNextTokenException",
    "ExportConflictException",
    "GlobalTableAlreadyExistsException",
    "IdempotentParameterMismatchException",
    "ImportConflictException",
    "InvalidAction",
    "InvalidArgumentException",
    "InvalidEndpointException",
    "InvalidExportTimeException",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidQueryParameter",
    "InvalidRestoreTimeException",
    "ItemCollectionSizeLimitExceededException",
    "MalformedHttpRequestException",
    "MalformedQueryString",
    "MissingAction",
    "MissingParameter",
    "PointInTimeRecoveryUnavailableException",
    "ReplicaAlreadyExistsException",
    "RequestEntityTooLargeException",
    "ResourceInUseException",
    "SerializationException",
    "ServiceQuotaExceededException",
    "TableAlreadyExistsException",
    "TableInUseException",
    "TransactionCanceledException",
    "UnknownOperationException",
    "ValidationError",
    "ValidationException",
];

#[cfg(test)]
mod tests;

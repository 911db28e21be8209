//! Clients of Kinesis and DynamoDB: rustls with ring, certificates verified, the SDK's own retries off.
//!
//! Retries are off because every stage reads each outcome itself: an unknown one is not a failed one.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::{Builder, tls};

/// How long one attempt may take; after it the outcome is unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The region of local engines.
pub const LOCAL_REGION: &str = "us-east-1";

/// The services a stage talks to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Amazon Kinesis Data Streams.
    pub kinesis: aws_sdk_kinesis::Client,
    /// Amazon DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
}

impl Clients {
    /// Clients as the SDK's own environment says: region, credentials, `AWS_ENDPOINT_URL_KINESIS`,
    /// `AWS_ENDPOINT_URL_DYNAMODB`.
    pub async fn from_env() -> Self {
        let config = loader().load().await;
        Self {
            kinesis: aws_sdk_kinesis::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
        }
    }

    /// Clients of engines on this machine.
    pub async fn local(kinesis_url: &str, dynamodb_url: &str) -> Self {
        let config = loader()
            .region(Region::new(LOCAL_REGION))
            .credentials_provider(Credentials::new("local", "local", None, None, "local engines"))
            .load()
            .await;
        let kinesis = aws_sdk_kinesis::config::Builder::from(&config).endpoint_url(kinesis_url).build();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config).endpoint_url(dynamodb_url).build();
        Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
        }
    }
}

/// The shared part of every client's configuration.
#[must_use]
pub fn loader() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
}

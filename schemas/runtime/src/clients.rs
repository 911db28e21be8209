//! Clients of Kinesis and DynamoDB: rustls with ring, certificates verified, the SDK's own retries off.
//!
//! Retries are off because every stage reads each outcome itself: an unknown one is not a failed one.

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_kinesis::config::SharedHttpClient;
use aws_smithy_http_client::{Builder, tls};

use crate::credentials::Renewable;
use crate::replies::Replies;
use crate::service_clock::ServiceClock;

/// How long one attempt may take; after it the outcome is unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the search for credentials may take: instance metadata that is not there is waited for.
pub(crate) const CREDENTIALS_WITHIN: Duration = Duration::from_secs(10);
/// Where the SDK looks for other endpoints than those of AWS.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];
/// The region of local engines.
pub const LOCAL_REGION: &str = "us-east-1";

/// The services a stage talks to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Amazon Kinesis Data Streams.
    pub kinesis: aws_sdk_kinesis::Client,
    /// Amazon DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The clock of Kinesis, as the replies to `kinesis` tell it.
    pub kinesis_clock: ServiceClock,
    /// What their calls are signed with.
    pub credentials: Renewable,
}

impl Clients {
    /// Clients as the SDK's own environment says: region, credentials, `AWS_ENDPOINT_URL_KINESIS`,
    /// `AWS_ENDPOINT_URL_DYNAMODB`.
    ///
    /// # Errors
    /// When an endpoint is no URL, or there is no region or no credentials: found out here, before anything is called.
    pub async fn from_env() -> Result<Self, EnvError> {
        for variable in ENDPOINTS {
            if let Some(value) = std::env::var_os(variable) {
                check_endpoint(variable, &value.to_string_lossy())?;
            }
        }
        let (config, renewable) = load().await;
        let region = config.region().map(Region::as_ref).unwrap_or_default();
        let of_a_region = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if region.is_empty() || !region.bytes().all(of_a_region) {
            return Err(EnvError::NoRegion);
        }
        credentials(&config).await?;
        Ok(Self::of(&config, [None, None], renewable))
    }

    /// Clients of engines on this machine.
    pub async fn local(kinesis_url: &str, dynamodb_url: &str) -> Self {
        let any = Credentials::new("local", "local", None, None, "local engines");
        Self::with_credentials(kinesis_url, dynamodb_url, any).await
    }

    /// Clients of services at these URLs, with credentials of this provider.
    pub async fn with_credentials(
        kinesis_url: &str,
        dynamodb_url: &str,
        provider: impl ProvideCredentials + 'static,
    ) -> Self {
        let renewable = Renewable::given(provider);
        let config = renewing(&renewable).region(Region::new(LOCAL_REGION)).load().await;
        Self::of(&config, [Some(kinesis_url), Some(dynamodb_url)], renewable)
    }

    fn of(
        config: &SdkConfig,
        [kinesis_url, dynamodb_url]: [Option<&str>; 2],
        credentials: Renewable,
    ) -> Self {
        let kinesis_clock = ServiceClock::default();
        let mut kinesis = aws_sdk_kinesis::config::Builder::from(config)
            .interceptor(Replies(credentials.clone()))
            .interceptor(kinesis_clock.clone());
        let mut dynamodb =
            aws_sdk_dynamodb::config::Builder::from(config).interceptor(Replies(credentials.clone()));
        if let Some(url) = kinesis_url {
            kinesis = kinesis.endpoint_url(url);
        }
        if let Some(url) = dynamodb_url {
            dynamodb = dynamodb.endpoint_url(url);
        }
        Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            kinesis_clock,
            credentials,
        }
    }
}

/// What is wrong with the environment that leads to the services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// An endpoint is no URL.
    #[error(
        "{variable}='{value}' is no URL such as http://127.0.0.1:4567; correct it, or unset it to reach AWS itself"
    )]
    Endpoint {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// An endpoint with a user or a password, which is not shown.
    #[error(
        "{variable} holds a user or a password, which no endpoint takes; leave only scheme, host and port"
    )]
    UserInEndpoint {
        /// The variable.
        variable: &'static str,
    },
    /// Nothing says which region.
    #[error(
        "no region: set AWS_REGION to one such as eu-central-1; beside `exchange up`, source its env file"
    )]
    NoRegion,
    /// Nothing to sign calls with.
    #[error(
        "no AWS credentials: {0}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role; \
         beside `exchange up`, source its env file"
    )]
    NoCredentials(String),
}

fn check_endpoint(variable: &'static str, value: &str) -> Result<(), EnvError> {
    if value.contains('@') {
        return Err(EnvError::UserInEndpoint { variable });
    }
    let is_url = value.parse::<hyper::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if is_url { Ok(()) } else { Err(EnvError::Endpoint { variable, value: value.to_owned() }) }
}

async fn credentials(config: &SdkConfig) -> Result<(), EnvError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(EnvError::NoCredentials("no way to find any is set up".to_owned()));
    };
    match tokio::time::timeout(CREDENTIALS_WITHIN, provider.provide_credentials()).await {
        Ok(Ok(found)) => {
            let parts =
                [found.access_key_id(), found.secret_access_key(), found.session_token().unwrap_or_default()];
            if parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_graphic())) {
                return Ok(());
            }
            let reason = "those that were found hold a character that none has, such as a line's end";
            Err(EnvError::NoCredentials(reason.to_owned()))
        }
        Ok(Err(error)) => Err(EnvError::NoCredentials(error.to_string())),
        Err(_) => {
            let seconds = CREDENTIALS_WITHIN.as_secs();
            Err(EnvError::NoCredentials(format!("none were found within {seconds} s")))
        }
    }
}

/// Where the environment leads calls, for a sentence about one that failed.
pub(crate) fn whither() -> String {
    let set = |variable: &&str| Some(format!("{variable}={}", std::env::var(variable).ok()?));
    let set: Vec<String> = ENDPOINTS.iter().filter_map(set).collect();
    if set.is_empty() {
        return "none of AWS_ENDPOINT_URL_KINESIS and AWS_ENDPOINT_URL_DYNAMODB is set, so AWS itself was called"
            .to_owned();
    }
    set.join(", ")
}

/// What the environment says, with credentials that are loaded anew when a service refuses them.
pub async fn load() -> (SdkConfig, Renewable) {
    let renewable = Renewable::from_env();
    (renewing(&renewable).load().await, renewable)
}

/// The SDK keeps no identity here: the provider does, and forgets it when it is refused.
fn renewing(renewable: &Renewable) -> aws_config::ConfigLoader {
    loader().credentials_provider(renewable.clone()).identity_cache(IdentityCache::no_cache())
}

pub(crate) fn http() -> SharedHttpClient {
    Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
}

/// The shared part of every client's configuration.
#[must_use]
pub fn loader() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_with_a_host() {
        for url in
            ["http://127.0.0.1:4567", "https://kinesis.eu-central-1.amazonaws.com", "http://localhost/"]
        {
            assert_eq!(check_endpoint("AWS_ENDPOINT_URL", url), Ok(()));
        }
        let secret =
            check_endpoint("AWS_ENDPOINT_URL", "http://user:secret@localhost:1").unwrap_err().to_string();
        assert!(!secret.contains("secret@"), "{secret}");
        for other in ["", "notaurl", "localhost:4567", "ftp://localhost", "http://", "/path", "http://:4567"]
        {
            let refused = check_endpoint("AWS_ENDPOINT_URL_KINESIS", other).unwrap_err().to_string();
            assert!(refused.contains(&format!("AWS_ENDPOINT_URL_KINESIS='{other}'")), "{refused}");
        }
    }
}

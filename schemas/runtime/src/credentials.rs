//! Credentials that are loaded anew when a service refuses them.
//!
//! The SDK keeps an identity until it is about to expire, and a profile for as long as the process runs. A key that was
//! rotated, or a token that was revoked or expired early, would be sent again and again. [`Renewable`] keeps what it
//! loaded, and a service's word that it is not good ends the keeping: the next call builds the chain of providers anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};

use crate::clients;

/// Credentials are replaced so long before they expire, as the SDK's own cache does.
const SPARE: Duration = Duration::from_secs(10);
/// Refused credentials are loaded at most this often: many calls under way are refused together, and a policy that
/// denies a call is not mended by another token.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// A provider of credentials that loads them anew once a service refused them; clones share what is loaded.
#[derive(Clone, Debug)]
pub struct Renewable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    held: tokio::sync::Mutex<Held>,
    refused: AtomicBool,
    loaded: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Origin {
    /// The default chain: environment, profile, web identity, container, instance.
    Environment,
    Given(SharedCredentialsProvider),
}

#[derive(Debug, Default)]
struct Held {
    provider: Option<SharedCredentialsProvider>,
    credentials: Option<Credentials>,
}

impl Renewable {
    /// What the environment provides, by the SDK's default chain.
    #[must_use]
    pub fn from_env() -> Self {
        Self::of(Origin::Environment)
    }

    /// What this provider provides.
    #[must_use]
    pub fn given(provider: impl ProvideCredentials + 'static) -> Self {
        Self::of(Origin::Given(SharedCredentialsProvider::new(provider)))
    }

    fn of(origin: Origin) -> Self {
        let (held, refused, loaded) =
            (tokio::sync::Mutex::default(), AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Inner { origin, held, refused, loaded }))
    }

    /// A service refused what was signed with the credentials: the next call loads others, at most one every
    /// `RENEW_EVERY`.
    pub fn refuse(&self) {
        let loaded = *self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_none_or(|at| at.elapsed() >= RENEW_EVERY) {
            self.0.refused.store(true, Ordering::Relaxed);
        }
    }

    async fn provide(&self) -> provider::Result {
        let inner = &self.0;
        let mut held = inner.held.lock().await;
        let is_refused = inner.refused.swap(false, Ordering::Relaxed);
        if !is_refused && let Some(credentials) = held.credentials.as_ref().filter(|one| lives(one, SPARE)) {
            return Ok(credentials.clone());
        }
        if is_refused {
            held.provider = None;
        }
        let provider = match &held.provider {
            Some(provider) => provider.clone(),
            None => inner.origin.provider().await,
        };
        held.provider = Some(provider.clone());
        let within = clients::CREDENTIALS_WITHIN;
        let loaded = tokio::time::timeout(within, provider.provide_credentials()).await;
        *inner.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match loaded.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(within))) {
            Ok(credentials) => {
                if is_refused {
                    tracing::info!("credentials loaded anew, because a service refused those before");
                }
                held.credentials = Some(credentials.clone());
                Ok(credentials)
            }
            // Those that were refused may be good by now, and others cannot be had.
            Err(error) => match held.credentials.as_ref().filter(|one| lives(one, Duration::ZERO)) {
                Some(credentials) => {
                    tracing::warn!(%error, "credentials cannot be loaded anew, those before are used");
                    Ok(credentials.clone())
                }
                None => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Renewable {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

impl Origin {
    async fn provider(&self) -> SharedCredentialsProvider {
        match self {
            Self::Given(provider) => provider.clone(),
            Self::Environment => {
                let config = ProviderConfig::without_region()
                    .with_http_client(clients::http())
                    .with_behavior_version(Some(BehaviorVersion::latest()))
                    .load_default_region()
                    .await;
                let chain = DefaultCredentialsChain::builder().configure(config).build().await;
                SharedCredentialsProvider::new(chain)
            }
        }
    }
}

fn lives(credentials: &Credentials, spare: Duration) -> bool {
    credentials.expiry().is_none_or(|expiry| SystemTime::now() + spare < expiry)
}

#[cfg(test)]
mod tests;

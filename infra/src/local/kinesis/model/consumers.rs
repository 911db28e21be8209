//! Consumers with a share of their own of every shard (enhanced fan-out).

use super::settings::Mode;
use super::stream::Stream;
use super::{Refusal, refuse};

/// Consumers of one stream (Kinesis developer guide, quotas).
const CONSUMERS_MAX: usize = 20;

/// A registered consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// When it was registered, in ms since the epoch.
    pub created_ms: u64,
}

impl Stream {
    /// Whether a consumer of this name may be registered.
    ///
    /// # Errors
    /// `ResourceInUseException` when it is already there, `LimitExceededException` when there are twenty.
    pub fn check_register(&self, name: &str) -> Result<(), Refusal> {
        if self.consumers.contains_key(name) {
            return refuse("ResourceInUseException", format!("Consumer {name} is already registered"));
        }
        if self.consumers.len() >= CONSUMERS_MAX {
            return refuse(
                "LimitExceededException",
                format!("a stream has at most {CONSUMERS_MAX} consumers"),
            );
        }
        Ok(())
    }

    /// A consumer by its name, and by the time in its ARN when that is given.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when there is none, or only a later one of the same name.
    pub fn consumer(&self, name: &str, created_s: Option<u64>) -> Result<Consumer, Refusal> {
        let found = self.consumers.get(name).filter(|found| {
            let same = |seconds: u64| found.created_ms / 1_000 == seconds;
            created_s.is_none_or(same)
        });
        match found {
            Some(found) => Ok(*found),
            None => refuse("ResourceNotFoundException", format!("Consumer {name} is not registered")),
        }
    }

    pub(super) fn scales_itself(&self) -> bool {
        self.mode == Mode::OnDemand
    }
}

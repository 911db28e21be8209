//! The stream as a value: shards, hash ranges, sequence numbers, iterators, limits and retention.
//!
//! No clock, no chance, no I/O: `now` is an argument. A sequence number is allotted and its record stored in one step,
//! so a reader at the tip never sees a later record before an earlier one.

mod consumers;
mod meter;
mod reshard;
mod settings;
mod shard;
mod stream;
#[cfg(test)]
mod tests;

pub use self::consumers::Consumer;
pub use self::reshard::Reshard;
pub use self::settings::{Distribution, Mode, Status};
pub use self::shard::{Closing, Page, Record, Shard, ShardId, Stored};
pub(crate) use self::stream::Image;
pub use self::stream::{Start, Stream};

/// What the model refuses, in the service's own words for kinds of errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The service's error code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

pub(crate) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// Whether the limits of AWS hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Per shard and second 1,000 records and 1 MiB written, 5 calls and 2 MiB read; 2 MiB for each consumer of a
    /// shard; ten changes of the shard count a day.
    Aws,
    /// None.
    Off,
}

/// A `usize` of 32 bits, which every machine this runs on can hold.
pub(crate) fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

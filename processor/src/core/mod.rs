//! The rules as values: no clock, no chance, no waiting.
//!
//! [`shard`] is the shard machine and [`tail`] what its children inherit; [`holding`] looks after one held lease,
//! [`lease`] decides which leases to hold, [`pace`] how fast to write. Each takes events and answers what to do.

mod auction;
mod book;
mod closed;
mod cut;
mod judge;
mod mark;
mod mutant;
mod progress;
pub mod holding;
pub mod lease;
pub mod pace;
pub mod shard;
pub mod tail;
#[cfg(test)]
mod tests;
mod window;

pub use self::book::BidEvents;
pub use self::closed::Closed;
pub use self::judge::{Judged, Refused, Sample};
pub use self::mark::{Mark, Place};

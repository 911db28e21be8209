//! The rules as values: no clock, no chance, no waiting.
//!
//! [`shard`] is the shard machine and [`tail`] what its children inherit; [`holding`] looks after one held lease,
//! [`lease`] decides which leases to hold, [`doubt`] which places to believe, [`ahead`] tells of a clock that is wrong, [`pace`] how fast to write. Each takes events and answers what to do.

pub mod ahead;
mod auction;
mod book;
mod closed;
mod cut;
pub mod doubt;
pub mod holding;
mod index;
mod judge;
pub mod lease;
mod mark;
mod mutant;
pub mod pace;
mod progress;
mod regions;
mod seen;
pub mod shard;
mod sparse;
mod standing;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod trimmed;
mod window;

pub use self::book::BidEvents;
pub use self::closed::Closed;
pub use self::judge::{Judged, Refused, Sample};
pub use self::mark::{Mark, Place};

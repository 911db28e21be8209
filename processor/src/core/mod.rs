//! The rules of reading, as values: no clock, no chance, no service.

pub mod auction;
pub mod lease;
pub mod shard;

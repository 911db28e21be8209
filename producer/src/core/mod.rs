//! The rules of packing and delivery, as values: no clock, no chance, no service.
//!
//! [`shard_map`] predicts who owns a slot, [`packer`] groups bids by that prediction, [`lanes`] keep what waits for
//! each shard at the pace that [`pacer`] learned, [`delivery`] judges what was answered, and [`sender`] composes them:
//! bids and replies in, requests and answers out. [`admission`] refuses before that what could not count, and [`standing`] says what the replies mean for a producer's health.

pub mod admission;
pub mod delivery;
pub mod lanes;
pub mod pacer;
pub mod packer;
pub mod sender;
pub mod shard_map;
pub mod standing;

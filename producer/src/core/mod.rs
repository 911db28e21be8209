//! The rules of packing and delivery, as values: no clock, no chance, no service.
//!
//! [`admission`] refuses what could not count, [`shard_map`] predicts who owns a slot, [`packer`] groups bids by that
//! prediction for as long as [`company`] says, [`lanes`] keep what waits for each shard at the pace that [`pacer`]
//! learned, [`flight`] knows what is under way, [`delivery`] judges what was answered
//! ([`answer`]), [`isolation`] finds the record for
//! which a request is refused, and [`sender`] composes them: bids and replies in, requests and answers out. [`events`] tell what happened to records, and [`standing`] says what
//! the replies mean for a producer's health.

pub mod admission;
pub mod answer;
pub mod company;
pub mod delivery;
pub mod events;
pub mod flight;
pub mod isolation;
pub mod lanes;
pub mod pacer;
pub mod packer;
pub mod sender;
pub mod shard_map;
pub mod standing;

//! The rules of packing and delivery, as values: no clock, no chance, no service.
//!
//! [`shard_map`] predicts who owns a slot, [`packer`] groups bids by that prediction, [`delivery`] judges what was
//! answered, and [`sender`] composes the three: bids and replies in, requests and answers out.

pub mod delivery;
pub mod packer;
pub mod sender;
pub mod shard_map;

//! The rules of packing and delivery, as values: no clock, no chance, no service.

pub mod packer;
pub mod shards;

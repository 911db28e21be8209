//! The core against a recomputation that shares no code with it, over random worlds: late, early, stray, duplicate
//! and rejected bids, ticks, splits, merges, splits of splits, arrivals out of order; crashes, zombies and writes that
//! are lost or come in any order.

#![allow(clippy::as_conversions, reason = "numbers of a test are small")]

mod fleet;
mod log;
mod memory;
mod reference;
mod rules;
mod store;
mod world;

//! What needs several of the settler's parts at once, and no service.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod interleavings;
mod model;

//! The producer beside programs that no one here wrote.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod aggregation;

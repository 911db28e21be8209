//! What needs more than one package, or a real client against a local engine.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod dsql;
mod dynamodb;
mod house;
mod kinesis;
mod postgres;
mod producer;

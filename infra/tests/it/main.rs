//! What needs more than one package, or a real client against a local engine.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod browser;
mod conformance;
mod crowded;
mod damaged;
mod demo;
mod dsql;
mod dynamodb;
mod failures;
mod harness;
mod house;
mod kills;
mod kinesis;
mod kinesis_door;
mod kinesis_fanout;
mod kinesis_kill;
mod kinesis_settings;
mod kinesis_time;
mod listeners;
mod local;
mod local_doors;
mod outage;
mod planted;
mod postgres;
mod processor;
mod producer;
mod settler;
mod sim;
mod usage;
mod writers;

//! Turns closed auctions into settlements: one decision each, true in the ledger before anything says so.
//!
//! [`core`] decides: who wins, what is written, what is tried again. [`runner`] is the one place where a transaction is
//! run, attempt by attempt; [`outbox`] is the edge to DynamoDB, `replays` the one to Kinesis; [`drive`] has the
//! only loop that settles. What is absent: leases.
//! Two settlers may pick the same auction; the ledger arbitrates.

mod attempt;
pub mod cli;
pub mod config;
pub mod conflicts;
pub mod core;
pub mod db;
pub mod drive;
pub mod error;
pub mod grace;
pub mod metrics;
pub mod outbox;
mod progress;
pub mod provision;
mod ready;
pub mod release;
mod replays;
pub mod runner;
pub mod schema;
mod show;
pub mod statements;
mod walk;

pub use config::Config;
pub use drive::run;
pub use error::Error;
pub use metrics::Metrics;

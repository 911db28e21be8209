//! Effects every stage shares: clients, clock, chance, back-off, shutdown, telemetry, metrics over HTTP, exit codes,
//! and what a command line is answered.
//!
//! What is absent: any business rule. A module stands here when two stages use it.

pub mod agreed;
pub mod args;
pub mod attrs;
pub mod backoff;
pub mod bearer;
pub mod chance;
pub mod clients;
pub mod clock;
pub mod connection;
pub mod credentials;
pub mod directory;
pub mod distribution;
pub mod error_class;
pub mod expose;
pub mod failure;
pub mod health;
pub mod origin;
pub mod outage;
pub mod process;
mod replies;
pub mod say;
pub mod service_clock;
pub mod shard_end;
pub mod shutdown;
pub mod telemetry;
pub mod told;
pub mod when;

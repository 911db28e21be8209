//! Reads the shards of a stream and writes what closed auctions leave to DynamoDB.
//!
//! [`core`] holds the rules as values. The edges are [`leases`] (the lease table), [`stream`], [`reader`] with
//! [`fan_out`] (pages of a shard) and [`sink`] (what is written). [`drive`] has the loop over all leases; each held
//! one has a loop of its own that only performs what its core asks for.
//! [`readings`] is what metrics show, [`prometheus`] and [`emf`] in which form; [`admin`] is `processor leases`.
//! What is absent: any wall clock in the closing of a window, and any decision about who wins: that is the settler's.

pub mod admin;
pub mod config;
pub mod core;
pub mod drive;
pub mod emf;
pub mod error;
pub mod fan_out;
mod held;
pub mod leases;
pub mod metrics;
pub mod prometheus;
pub mod reader;
pub mod readings;
mod samples;
mod show;
pub mod sink;
pub mod stream;

pub use config::Config;
pub use drive::run;
pub use error::Error;
pub use metrics::Metrics;

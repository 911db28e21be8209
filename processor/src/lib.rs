//! Reads the shards of a stream and writes what closed auctions leave to DynamoDB.
//!
//! [`core`] holds the rules as values; [`leases`], [`reader`] and [`sink`] are the edges; [`drive`] has the loops.
//! What is absent: any wall clock in the closing of a window, and any decision about who wins: that is the settler's.

pub mod config;
pub mod core;
pub mod drive;
pub mod error;
pub mod leases;
pub mod metrics;
pub mod reader;
pub mod sink;

pub use config::Config;
pub use drive::run;
pub use error::Error;
pub use metrics::Metrics;

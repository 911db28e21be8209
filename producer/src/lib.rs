//! Puts bids into Kinesis and answers each one: accepted, refused with a reason, or unknown.
//!
//! [`core`] packs bids and judges outcomes as values; [`input`] and [`generator`] are where bids come from; [`put`]
//! sends them; [`drive`] has the only loop. Order between bids is not kept, since no window depends on it.

pub mod config;
pub mod core;
pub mod drive;
pub mod error;
pub mod generator;
pub mod input;
pub mod metrics;
pub mod put;

pub use config::Config;
pub use drive::run;
pub use error::Error;
pub use metrics::{Metrics, Summary};

//! Puts bids into Kinesis and answers each one: accepted, refused with a reason, or unknown.
//!
//! The way of a bid: a [`Source`] gives it to [`drive`], which has the only loop; [`core::sender`] groups it with
//! others that are predicted for the same shard, says when a request is due and what each reply means; [`put`] and
//! [`shards`] talk to the service; `answers` tells what became of it. [`Producer`] is the same for another program:
//! one call per bid. [`http`] is the same for other processes.
//!
//! Three answers, and no fourth: *accepted*, the stream has it; *refused*, it is not in the stream, and why; *unknown*,
//! an attempt's outcome never came and time ran out, so it is sent again by whoever cares, and a copy counts once.
//!
//! What is absent: order between bids, since no window depends on it; and any judgement of a bid's worth.

mod answers;
mod calls;
pub mod config;
pub mod core;
pub mod drive;
pub mod error;
mod files;
pub mod generator;
pub mod handle;
pub mod http;
pub mod input;
mod known;
mod listing;
pub mod metrics;
pub mod progress;
pub mod put;
mod room;
pub mod shards;
mod show;
pub mod source;
mod stream_clock;

pub use config::{Config, Intake};
pub use drive::{run, run_from};
pub use error::Error;
pub use generator::GeneratorConfig;
pub use handle::{Accepted, Producer, SendError};
pub use metrics::{Metrics, Summary};
pub use source::Source;

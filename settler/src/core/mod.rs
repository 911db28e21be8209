//! The rules of settling, as values: no clock, no chance, no service.
//!
//! From the bottom up: [`choose`] decides one auction, with what [`behind`] its candidates [`replay`] found in the log,
//! [`rows`] says what is read and written, [`plan`] turns a job and
//! what was read into writes, [`attempt`] reads a failure, [`jitter`] spaces attempts, and [`transaction`] is the
//! state machine of one batch that puts them in order. [`rounds`] says when the outbox is looked at,
//! and [`foreign`] remembers what lies there that is not ours.

pub mod attempt;
pub mod behind;
pub mod choose;
pub mod damaged;
pub mod foreign;
pub mod jitter;
pub mod plan;
pub mod replay;
pub mod rounds;
pub mod rows;
pub mod transaction;

//! Everything around the stages: the `exchange` command, local engines, provisioning and the report.
//!
//! Begin at [`cli`]; [`demo`] shows how the stages fit together. What is absent: rules of the auction, which live in
//! the cores of the stages.

pub mod audit;
pub mod cli;
pub mod demo;
pub mod engines;
pub mod explain;
pub mod failure;
pub mod interrupt;
pub mod ledger;
pub mod local;
pub mod output;
pub mod place;
pub mod provision;
pub mod query;
pub mod report;
pub mod runs;
pub mod sim;
pub mod up;
pub mod view;

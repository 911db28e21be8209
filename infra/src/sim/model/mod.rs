//! The services of a world, as values.

pub mod ledger;
mod refusals;
pub mod stream;
pub mod table;

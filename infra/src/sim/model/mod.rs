//! The services of a world, as values.

pub mod ledger;
pub mod stream;
pub mod table;

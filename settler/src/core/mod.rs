//! The rules of settling, as values: no clock, no chance, no service.

pub mod attempt;
pub mod choose;

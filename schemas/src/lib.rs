//! Contracts of the auction pipeline, pure: no runtime, no AWS client, no clock and no chance.
//!
//! Read in this order: [`ids`], [`decimal`], [`money`], [`time`] and [`geometry`] say what a slot, a price and a
//! window are; [`bid`] and [`intake`] what is offered; [`record`] how bids travel in a stream; [`hash`] which shard
//! owns them; [`attr`], [`keys`] and [`item`] what stands in DynamoDB; [`lease`] and [`seal`] who reads what;
//! [`settlement`] and [`sql`] what stands in the ledger; [`limits`] what the services allow.
//!
//! What is absent: anything that waits, fails for a reason outside its arguments, or gives two answers to one
//! question.

pub mod attr;
pub mod bid;
pub mod cell;
pub mod decimal;
pub mod exit;
pub mod geometry;
pub mod hash;
pub mod ids;
pub mod intake;
pub mod item;
pub mod keys;
pub mod lease;
pub mod limits;
pub mod money;
pub mod mutant;
pub mod record;
pub mod seal;
pub mod settlement;
pub mod shown;
pub mod sql;
pub mod time;

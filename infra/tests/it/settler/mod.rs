//! The settler against the local DSQL and the local DynamoDB: real processes, real faults, real statements.

mod altered;
mod away;
mod behind;
mod chaos;
mod checks;
mod child;
mod contend;
mod decisions;
mod foreign;
mod ledger;
mod picky;
mod rows;
mod telling;
mod tls;
mod world;

//! The local engines: what `demo`, `up` and the tests run instead of AWS.
//!
//! Each engine is started by one function and stopped by its handle, listens on loopback only, and
//! knows nothing of the pipeline.

pub mod dsql;
pub mod dynamodb;
mod front;
mod inode;
pub mod kinesis;
pub mod postgres;

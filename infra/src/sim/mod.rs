//! A simulated world that tries to break the stages.
//!
//! The cores of producer, processor and settler, the same code that runs in production, are driven in one thread
//! against models of stream, table and ledger: no sockets, no runtime, no real time. A world is made from a seed and a
//! number of operations; whatever may go wrong is drawn, and what was drawn is kept, so that a history that fails can
//! be shortened and run again.
//!
//! Read [`script`] for what can happen, [`setting`] for what a world is made of, [`world`] for how it runs, [`checker`]
//! for what must hold. What is absent: any rule of the auction beside the checker's own.

pub mod call;
pub mod chance;
pub mod checker;
pub mod command;
pub mod coverage;
pub mod model;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod net;
pub mod plan;
pub mod script;
pub mod services;
pub mod setting;
pub mod shrink;
pub mod soak;
pub mod stage;
pub mod words;
pub mod world;

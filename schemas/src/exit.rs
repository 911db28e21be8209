//! Exit codes, the same in every binary.

/// Done, and nothing was refused or found to differ.
pub const DONE: u8 = 0;
/// The work found differences or refused input.
pub const FOUND: u8 = 1;
/// Bad usage or configuration, a geometry other than the agreed one included.
pub const USAGE: u8 = 64;
/// A service cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// A fault of ours.
pub const SOFTWARE: u8 = 70;
/// Input or output failed.
pub const IO: u8 = 74;

//! The items of `bid_aggregates`: each knows its key, its attributes and, where a log made it, its digest.

mod aggregate;
mod digest;
mod events;
mod totals;

pub use self::aggregate::{Aggregate, Candidate, Decision, Outcome, RegionStats, State};
pub use self::events::{BidEvent, GeometryItem};
pub use self::totals::{HotSlot, HotSlots, RegionTotals};
pub use crate::attr::AttrError as ItemError;

//! The items of `bid_aggregates`: each knows its key, its attributes and, where a log made it, its digest.

mod aggregate;
mod digest;
mod directory;
mod events;
mod names;
mod refused;
mod replay;
mod roster;
mod totals;

pub use self::aggregate::{Aggregate, Candidate, Decision, Outcome, RegionStats, State};
pub use self::directory::{Directory, DirectoryHead, Edition, PART_BYTES_MAX};
pub use self::events::{BidEvent, GeometryItem};
pub use self::names::{NAMES_MAX, decode_names, encode_names};
pub use self::refused::{RefusedItem, SkippedItem, skip_command};
pub use self::replay::Replay;
pub use self::roster::{ROSTER_ACCOUNTS_MAX, Roster};
pub use self::totals::{HotSlot, HotSlots, RegionTotals};
pub use crate::attr::AttrError as ItemError;

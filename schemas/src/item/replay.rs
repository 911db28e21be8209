//! From where the log of an auction is read again: what stands behind the candidates of its item is found only there.
//!
//! Another life of the shard's reader may say another place that is as good, so this is no part of the digest.

use super::aggregate::Aggregate;
use crate::attr::{Attr, AttrError, Attrs, map, millis, s, text};
use crate::lease::{Checkpoint, Tail, tails_from_attr, tails_to_attr};
use crate::time::Millis;

/// The attribute of an aggregate.
const NAME: &str = "replay";

/// The place before the first record of a window, in the shard that closed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// From where that shard is read.
    pub checkpoint: Checkpoint,
    /// The shard clock there, unless there are tails: then the clocks at their ends say it.
    pub clock: Millis,
    /// What is read before, when parents of the shard left a part of the window.
    pub tails: Vec<Tail>,
}

impl Replay {
    pub(super) fn put(&self, attrs: &mut Attrs) {
        let mut place = Attrs::from([
            ("checkpoint".to_owned(), s(self.checkpoint.as_text())),
            ("clock".to_owned(), s(self.clock)),
        ]);
        if !self.tails.is_empty() {
            place.insert("tails".to_owned(), tails_to_attr(&self.tails));
        }
        attrs.insert(NAME.to_owned(), Attr::M(place));
    }

    /// None in an item of a release that wrote none, and in one whose candidates are all that bid.
    pub(super) fn take(attrs: &Attrs) -> Result<Option<Self>, AttrError> {
        if !attrs.contains_key(NAME) {
            return Ok(None);
        }
        let place = map(attrs, NAME)?;
        let tails = if place.contains_key("tails") { tails_from_attr(place)? } else { Vec::new() };
        Ok(Some(Self { checkpoint: text(place, "checkpoint")?, clock: millis(place, "clock")?, tails }))
    }
}

impl Aggregate {
    /// Whether the candidates are all accounts that bid.
    #[must_use]
    pub fn names_all(&self) -> bool {
        u64::try_from(self.candidates.len()).is_ok_and(|candidates| self.bidders <= candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashRange;
    use crate::ids::ShardId;
    use crate::lease::Beginning;

    #[test]
    fn a_place_survives_its_item_with_its_tails() {
        let tail = Tail {
            shard_id: ShardId("shardId-000000000001".to_owned()),
            range: HashRange::ALL,
            checkpoint: Checkpoint::After("42".parse().unwrap()),
            replay_clock: Millis(7),
            closed_through: Millis(8),
            beginning: Beginning::Whole,
            tails: Vec::new(),
        };
        let inherited = Replay { checkpoint: Checkpoint::TrimHorizon, clock: Millis(0), tails: vec![tail] };
        let own = Replay {
            checkpoint: Checkpoint::After("7".parse().unwrap()),
            clock: Millis(5),
            tails: Vec::new(),
        };
        for replay in [inherited, own] {
            let mut attrs = Attrs::new();
            replay.put(&mut attrs);
            assert_eq!(Replay::take(&attrs), Ok(Some(replay)));
        }
        assert_eq!(Replay::take(&Attrs::new()), Ok(None));
    }
}

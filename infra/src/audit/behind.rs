//! What a decision had to look at behind the candidates of its item, and whether its row says that it did.

use schemas::geometry::Ranking;
use schemas::ids::SlotId;
use schemas::item::{Aggregate, Candidate};
use schemas::limits::{LOG_ACCOUNTS_MAX, LOG_BIDS_MAX, LOG_BYTES_MAX};
use schemas::money::Money;
use schemas::time::Millis;

use super::choice::{EXHAUSTED, Fate};
use super::difference::{About, Findings, or_nothing};
use super::recompute::Recomputed;
use super::rows::Settlement;

/// How a decision came to the offers that it judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind<'a> {
    /// It is of a release that looked at candidates alone and took the amount behind them for a price.
    Earlier,
    /// The item was enough, or nothing behind it could be read.
    Item {
        /// Whether others bid that its candidates do not name, and the log could have been read for them.
        is_readable: bool,
    },
    /// The log was read, and it is known once more who stands there.
    Log(&'a [Candidate]),
    /// The log was read, and is longer than is read, as far as is known.
    TooLong,
    /// The log was read then, and the stream does not hold it any more.
    Gone,
}

impl<'a> Behind<'a> {
    /// `item` is the one in the table, when it is there still.
    pub(super) fn of(
        (log, key): (&'a Recomputed, &(SlotId, Millis)),
        aggregate: &Aggregate,
        item: Option<&Aggregate>,
        row: &Settlement,
    ) -> Self {
        if row.log_accounts.is_none() {
            return Self::Earlier;
        }
        if row.log_reads.is_none_or(|reads| reads == 0) {
            let has_place = item.is_some_and(|item| item.replay.is_some());
            let is_within = aggregate.bidders <= LOG_ACCOUNTS_MAX && aggregate.bids <= LOG_BIDS_MAX;
            return Self::Item { is_readable: has_place && is_within };
        }
        // The row's own word, unless the log is there and is shorter: then it says who stands behind the candidates.
        if says_too_long(row) && within(log, key, aggregate, item).is_none() {
            return Self::TooLong;
        }
        log.behind.get(key).map_or(Self::Gone, |behind| Self::Log(behind))
    }

    /// Whether the log is as long as a row says that could not read it to its end.
    pub(super) fn judge_length(
        (log, key): (&Recomputed, &(SlotId, Millis)),
        aggregate: &Aggregate,
        item: Option<&Aggregate>,
        row: &Settlement,
        (about, findings): (&About, &mut Findings),
    ) {
        if let Some(bytes) = within(log, key, aggregate, item).filter(|_| says_too_long(row)) {
            let expected = format!("at most {bytes}, which is what the log holds before the window's close");
            findings.add("settlement log_bytes", about, expected, or_nothing(row.log_bytes));
        }
    }

    /// Whether what was decided can not be recomputed any more.
    pub(super) fn is_gone(&self) -> bool {
        *self == Self::Gone
    }

    /// Everyone who was looked at or may have been, with its rank: behind the candidates nobody below the floor.
    pub(super) fn offers<'c>(&self, aggregate: &'c Aggregate, floor: Money) -> Vec<(i64, &'c Candidate)>
    where
        'a: 'c,
    {
        let behind: &'c [Candidate] = if let Self::Log(behind) = self { behind } else { &[] };
        let named = aggregate.candidates.len();
        let is_offer =
            |(place, one): &(usize, &Candidate)| *place < named || Money::from(one.amount) >= floor;
        let all = aggregate.candidates.iter().chain(behind).enumerate().filter(is_offer);
        all.filter_map(|(place, one)| Some((i64::try_from(place).ok()?, one))).collect()
    }

    /// Whether nobody else can be worth anything: everyone is known, or all others bid less than the floor.
    pub(super) fn is_whole(&self, aggregate: &Aggregate, floor: Money, ranking: Ranking) -> bool {
        let named = u64::try_from(aggregate.candidates.len()).unwrap_or(u64::MAX);
        let last = aggregate.next_amount.or(aggregate.candidates.last().map(|one| one.amount));
        let is_below = ranking == Ranking::Amount && last.is_some_and(|amount| Money::from(amount) < floor);
        matches!(self, Self::Earlier | Self::Log(_)) || aggregate.bidders <= named || is_below
    }

    /// What could have been read and was not, when nothing else was left to look at.
    pub(super) fn judge(&self, row: &Settlement, about: &About, findings: &mut Findings) {
        let is_exhausted = row.no_sale_reason.as_deref() == Some(EXHAUSTED);
        if *self == (Self::Item { is_readable: true }) && is_exhausted {
            findings.add("settlement log_reads", about, "the log behind the candidates", "nothing");
        }
    }

    /// How many were looked at behind the candidates, and how many of these nobody knew.
    pub(super) fn counts(
        &self,
        row: &Settlement,
        further: impl Iterator<Item = Fate> + Clone,
        (about, findings): (&About, &mut Findings),
    ) {
        if *self == Self::Earlier {
            return;
        }
        let unknown = further.clone().filter(|fate| *fate == Fate::UnknownAccount).count();
        findings.same("settlement log_accounts", about, further.count(), or_nothing(row.log_accounts));
        findings.same("settlement log_unknown", about, unknown, or_nothing(row.log_unknown));
    }
}

/// Whether a row says that nothing was sold because its log is longer than is read.
fn says_too_long(row: &Settlement) -> bool {
    let bytes = row.log_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    row.no_sale_reason.as_deref() == Some(EXHAUSTED)
        && row.log_reads.is_some_and(|reads| reads > 0)
        && bytes.is_some_and(|bytes| bytes > LOG_BYTES_MAX)
}

/// How many bytes of the log there are to read for an auction, when it is known that they are no more than are read.
fn within(
    log: &Recomputed,
    key: &(SlotId, Millis),
    aggregate: &Aggregate,
    item: Option<&Aggregate>,
) -> Option<u64> {
    let replay = item.and_then(|item| item.replay.as_deref());
    log.reach.bytes(key, &aggregate.shard_id, replay).filter(|bytes| *bytes <= LOG_BYTES_MAX)
}

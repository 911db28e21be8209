//! Whether the bids of one shard wait for company while nothing of that shard is under way.
//!
//! A bid that comes alone goes at once, and company forms behind a request that is under way, as in Nagle's algorithm
//! (RFC 896). That is enough where bids are few. Where they come fast, each round trip would send a small record, and
//! records are what a stream bills, so bids wait for the linger instead, as long as waiting brings company. Callers that
//! each wait for an answer before they send again bring none: soon all of them wait, and no bid comes to any shard. They
//! are told from others by such a silence, and are waited for ever more seldom. Never looks at a bid.

/// From so many bids a second on, a shard's bids come fast: the default linger of 100 ms then puts four of them into a
/// record that would cost as much with one (a PUT payload unit is 25 KB, Kinesis pricing).
const FAST_BIDS_PER_S: u64 = 40;

/// Most fast lingers in a row before waiting is tried again where it brought no company.
const PROBE_AFTER_MAX: u32 = 16;

/// The least part of the linger without a bid after which the rest of it is not waited for.
const SILENT_PART: u64 = 4;

/// Mean gaps between bids without a bid after which the rest of the linger is not waited for. Bids that come
/// independently of each other leave such a gap one time in 150.
const SILENT_GAPS: u64 = 5;

/// Lingers in a row that ended in silence, or with too few bids, after which waiting brings no company; one is enough
/// as long as it has brought none yet.
const POOR_MAX: u32 = 3;

/// How the bids of all shards come.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    linger_ms: u64,
    since_ms: u64,
    bids: u64,
    last_ms: u64,
    gap_us: u64,
}

impl Arrivals {
    /// Nothing came yet.
    #[must_use]
    pub fn new(linger_ms: u64) -> Self {
        Self { linger_ms, since_ms: 0, bids: 0, last_ms: 0, gap_us: 0 }
    }

    /// Takes a bid into account.
    pub fn on_bid(&mut self, now_ms: u64) {
        (self.last_ms, self.bids) = (now_ms, self.bids.saturating_add(1));
        let past_ms = now_ms.saturating_sub(self.since_ms);
        if past_ms >= self.linger_ms {
            self.gap_us = past_ms.saturating_mul(1_000) / self.bids;
            (self.since_ms, self.bids) = (now_ms, 0);
        }
    }

    /// When the last bid came.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }
}

/// Why a record left its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It holds as many bids as one may.
    Full,
    /// Its bids waited for the whole linger.
    Lingered,
    /// Its bids had no reason to wait, or to wait on.
    AtOnce,
}

/// How the bids of one shard come.
#[derive(Clone, Copy, Debug)]
pub struct Company {
    linger_ms: u64,
    /// Bids of a linger from which on they come fast.
    fast_bids: u64,
    waits: bool,
    /// When the running linger began.
    since_ms: u64,
    /// Bids that left in it.
    bids: u64,
    /// When a record left last.
    left_ms: u64,
    /// Fast lingers in a row.
    fast: u32,
    /// Fast lingers in a row after which waiting is tried.
    probe_after: u32,
    /// How long a silence is, while bids wait.
    silent_ms: u64,
    /// Lingers in a row that brought no company.
    poor: u32,
}

impl Company {
    /// Nothing came yet.
    #[must_use]
    pub fn new(linger_ms: u64) -> Self {
        let fast_bids = linger_ms.saturating_mul(FAST_BIDS_PER_S) / 1_000;
        Self {
            linger_ms,
            fast_bids: fast_bids.max(2),
            waits: false,
            since_ms: 0,
            bids: 0,
            left_ms: 0,
            fast: 0,
            probe_after: 1,
            silent_ms: 0,
            poor: 0,
        }
    }

    /// How long bids still wait after the last one came to any shard, when nothing is under way.
    #[must_use]
    pub fn waits_ms(&self) -> u64 {
        if self.waits { self.silent_ms } else { 0 }
    }

    /// Takes into account that a bid came to an empty group. After silence all is forgotten.
    pub fn on_first(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.left_ms) > self.linger_ms {
            *self = Self { since_ms: now_ms, left_ms: now_ms, ..Self::new(self.linger_ms) };
        }
    }

    /// Takes into account that a record left with so many bids.
    pub fn on_record(&mut self, bids: usize, left: Left, now_ms: u64, arrivals: &Arrivals) {
        let bids = u64::try_from(bids).unwrap_or(u64::MAX);
        self.left_ms = now_ms;
        if self.waits {
            self.on_waited(bids, left, now_ms);
        } else {
            self.on_sent(bids, now_ms);
            let silent_ms = arrivals.gap_us.saturating_mul(SILENT_GAPS) / 1_000;
            self.silent_ms = silent_ms.max(self.linger_ms / SILENT_PART).min(self.linger_ms);
        }
    }

    fn on_waited(&mut self, bids: u64, left: Left, now_ms: u64) {
        if left == Left::Full || (left == Left::Lingered && bids >= self.fast_bids) {
            (self.probe_after, self.poor) = (1, 0);
            return;
        }
        self.poor = self.poor.saturating_add(1);
        if self.poor >= POOR_MAX {
            self.probe_after = self.probe_after.saturating_mul(2).min(PROBE_AFTER_MAX);
            (self.waits, self.fast, self.since_ms, self.bids, self.poor) = (false, 0, now_ms, 0, 0);
        }
    }

    fn on_sent(&mut self, bids: u64, now_ms: u64) {
        let past_ms = now_ms.saturating_sub(self.since_ms);
        if past_ms >= self.linger_ms {
            self.fast = if self.bids >= self.fast_bids { self.fast.saturating_add(1) } else { 0 };
            (self.since_ms, self.bids) = (now_ms, 0);
        }
        self.bids = self.bids.saturating_add(bids);
        self.waits = self.bids >= self.fast_bids && self.fast.saturating_add(1) >= self.probe_after;
        if self.waits {
            self.poor = POOR_MAX - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER_MS: u64 = 100;

    fn fast() -> Arrivals {
        Arrivals { gap_us: 1, ..Arrivals::new(LINGER_MS) }
    }

    /// Sends a record every `every_ms` from `from_ms` on until bids wait; says when that is.
    fn until_it_waits(company: &mut Company, from_ms: u64, every_ms: u64, bids: usize) -> u64 {
        let mut now_ms = from_ms;
        while company.waits_ms() == 0 {
            assert!(now_ms < from_ms + 60_000, "it never waits");
            now_ms += every_ms;
            company.on_first(now_ms);
            company.on_record(bids, Left::AtOnce, now_ms, &fast());
        }
        now_ms
    }

    #[test]
    fn few_bids_never_wait_however_long_they_go_on() {
        let mut company = Company::new(LINGER_MS);
        // 30 bids a second, one in each record.
        for record in 0..2_000_u64 {
            let now_ms = record * 100 / 3;
            company.on_first(now_ms);
            company.on_record(1, Left::AtOnce, now_ms, &fast());
            assert!(company.waits_ms() == 0, "{now_ms}");
        }
    }

    #[test]
    fn fast_bids_wait_within_one_linger_and_as_long_as_that_brings_company() {
        let mut company = Company::new(LINGER_MS);
        let mut now_ms = until_it_waits(&mut company, 0, 3, 18);
        assert!(now_ms <= LINGER_MS, "{now_ms}");
        for _ in 0..50 {
            now_ms += LINGER_MS;
            company.on_record(600, Left::Lingered, now_ms, &fast());
            assert!(company.waits_ms() > 0, "600 bids came");
        }
        company.on_record(20, Left::Full, now_ms + 1, &fast());
        assert!(company.waits_ms() > 0, "a full record is all the company there can be");
        for poor in 1..=POOR_MAX {
            company.on_record(3, Left::Lingered, now_ms + 1 + LINGER_MS * u64::from(poor), &fast());
            assert_eq!(company.waits_ms() == 0, poor == POOR_MAX, "too few came {poor} times");
        }
    }

    #[test]
    fn callers_that_bring_no_company_are_waited_for_ever_more_seldom() {
        let (mut company, mut now_ms, mut pauses) = (Company::new(LINGER_MS), 0, Vec::new());
        for _ in 0..8 {
            let began_ms = now_ms;
            now_ms = until_it_waits(&mut company, now_ms, 3, 8);
            pauses.push((now_ms - began_ms).div_ceil(LINGER_MS));
            now_ms += company.waits_ms();
            company.on_record(800, Left::AtOnce, now_ms, &fast());
            assert!(company.waits_ms() == 0);
        }
        assert!(pauses.is_sorted() && pauses[0] == 1 && pauses[7] >= 16, "{pauses:?}");
        now_ms = until_it_waits(&mut company, now_ms, 3, 8) + LINGER_MS;
        company.on_record(600, Left::Lingered, now_ms, &fast());
        for _ in 0..POOR_MAX {
            now_ms += LINGER_MS;
            company.on_record(3, Left::Lingered, now_ms, &fast());
        }
        let again_ms = until_it_waits(&mut company, now_ms, 3, 8) - now_ms;
        assert!(again_ms <= 2 * LINGER_MS, "company that came is waited for again soon: {again_ms}");
    }

    #[test]
    fn a_silence_is_longer_where_the_gaps_are() {
        for (gap_ms, silent_ms) in [(1, 25), (5, 25), (8, 40), (15, 75), (30, LINGER_MS)] {
            let mut arrivals = Arrivals::new(LINGER_MS);
            (1..200).for_each(|bid| arrivals.on_bid(bid * gap_ms));
            let mut company = Company::new(LINGER_MS);
            (1..=4).for_each(|ms| company.on_record(1, Left::AtOnce, ms, &arrivals));
            assert_eq!(company.waits_ms(), silent_ms, "a bid every {gap_ms} ms");
        }
    }

    #[test]
    fn after_silence_nothing_waits() {
        let mut company = Company::new(LINGER_MS);
        let now_ms = until_it_waits(&mut company, 0, 3, 50);
        company.on_first(now_ms + LINGER_MS);
        assert!(company.waits_ms() > 0);
        company.on_first(now_ms + LINGER_MS + 1);
        assert!(company.waits_ms() == 0);
    }
}

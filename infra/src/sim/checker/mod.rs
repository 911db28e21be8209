//! The checker: it sees what reaches the services and what producers answer, recomputes everything from the log, and
//! says at once what cannot be right. It shares no code with what it checks but the contracts' types and the decoder.

mod auction;
mod bids;
mod items;
mod leases;
mod ledger;
mod log;

use std::collections::{BTreeMap, BTreeSet};

use producer::core::delivery::Answer;
use schemas::attr::{Attr, Attrs};
use schemas::bid::Bid;
use schemas::ids::{AccountId, ShardId, SlotId};
use schemas::item::{Aggregate, Outcome, State};
use schemas::lease::Lease;
use schemas::record::Rejected;
use settler::core::rows::Writes;

use self::bids::Bids;
use self::items::{Items, Landed, wanted};
use self::ledger::Books;
pub use self::ledger::Purse;
use self::log::{Log, Stored};
use super::setting::Setting;
use super::words::words;

words!(
    /// What must hold.
    Invariant {
        /// Each bid gets one answer, and the stream agrees with it.
        Answers = "answers",
        /// Each item that is put is what the log demands.
        Items = "items",
        /// A checkpoint never passes what is not durable.
        Checkpoints = "checkpoints",
        /// One decision an auction, the right one, and books that add up.
        Decisions = "decisions",
        /// A mark copies the ledger's row.
        Marks = "marks",
        /// No core panics.
        Panics = "panics",
        /// Once faults cease, everything settles within a bound.
        Progress = "progress",
    }
);

/// Something that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What does not hold.
    pub invariant: Invariant,
    /// How it shows.
    pub detail: String,
}

/// The checker.
#[derive(Debug)]
pub struct Checker {
    log: Log,
    items: Items,
    bids: Bids,
    books: Books,
    /// Windows near the edge of retention may be cut.
    trims: bool,
    /// Slots whose settlement the ledger refuses.
    poisoned: BTreeSet<SlotId>,
    /// Whether the lease table lost its rows.
    lost: bool,
    /// Auctions whose item someone changed.
    corrupted: BTreeSet<(SlotId, u64)>,
    /// Shards whose row was deleted in order.
    gone: BTreeSet<ShardId>,
    /// The first thing that cannot be right.
    pub broken: Option<Broken>,
}

impl Checker {
    /// A checker of an empty world.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let hashes = setting.slots.iter().map(|slot| (slot.slot_id, slot.hash)).collect();
        let known =
            setting.slots.iter().filter_map(|slot| Some((slot.slot_id, (slot.publisher?, slot.floor.0))));
        let opening = |account: &super::setting::AccountSpec| Some((account.account_id, account.opening?.0));
        let books = Books {
            slots: known.collect(),
            balances: setting.accounts.iter().filter_map(opening).collect(),
            ..Books::default()
        };
        Self {
            log: Log::new(setting.agreed.clone(), hashes),
            items: Items::default(),
            bids: Bids::default(),
            books,
            trims: setting.trims(),
            poisoned: setting.slots.iter().filter(|slot| slot.poisoned).map(|slot| slot.slot_id).collect(),
            lost: false,
            corrupted: BTreeSet::new(),
            gone: BTreeSet::new(),
            broken: None,
        }
    }

    fn judge(&mut self, invariant: Invariant, checked: Result<(), String>) {
        if let (Err(detail), None) = (checked, &self.broken) {
            self.broken = Some(Broken { invariant, detail });
        }
    }

    /// A shard was made.
    pub fn on_shard(&mut self, id: &ShardId, range: (u128, u128), parents: &[ShardId]) {
        self.log.on_shard(id, range, parents);
    }

    /// A record was stored.
    pub fn on_record(
        &mut self,
        id: &ShardId,
        (sequence, arrival): (u64, u64),
        items: &[Result<Bid, Rejected>],
    ) {
        self.log.on_record(id, Stored { sequence, arrival }, items);
        let checked = self.bids.on_landed(items.iter().flatten().map(|bid| bid.bid_id));
        self.judge(Invariant::Answers, checked);
    }

    /// Retention removed a shard's records up to this one, and the shard itself when it is the last of all numbers.
    pub fn on_trim(&mut self, id: &ShardId, trimmed_through: u64) {
        if let Some(shard) = self.log.shards.get_mut(id) {
            shard.trimmed = shard.records.partition_point(|record| record.sequence <= trimmed_through);
            shard.expired |= trimmed_through == u64::MAX;
        }
    }

    /// A reader begins that cannot know what retention took away behind its place; it stands at this clock.
    pub fn on_cut(&mut self, id: &ShardId, clock: u64) {
        if let Some(shard) = self.log.shards.get_mut(id).filter(|_| self.trims) {
            shard.cut_at = shard.cut_at.max(clock);
        }
    }

    /// Another tool changed a shard's row: it may be read from after this record, 0 for the beginning, by a reader that
    /// knows nothing of what lies before.
    pub fn on_edited(&mut self, id: &ShardId, place: u64) {
        if let Some(shard) = self.log.shards.get_mut(id) {
            shard.edited.push(place);
        }
    }

    /// A producer took a bid.
    pub fn on_taken(&mut self, taker: (usize, u32), ticket: u64, bid: &Bid) {
        self.bids.on_taken(taker, ticket, bid.bid_id);
    }

    /// A producer died.
    pub fn on_death(&mut self, taker: (usize, u32)) {
        self.bids.on_death(taker);
    }

    /// A process ends because it gave up on a service, although everything here passes.
    pub fn on_give_up(&mut self, life: &str, failure: &str) {
        self.judge(Invariant::Progress, Err(format!("{life} gives up on what passes: {failure}")));
    }

    /// A producer answered.
    pub fn on_answer(&mut self, taker: (usize, u32), answer: &Answer) {
        let checked = self.bids.on_answer(&self.log, taker, answer);
        self.judge(Invariant::Answers, checked);
    }

    /// An item was put; `landed` when nothing stood at its key.
    pub fn on_put(&mut self, item: &Attrs, landed: bool) {
        let landed = if landed { Landed::Yes } else { Landed::No };
        let checked = self.items.on_put(&self.log, item, landed);
        self.judge(Invariant::Items, checked);
    }

    /// A person gave up an item that the table refused.
    pub fn on_skipped(&mut self, item: &Attrs) {
        let checked = self.items.on_skipped(&self.log, item);
        self.judge(Invariant::Items, checked);
    }

    /// A settlement transaction committed.
    pub fn on_commit(&mut self, writes: &Writes, purses: &BTreeMap<AccountId, Purse>) {
        let checked = self.books.on_commit(&self.log, &self.items, writes, purses);
        self.judge(Invariant::Decisions, checked);
    }

    /// A deposit committed.
    pub fn on_deposit(&mut self, account: AccountId, units: u64) {
        self.books.on_deposit(account, units);
    }

    /// The accounts after a commit.
    pub fn on_rows(&mut self, rows: &BTreeMap<AccountId, Purse>) {
        let checked = self.books.on_rows(rows);
        self.judge(Invariant::Decisions, checked);
    }

    /// A row of the lease table is written.
    pub fn on_lease(&mut self, before: Option<&Lease>, row: &Lease) {
        // Where rows were lost a late write of an earlier row finds the counter it wants: that row is older, and safe.
        let before = before.filter(|_| !self.lost);
        let checked = leases::on_row(&self.log, &self.items, self.trims, (before, row));
        self.judge(Invariant::Checkpoints, checked);
    }

    /// A row of the lease table is deleted; these stay.
    pub fn on_lease_deleted(&mut self, shard: &ShardId, rows: &[Lease]) {
        // After a loss a late deletion may find the counter it wants, too; the row is made again and read again.
        if !self.lost {
            let gone = |child: &ShardId| self.gone.contains(child);
            let checked = leases::on_deleted(&self.log, shard, rows, &gone);
            self.judge(Invariant::Checkpoints, checked);
        }
        self.gone.insert(shard.clone());
    }

    /// The lease table lost its rows.
    pub fn on_leases_lost(&mut self) {
        self.lost = true;
    }

    /// An aggregate was marked or held; this is how it stands now.
    pub fn on_update(&mut self, item: &Attrs) {
        let checked = self.mark(item);
        self.judge(Invariant::Marks, checked);
    }

    fn mark(&self, item: &Attrs) -> Result<(), String> {
        let aggregate = Aggregate::from_attrs(item).map_err(|error| error.to_string())?;
        let (slot, start) = (aggregate.slot_id, aggregate.window_start);
        let within = |wrong: &str| Err(format!("item of slot {slot} in window {start}: {wrong}"));
        match aggregate.state {
            State::Pending => return within("it is changed and still pending"),
            State::Held if self.may_be_held(slot, start.0) => return Ok(()),
            State::Held => return within("it is held and nothing refused it"),
            State::Settled | State::NoSale => {}
        }
        let Some(decision) = &aggregate.decision else { return within("it is decided without a decision") };
        let Some((row, ..)) = self.books.decided.get(&decision.settlement_id) else {
            return within("it is marked and the ledger has no such row");
        };
        let same_auction = row.slot_id == slot && row.window_start == start;
        let same_digest = Aggregate::stored_digest(item).is_ok_and(|digest| digest == row.digest);
        let same_outcome = match (&decision.outcome, &row.outcome) {
            (Outcome::Sale { winner, clearing_price }, Ok((candidate, price))) => {
                aggregate.state == State::Settled
                    && *winner == candidate.account_id
                    && clearing_price == price
            }
            (Outcome::NoSale { reason }, Err(why)) => {
                aggregate.state == State::NoSale && reason == why.as_str()
            }
            _ => false,
        };
        let copies = same_auction && same_digest && same_outcome && decision.settled_at == row.settled_at;
        if copies && aggregate.ttl.is_some() { Ok(()) } else { within("its mark is not a copy of the row") }
    }

    /// Someone changed an item.
    pub fn on_corrupted(&mut self, item: &Attrs) {
        if let Ok(aggregate) = Aggregate::from_attrs(item) {
            self.corrupted.insert((aggregate.slot_id, aggregate.window_start.0));
        }
    }

    /// Whether an auction may be set aside: the ledger refuses it, its item says something else than its digest,
    /// or its log may be gone.
    fn may_be_held(&self, slot: SlotId, start: u64) -> bool {
        self.poisoned.contains(&slot)
            || self.corrupted.contains(&(slot, start))
            || (self.trims && self.is_crowded(slot, start))
    }

    /// Whether accounts bid that the auction's item does not name: retention may have taken the log behind it.
    fn is_crowded(&self, slot: SlotId, start: u64) -> bool {
        let geometry = &self.log.agreed.geometry;
        let bidders = |auction: &auction::Auction| auction.ranked_bids(geometry).len();
        let closed = self.log.closed.get(&(slot, start));
        closed.is_some_and(|(_, auction)| bidders(auction) > usize::from(geometry.candidates))
    }

    /// Whether everything is done: what is missing first, if not.
    ///
    /// # Errors
    /// What is missing.
    pub fn on_look<'a>(&self, items: impl Iterator<Item = &'a Attrs>) -> Result<(), String> {
        self.bids.on_end()?;
        if let Some(open) =
            self.log.first_open(|shard, window| leases::may_be_cut(&self.log, self.trims, shard, window))
        {
            return Err(format!("{open} is never closed"));
        }
        for (need, shard, window) in wanted(&self.log) {
            if self.items.written.contains(&need) || leases::may_be_cut(&self.log, self.trims, &shard, window)
            {
                continue;
            }
            return Err(format!("{need:?} is never written"));
        }
        let decided: BTreeSet<(SlotId, u64)> =
            self.books.decided.values().map(|(row, ..)| (row.slot_id, row.window_start.0)).collect();
        for (slot, start) in self.items.digests.keys() {
            let is_open = !self.items.skipped.contains(&(*slot, *start));
            if is_open && !self.may_be_held(*slot, *start) && !decided.contains(&(*slot, *start)) {
                return Err(format!("auction of slot {slot} in window {start} is never decided"));
            }
        }
        for item in items {
            if let Some(Attr::S(state)) =
                item.get("state").filter(|state| **state == Attr::S("PENDING".to_owned()))
            {
                return Err(format!("{:?} {:?} stays {state}", item.get("PK"), item.get("SK")));
            }
        }
        Ok(())
    }
}

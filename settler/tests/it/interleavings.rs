//! All interleavings of two settlers over one auction with a deposit between them, and one fault at any step.
//!
//! Every state that can be reached is visited once. The favourite can pay only after the deposit, so the order decides
//! who wins under first price, and under second price, where someone else leads, who sets the price. What may not depend
//! on it is that item and row agree, that the money is right, and that the evidence proves the price.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::geometry::Pricing;
use schemas::ids::{AccountId, BidId, SettlementId, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, Outcome, State};
use schemas::money::{BasisPoints, Money, Price};
use schemas::settlement::AccountStatus;
use schemas::time::Millis;
use settler::core::attempt::Failure;
use settler::core::choose::{Account, Slot, Terms};
use settler::core::plan::{CASH, Deposit, Done, Job};
use settler::core::rows::{Auction, Decided, Direction, Writes};
use settler::core::transaction::{Effect, End, Event, Moment, Rules, Transaction};
use uuid::Uuid;

use super::model::Ledger;

const FAVOURITE: AccountId = AccountId(Uuid::from_u128(1));
const SECOND: AccountId = AccountId(Uuid::from_u128(2));
const PUBLISHER: AccountId = AccountId(Uuid::from_u128(3));
const LEADER: AccountId = AccountId(Uuid::from_u128(4));
/// What accounts begin with.
const OPENING: [(AccountId, i128); 3] = [(FAVOURITE, 31), (SECOND, 64), (LEADER, 64)];

fn auction(pricing: Pricing) -> Auction {
    let candidate = |(account_id, units)| Candidate {
        bid_id: BidId::from_bytes([7; 16]),
        account_id,
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(units).unwrap(),
        quality: BasisPoints::ONE,
        event_time: Millis(1),
        shard_id: ShardId("s".to_owned()),
        sequence: "1".parse().unwrap(),
        sub_sequence: 0,
    };
    let bids = [(LEADER, 64), (FAVOURITE, 32), (SECOND, 16)];
    let bids = if pricing == Pricing::First { &bids[1..] } else { &bids };
    Auction::of(Aggregate {
        slot_id: SlotId(Uuid::from_u128(10)),
        window_start: Millis(0),
        window_end: Millis(10),
        bids: 2,
        bidders: 2,
        amount_sum: Money(48),
        amount_min: Price::from_units(16).unwrap(),
        amount_max: Price::from_units(32).unwrap(),
        duplicates: 0,
        regions: BTreeMap::new(),
        candidates: bids.iter().copied().map(candidate).collect(),
        next_amount: None,
        next_score: None,
        shard_id: ShardId("s".to_owned()),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    })
}

fn ledger() -> Ledger {
    let account = |(id, units)| {
        let (balance, credit_limit, status) = (Money(units), Money(0), AccountStatus::Active);
        (id, (0, Account { balance, credit_limit, version: 0, status }))
    };
    Ledger {
        slots: BTreeMap::from([(
            SlotId(Uuid::from_u128(10)),
            Slot { publisher: PUBLISHER, floor: Money(1) },
        )]),
        accounts: OPENING.map(account).into(),
        ..Ledger::default()
    }
}

/// One who runs a transaction, and what is to happen to it next.
#[derive(Clone, Debug)]
enum Next {
    Tell(Event),
    Write { seen_at: u64, writes: Writes },
    Mark(Decided),
    Over,
}

#[derive(Clone, Debug)]
struct Actor {
    machine: Transaction,
    next: Next,
    end: Option<End>,
}

/// Everything, at one point of a history.
#[derive(Clone, Debug)]
struct World {
    pricing: Pricing,
    ledger: Ledger,
    /// What the item says; none while it is pending.
    item: Option<Decided>,
    actors: Vec<Actor>,
    faults_left: u32,
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    LostRequest,
    LostReply,
    /// The process dies, and another begins again from the outbox.
    Crash,
}

impl World {
    fn begin(pricing: Pricing, faults_left: u32) -> Self {
        let settle = Job::Settle(vec![Arc::new(auction(pricing))]);
        let deposit = Job::Deposit(Deposit {
            id: Uuid::from_u128(77),
            account: FAVOURITE,
            amount: Price::from_units(1).unwrap(),
            at: Millis(5),
        });
        let actor = |job| Actor {
            machine: Transaction::new(
                job,
                Rules { terms: Terms { pricing, ..Terms::default() }, ..Rules::default() },
            ),
            next: Next::Tell(Event::Ready),
            end: None,
        };
        let actors = vec![actor(settle.clone()), actor(settle), actor(deposit)];
        Self { pricing, ledger: ledger(), item: None, actors, faults_left, steps: 0 }
    }

    /// Lets one actor make one step; none when it is over or the fault does not apply to that step.
    fn step(&self, who: usize, fault: Fault) -> Option<World> {
        let mut after = self.clone();
        let actor = &mut after.actors[who];
        if matches!(actor.next, Next::Over) {
            return None;
        }
        if fault != Fault::None {
            after.faults_left = after.faults_left.checked_sub(1)?;
        }
        let lost = || Next::Tell(Event::Failed(Failure::lost("lost".to_owned())));
        let next = actor.next.clone();
        actor.next = match (next, fault) {
            (_, Fault::Crash) => {
                let fresh = &World::begin(self.pricing, 0).actors[who];
                *actor = fresh.clone();
                return Some(after);
            }
            (Next::Tell(_), Fault::LostReply | Fault::LostRequest) => return None,
            (Next::Tell(event), Fault::None) => {
                // Every settler has a clock of its own, so that their rows differ.
                let wall = Millis(100 + u64::try_from(who).unwrap());
                let now = Moment { wall, steady: std::time::Duration::ZERO };
                match actor.machine.on(event, now, 0.0) {
                    Effect::Read(reads) => {
                        let (seen_at, snapshot) = after.ledger.read(&reads);
                        // Planning takes no time that another could use: the next step is the commit.
                        match actor.machine.on(Event::Seen(snapshot), now, 0.0) {
                            Effect::Write(writes) => Next::Write { seen_at, writes },
                            other => panic!("{other:?}"),
                        }
                    }
                    Effect::Pause(_) => Next::Tell(Event::Ready),
                    Effect::Ended(ended) => {
                        actor.end = Some(ended.end.clone());
                        match ended.end {
                            End::Done(Done::Decided(rows)) => {
                                Next::Mark(rows[&auction(self.pricing).id].clone())
                            }
                            _ => Next::Tell(Event::Ready),
                        }
                    }
                    Effect::Finished => Next::Over,
                    Effect::Write(writes) => panic!("writes without reading: {writes:?}"),
                }
            }
            (Next::Write { .. }, Fault::LostRequest) => lost(),
            (Next::Write { seen_at, writes }, fault) => match after.ledger.commit(seen_at, &writes) {
                _ if fault == Fault::LostReply => lost(),
                Ok(()) => Next::Tell(Event::Committed),
                Err(failure) => Next::Tell(Event::Failed(failure)),
            },
            (Next::Mark(_), Fault::LostRequest) => Next::Tell(Event::Ready),
            (Next::Mark(decided), _) => {
                // On the condition that it is pending and carries the row's digest.
                if after.item.is_none() && decided.digest == auction(self.pricing).digest {
                    after.item = Some(decided);
                }
                Next::Tell(Event::Ready)
            }
            (Next::Over, _) => return None,
        };
        after.steps += 1;
        Some(after)
    }

    fn is_over(&self) -> bool {
        self.actors.iter().all(|actor| matches!(actor.next, Next::Over))
    }

    /// What must hold in every state, also in the middle.
    fn check(&self) {
        let id: SettlementId = auction(self.pricing).id;
        let row = self.ledger.settlements.get(&id).map(|(_, row)| row);
        if let Some(item) = &self.item {
            let row = row.expect("an item is marked from a row");
            assert_eq!(item.digest, row.digest);
            assert_eq!(item.decision.settled_at, row.settled_at, "the mark copies the row, whoever made it");
            let winner = match &item.decision.outcome {
                Outcome::Sale { winner, .. } => *winner,
                Outcome::NoSale { reason } => panic!("{reason}"),
            };
            assert_eq!(winner, row.outcome.as_ref().unwrap().0.account_id);
        }
        assert_eq!(self.ledger.sum(), 0);
        assert!(self.ledger.settlements.len() <= 1);
        for (id, opening) in OPENING {
            let account = self.ledger.accounts[&id].1;
            let mut balance = opening;
            let mut versions = BTreeSet::new();
            for (_, entry) in self.ledger.entries.values().filter(|(_, entry)| entry.account == id) {
                let amount = Money::from(entry.amount).0;
                balance += if entry.direction == Direction::Debit { -amount } else { amount };
                versions.extend(entry.version);
            }
            assert_eq!(account.balance.0, balance, "opening balance, deposits and debits make the balance");
            assert!(balance >= 0);
            assert_eq!(versions, (1..=account.version).collect());
        }
        // Whoever was passed over really could not pay at the version that is named.
        for seen in self.ledger.evidence.iter().filter(|seen| seen.passed_over.is_some()) {
            let account = seen.account.unwrap();
            assert!(account.balance.0 < Money::from(seen.candidate.amount).0);
        }
        if let Some((winner, price)) = row.and_then(|row| row.outcome.as_ref().ok()) {
            // Evidence is one decision's, and its last row, held to what that account could pay, is the price.
            let ranks: Vec<usize> = self.ledger.evidence.iter().map(|seen| seen.rank).collect();
            assert_eq!(ranks, (0..ranks.len()).collect::<Vec<_>>());
            let last = self.ledger.evidence.last().unwrap();
            assert!(last.passed_over.is_none() && last.account.unwrap().balance.0 >= Money::from(*price).0);
            assert_eq!(last.candidate.amount, *price);
            assert_eq!(last.candidate.account_id == winner.account_id, self.pricing == Pricing::First);
        }
    }
}

/// Visits every state once; answers the last ones.
fn explore(first: World) -> Vec<World> {
    let mut seen = BTreeSet::new();
    let (mut work, mut ends) = (vec![first], Vec::new());
    while let Some(world) = work.pop() {
        world.check();
        if world.is_over() {
            ends.push(world);
            continue;
        }
        for who in 0..world.actors.len() {
            for fault in [Fault::None, Fault::LostRequest, Fault::LostReply, Fault::Crash] {
                let Some(after) = world.step(who, fault) else { continue };
                let mut known = after.clone();
                known.steps = 0;
                if seen.insert(format!("{known:?}")) {
                    work.push(after);
                }
            }
        }
    }
    assert!(seen.len() > 500, "only {} states were reached", seen.len());
    ends
}

fn sales(ends: &[World]) -> BTreeSet<(AccountId, u64)> {
    let sale = |world: &World| {
        let (_, row) = world.ledger.settlements.values().next().expect("a decision");
        let (winner, price) = row.outcome.as_ref().unwrap();
        (winner.account_id, price.units())
    };
    ends.iter().map(sale).collect()
}

/// With the deposit after the decision, and before it.
const SALES: [(Pricing, [(AccountId, u64); 2]); 2] =
    [(Pricing::First, [(SECOND, 16), (FAVOURITE, 32)]), (Pricing::Second, [(LEADER, 16), (LEADER, 32)])];

#[test]
fn item_and_row_never_disagree_in_any_interleaving() {
    for (pricing, expected) in SALES {
        let ends = explore(World::begin(pricing, 0));
        assert_eq!(sales(&ends), BTreeSet::from(expected), "the deposit comes before or after");
        for end in &ends {
            assert!(end.item.is_some(), "without faults the item is marked");
            assert!(end.actors.iter().all(|actor| matches!(actor.end, Some(End::Done(_)))));
            let booked = end.ledger.entries.values().filter(|(_, entry)| entry.account == CASH).count();
            assert_eq!(booked, 1, "the deposit is booked once");
        }
    }
}

#[test]
fn one_lost_request_lost_reply_or_crash_at_any_step_changes_no_decision() {
    for (pricing, expected) in SALES {
        let ends = explore(World::begin(pricing, 1));
        assert_eq!(sales(&ends), BTreeSet::from(expected));
        for end in &ends {
            let deposits = end.ledger.entries.values().filter(|(_, entry)| entry.account == CASH).count();
            assert_eq!((end.ledger.settlements.len(), deposits), (1, 1), "decided once, booked once");
            assert!(end.item.is_some(), "two settlers, one fault: one of them marks it");
        }
    }
}

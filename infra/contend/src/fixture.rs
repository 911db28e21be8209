//! What a race stands on: an account, slots and auctions of its own, made before it and taken away after it.
//!
//! Every slot of an experiment pays [`PUBLISHER`], and every other key follows from a slot's, so what an experiment left
//! that was killed is found and taken away by the next one. What stays is its row in `simulation_runs`. One experiment
//! at a time: the next one takes away what it finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::ids::{AccountId, BidId, SettlementId, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, State};
use schemas::money::{BasisPoints, Money, Price};
use schemas::settlement::{derived_id, settlement_id};
use schemas::time::Millis;
use uuid::Uuid;

use super::race::{HotRow, Race};
use crate::statements::{
    DELETE_ACCOUNTS, DELETE_ENTRIES, DELETE_EVIDENCE, DELETE_SETTLEMENTS, DELETE_SLOTS, READ_SLOTS_OF,
};
use settler::Error;
use settler::core::rows::{Auction, Direction};
use settler::db::Connection;
use settler::provision::{NewAccount, NewSlot, STATEMENT_WITHIN, again};

/// Who is paid in every race, and nowhere else.
const PUBLISHER: AccountId = AccountId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002));
/// The one window of an experiment.
const WINDOW_START: Millis = Millis(0);
/// Enough for a debit by every worker that may race.
const BALANCE: Money = Money(10_000_000);

pub(crate) fn random_id() -> Uuid {
    Uuid::from_u64_pair(runtime::chance::seed(), runtime::chance::seed())
}

/// One race's rows.
#[derive(Debug)]
pub(crate) struct Fixture {
    slots: Vec<SlotId>,
    buyer: AccountId,
}

impl Fixture {
    /// Makes the account and the slots.
    pub(crate) async fn make(race: &Race, connection: &Connection) -> Result<Self, Error> {
        let count = if race.hot_row == HotRow::Account { race.workers } else { 1 };
        let slots: Vec<SlotId> = (0..count.max(1)).map(|_| SlotId(random_id())).collect();
        let fixture = Self { buyer: buyer(&slots[0]), slots };
        let made = fixture.provision(connection).await;
        if made.is_err() {
            // What was made of it is found by the next experiment, if the ledger does not take this either.
            let _ = fixture.clear(connection).await;
        }
        made.map(|()| fixture)
    }

    async fn provision(&self, connection: &Connection) -> Result<(), Error> {
        let slot = |slot_id: &SlotId| NewSlot { slot_id: *slot_id, publisher: PUBLISHER, floor: Money(1) };
        let slots: Vec<NewSlot> = self.slots.iter().map(slot).collect();
        // The slots first: from them everything else is found again.
        settler::provision::slots(connection, &slots).await?;
        let account = NewAccount {
            account_id: self.buyer,
            name: "contention experiment".to_owned(),
            balance: BALANCE,
            credit_limit: Money(0),
            status: None,
        };
        settler::provision::accounts(connection, &[account]).await
    }

    /// An auction for each worker: of its own slot, or of the one slot.
    pub(crate) fn auctions(&self, workers: u16) -> Vec<Arc<Auction>> {
        let auctions: Vec<_> =
            self.slots.iter().map(|slot| Arc::new(Auction::of(aggregate(*slot, self.buyer)))).collect();
        auctions.iter().cycle().take(usize::from(workers)).cloned().collect()
    }

    /// Takes everything away that the race made.
    pub(crate) async fn clear(&self, connection: &Connection) -> Result<(), Error> {
        let settlements: Vec<SettlementId> =
            self.slots.iter().map(|slot| settlement_id(slot, WINDOW_START)).collect();
        let entries = [Direction::Debit, Direction::Credit];
        let entries = settlements
            .iter()
            .flat_map(|id| entries.map(|direction| derived_id(id, direction.as_str())))
            .collect();
        let settlements: Vec<Uuid> = settlements.iter().map(|id| id.0).collect();
        // For most races there is one buyer; what an experiment left may have been of several.
        let accounts = self.slots.iter().map(|slot| buyer(slot).0).collect();
        let slots = self.slots.iter().map(|slot| slot.0).collect();
        // The slots last: while they stand, what is left is found again.
        for (what, statement, keys) in [
            ("entries of a race", DELETE_ENTRIES, entries),
            ("evidence of a race", DELETE_EVIDENCE, settlements.clone()),
            ("settlements of a race", DELETE_SETTLEMENTS, settlements),
            ("accounts of a race", DELETE_ACCOUNTS, accounts),
            ("slots of a race", DELETE_SLOTS, slots),
        ] {
            let keys: Vec<Uuid> = keys;
            let run = async || connection.client.execute(statement, &[&keys]).await.map(|_| ());
            again(connection.ledger(), what, STATEMENT_WITHIN, run).await?;
        }
        Ok(())
    }
}

/// Takes away what an experiment left that was killed.
pub(crate) async fn clear_left(connection: &Connection) -> Result<(), Error> {
    loop {
        let look = async || connection.client.query(READ_SLOTS_OF, &[&PUBLISHER.0]).await;
        let rows = again(connection.ledger(), "slots of races", STATEMENT_WITHIN, look).await?;
        let slots: Vec<SlotId> = rows.iter().map(|row| SlotId(row.get(0))).collect();
        let Some(first) = slots.first() else { return Ok(()) };
        tracing::info!(slots = slots.len(), "rows of an experiment that was killed are taken away");
        Fixture { buyer: buyer(first), slots }.clear(connection).await?;
    }
}

/// The buyer of a race, by its first slot.
fn buyer(first: &SlotId) -> AccountId {
    AccountId(Uuid::new_v5(&first.0, b"buyer"))
}

fn aggregate(slot_id: SlotId, buyer: AccountId) -> Aggregate {
    let price = Price::from_units(10_000).expect("one unit is a price");
    let candidate = Candidate {
        bid_id: BidId(random_id()),
        account_id: buyer,
        region: "eu-central-1".parse().expect("a region"),
        amount: price,
        quality: BasisPoints::ONE,
        event_time: Millis(1),
        shard_id: ShardId("contend".to_owned()),
        sequence: "1".parse().expect("a number"),
        sub_sequence: 0,
    };
    Aggregate {
        slot_id,
        window_start: WINDOW_START,
        window_end: Millis(1_000),
        bids: 1,
        bidders: 1,
        amount_sum: Money::from(price),
        amount_min: price,
        amount_max: price,
        duplicates: 0,
        regions: BTreeMap::new(),
        candidates: vec![candidate],
        next_amount: None,
        next_score: None,
        shard_id: ShardId("contend".to_owned()),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

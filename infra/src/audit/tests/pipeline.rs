//! A table and a ledger that agree with a small log, and a way to spoil them.

use std::collections::BTreeMap;

use schemas::geometry::Pricing;
use schemas::ids::{AccountId, SettlementId};
use schemas::item::{Decision, Outcome, State};
use schemas::money::{Money, Price};
use schemas::time::Millis;
use uuid::Uuid;

use super::super::items::{FoundAggregate, Items};
use super::super::recompute::Recomputed;
use super::super::rows::{Account, Entry, Evidence, Rows, Settlement, Slot};
use super::super::{AuditResult, Pending, compare};
use super::world::*;

pub(super) const NOW: Millis = Millis(1_000);
pub(super) const PUBLISHER: u128 = 100;

/// Auction 0: account 5 (32 units) cannot pay, account 4 (16 units) wins. Auction 1: below the floor.
pub(super) struct World {
    pub(super) log: Recomputed,
    pub(super) items: Items,
    pub(super) rows: Rows,
}

pub(super) fn money(units: i128) -> Option<Money> {
    Some(Money(units))
}

fn settlement(log: &Recomputed, n: usize) -> Settlement {
    let aggregate = log.aggregates.values().nth(n).unwrap();
    Settlement {
        settlement_id: Uuid::new_v5(&aggregate.slot_id.0, aggregate.window_start.to_string().as_bytes()),
        slot_id: aggregate.slot_id,
        window_start: aggregate.window_start,
        window_end: aggregate.window_end,
        outcome: "NO_SALE".to_owned(),
        winner_account: None,
        winning_bid: None,
        winning_amount: None,
        clearing_price: None,
        no_sale_reason: Some("below_floor".to_owned()),
        aggregate_digest: aggregate.digest(),
        settled_at: Millis(500),
        winner_region: None,
        winner_shard: None,
        winner_sequence: None,
        winner_sub_sequence: None,
        floor_price: money(4),
        publisher_account_id: Some(account(PUBLISHER)),
        log_accounts: Some(0),
        log_unknown: Some(0),
        log_reads: Some(0),
        log_bytes: Some(0),
    }
}

fn evidence(log: &Recomputed, n: usize, rank: usize, passed_over: Option<&str>, balance: i128) -> Evidence {
    let aggregate = log.aggregates.values().nth(n).unwrap();
    let candidate = &aggregate.candidates[rank];
    Evidence {
        settlement_id: settlement(log, n).settlement_id,
        rank: i64::try_from(rank).unwrap(),
        bid_id: candidate.bid_id,
        account_id: candidate.account_id,
        region: candidate.region.to_string(),
        amount: candidate.amount.into(),
        passed_over: passed_over.map(str::to_owned),
        balance_seen: money(balance),
        limit_seen: money(8),
        version_seen: Some(0),
    }
}

pub(super) fn entry(
    settlement_id: Uuid,
    account_id: AccountId,
    direction: &str,
    version: Option<i64>,
) -> Entry {
    Entry {
        entry_id: Uuid::new_v5(&settlement_id, direction.as_bytes()),
        settlement_id: Some(settlement_id),
        deposit_id: None,
        account_id,
        direction: direction.to_owned(),
        amount: Money(16),
        account_version: version,
        created_at: Millis(500),
    }
}

pub(super) fn world(pricing: Pricing) -> World {
    let mut agreed = agreed();
    // Under second price the item must name who sets it.
    let candidates = if pricing == Pricing::First { 2 } else { 3 };
    (agreed.geometry.pricing, agreed.geometry.candidates) = (pricing, candidates);
    let mut slots = [slot(false, 0), slot(false, 1)];
    slots.sort();
    let bids = [bid(slots[0], 3, 3), bid(slots[0], 4, 4), bid(slots[0], 5, 5), bid(slots[1], 1, 1)];
    let records = vec![record(1, 5, &bids), record(2, 50, &[])];
    let log = Recomputed::of(agreed, &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));

    let price = Money(if pricing == Pricing::First { 16 } else { 8 });
    let sold = sold(&log, 1, price);
    let entries = paid(&sold, account(4), price);
    let no_sale = settlement(&log, 1);
    let mut seen =
        vec![evidence(&log, 0, 0, Some("insufficient_funds"), -1), evidence(&log, 0, 1, None, 100)];
    if pricing == Pricing::Second {
        seen.push(evidence(&log, 0, 2, None, 0));
    }
    let rows = Rows {
        evidence: BTreeMap::from([
            (sold.settlement_id, seen),
            (no_sale.settlement_id, vec![evidence(&log, 1, 0, Some("below_floor"), 0)]),
        ]),
        settlements: vec![sold, no_sale],
        entries,
        accounts: BTreeMap::from([
            (account(1), account_row(0, 0, 0)),
            (account(3), account_row(0, 0, 0)),
            (account(4), account_row(100, 100 - price.0, 1)),
            (account(5), account_row(-1, -1, 0)),
        ]),
        slots: slots.into_iter().map(|slot| (slot, slot_row())).collect(),
        ..Rows::default()
    };
    World { items: items(&log, &rows), log, rows }
}

/// The row of auction 0, sold to the candidate of a rank.
fn sold(log: &Recomputed, rank: usize, price: Money) -> Settlement {
    let winner = &log.aggregates.values().next().unwrap().candidates[rank];
    Settlement {
        outcome: "SALE".to_owned(),
        no_sale_reason: None,
        winner_account: Some(winner.account_id),
        winning_bid: Some(winner.bid_id),
        winning_amount: Some(winner.amount.into()),
        clearing_price: Some(price),
        winner_region: Some(winner.region.to_string()),
        winner_shard: Some(winner.shard_id.to_string()),
        winner_sequence: Some(winner.sequence.to_string()),
        winner_sub_sequence: Some(i64::from(winner.sub_sequence)),
        ..settlement(log, 0)
    }
}

/// Its entries.
fn paid(sold: &Settlement, winner: AccountId, amount: Money) -> Vec<Entry> {
    let debit = entry(sold.settlement_id, winner, "DEBIT", Some(1));
    let credit = entry(sold.settlement_id, account(PUBLISHER), "CREDIT", None);
    vec![Entry { amount, ..debit }, Entry { amount, ..credit }]
}

fn account_row(opening: i128, balance: i128, version: i64) -> Account {
    let (opening_balance, balance, credit_limit) = (Money(opening), Some(Money(balance)), Money(8));
    Account { opening_balance, balance, credit_limit, version, status: None, status_since: None }
}

fn slot_row() -> Slot {
    Slot { publisher_account_id: account(PUBLISHER), floor_price: Some(Money(4)) }
}

/// One auction under second price. Account 6 (64 units) cannot pay, 5 (32) wins; 4 (16) cannot pay either, so 3 (8) sets
/// the price and nobody looks at 2 (4). Account 4 got a deposit of 16 at some time, and with it it could have paid.
pub(super) fn priced() -> World {
    let mut agreed = agreed();
    (agreed.geometry.pricing, agreed.geometry.candidates) = (Pricing::Second, 5);
    let slot = slot(false, 0);
    let bids: Vec<_> = (2..=6).map(|n| bid(slot, n, u64::from(n))).collect();
    let records = vec![record(1, 5, &bids), record(2, 50, &[])];
    let log = Recomputed::of(agreed, &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));
    let price = Money(8);
    let sold = sold(&log, 1, price);
    let poor = Some("insufficient_funds");
    let seen = [(0, poor, -1), (1, None, 100), (2, poor, 2), (3, None, 0)];
    let evidence = seen.map(|(rank, why, balance)| evidence(&log, 0, rank, why, balance)).to_vec();
    let mut entries = paid(&sold, account(5), price);
    for (account, direction) in [(account(4), "CREDIT"), (account(77), "DEBIT")] {
        let half = entry(Uuid::from_u128(5), account, direction, None);
        entries.push(Entry { settlement_id: None, deposit_id: Some(Uuid::from_u128(5)), ..half });
    }
    let accounts = [
        (2, account_row(0, 0, 0)),
        (3, account_row(0, 0, 0)),
        (4, account_row(2, 18, 0)),
        (5, account_row(100, 92, 1)),
        (6, account_row(-1, -1, 0)),
    ];
    let rows = Rows {
        evidence: BTreeMap::from([(sold.settlement_id, evidence)]),
        settlements: vec![sold],
        entries,
        accounts: accounts.map(|(n, row)| (account(n), row)).into(),
        slots: BTreeMap::from([(slot, slot_row())]),
        ..Rows::default()
    };
    World { items: items(&log, &rows), log, rows }
}

/// One auction under second price with two candidates, in which accounts 9, 8 and 7 are unknown: account 10 (1,024
/// units) pays what account 4 (16) bid, which only the log holds.
pub(super) fn crowded() -> World {
    let mut agreed = agreed();
    agreed.geometry.pricing = Pricing::Second;
    let slot = slot(false, 0);
    let bids: Vec<_> = [4, 7, 8, 9, 10].map(|n| bid(slot, n, 5)).to_vec();
    let records = vec![record(1, 5, &bids), record(2, 50, &[])];
    let log = Recomputed::of(agreed, &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));
    let price = Money(16);
    let mut sold = sold(&log, 0, price);
    (sold.log_accounts, sold.log_unknown) = (Some(3), Some(2));
    (sold.log_reads, sold.log_bytes) = (Some(1), Some(100));
    let mut unknown = evidence(&log, 0, 1, Some("unknown_account"), 0);
    (unknown.balance_seen, unknown.limit_seen, unknown.version_seen) = (None, None, None);
    let behind = &log.behind.values().next().unwrap()[2];
    let mut sets = evidence(&log, 0, 0, None, 100);
    (sets.rank, sets.bid_id, sets.account_id) = (4, behind.bid_id, behind.account_id);
    (sets.region, sets.amount) = (behind.region.to_string(), behind.amount.into());
    let entries = paid(&sold, account(10), price);
    let accounts = [(4, account_row(100, 100, 0)), (10, account_row(2_000, 1_984, 1))];
    let rows = Rows {
        evidence: BTreeMap::from([(
            sold.settlement_id,
            vec![evidence(&log, 0, 0, None, 2_000), unknown, sets],
        )]),
        settlements: vec![sold],
        entries,
        accounts: accounts.map(|(n, row)| (account(n), row)).into(),
        slots: BTreeMap::from([(slot, slot_row())]),
        ..Rows::default()
    };
    World { items: items(&log, &rows), log, rows }
}

/// The items as the stages leave them.
fn items(log: &Recomputed, rows: &Rows) -> Items {
    let mut items = Items::default();
    for (key, aggregate) in &log.aggregates {
        let row = rows.settlements.iter().find(|row| row.slot_id == key.0).unwrap();
        let mut item = aggregate.clone();
        let outcome = match (row.winner_account, row.clearing_price) {
            (Some(winner), Some(price)) => {
                item.state = State::Settled;
                let clearing_price = Price::from_units(u64::try_from(price.0).unwrap()).unwrap();
                Outcome::Sale { winner, clearing_price }
            }
            _ => {
                item.state = State::NoSale;
                Outcome::NoSale { reason: row.no_sale_reason.clone().unwrap() }
            }
        };
        let (settlement_id, settled_at) = (SettlementId(row.settlement_id), row.settled_at);
        item.decision = Some(Decision { settlement_id, settled_at, outcome });
        item.ttl = Some(100);
        items.take(&item.to_attrs(4));
    }
    log.totals.values().for_each(|totals| items.take(&totals.to_attrs()));
    log.hot.values().for_each(|hot| items.take(&hot.to_attrs()));
    items.take(&log.agreed.to_attrs());
    items
}

impl World {
    pub(super) fn judge(&self, pending: Pending) -> AuditResult {
        // TTL is past at 100 s; everything here is younger.
        compare(&self.log, &self.items, &self.rows, pending, NOW)
    }

    pub(super) fn whats(&self) -> Vec<String> {
        self.judge(Pending::Difference).differences.into_iter().map(|difference| difference.what).collect()
    }

    /// Evidence of the first decision.
    pub(super) fn seen(&mut self) -> &mut Vec<Evidence> {
        self.rows.evidence.values_mut().next().unwrap()
    }

    /// Makes the first sale none, in all that says so; its row and its evidence.
    pub(super) fn unsold(&mut self, reason: &str) -> (&mut Settlement, &mut Vec<Evidence>) {
        let row = &mut self.rows.settlements[0];
        let (winner, price) = (row.winner_account.unwrap(), row.clearing_price.unwrap());
        let plain = settlement(&self.log, 0);
        *row = Settlement { no_sale_reason: Some(reason.to_owned()), ..plain };
        self.rows.entries.clear();
        let account = self.rows.accounts.get_mut(&winner).unwrap();
        account.balance = account.balance.map(|balance| Money(balance.0 + price.0));
        account.version = 0;
        self.items = items(&self.log, &self.rows);
        (&mut self.rows.settlements[0], self.rows.evidence.values_mut().next().unwrap())
    }

    /// Makes the first sale one at another price, in all that says so.
    pub(super) fn charge(&mut self, price: i128) {
        let row = &mut self.rows.settlements[0];
        let before = row.clearing_price.replace(Money(price)).unwrap();
        let (winner, id) = (row.winner_account.unwrap(), row.settlement_id);
        let entries = self.rows.entries.iter_mut().filter(|entry| entry.settlement_id == Some(id));
        entries.for_each(|entry| entry.amount = Money(price));
        let account = self.rows.accounts.get_mut(&winner).unwrap();
        account.balance = account.balance.map(|balance| Money(balance.0 + before.0 - price));
        self.items = items(&self.log, &self.rows);
    }

    pub(super) fn first_item(&mut self) -> &mut FoundAggregate {
        self.items.aggregates.values_mut().next().unwrap()
    }
}

/// Plants one thing in a world without differences and answers what is found.
pub(super) fn planted(plant: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = world(Pricing::First);
    plant(&mut world);
    world.whats()
}

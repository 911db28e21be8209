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
    agreed.geometry.pricing = pricing;
    let mut slots = [slot(false, 0), slot(false, 1)];
    slots.sort();
    let bids = [bid(slots[0], 3, 3), bid(slots[0], 4, 4), bid(slots[0], 5, 5), bid(slots[1], 1, 1)];
    let records = vec![record(1, 5, &bids), record(2, 50, &[])];
    let log = Recomputed::of(agreed, &log(vec![(shard("s", 0, u128::MAX, &[]), records, false)]));

    let mut sold = settlement(&log, 0);
    let winner = &log.aggregates.values().next().unwrap().candidates[1];
    sold.outcome = "SALE".to_owned();
    sold.no_sale_reason = None;
    sold.winner_account = Some(winner.account_id);
    sold.winning_bid = Some(winner.bid_id);
    sold.winning_amount = Some(winner.amount.into());
    sold.clearing_price = money(if pricing == Pricing::First { 16 } else { 8 });
    sold.winner_region = Some(winner.region.to_string());
    sold.winner_shard = Some(winner.shard_id.to_string());
    sold.winner_sequence = Some(winner.sequence.to_string());
    sold.winner_sub_sequence = Some(i64::from(winner.sub_sequence));
    let price = sold.clearing_price.unwrap();

    let account_row = |opening: i128, balance: i128, version| Account {
        opening_balance: Money(opening),
        balance: Money(balance),
        credit_limit: Money(8),
        version,
    };
    let mut debit = entry(sold.settlement_id, account(4), "DEBIT", Some(1));
    let mut credit = entry(sold.settlement_id, account(PUBLISHER), "CREDIT", None);
    (debit.amount, credit.amount) = (price, price);
    let no_sale = settlement(&log, 1);
    let slot_row = |floor| Slot { publisher_account_id: account(PUBLISHER), floor_price: Money(floor) };
    let rows = Rows {
        evidence: BTreeMap::from([
            (
                sold.settlement_id,
                vec![evidence(&log, 0, 0, Some("insufficient_funds"), -1), evidence(&log, 0, 1, None, 100)],
            ),
            (no_sale.settlement_id, vec![evidence(&log, 1, 0, Some("below_floor"), 0)]),
        ]),
        settlements: vec![sold, no_sale],
        entries: vec![debit, credit],
        accounts: BTreeMap::from([
            (account(1), account_row(0, 0, 0)),
            (account(3), account_row(0, 0, 0)),
            (account(4), account_row(100, 100 - price.0, 1)),
            (account(5), account_row(-1, -1, 0)),
        ]),
        slots: BTreeMap::from([(slots[0], slot_row(4)), (slots[1], slot_row(4))]),
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

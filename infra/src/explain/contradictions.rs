//! Where item, row, evidence and entries of one auction do not agree, so that none of them is told as truth alone.
//!
//! Pure, and without the log: which of them is right is what [`crate::audit`] finds out.

use std::collections::BTreeMap;

use schemas::geometry::Pricing;
use schemas::ids::SlotId;
use schemas::item::{Aggregate, Outcome, State};
use schemas::settlement::settlement_id;
use schemas::time::Millis;
use serde::Serialize;

use crate::audit::rows::{Entry, Evidence, Rows, Settlement};

/// Two sources that say different things of one fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// The fact.
    pub what: String,
    /// What one source says, and which.
    pub one: String,
    /// What the other says, and which.
    pub other: String,
}

/// The item of an auction, with the digest that it carries.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The item.
    pub aggregate: &'a Aggregate,
    /// Its attribute `digest`.
    pub digest: &'a str,
}

const SALE: &str = "SALE";

/// Everything in which the sources contradict each other, or themselves.
#[must_use]
pub fn contradictions(
    (slot, window): (SlotId, Millis),
    item: Option<Item<'_>>,
    rows: &Rows,
    pricing: Pricing,
) -> Vec<Contradiction> {
    let mut found = Found::default();
    for cell in &rows.damaged.cells {
        let column = format!("{} {}", cell.table, cell.column);
        found.add(
            column,
            format!("{} holds {}", cell.key, cell.found),
            format!("stages write {}", cell.wanted),
        );
    }
    let id = settlement_id(&slot, window);
    let row = rows.settlements.first();
    let evidence = rows.evidence.get(&id.0).map_or(&[][..], Vec::as_slice);
    if let Some(item) = item {
        item_alone(item, &mut found);
    }
    if rows.damaged.settlements.is_empty() {
        if let Some(item) = item {
            decisions(item, row, &mut found);
        }
        entries(row, &rows.entries, rows.damaged.entries > 0, &mut found);
    }
    let Some(row) = row else {
        if !evidence.is_empty() && rows.damaged.settlements.is_empty() {
            found.add(
                "decision",
                format!("ad_bids has evidence of {} candidates", evidence.len()),
                "settlements has no row",
            );
        }
        return found.0;
    };
    found.same("settlement_id", ("slot and window give", id), ("the row has", row.settlement_id));
    form(row, pricing, &mut found);
    if rows.damaged.evidence.is_empty() {
        proof(row, evidence, &mut found);
    }
    if let Some(item) = item {
        winner(item.aggregate, row, &mut found);
        candidates(item.aggregate, evidence, &mut found);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Contradiction>);

impl Found {
    fn add(&mut self, what: impl ToString, one: impl ToString, other: impl ToString) {
        let (what, one, other) = (what.to_string(), one.to_string(), other.to_string());
        self.0.push(Contradiction { what, one, other });
    }

    fn same(&mut self, what: &str, one: (&str, impl ToString), other: (&str, impl ToString)) {
        let (ours, theirs) = (one.1.to_string(), other.1.to_string());
        if ours != theirs {
            self.add(what, format!("{} {ours}", one.0), format!("{} {theirs}", other.0));
        }
    }
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

/// Digest and state of the item against its own attributes.
fn item_alone(Item { aggregate, digest }: Item<'_>, found: &mut Found) {
    found.same("digest", ("the item carries", digest), ("its attributes give", aggregate.digest()));
    let is_decided = matches!(aggregate.state, State::Settled | State::NoSale);
    if is_decided != aggregate.decision.is_some() {
        let said = if aggregate.decision.is_some() { "a decision" } else { "no decision" };
        found.add("state", format!("the item is {}", aggregate.state.as_str()), format!("it carries {said}"));
    }
}

/// The mark in the item against the row that it copies. A row whose item waits for its mark is no contradiction.
fn decisions(Item { aggregate, digest }: Item<'_>, row: Option<&Settlement>, found: &mut Found) {
    let Some(row) = row else {
        if aggregate.decision.is_some() || matches!(aggregate.state, State::Settled | State::NoSale) {
            let state = aggregate.state.as_str();
            found.add("decision", format!("the item is {state}"), "settlements has no row");
        }
        return;
    };
    found.same("digest", ("the item carries", digest), ("the row has", &row.aggregate_digest));
    let Some(decision) = &aggregate.decision else { return };
    let (winner, price, reason) = match &decision.outcome {
        Outcome::Sale { winner, clearing_price } => (Some(*winner), Some(*clearing_price), None),
        Outcome::NoSale { reason } => (None, None, Some(reason.clone())),
    };
    let mut same = |what: &str, item: String, row: String| {
        found.same(what, ("the item says", item), ("the row says", row));
    };
    same("settlement_id", decision.settlement_id.to_string(), row.settlement_id.to_string());
    same("settled_at", decision.settled_at.to_string(), row.settled_at.to_string());
    same("winner", or_nothing(winner), or_nothing(row.winner_account));
    same("clearing_price", or_nothing(price), or_nothing(row.clearing_price));
    same("no_sale_reason", or_nothing(reason), or_nothing(row.no_sale_reason.as_ref()));
}

/// The row against itself: a sale has a winner and a price it would pay, and nothing else has them.
fn form(row: &Settlement, pricing: Pricing, found: &mut Found) {
    let is_sale = row.outcome == SALE;
    for (column, is_there) in [
        ("winner_account", row.winner_account.is_some()),
        ("winning_bid", row.winning_bid.is_some()),
        ("winning_amount", row.winning_amount.is_some()),
        ("clearing_price", row.clearing_price.is_some()),
    ] {
        if is_sale != is_there {
            let said = if is_there { "a value" } else { "nothing" };
            found.add(
                column,
                format!("the row's outcome is {}", row.outcome),
                format!("its {column} is {said}"),
            );
        }
    }
    if is_sale == row.no_sale_reason.is_some() {
        let reason = or_nothing(row.no_sale_reason.as_ref());
        found.add(
            "no_sale_reason",
            format!("the row's outcome is {}", row.outcome),
            format!("its no_sale_reason is {reason}"),
        );
    }
    let (Some(amount), Some(price)) = (row.winning_amount, row.clearing_price) else { return };
    if price > amount || (pricing == Pricing::First && price != amount) {
        found.add(
            "clearing_price",
            format!("the row's winning_amount is {amount}"),
            format!("its clearing_price is {price}"),
        );
    }
}

/// The row's winner among the evidence of the decision, as one that was not passed over.
fn proof(row: &Settlement, evidence: &[Evidence], found: &mut Found) {
    let Some(account) = row.winner_account else { return };
    let mine = evidence.iter().find(|one| one.account_id == account && Some(one.bid_id) == row.winning_bid);
    let Some(mine) = mine else {
        found.add("winner", format!("the row says {account}"), "ad_bids has no evidence of its bid");
        return;
    };
    found.same(
        "winning_amount",
        ("the row says", or_nothing(row.winning_amount)),
        ("ad_bids says", mine.amount),
    );
    if let Some(reason) = &mine.passed_over {
        found.add(
            "winner",
            format!("the row says {account}"),
            format!("ad_bids says it was passed over: {reason}"),
        );
    }
}

/// The row's winner among the candidates of the item. One behind them was found in the log.
fn winner(item: &Aggregate, row: &Settlement, found: &mut Found) {
    let Some(account) = row.winner_account else { return };
    let is_it =
        |one: &&schemas::item::Candidate| one.account_id == account && Some(one.bid_id) == row.winning_bid;
    let Some(one) = item.candidates.iter().find(is_it) else {
        if row.log_reads.is_none_or(|reads| reads == 0) {
            found.add("winner", format!("the row says {account}"), "the item has no such candidate");
        }
        return;
    };
    let mut same = |what: &str, item: String, row: String| {
        found.same(what, ("the item's candidate has", item), ("the row says", row));
    };
    same("winning_amount", one.amount.to_string(), or_nothing(row.winning_amount));
    same("winner_region", one.region.to_string(), or_nothing(row.winner_region.as_ref()));
    same("winner_shard", one.shard_id.to_string(), or_nothing(row.winner_shard.as_ref()));
    same("winner_sequence", one.sequence.to_string(), or_nothing(row.winner_sequence.as_ref()));
    same("winner_sub_sequence", one.sub_sequence.to_string(), or_nothing(row.winner_sub_sequence));
}

/// The evidence of each named rank against the item's candidate of that rank.
fn candidates(item: &Aggregate, evidence: &[Evidence], found: &mut Found) {
    for (rank, one) in (0_i64..).zip(&item.candidates) {
        let Some(seen) = evidence.iter().find(|seen| seen.rank == rank) else { continue };
        let words = |bid: String, account: String, region: &str, amount: String| {
            format!("bid {bid} of {account} in {region} at {amount}")
        };
        let (bid, account) = (one.bid_id.to_string(), one.account_id.to_string());
        let item = words(bid, account, one.region.as_str(), one.amount.to_string());
        let (bid, account) = (seen.bid_id.to_string(), seen.account_id.to_string());
        let kept = words(bid, account, &seen.region, seen.amount.to_string());
        found.same(&format!("candidate {rank}"), ("the item has", item), ("ad_bids has", kept));
    }
}

/// The two entries of a sale, and none of anything else.
fn entries(row: Option<&Settlement>, entries: &[Entry], is_damaged: bool, found: &mut Found) {
    let words = |entry: &Entry| format!("{} {} of {}", entry.direction, entry.amount, entry.account_id);
    let mut booked: BTreeMap<String, usize> = BTreeMap::new();
    entries.iter().for_each(|entry| *booked.entry(words(entry)).or_default() += 1);
    let sale = row.and_then(|row| Some((row, row.winner_account?, row.clearing_price?)));
    let mut take = |wanted: &str| match booked.get_mut(wanted) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    if let Some((row, winner, price)) = sale {
        let debit = format!("DEBIT {price} of {winner}");
        // A row from before publishers were kept does not say who is paid.
        let paid = row.publisher_account_id.map_or_else(
            || {
                entries
                    .iter()
                    .find(|one| one.direction == "CREDIT" && Some(one.amount) == row.clearing_price)
                    .map(words)
            },
            |publisher| Some(format!("CREDIT {price} of {publisher}")),
        );
        for wanted in [debit, paid.unwrap_or_else(|| format!("CREDIT {price} of the publisher"))] {
            if !take(&wanted) && !is_damaged {
                found.add("ledger entry", format!("the row asks for {wanted}"), "financial_ledger has none");
            }
        }
    }
    let asks = row.map_or("settlements has no row", |_| "the row asks for none like it");
    for (entry, count) in booked.into_iter().filter(|(_, count)| *count > 0) {
        let times = if count > 1 { format!("{count} times ") } else { String::new() };
        found.add("ledger entry", asks, format!("financial_ledger has {times}{entry}"));
    }
}

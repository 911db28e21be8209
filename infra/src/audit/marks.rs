//! The mark in an item against the row of the ledger that it copies.

use schemas::item::{Aggregate, Decision, Outcome, State};

use super::decisions::{Pending, SALE};
use super::difference::{About, Findings, or_nothing};
use super::rows::Settlement;

/// The mark in the item is a copy of the row.
pub(super) fn mark(
    item: &Aggregate,
    row: Option<&Settlement>,
    pending: Pending,
    about: &About,
    findings: &mut Findings,
) {
    match item.state {
        State::Pending | State::Held => {
            if let Some(decision) = &item.decision {
                findings.add("aggregate decision", about, "nothing", decision_words(decision));
            }
            if pending == Pending::Difference {
                let found = match (item.state, &item.held_error) {
                    (State::Held, error) => format!(
                        "HELD: {}; mend that, then `settler release --slot {} --window {}`",
                        or_nothing(error.as_ref()),
                        item.slot_id,
                        item.window_start
                    ),
                    (state, _) => state.as_str().to_owned(),
                };
                findings.add("aggregate state", about, "SETTLED or NO_SALE", found);
            }
        }
        State::Settled | State::NoSale => {
            let Some(row) = row else {
                findings.add("settlement", about, "one row", "nothing");
                return;
            };
            let state = if row.outcome == SALE { State::Settled } else { State::NoSale };
            findings.same("aggregate state", about, state.as_str(), item.state.as_str());
            let words = item.decision.as_ref().map(decision_words);
            findings.same("aggregate decision", about, row_words(row), or_nothing(words));
        }
    }
}

fn decision_words(decision: &Decision) -> String {
    let outcome = match &decision.outcome {
        Outcome::Sale { winner, clearing_price } => format!("won by {winner} for {clearing_price}"),
        Outcome::NoSale { reason } => format!("not sold: {reason}"),
    };
    format!("{} at {} {outcome}", decision.settlement_id, decision.settled_at)
}

fn row_words(row: &Settlement) -> String {
    let outcome = if row.outcome == SALE {
        format!("won by {} for {}", or_nothing(row.winner_account), or_nothing(row.clearing_price))
    } else {
        format!("not sold: {}", or_nothing(row.no_sale_reason.as_ref()))
    };
    format!("{} at {} {outcome}", row.settlement_id, row.settled_at)
}

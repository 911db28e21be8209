//! `exchange explain`: one auction, who won and why, and each loser's reason.
//!
//! Reads the auction's item and what its decision left in the ledger, and puts them side by side. Where they contradict
//! each other it says so and ends with 1; which of them is right is what [`crate::audit`] finds out.

mod contradictions;
mod print;
#[cfg(test)]
mod tests;
mod verdicts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use clap::Args;
use runtime::failure::classify;
use schemas::attr::Attrs;
use schemas::geometry::{Geometry, Pricing, Ranking};
use schemas::ids::{SettlementId, SlotId};
use schemas::item::{Aggregate, GeometryItem, ItemError, SkippedItem};
use schemas::keys;
use schemas::settlement::settlement_id;
use schemas::time::Millis;
use serde::Serialize;
use settler::db::Ledger;

use crate::audit::rows::{Rows, read_one};
use crate::failure::Failure;
use crate::output::{JsonFile, counted, lost};
use crate::place::{Names, Place};
use crate::provision::sentence;

pub use self::contradictions::{Contradiction, Item, contradictions};
use self::verdicts::Case;

/// Options of `exchange explain`.
#[derive(Args, Debug)]
pub struct Explain {
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    ledger: Ledger,
    /// The settlement's id, or the slot's when a window follows.
    id: uuid::Uuid,
    /// The start of the window, as RFC 3339 or as psql prints it.
    #[arg(value_parser = runtime::when::parse)]
    window: Option<Millis>,
    /// Writes the explanation as JSON to this file, `-` for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One auction explained; amounts and times as text, names as in table and ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "attributes and columns of the same names say what they are")]
pub struct Explanation {
    pub settlement_id: String,
    pub slot_id: String,
    pub window_start: String,
    /// State of the item, nothing when it is gone.
    pub state: Option<String>,
    pub bids: Option<u64>,
    pub bidders: Option<u64>,
    pub duplicates: Option<u64>,
    /// Bids by region.
    pub regions: BTreeMap<String, u64>,
    /// What candidates are ordered by.
    pub ranking: String,
    pub pricing: String,
    /// `SALE` or `NO_SALE`, nothing while it is undecided.
    pub outcome: Option<String>,
    pub settled_at: Option<String>,
    pub winner: Option<String>,
    pub clearing_price: Option<String>,
    /// What made a second price what it is; nothing under first price, or when it is not kept.
    pub price_set_by: Option<String>,
    /// What the slot had when it was decided; nothing when nobody knew it, or the row is from before it was kept.
    pub floor_price: Option<String>,
    pub publisher: Option<String>,
    pub no_sale_reason: Option<String>,
    /// How many accounts behind the candidates were looked at in the log, and how many of these the ledger did not know.
    pub log_accounts: Option<i64>,
    pub log_unknown: Option<i64>,
    pub held_error: Option<String>,
    /// Who gave the auction's item up, when and why; nothing when nobody did.
    pub skipped: Option<String>,
    /// In rank order.
    pub candidates: Vec<Standing>,
    /// The amount that follows the last candidate.
    pub next_amount: Option<String>,
    pub entries: Vec<Booked>,
    /// Where the sources above do not agree.
    pub contradictions: Vec<Contradiction>,
    /// Whether the decision's row is there and cannot be read.
    pub is_row_damaged: bool,
}

/// A candidate and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "attributes and columns of the same names say what they are")]
pub struct Standing {
    /// From 0, as in `ad_bids`.
    pub rank: usize,
    pub account_id: String,
    pub bid_id: String,
    pub region: String,
    pub amount: String,
    /// Why it won or did not.
    pub verdict: String,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "columns of financial_ledger say what they are")]
pub struct Booked {
    pub direction: String,
    pub account_id: String,
    pub amount: String,
}

/// Explains an auction.
///
/// # Errors
/// A [`Failure`] when nobody knows the auction, or table or ledger cannot be read.
pub async fn run(options: Explain) -> anyhow::Result<()> {
    let json = options.json.as_deref().map(JsonFile::open).transpose()?;
    let ledger = options.ledger.connector().await.map_err(Failure::from)?;
    let place = Place::from_env(options.names).await?;
    let connection = ledger.connect().await.map_err(Failure::from)?;
    let named = options.window.map(|window| (SlotId(options.id), window));
    let id = named.map_or(SettlementId(options.id), |(slot, window)| settlement_id(&slot, window));
    let rows = read_one(&connection.client, id.0).await?;
    let decided = rows.settlements.first().map(|row| (row.slot_id, row.window_start));
    let Some((slot, window)) = decided.or(named) else {
        if let Some(cell) = rows.damaged.cells.first() {
            let advice = "name slot and window start to see the rest, and put it right with SQL";
            return Err(Failure::found(format!("the decision cannot be read: {cell}; {advice}")).into());
        }
        return Err(Failure::found(format!(
            "the ledger knows no settlement {id}; name slot and window start of an auction that is not decided yet"
        ))
        .into());
    };
    let agreed = runtime::agreed::read(&place.clients.dynamodb, &place.names.table, None).await;
    let agreed = agreed.map_err(Failure::from)?;
    let Found { item, skipped } = item(&place, &slot, window).await?;
    let is_known = !rows.settlements.is_empty() || !rows.damaged.settlements.is_empty();
    if item.is_none() && skipped.is_none() && !is_known {
        return Err(Failure::found(unknown(&slot, window, &agreed.geometry)).into());
    }
    let aggregate = item.as_ref().map(|(aggregate, _)| aggregate);
    let mut explanation = explain((slot, window), aggregate, &rows, &agreed);
    let whole = item.as_ref().map(|(aggregate, digest)| Item { aggregate, digest });
    explanation.contradictions = contradictions((slot, window), whole, &rows, agreed.geometry.pricing);
    if !explanation.contradictions.is_empty() {
        // A settler may have decided it between the readings: what is left once all is read again was no matter of time.
        let rows = read_one(&connection.client, settlement_id(&slot, window).0).await?;
        let again = self::item(&place, &slot, window).await?.item;
        let whole = again.as_ref().map(|(aggregate, digest)| Item { aggregate, digest });
        let again = contradictions((slot, window), whole, &rows, agreed.geometry.pricing);
        explanation.contradictions.retain(|one| again.contains(one));
    }
    if let Some(skipped) = skipped {
        (explanation.state, explanation.skipped) = (Some("SKIPPED".to_owned()), Some(skipped.to_string()));
    }
    match json {
        Some(json) => json.write(&explanation)?,
        None => explanation.print(&mut std::io::stdout()).map_err(lost)?,
    }
    match explanation.contradictions.len() {
        0 => Ok(()),
        count => Err(Failure::found(format!(
            "{} between item, row and entries of this auction; `exchange audit` says what follows from the stream",
            counted(count, "contradiction")
        ))
        .into()),
    }
}

/// What stands at an auction's key.
#[derive(Default)]
struct Found {
    /// With the digest that it carries.
    item: Option<(Aggregate, String)>,
    skipped: Option<SkippedItem>,
}

async fn item(place: &Place, slot: &SlotId, window: Millis) -> anyhow::Result<Found> {
    let table = &place.names.table;
    let get = place.clients.dynamodb.get_item().table_name(table).consistent_read(true);
    let get = get.key("PK", AttributeValue::S(keys::slot_pk(slot)));
    let answer = get.key("SK", AttributeValue::S(keys::window_sk(window))).send().await;
    let answer =
        answer.map_err(|error| sentence(&format!("table {table} cannot be read"), &classify(&error)))?;
    let Some(item) = answer.item() else { return Ok(Found::default()) };
    let read = runtime::attrs::from_sdk(item).map_err(|error| error.to_string());
    if let Some(skipped) = read.as_ref().ok().and_then(|item| SkippedItem::from_attrs(item).ok()) {
        return Ok(Found { skipped: Some(skipped), item: None });
    }
    let read = read.and_then(|item| whole(&item).map_err(|error| error.to_string()));
    let damaged = |reason| {
        let (pk, sk) = (keys::slot_pk(slot), keys::window_sk(window));
        Failure::found(format!(
            "the item PK {pk} SK {sk} of table {table} cannot be read: {reason}; mend or delete it, and `exchange audit` compares it with the stream"
        ))
    };
    Ok(Found { item: Some(read.map_err(damaged)?), skipped: None })
}

fn whole(item: &Attrs) -> Result<(Aggregate, String), ItemError> {
    Ok((Aggregate::from_attrs(item)?, Aggregate::stored_digest(item)?))
}

/// What to say of an auction that neither table nor ledger knows; where its window starts, unless that was asked for.
fn unknown(slot: &SlotId, window: Millis, geometry: &Geometry) -> String {
    let starts = geometry.window_start(window);
    let hint = if starts == window {
        "nobody bid in it, or it is not closed yet".to_owned()
    } else {
        format!("windows start every {} ms, the one of that time at {starts}", geometry.window_ms)
    };
    format!("no auction of slot {slot} in window {window} is known; {hint}")
}

/// Puts side by side what was read.
#[must_use]
pub fn explain(
    (slot, window): (SlotId, Millis),
    item: Option<&Aggregate>,
    rows: &Rows,
    agreed: &GeometryItem,
) -> Explanation {
    let id = settlement_id(&slot, window);
    let row = rows.settlements.first();
    let evidence = rows.evidence.get(&id.0).map_or(&[][..], Vec::as_slice);
    let case = Case { item, row, evidence, pricing: agreed.geometry.pricing };
    let entries = rows.entries.iter().map(|entry| Booked {
        direction: entry.direction.clone(),
        account_id: entry.account_id.to_string(),
        amount: entry.amount.to_string(),
    });
    Explanation {
        settlement_id: id.to_string(),
        slot_id: slot.to_string(),
        window_start: window.to_string(),
        state: item.map(|item| item.state.as_str().to_owned()),
        bids: item.map(|item| item.bids),
        bidders: item.map(|item| item.bidders),
        duplicates: item.map(|item| item.duplicates),
        regions: item.into_iter().flat_map(regions).collect(),
        ranking: match agreed.geometry.ranking {
            Ranking::Amount => "amount".to_owned(),
            Ranking::AmountQuality => "amount times quality".to_owned(),
        },
        pricing: match agreed.geometry.pricing {
            Pricing::First => "first price".to_owned(),
            Pricing::Second => "second price".to_owned(),
        },
        outcome: row.map(|row| row.outcome.clone()),
        settled_at: row.map(|row| row.settled_at.to_string()),
        winner: row.and_then(|row| row.winner_account).map(|account| account.to_string()),
        clearing_price: row.and_then(|row| row.clearing_price).map(|price| price.to_string()),
        price_set_by: case.price_set_by(),
        floor_price: row.and_then(|row| row.floor_price).map(|floor| floor.to_string()),
        publisher: row.and_then(|row| row.publisher_account_id).map(|account| account.to_string()),
        no_sale_reason: row.and_then(|row| row.no_sale_reason.clone()),
        log_accounts: row.and_then(|row| row.log_accounts),
        log_unknown: row.and_then(|row| row.log_unknown),
        held_error: item.and_then(|item| item.held_error.clone()),
        skipped: None,
        candidates: case.standings(),
        next_amount: item.and_then(|item| item.next_amount).map(|amount| amount.to_string()),
        entries: entries.collect(),
        contradictions: Vec::new(),
        is_row_damaged: !rows.damaged.settlements.is_empty(),
    }
}

fn regions(item: &Aggregate) -> impl Iterator<Item = (String, u64)> + '_ {
    item.regions.iter().map(|(region, stats)| (region.to_string(), stats.bids))
}

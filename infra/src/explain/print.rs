//! The explanation for a person.

use std::io::{Result, Write};

use runtime::say;

use super::Explanation;
use crate::output::counted;

impl Explanation {
    /// Writes the explanation; what nobody knows any more is left out.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(&self, out: &mut dyn Write) -> Result<()> {
        say!(out, "auction of slot {} in window {}", self.slot_id, self.window_start)?;
        match (&self.state, self.bids, self.bidders, self.duplicates) {
            (Some(state), Some(bids), Some(bidders), Some(duplicates)) => {
                let bids = format!("{} of {}", counted(bids, "bid"), counted(bidders, "account"));
                let duplicates = counted(duplicates, "duplicate");
                say!(out, "  {state}, {bids}, {duplicates}, ranked by {}", self.ranking)?;
            }
            _ if self.skipped.is_some() => {}
            _ => say!(out, "  its item is gone; the ledger keeps the decision")?,
        }
        for (region, bids) in &self.regions {
            say!(out, "  {region:<24} {bids:>10} {}", if *bids == 1 { "bid" } else { "bids" })?;
        }
        if let Some(error) = &self.held_error {
            say!(out, "held: {error}")?;
        }
        if let Some(skipped) = &self.skipped {
            say!(out, "  SKIPPED: the table refused its item, which was {skipped}")?;
        }
        for one in &self.contradictions {
            say!(out, "CONTRADICTION in {}: {}, but {}", one.what, one.one, one.other)?;
        }
        self.decision(out)?;
        say!(out, "candidates")?;
        for one in &self.candidates {
            say!(
                out,
                "  {:>2}. {:>20} from {} in {} (bid {}): {}",
                one.rank,
                one.amount,
                one.account_id,
                one.region,
                one.bid_id,
                one.verdict
            )?;
        }
        if let Some(next) = &self.next_amount {
            say!(out, "      {next:>20} is the next amount; the item keeps no more candidates")?;
        }
        if !self.entries.is_empty() {
            say!(out, "ledger")?;
        }
        for entry in &self.entries {
            say!(out, "  {:<6} {:>20} {}", entry.direction, entry.amount, entry.account_id)?;
        }
        Ok(())
    }

    fn decision(&self, out: &mut dyn Write) -> Result<()> {
        let at = self.settled_at.as_deref().unwrap_or("an unknown time");
        match (&self.outcome, &self.winner, &self.clearing_price) {
            (Some(_), Some(winner), Some(price)) => {
                say!(out, "sold to {winner} for {price} ({}) at {at}", self.pricing)?;
            }
            (Some(_), ..) => {
                let reason = self.no_sale_reason.as_deref().unwrap_or("no reason was kept");
                say!(out, "not sold: {reason}, at {at}")?;
            }
            (None, ..) if self.is_row_damaged => say!(out, "decided, and its row cannot be read")?,
            (None, ..) if self.held_error.is_some() || self.skipped.is_some() => {}
            (None, ..) => say!(out, "not decided yet")?,
        }
        if let Some(by) = &self.price_set_by {
            say!(out, "  the price was set by {by}")?;
        }
        if let (Some(floor), Some(publisher)) = (&self.floor_price, &self.publisher) {
            say!(out, "  the slot's floor was {floor}, its publisher {publisher}")?;
        }
        if let (Some(looked @ 1..), Some(unknown)) = (self.log_accounts, self.log_unknown) {
            say!(
                out,
                "  behind the candidates {looked} accounts were looked at in the log, {unknown} of them unknown"
            )?;
        }
        say!(out, "  settlement {}", self.settlement_id)
    }
}

//! The report for a person: aligned tables.

use std::io::{Result, Write};

use super::Report;

impl Report {
    /// Writes the report; what nobody knows shows as `-`, and why it is not known stands below.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(&self, out: &mut dyn Write) -> Result<()> {
        let shown = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(out, "traffic")?;
        for (name, count) in [
            ("bids sent", shown(self.bids_sent)),
            ("bids accepted", shown(self.bids_accepted)),
            ("bids per second", shown(self.bids_per_second)),
            ("counted", self.bids_counted.to_string()),
            ("late", self.late.to_string()),
            ("early", self.early.to_string()),
            ("stray", self.stray.to_string()),
            ("duplicates", self.duplicates.to_string()),
            ("rejected", self.rejected.to_string()),
            ("expired", shown(self.expired)),
        ] {
            writeln!(out, "  {name:<18} {count:>16}")?;
        }
        if self.bids_sent.is_none() {
            writeln!(out, "  -: known to each producer alone, in its own summary (`producer --json`)")?;
        }
        writeln!(out, "\n  {:<24} {:>12} {:>22} {:>8}", "region", "bids", "amount", "wins")?;
        for (name, region) in &self.regions {
            let amount = region.amount_sum.to_string();
            writeln!(out, "  {name:<24} {:>12} {amount:>22} {:>8}", region.bids, region.wins)?;
        }
        writeln!(out, "\n  {:<36} {:>12} {:>22}", "hot slot", "bids", "highest")?;
        for slot in &self.hot_slots {
            let amount = slot.amount_max.to_string();
            writeln!(out, "  {:<36} {:>12} {amount:>22}", slot.slot_id, slot.bids)?;
        }
        writeln!(out, "\ntruth")?;
        for (name, count) in [
            ("auctions closed", self.auctions_closed.to_string()),
            ("settled", self.settled.to_string()),
            ("no sale", self.no_sale.to_string()),
        ] {
            writeln!(out, "  {name:<18} {count:>16}")?;
        }
        for (reason, count) in &self.no_sale_reasons {
            writeln!(out, "    {reason:<24} {count:>8}")?;
        }
        for (name, count) in [
            ("pending", self.pending.to_string()),
            ("held", self.held.to_string()),
            ("skipped items", self.skipped_items.to_string()),
            ("decided from log", self.log_auctions.to_string()),
            ("log accounts", self.log_accounts.to_string()),
            ("of them unknown", self.log_unknown.to_string()),
            ("log reads", self.log_reads.to_string()),
            ("log bytes", self.log_bytes.to_string()),
            ("settled p50, ms", self.settle_latency_ms_p50.to_string()),
            ("settled p99, ms", self.settle_latency_ms_p99.to_string()),
            ("conflicts", self.conflicts.to_string()),
            ("injected by engine", self.conflicts_injected.to_string()),
            ("retries", self.retries.to_string()),
            ("resolved", self.resolved.to_string()),
            ("resolution rate", format!("{:.4}", self.resolution_rate)),
            ("ledger sum", self.ledger_sum.to_string()),
            ("audit differences", shown(self.audit_differences)),
        ] {
            writeln!(out, "  {name:<18} {count:>16}")?;
        }
        if self.audit_differences.is_none() {
            writeln!(out, "  -: not looked for; `exchange audit` recomputes every auction")?;
        }
        Ok(())
    }
}

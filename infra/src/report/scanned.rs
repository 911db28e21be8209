//! What the table adds up to.

use std::collections::BTreeMap;

use schemas::attr::{Attrs, text};
use schemas::item::{HotSlots, RegionTotals, SkippedItem, State};
use schemas::limits::HOT_SLOTS;
use schemas::money::Money;

use super::{HotSlot, Report};

/// What the table says, item by item; items that are past their TTL are left out, as every reader does.
#[derive(Default)]
pub(super) struct Scanned {
    now_s: u64,
    report: Report,
    hot: BTreeMap<String, (u64, Money)>,
}

impl Scanned {
    pub(super) fn at(now_s: u64) -> Self {
        Self { now_s, ..Self::default() }
    }

    pub(super) fn take(&mut self, attrs: &Attrs) {
        let key = |name| text::<String>(attrs, name).unwrap_or_default();
        let (pk, sk) = (key("PK"), key("SK"));
        if schemas::attr::number::<u64>(attrs, "ttl").is_ok_and(|ttl| ttl <= self.now_s) {
            return;
        }
        let report = &mut self.report;
        if SkippedItem::is(attrs) {
            report.skipped_items += 1;
            return;
        }
        if pk.starts_with("SLOT#") && sk.starts_with("WINDOW#") {
            let Ok(state) = text::<State>(attrs, "state") else {
                report.unreadable_items += 1;
                return;
            };
            report.auctions_closed += 1;
            report.pending += u64::from(state == State::Pending);
            report.held += u64::from(state == State::Held);
        } else if pk.starts_with("REGION#") {
            let Ok(totals) = RegionTotals::from_attrs(attrs) else {
                report.unreadable_items += 1;
                return;
            };
            report.bids_counted += totals.bids;
            report.late += totals.late;
            report.early += totals.early;
            report.stray += totals.stray;
            report.duplicates += totals.duplicates;
            report.rejected += totals.rejected;
            let region = report.regions.entry(totals.region.to_string()).or_default();
            region.bids += totals.bids;
            region.amount_sum.0 += totals.amount_sum.0;
        } else if pk.starts_with("HOT#") {
            let Ok(hot) = HotSlots::from_attrs(attrs) else {
                report.unreadable_items += 1;
                return;
            };
            for slot in hot.slots {
                let (bids, amount_max) = self.hot.entry(slot.slot_id.to_string()).or_default();
                *bids += slot.bids;
                *amount_max = Money::from(slot.amount_max).max(*amount_max);
            }
        }
    }

    pub(super) fn finish(mut self) -> Report {
        let slots = self.hot.into_iter();
        let mut slots: Vec<HotSlot> =
            slots.map(|(slot_id, (bids, amount_max))| HotSlot { slot_id, bids, amount_max }).collect();
        // By slot already; a stable sort keeps that among equals.
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.bids));
        slots.truncate(HOT_SLOTS);
        self.report.hot_slots = slots;
        self.report
    }
}

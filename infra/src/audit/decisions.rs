//! Every decision against the log, the item and the evidence: one row per auction, and the right one.
//!
//! Pure. Works out the winner and the price with [`super::choice`]; takes the ledger's word only for what nobody can
//! recompute. The balance that was seen is checked even so, against the account's history; the floor and the publisher,
//! which the slot may have changed since, against what was decided by them.

use std::collections::{BTreeMap, BTreeSet};

use schemas::ids::{AccountId, SlotId};
use schemas::item::{Aggregate, Candidate};
use schemas::limits::EVIDENCE_MAX;
use schemas::money::Money;
use schemas::time::Millis;
use uuid::Uuid;

use super::behind::Behind;
use super::choice::{Case, Choice, EXHAUSTED, Fate, Reach};
use super::difference::{About, Findings, or_nothing};
use super::history::Known;
use super::items::Items;
use super::log::end_of;
use super::marks::mark;
use super::recompute::{Recomputed, Verdict};
use super::rows::{Evidence, Rows, Settlement};
use crate::output::counted;

/// `settlements.outcome` of a sale.
pub(super) const SALE: &str = "SALE";
/// `settlements.outcome` of an auction that was not sold.
const NO_SALE: &str = "NO_SALE";

/// How far the clock of a settler may be from the ledger's: within it a status may have been changed before a decision
/// or after it.
const CLOCKS_DIFFER_MS: u64 = 60_000;

/// Whether an auction that awaits its decision is a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pending {
    /// It is only counted.
    #[default]
    Allowed,
    /// Everything should be decided by now, and nothing held.
    Difference,
}

/// The key that an auction's row must have.
pub(super) fn id_of((slot, window): &(SlotId, Millis)) -> Uuid {
    Uuid::new_v5(&slot.0, window.to_string().as_bytes())
}

/// Compares all decisions; answers how many stand on rows that cannot be read, so that they are not judged.
pub fn compare(
    log: &Recomputed,
    items: &Items,
    rows: &Rows,
    pending: Pending,
    findings: &mut Findings,
) -> u64 {
    let mut unjudged = super::auction::count(rows.damaged.settlements.len());
    let mut by_auction: BTreeMap<(SlotId, Millis), Vec<&Settlement>> = BTreeMap::new();
    for settlement in &rows.settlements {
        by_auction.entry((settlement.slot_id, settlement.window_start)).or_default().push(settlement);
    }
    let known = Known::of(rows);
    for (key, settlements) in &by_auction {
        let about = About::auction(key.0, key.1);
        if settlements.len() > 1 {
            findings.add("settlements of one auction", &about, 1, settlements.len());
        }
        let recomputed = log.aggregates.get(key);
        let basis = recomputed.or_else(|| items.aggregates.get(key).map(|found| &found.item));
        if recomputed.is_none() && log.verdict(&key.0, key.1) == Verdict::Judged {
            findings.add("settlement without an auction", &about, "nothing", &settlements[0].outcome);
        }
        for settlement in settlements {
            form(log, settlement, &about, findings);
            if let Some(aggregate) = basis {
                let item = items.aggregates.get(key).map(|found| &found.item);
                let behind = Behind::of((log, key), aggregate, item, settlement);
                Behind::judge_length((log, key), aggregate, item, settlement, (&about, findings));
                let judge = Judge { log, rows, known: &known, aggregate, behind, settlement, about: &about };
                if judge.stands_on_damage() {
                    unjudged += 1;
                } else {
                    judge.judge(findings);
                }
            }
        }
    }
    for (key, found) in &items.aggregates {
        let about = About::auction(key.0, key.1);
        let row = by_auction.get(key).and_then(|settlements| settlements.first()).copied();
        if row.is_some() || !rows.damaged.settlements.contains_key(&id_of(key)) {
            mark(&found.item, row, pending, &about, findings);
        }
    }
    let ids: BTreeSet<Uuid> = rows.settlements.iter().map(|settlement| settlement.settlement_id).collect();
    let is_known = |id: &Uuid| ids.contains(id) || rows.damaged.settlements.contains_key(id);
    for (id, evidence) in rows.evidence.iter().filter(|(id, _)| !is_known(id)) {
        findings.add("evidence without a settlement", &About::subject(id), "nothing", evidence.len());
    }
    unjudged
}

/// What a row must be whatever was decided.
fn form(log: &Recomputed, row: &Settlement, about: &About, findings: &mut Findings) {
    let id = id_of(&(row.slot_id, row.window_start));
    findings.same("settlement settlement_id", about, id, row.settlement_id);
    findings.same("settlement window_end", about, end_of(&log.agreed, row.window_start), row.window_end);
}

/// One row and what it stands on.
struct Judge<'a> {
    log: &'a Recomputed,
    rows: &'a Rows,
    known: &'a Known,
    aggregate: &'a Aggregate,
    behind: Behind<'a>,
    settlement: &'a Settlement,
    about: &'a About,
}

impl Judge<'_> {
    /// Whether it was decided by rows that say nothing now: its evidence, the floor of its slot, or what an account held.
    fn stands_on_damage(&self) -> bool {
        let (row, rows) = (self.settlement, self.rows);
        let has_no_floor = || {
            let slot = rows.slots.get(&row.slot_id);
            row.floor_price.is_none() && slot.is_some_and(|slot| slot.floor_price.is_none())
        };
        let behind: &[Candidate] = if let Behind::Log(behind) = self.behind { behind } else { &[] };
        let mut bidders = self.aggregate.candidates.iter().chain(behind).map(|one| one.account_id);
        rows.damaged.evidence.contains(&row.settlement_id)
            || has_no_floor()
            || bidders.any(|account| rows.damaged.accounts.contains(&account))
    }

    fn judge(&self, findings: &mut Findings) {
        let (row, aggregate) = (self.settlement, self.aggregate);
        findings.same("settlement aggregate_digest", self.about, aggregate.digest(), &row.aggregate_digest);
        let evidence = self.rows.evidence.get(&row.settlement_id).map(Vec::as_slice).unwrap_or_default();
        let floor = self.floor();
        self.slot(floor, findings);
        let Some(floor) = floor else {
            return self.row(&Choice::NoSale { reason: "unknown_slot" }, &[], findings);
        };
        self.behind.judge(row, self.about, findings);
        if self.behind.is_gone() {
            return;
        }
        let ranked = self.behind.offers(aggregate, floor);
        let candidates: Vec<&Candidate> = ranked.iter().map(|(_, candidate)| *candidate).collect();
        let named = aggregate.candidates.len();
        let by_rank: BTreeMap<i64, &Evidence> = evidence.iter().map(|seen| (seen.rank, seen)).collect();
        // Candidates are told by their places, so that a gap among them shows; behind them there are gaps.
        let seen: Vec<Option<&Evidence>> = ranked
            .iter()
            .map(|(rank, _)| match usize::try_from(*rank) {
                Ok(place) if place < named => evidence.get(place),
                _ => by_rank.get(rank).copied(),
            })
            .collect();
        let all = || candidates.iter().copied().zip(seen.iter().copied());
        let reach: Vec<Reach> = all().map(|(candidate, seen)| self.reach(candidate, floor, seen)).collect();
        let geometry = &self.log.agreed.geometry;
        let case = Case {
            candidates: &candidates,
            is_whole: self.behind.is_whole(aggregate, floor, geometry.ranking),
            reach: &reach,
            floor,
            next_amount: aggregate.next_amount.filter(|_| self.behind == Behind::Earlier),
            pricing: geometry.pricing,
        };
        let fate = |(place, (candidate, seen))| self.fate(candidate, floor, seen, &case.prices(place));
        let mut fates: Vec<Fate> = all().enumerate().map(fate).collect();
        let mut choice = case.choose(&fates);
        let own_from = match choice {
            // Behind the winner each is held to its own amount: the question there is who sets the price.
            Choice::Sale { place, .. } => place + 1,
            Choice::NoSale { reason: EXHAUSTED } => 0,
            Choice::NoSale { .. } => fates.len(),
        };
        for (fate, (candidate, seen)) in fates.iter_mut().zip(all()).skip(own_from) {
            *fate = self.fate(candidate, floor, seen, &BTreeSet::from([candidate.amount.into()]));
        }
        let considered = case.considered(&choice, &fates);
        let looked = ranked.iter().zip(&fates).take(considered);
        let is_named = |rank: i64| usize::try_from(rank).is_ok_and(|place| place < named);
        // Behind the candidates an account that nobody knows leaves no evidence.
        let leaves = |rank: i64, fate: Fate| is_named(rank) || fate != Fate::UnknownAccount;
        let mut wanted: Vec<(i64, &Candidate, Fate)> = looked
            .clone()
            .map(|((rank, candidate), fate)| (*rank, *candidate, *fate))
            .filter(|(rank, _, fate)| leaves(*rank, *fate))
            .collect();
        if wanted.len() > EVIDENCE_MAX {
            wanted.truncate(EVIDENCE_MAX);
            choice = Choice::NoSale { reason: EXHAUSTED };
        }
        let further = looked.filter(|((rank, _), _)| !is_named(*rank)).map(|(_, fate)| *fate);
        self.behind.counts(row, further, (self.about, findings));
        self.row(&choice, &candidates, findings);
        self.complete(wanted.len(), evidence, &choice, findings);
        self.evidence(&wanted, evidence, findings);
    }

    /// The floor that the row says it was decided by, or the one that its slot has now when the row is from before
    /// floors were kept; none when the slot is unknown, or may have been when this was decided.
    fn floor(&self) -> Option<Money> {
        let slot = self.rows.slots.get(&self.settlement.slot_id)?;
        let says_unknown = self.settlement.no_sale_reason.as_deref() == Some("unknown_slot");
        let since = self.known.slots.get(&self.settlement.slot_id);
        let proven = since.is_some_and(|since| *since <= self.settlement.settled_at);
        if says_unknown && !proven {
            return None;
        }
        self.settlement.floor_price.or(slot.floor_price)
    }

    /// What a row keeps of its slot: floor and publisher, or neither; nothing of a slot that was unknown.
    fn slot(&self, floor: Option<Money>, findings: &mut Findings) {
        let (kept, publisher) = (self.settlement.floor_price, self.settlement.publisher_account_id);
        if floor.is_none() {
            findings.same("settlement floor_price", self.about, "nothing", or_nothing(kept));
            findings.same("settlement publisher_account_id", self.about, "nothing", or_nothing(publisher));
        } else if kept.is_some() != publisher.is_some() {
            let found = format!("floor {} and publisher {}", or_nothing(kept), or_nothing(publisher));
            findings.add("settlement slot as seen", self.about, "both or neither", found);
        }
    }

    /// Whether a candidate could have paid its own amount: by its evidence, or by its history when it has none.
    fn reach(&self, candidate: &Candidate, floor: Money, seen: Option<&Evidence>) -> Reach {
        let amount = Money::from(candidate.amount);
        if amount < floor || self.is_unknown(candidate, seen) || self.is_suspended(candidate, seen) {
            return Reach::Never;
        }
        match seen.and_then(|seen| held(seen, candidate)) {
            Some(held) if held < amount => Reach::Never,
            Some(_) => Reach::Always,
            None => {
                let histories = &self.known.histories;
                histories.reach(self.rows, &candidate.account_id, amount, self.settlement.settled_at)
            }
        }
    }

    /// Whether nobody knew the account, which only its evidence can say when it was provisioned since.
    fn is_unknown(&self, candidate: &Candidate, seen: Option<&Evidence>) -> bool {
        let proven = self.known.histories.existed(&candidate.account_id, self.settlement.settled_at);
        let says_so = |seen: &Evidence| says(seen, Fate::UnknownAccount) && seen.version_seen.is_none();
        // Behind the candidates that nobody knew it is said by its having no evidence.
        let is_behind = !self.aggregate.candidates.iter().any(|one| one.account_id == candidate.account_id);
        !self.rows.accounts.contains_key(&candidate.account_id)
            || (!proven && seen.map_or(is_behind, says_so))
    }

    /// Whether its account was suspended, which its evidence alone can say when it was given another status since.
    fn is_suspended(&self, candidate: &Candidate, seen: Option<&Evidence>) -> bool {
        let Some(account) = self.rows.accounts.get(&candidate.account_id) else { return false };
        let Some(since) = account.status_since else { return false };
        let is_suspended = account.status.as_deref() == Fate::Suspended.word();
        let was_so = is_suspended && since.plus(CLOCKS_DIFFER_MS) < self.settlement.settled_at;
        was_so || seen.is_some_and(|seen| says(seen, Fate::Suspended))
    }

    /// What becomes of a candidate by floor, account, and the evidence of its balance, held to what it may have had to
    /// pay. While that is open, its evidence is false only when no price makes it true.
    fn fate(
        &self,
        candidate: &Candidate,
        floor: Money,
        seen: Option<&Evidence>,
        prices: &BTreeSet<Money>,
    ) -> Fate {
        let claims = seen.is_some_and(|seen| says(seen, Fate::InsufficientFunds));
        let price = if claims { prices.last() } else { prices.first() }.copied().unwrap_or_default();
        if Money::from(candidate.amount) < floor {
            Fate::BelowFloor
        } else if self.is_unknown(candidate, seen) {
            Fate::UnknownAccount
        } else if self.is_suspended(candidate, seen) {
            Fate::Suspended
        } else if seen.and_then(|seen| held(seen, candidate)).is_some_and(|held| held < price) {
            Fate::InsufficientFunds
        } else {
            Fate::Eligible
        }
    }

    fn row(&self, choice: &Choice, candidates: &[&Candidate], findings: &mut Findings) {
        let row = self.settlement;
        let (sale, reason) = match choice {
            Choice::Sale { place, prices } => (Some((candidates[*place], prices)), None),
            Choice::NoSale { reason } => (None, Some((*reason).to_owned())),
        };
        let allowed =
            |prices: &BTreeSet<Money>| match row.clearing_price.filter(|found| prices.contains(found)) {
                Some(found) => found.to_string(),
                None => prices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            };
        let mut same = |what: &str, expected: Option<String>, found: Option<String>| {
            findings.same(&format!("settlement {what}"), self.about, or_nothing(expected), or_nothing(found));
        };
        let of = |part: fn(&Candidate) -> String| sale.map(|(winner, _)| part(winner));
        same(
            "outcome",
            Some(if sale.is_some() { SALE } else { NO_SALE }.to_owned()),
            Some(row.outcome.clone()),
        );
        same("no_sale_reason", reason, row.no_sale_reason.clone());
        same("winner_account", of(|c| c.account_id.to_string()), text(row.winner_account));
        same("winning_bid", of(|c| c.bid_id.to_string()), text(row.winning_bid));
        same("winning_amount", of(|c| c.amount.to_string()), text(row.winning_amount));
        same("clearing_price", sale.map(|(_, prices)| allowed(prices)), text(row.clearing_price));
        same("winner_region", of(|c| c.region.to_string()), row.winner_region.clone());
        same("winner_shard", of(|c| c.shard_id.to_string()), row.winner_shard.clone());
        same("winner_sequence", of(|c| c.sequence.to_string()), row.winner_sequence.clone());
        same("winner_sub_sequence", of(|c| c.sub_sequence.to_string()), text(row.winner_sub_sequence));
    }

    /// Everyone who was considered has evidence, and nobody else. A decision of a release that kept no floors ends at its
    /// winner also under second price; any other that ends there has lost what its price was made of.
    fn complete(&self, considered: usize, evidence: &[Evidence], choice: &Choice, findings: &mut Findings) {
        let is_earlier = self.settlement.floor_price.is_none();
        let ends_at_winner = matches!(choice, Choice::Sale { place, .. } if place + 1 == evidence.len());
        if evidence.len() != considered && !(is_earlier && ends_at_winner) {
            let expected = counted(considered, "candidate");
            findings.add("evidence", self.about, expected, counted(evidence.len(), "candidate"));
        }
    }

    /// The candidates that were considered, as they were written down, and the truth of every reason.
    fn evidence(&self, wanted: &[(i64, &Candidate, Fate)], evidence: &[Evidence], findings: &mut Findings) {
        for (found, (rank, candidate, fate)) in evidence.iter().zip(wanted) {
            let rank = *rank;
            let about = self.about.clone().with(format!("rank {rank}"));
            let bid = |rank, bid: String, account: AccountId, region: &str, amount: Money| {
                format!("{rank}: bid {bid} of {account} in {region} at {amount}")
            };
            let amount = Money::from(candidate.amount);
            let region = candidate.region.as_str();
            let expected = bid(rank, candidate.bid_id.to_string(), candidate.account_id, region, amount);
            let seen =
                bid(found.rank, found.bid_id.to_string(), found.account_id, &found.region, found.amount);
            findings.same("evidence candidate", &about, expected, seen);
            let passed_over = or_nothing(found.passed_over.as_ref());
            findings.same("evidence passed_over", &about, or_nothing(fate.word()), passed_over);
            self.funds(found, &about, findings);
        }
    }

    /// What was seen of an account really stood there, at that version and with that limit; and where it decided, it is
    /// there to be seen.
    fn funds(&self, found: &Evidence, about: &About, findings: &mut Findings) {
        let seen = (found.balance_seen, found.limit_seen, found.version_seen);
        let (Some(balance), Some(_), Some(version)) = seen else {
            let decided = [Fate::Eligible, Fate::InsufficientFunds, Fate::Suspended]
                .iter()
                .any(|fate| says(found, *fate));
            if decided || seen != (None, None, None) {
                let found = format!(
                    "balance {}, limit {}, version {}",
                    or_nothing(seen.0),
                    or_nothing(seen.1),
                    or_nothing(seen.2)
                );
                findings.add("evidence account as seen", about, "balance, limit and version", found);
            }
            return;
        };
        let stood = self.known.histories.at(&found.account_id, version);
        if !stood.is_some_and(|(least, most)| (least..=most).contains(&balance)) {
            let range = |(least, most): (Money, Money)| {
                if least == most { least.to_string() } else { format!("{least} to {most}") }
            };
            let expected = format!("{} at version {version}", or_nothing(stood.map(range)));
            findings.add("evidence balance_seen", about, expected, balance);
        }
        let limit = self.rows.accounts.get(&found.account_id).map(|account| account.credit_limit);
        findings.same("evidence limit_seen", about, or_nothing(limit), or_nothing(found.limit_seen));
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Whether this is what evidence says became of its candidate.
fn says(seen: &Evidence, fate: Fate) -> bool {
    seen.passed_over.as_deref() == fate.word()
}

/// What a candidate's account could pay by its evidence; nothing without balance and limit, or of another account.
fn held(seen: &Evidence, candidate: &Candidate) -> Option<Money> {
    let (balance, limit) = seen.balance_seen.zip(seen.limit_seen)?;
    (seen.account_id == candidate.account_id).then_some(Money(balance.0 + limit.0))
}

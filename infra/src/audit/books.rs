//! Whether the ledger adds up: pairs, sums, versions, balances, limits, and nothing that belongs to nobody.
//!
//! Pure. A balance is worked out from opening balance and entries; the stored one is only compared.

use std::collections::{BTreeMap, BTreeSet};

use schemas::cell::DamagedCell;
use schemas::ids::AccountId;
use schemas::money::Money;
use uuid::Uuid;

use super::cells::next;
use super::difference::{About, Findings, or_nothing};
use super::rows::{Account, Entry, Rows, Settlement};

/// The word of an entry that takes.
const DEBIT: &str = "DEBIT";
/// The word of an entry that gives.
const CREDIT: &str = "CREDIT";

/// What an entry does to a sum.
pub(super) fn change(entry: &Entry) -> i128 {
    if entry.direction == DEBIT { -entry.amount.0 } else { entry.amount.0 }
}

/// Compares all entries and accounts.
pub fn compare(rows: &Rows, findings: &mut Findings) {
    let settlements: BTreeMap<Uuid, &Settlement> =
        rows.settlements.iter().map(|s| (s.settlement_id, s)).collect();
    let (mut of_settlement, mut of_deposit) =
        (BTreeMap::<_, Vec<&Entry>>::new(), BTreeMap::<_, Vec<&Entry>>::new());
    for entry in &rows.entries {
        let about = About::subject(format!("entry {}", entry.entry_id));
        if entry.direction != DEBIT && entry.direction != CREDIT {
            findings.add("ledger entry direction", &about, "DEBIT or CREDIT", &entry.direction);
        }
        if entry.amount.0 <= 0 {
            findings.add("ledger entry amount", &about, "above zero", entry.amount);
        }
        match (entry.settlement_id, entry.deposit_id) {
            (Some(id), None) => of_settlement.entry(id).or_default().push(entry),
            (None, Some(id)) => of_deposit.entry(id).or_default().push(entry),
            (Some(_), Some(_)) => findings.add("ledger entry", &about, "a settlement or a deposit", "both"),
            (None, None) => findings.add("ledger entry", &about, "a settlement or a deposit", "neither"),
        }
    }
    let damaged = &rows.damaged;
    let is_known = |id: &Uuid| settlements.contains_key(id) || damaged.settlements.contains_key(id);
    for (id, entries) in of_settlement.iter().filter(|(id, _)| !is_known(id)) {
        let found: Vec<String> = entries.iter().map(|entry| words(entry)).collect();
        let about = About::subject(format!("settlement {id}"));
        findings.add("ledger entries without a settlement", &about, "nothing", found.join(", "));
    }
    for settlement in rows.settlements.iter().filter(|one| !damaged.booked.contains(&one.settlement_id)) {
        let entries = of_settlement.get(&settlement.settlement_id).map(Vec::as_slice).unwrap_or_default();
        sale(rows, settlement, entries, findings);
    }
    deposits(rows, &of_deposit, findings);
    if damaged.entries == 0 {
        let sum = rows.entries.iter().map(change).sum();
        findings.same("ledger sum", &About::default(), Money(0), Money(sum));
    }
    accounts(rows, findings);
}

fn words(entry: &Entry) -> String {
    format!("{} {} of {}", entry.direction, entry.amount, entry.account_id)
}

/// The two entries of a sale, and none of anything else.
fn sale(rows: &Rows, settlement: &Settlement, entries: &[&Entry], findings: &mut Findings) {
    let about = About::auction(settlement.slot_id, settlement.window_start);
    // The slot may have another publisher by now; only a row from before publishers were kept is judged by that one.
    let now = || rows.slots.get(&settlement.slot_id).map(|slot| slot.publisher_account_id);
    let publisher = settlement.publisher_account_id.or_else(now);
    let mut expected = BTreeSet::new();
    if let (Some(winner), Some(price)) = (settlement.winner_account, settlement.clearing_price) {
        expected.insert(format!("{DEBIT} {price} of {winner}"));
        expected.insert(format!("{CREDIT} {price} of {}", or_nothing(publisher)));
    }
    for entry in entries {
        let entry_words = words(entry);
        let about = about.clone().with(format!("entry {}", entry.entry_id));
        if !expected.remove(&entry_words) {
            findings.add("ledger entry of a settlement", &about, "nothing", entry_words);
        }
        let should_have_version = entry.direction == DEBIT;
        if should_have_version != entry.account_version.is_some() {
            let expected = if should_have_version { "a version" } else { "nothing" };
            findings.add("ledger entry account_version", &about, expected, or_nothing(entry.account_version));
        }
    }
    for missing in expected {
        findings.add("ledger entry of a settlement", &about, missing, "nothing");
    }
    let sum = entries.iter().map(|entry| change(entry)).sum();
    findings.same("ledger sum of a settlement", &about, Money(0), Money(sum));
}

/// A deposit gives to an account what it takes from the exchange's one cash account, which has no row.
fn deposits(rows: &Rows, of_deposit: &BTreeMap<Uuid, Vec<&Entry>>, findings: &mut Findings) {
    let mut cash = BTreeSet::new();
    for (id, entries) in of_deposit.iter().filter(|(id, _)| !rows.damaged.booked.contains(*id)) {
        let about = About::subject(format!("deposit {id}"));
        let mut directions: Vec<&str> = entries.iter().map(|entry| entry.direction.as_str()).collect();
        directions.sort_unstable();
        findings.same(
            "ledger entries of a deposit",
            &about,
            format!("{CREDIT} {DEBIT}"),
            directions.join(" "),
        );
        let sum = entries.iter().map(|entry| change(entry)).sum();
        findings.same("ledger sum of a deposit", &about, Money(0), Money(sum));
        for entry in entries {
            let has_row = rows.accounts.contains_key(&entry.account_id);
            if entry.direction == DEBIT {
                cash.insert(entry.account_id);
            }
            if has_row == (entry.direction == DEBIT) {
                let expected = if has_row { "the cash account" } else { "an account" };
                findings.add("ledger account of a deposit", &about, expected, words(entry));
            }
        }
    }
    if cash.len() > 1 {
        let found: Vec<String> = cash.iter().map(ToString::to_string).collect();
        findings.add("cash account of deposits", &About::default(), "one", found.join(", "));
    }
}

/// Versions without gap or copy, balances that follow from entries, and no balance below its limit.
fn accounts(rows: &Rows, findings: &mut Findings) {
    let mut of_account: BTreeMap<AccountId, Vec<&Entry>> = BTreeMap::new();
    // Credits of sales change no balance; debits and deposits do.
    let counts = |entry: &&Entry| entry.direction == DEBIT || entry.deposit_id.is_some();
    for entry in rows.entries.iter().filter(counts) {
        of_account.entry(entry.account_id).or_default().push(entry);
    }
    for (id, entries) in of_account.iter().filter(|(id, _)| !rows.accounts.contains_key(id)) {
        for entry in entries.iter().filter(|entry| entry.deposit_id.is_none()) {
            let about = About::subject(format!("account {id}, entry {}", entry.entry_id));
            findings.add("ledger entry of an unknown account", &about, "nothing", words(entry));
        }
    }
    for (id, account) in rows.accounts.iter().filter(|(id, _)| !rows.damaged.accounts.contains(*id)) {
        let entries = of_account.get(id).map(Vec::as_slice).unwrap_or_default();
        one_account(rows, (*id, account), entries, findings);
    }
}

fn one_account(
    rows: &Rows,
    (id, account): (AccountId, &Account),
    entries: &[&Entry],
    findings: &mut Findings,
) {
    let about = About::subject(format!("account {id}"));
    let least = Money(-account.credit_limit.0);
    let deposits: i128 = entries.iter().filter(|e| e.account_version.is_none()).map(|e| change(e)).sum();
    let mut versions: Vec<(i64, &&Entry)> =
        entries.iter().filter_map(|e| Some((e.account_version?, e))).collect();
    versions.sort_by_key(|(version, entry)| (*version, entry.entry_id));
    let (mut balance, mut version) = (account.opening_balance, 0);
    for (found, entry) in versions {
        let about = about.clone().with(format!("account {id}, entry {}", entry.entry_id));
        findings.same("account version in sequence", &about, version + 1, found);
        version = found;
        balance.0 += change(entry);
        // Deposits carry no version, so each of them may have come before.
        if balance.0 + deposits < least.0 {
            findings.add("account balance after a debit", &about, format!("at least {least}"), balance);
        }
    }
    findings.same("account version", &about, version, account.version);
    let expected = Money(balance.0 + deposits);
    let Some(stored) = account.balance else {
        let key = format!("account_id {id}");
        let is_it = |cell: &&DamagedCell| cell.column == "balance" && cell.key == key;
        let found = rows.damaged.cells.iter().find(is_it).map(|cell| cell.found.as_str());
        let found = format!("{}; {}", or_nothing(found), next("enterprise_accounts"));
        findings.add("account balance", &about, expected, found);
        return;
    };
    findings.same("account balance", &about, expected, stored);
    if stored < least {
        findings.add("account balance below its limit", &about, format!("at least {least}"), stored);
    }
}
